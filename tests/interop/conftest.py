"""The published peers, for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients import make_client
from tests.interop.node import Node

FUNCTIONS: Final = Path(__file__).parent / "functions"


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """One process with the peers, for all tests that need them."""
    with Node() as running:
        yield running


@pytest.fixture(scope="session")
def express(node: Node) -> str:
    """The URL of an Express backend with our sample functions and a key of its own."""
    url: str = node.ask(
        "serve",
        options={"functionsBaseDir": str(FUNCTIONS), "functionsFolders": "src/tools"},
        env={"OPENAI_API_KEY": "sk-of-the-backend"},
    )
    return url


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of our clients."""
    kind: str = request.param
    return kind


@pytest.fixture
def client(kind: str, express: str) -> Iterator[Any]:
    """One of our clients, talking to Express."""
    made = make_client(kind, base_url=express, max_retries=0)
    yield made
    made.close()
