"""Clients of both kinds, with a mock of httpx and with the transports of the package."""

from collections.abc import Iterator

import pytest

from tests.backends import Clients, OnTheWire


@pytest.fixture
def mocked(kind: str) -> Iterator[Clients]:
    """Clients with a mock, for what only a mock can do, such as to raise an error of httpx."""
    made = Clients(kind)
    yield made
    made.close()


# What is decided above the transports: each client and each of our transports once. EVERY_WAY has the rest.
@pytest.fixture(params=[("sync", "default"), ("async", "fast")], ids="-".join)
def clients(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    """Clients of a kind, with a backend on a socket or a mock."""
    kind, through = request.param
    if through == "mock":
        made = Clients(kind)
        yield made
        made.close()
        return
    with OnTheWire(monkeypatch) as wire:
        made = Clients(kind, through, wire)
        yield made
        made.close()
