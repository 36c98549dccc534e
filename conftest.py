"""What every test needs, and the pages whose Python blocks are tests: README and docs."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from tests.clients import KINDS, THROUGH

# A slow machine is no failure.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    fixtures=["readers_environment"],
).pytest()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of a client: sync or async."""
    return str(request.param)


@pytest.fixture(params=THROUGH)
def through(request: pytest.FixtureRequest) -> str:
    """Which of our transports a client sends through."""
    return str(request.param)


@pytest.fixture(scope="session")
def demo_server() -> Iterator[str]:
    """The URL of the bundled server, run as its users run it, on a free port of this machine alone."""
    command = [sys.executable, "-m", "navai_client.server", "--demo", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture(scope="module")
def readers_environment(demo_server: str) -> Iterator[None]:
    """A reader's environment: the demo server runs, and ``NAVAI_API_URL`` says where."""
    before = os.environ.get("NAVAI_API_URL")
    os.environ["NAVAI_API_URL"] = demo_server
    yield
    if before is None:
        del os.environ["NAVAI_API_URL"]
    else:
        os.environ["NAVAI_API_URL"] = before
