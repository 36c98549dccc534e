"""How the HTTP side of a backend is set: routes, limits, origins, the access token."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypedDict

import attrs

from navai_client.server.errors import BackendOptionsError
from navai_client.wire._decode import trim
from navai_client.wire._operations import (
    CLIENT_SECRET_PATH,
    FUNCTIONS_EXECUTE_PATH,
    FUNCTIONS_LIST_PATH,
    SPEECH_SYNTHESIZE_PATH,
    normalize_path,
)

__all__ = ["MAX_BODY_BYTES", "ServerSettings", "SettingsKeywords"]

MAX_BODY_BYTES: Final = 2**20
FUNCTION_TIMEOUT_S: Final = 30.0

_LOCAL_ORIGIN: Final = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.ASCII)


def _positive(_: object, attribute: "attrs.Attribute[Any]", value: float | None) -> None:
    if value is not None and not value > 0:
        raise BackendOptionsError(f"{attribute.name} must be greater than 0. Received: {value}")


@attrs.frozen(kw_only=True)
class ServerSettings:
    """The HTTP side of a backend.

    Attributes:
        client_secret_path: Where client secrets are minted; each path gets a leading slash when it has none.
        functions_list_path: Where the functions are listed.
        functions_execute_path: Where a function is executed.
        speech_synthesize_path: Where speech is synthesized.
        include_functions_routes: False leaves out the list and the execution of functions.
        function_timeout: Seconds that a call of a function may take; None means no limit.
        threads_per_function: How many synchronous calls of one function run at a time; further ones wait.
        max_body_bytes: The largest request body that is read.
        body_timeout: Seconds that a request's body may take to arrive.
        cors_origins: Origins that pages may call from, beside localhost; ``*`` for all.
        inspector: Whether a page to look at the backend with is served at ``/navai/``: for development.
        access_token: When set, every route but health, preflight and the inspector's page asks for it as a
            bearer token.
    """

    client_secret_path: str = attrs.field(default=CLIENT_SECRET_PATH, converter=normalize_path)
    functions_list_path: str = attrs.field(default=FUNCTIONS_LIST_PATH, converter=normalize_path)
    functions_execute_path: str = attrs.field(default=FUNCTIONS_EXECUTE_PATH, converter=normalize_path)
    speech_synthesize_path: str = attrs.field(default=SPEECH_SYNTHESIZE_PATH, converter=normalize_path)
    include_functions_routes: bool = True
    function_timeout: float | None = attrs.field(default=FUNCTION_TIMEOUT_S, validator=_positive)
    threads_per_function: int = attrs.field(default=64, validator=_positive)
    max_body_bytes: int = attrs.field(default=MAX_BODY_BYTES, validator=_positive)
    body_timeout: float = attrs.field(default=30.0, validator=_positive)
    cors_origins: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    inspector: bool = False
    access_token: str | None = attrs.field(default=None, repr=False)

    def allows_origin(self, origin: str) -> bool:
        """Whether a page of *origin* may call this backend."""
        return (
            _LOCAL_ORIGIN.fullmatch(origin) is not None
            or "*" in self.cors_origins
            or origin.lower() in self.cors_origins
        )

    @staticmethod
    def from_env(env: Mapping[str, str | None]) -> dict[str, Any]:
        """Read what the environment sets.

        ``NAVAI_CORS_ORIGIN``, ``NAVAI_ACCESS_TOKEN`` and, when it is not blank, ``NAVAI_INSPECTOR``: ``true``
        in any case serves the inspector.
        """
        origins = (trim(each).rstrip("/").lower() for each in (env.get("NAVAI_CORS_ORIGIN") or "").split(","))
        token = trim(env.get("NAVAI_ACCESS_TOKEN") or "")
        found: dict[str, Any] = {
            "cors_origins": tuple(each for each in origins if each),
            "access_token": token or None,
        }
        inspector = trim(env.get("NAVAI_INSPECTOR") or "")
        if inspector:
            found["inspector"] = inspector.lower() == "true"
        return found


class SettingsKeywords(TypedDict, total=False):
    """The fields of :class:`ServerSettings`, as the keywords that a backend takes."""

    client_secret_path: str
    functions_list_path: str
    functions_execute_path: str
    speech_synthesize_path: str
    include_functions_routes: bool
    function_timeout: float | None
    threads_per_function: int
    max_body_bytes: int
    body_timeout: float
    cors_origins: Iterable[str]
    inspector: bool
    access_token: str | None
