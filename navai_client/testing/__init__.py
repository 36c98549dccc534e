"""What test suites of Navai applications use: backends in memory and on a port, which note what comes.

Only names are here, loaded when they are asked for: pytest loads this package in every run, for its plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from navai_client.testing._fake_backend import FakeBackend
    from navai_client.testing._live_server import LiveServer
    from navai_client.testing._recording import Headers, RecordedCall, RecordedRequest
    from navai_client.testing.realtime import FakeRealtimeServer

__all__ = ["FakeBackend", "FakeRealtimeServer", "Headers", "LiveServer", "RecordedCall", "RecordedRequest"]

_HOMES = {
    "FakeBackend": "_fake_backend",
    "FakeRealtimeServer": "realtime",
    "Headers": "_recording",
    "LiveServer": "_live_server",
    "RecordedCall": "_recording",
    "RecordedRequest": "_recording",
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
