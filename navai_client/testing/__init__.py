"""What test suites of Navai applications use: backends in memory and on a port, which note what comes.

Only names are here, loaded when they are asked for: pytest loads this package in every run, for its plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from navai_client.testing.fake_backend import FakeBackend
    from navai_client.testing.live_server import LiveServer
    from navai_client.testing.recording import RecordedCall, RecordedRequest

__all__ = ["FakeBackend", "LiveServer", "RecordedCall", "RecordedRequest"]

_HOMES = {
    "FakeBackend": "fake_backend",
    "LiveServer": "live_server",
    "RecordedCall": "recording",
    "RecordedRequest": "recording",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its file."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs {error.name!r}: pip install 'navai-client[testing]'", name=error.name
        ) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    """Show the public names also before they are loaded."""
    return sorted({*globals(), *__all__})
