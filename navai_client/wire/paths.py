"""Where a backend's routes are: the default paths and how a URL is joined, for client and server alike."""

from typing import Final

from attrs import field, frozen

__all__ = [
    "CLIENT_SECRET_PATH",
    "FUNCTIONS_EXECUTE_PATH",
    "FUNCTIONS_LIST_PATH",
    "SPEECH_SYNTHESIZE_PATH",
    "Paths",
    "join_url",
    "normalize_path",
]

CLIENT_SECRET_PATH: Final = "/navai/realtime/client-secret"  # noqa: S105 - a path
FUNCTIONS_LIST_PATH: Final = "/navai/functions"
FUNCTIONS_EXECUTE_PATH: Final = "/navai/functions/execute"
SPEECH_SYNTHESIZE_PATH: Final = "/navai/speech/synthesize"


def normalize_path(path: str) -> str:
    """Return *path* with a leading slash."""
    return path if path.startswith("/") else f"/{path}"


def join_url(base_url: str, path: str) -> str:
    """Join *base_url*, without its trailing slashes, and *path*, with a leading one."""
    return base_url.rstrip("/") + normalize_path(path)


@frozen(kw_only=True)
class Paths:
    """Where the endpoints of a backend are, each with a leading slash."""

    client_secret: str = field(default=CLIENT_SECRET_PATH, converter=normalize_path)
    functions_list: str = field(default=FUNCTIONS_LIST_PATH, converter=normalize_path)
    functions_execute: str = field(default=FUNCTIONS_EXECUTE_PATH, converter=normalize_path)
    speech_synthesize: str = field(default=SPEECH_SYNTHESIZE_PATH, converter=normalize_path)
