"""Every kind of client that reaches a FakeBackend, each with methods that block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2

from navai_client.testing import FakeBackend
from tests.clients import make_client

__all__ = ["KINDS", "client_of"]

KINDS: dict[str, tuple[str, Callable[[FakeBackend], dict[str, Any]]]] = {
    "sync": ("sync", lambda backend: {"transport": backend.transport}),
    "async": ("async", lambda backend: {"transport": backend.async_transport}),
    "httpx": ("sync", lambda backend: {"transport": httpx.MockTransport(backend.handle)}),
    "httpx async": ("async", lambda backend: {"transport": httpx.MockTransport(backend.handle_async)}),
    "httpx2": ("sync", lambda backend: {"transport": httpx2.MockTransport(backend.handle)}),
    "httpx2 async": ("async", lambda backend: {"transport": httpx2.MockTransport(backend.handle_async)}),
    "httpx client": (
        "sync",
        lambda backend: {"http_client": httpx.Client(transport=httpx.MockTransport(backend.handle))},
    ),
    "httpx2 client": (
        "sync",
        lambda backend: {"http_client": httpx2.Client(transport=httpx2.MockTransport(backend.handle))},
    ),
    "httpx async client": (
        "async",
        lambda backend: {
            "http_client": httpx.AsyncClient(transport=httpx.MockTransport(backend.handle_async))
        },
    ),
    "httpx2 async client": (
        "async",
        lambda backend: {
            "http_client": httpx2.AsyncClient(transport=httpx2.MockTransport(backend.handle_async))
        },
    ),
}


@contextmanager
def client_of(kind: str, backend: FakeBackend, **options: Any) -> Iterator[Any]:
    """Yield a client of *kind* that reaches *backend*, and close it."""
    shell, given = KINDS[kind]
    client = make_client(shell, base_url="https://navai.test", **given(backend), **options)
    try:
        yield client
    finally:
        client.close()
