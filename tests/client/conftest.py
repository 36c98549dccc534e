"""The clients of either kind."""

from collections.abc import Iterator

import pytest

from tests.both_clients import Clients, either_client


@pytest.fixture(params=["sync", "async"])
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    yield from either_client(request.param)
