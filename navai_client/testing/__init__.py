"""What test suites of Navai applications use: backends in memory and on a port, which note what comes.

Only names are here, loaded when they are asked for: pytest loads this package in every run, for its plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from navai_client.testing.fake_backend import FakeBackend
    from navai_client.testing.live_server import LiveServer
    from navai_client.testing.realtime import FakeRealtimeServer
    from navai_client.testing.recording import RecordedCall, RecordedRequest

__all__ = ["FakeBackend", "FakeRealtimeServer", "LiveServer", "RecordedCall", "RecordedRequest"]

_HOMES = {
    "FakeBackend": "fake_backend",
    "FakeRealtimeServer": "realtime",
    "LiveServer": "live_server",
    "RecordedCall": "recording",
    "RecordedRequest": "recording",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its file."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from navai_client.integrations._missing import needs_extra  # noqa: PLC0415 - see the top of this file

    with needs_extra("testing", "docstring_parser", "msgspec", "uvicorn"):
        module = import_module(f"{__name__}.{home}")
    return getattr(module, name)


def __dir__() -> list[str]:
    """Show the public names also before they are loaded."""
    return sorted({*globals(), *__all__})
