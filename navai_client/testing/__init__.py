"""Backends for the tests of Navai applications, in memory and on a port, which record their requests.

This file holds only the public names, which are loaded on first use: pytest loads this package in every run.
"""

from typing import TYPE_CHECKING

from navai_client._extras import SERVER_PACKAGES, lazy

if TYPE_CHECKING:
    from navai_client.testing._fake_backend import FakeBackend as FakeBackend
    from navai_client.testing._live_server import LiveServer as LiveServer
    from navai_client.testing._recording import (
        Headers as Headers,
        RecordedCall as RecordedCall,
        RecordedRequest as RecordedRequest,
    )
    from navai_client.testing._store_tests import StoreTests as StoreTests
    from navai_client.testing.realtime import FakeRealtimeServer as FakeRealtimeServer

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "._fake_backend": ("FakeBackend",),
        "._live_server": ("LiveServer",),
        "._recording": ("Headers", "RecordedCall", "RecordedRequest"),
        "._store_tests": ("StoreTests",),
        ".realtime": ("FakeRealtimeServer",),
    },
    "testing",
    (*SERVER_PACKAGES, "websockets"),
)
