"""Clients of both kinds, with a mock of httpx and with each transport of the package."""

from collections.abc import Iterator

import pytest

from tests.backends import Clients, OnTheWire
from tests.clients import THROUGH


@pytest.fixture
def mocked(kind: str) -> Iterator[Clients]:
    """Clients with a mock, for what only a mock can do, such as to raise an error of httpx."""
    made = Clients(kind)
    yield made
    made.close()


@pytest.fixture(params=["mock", *THROUGH])
def clients(request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    """Clients with a mock, and with the same backend on a socket."""
    if request.param == "mock":
        made = Clients(kind)
        yield made
        made.close()
        return
    with OnTheWire(monkeypatch) as wire:
        made = Clients(kind, request.param, wire)
        yield made
        made.close()
