"""Fixtures of every test, parallel runs, and the pages whose Python blocks are tests: README and docs."""

import contextlib
import functools
import gc
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.clients import KINDS, THROUGH

if TYPE_CHECKING:
    from tests.serving import Serve, Start

# A slow machine is not a failure.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/skills/*/SKILL.md"],
    excludes=["docs/google-adk.md"],  # `make adk` runs it
    fixtures=["readers_environment"],
).pytest()

collect_ignore = [
    "tests/adk",
    "tests/ray",
]  # `make adk` and `make ray` run them, in environments of their own

# A shell starts a job in the background with SIGINT ignored, and every child inherits that. Tests interrupt
# programs that they start, so these must begin with the usual disposition.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No load balancer waits for the servers of tests to fail their readiness.
os.environ.setdefault("NAVAI_DRAIN_DELAY", "0")

# In a parallel run, the tests of each of these folders and files stay in one process: they share Node,
# Chromium, the agent SDK or parsed sources, which take seconds. So do the blocks of a document: each
# continues the one before.
ONE_PROCESS = (
    "tests/interop",
    "tests/inspector",
    "tests/test_layout.py",
    "tests/test_requirements.py",
    "examples/restaurant",
)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out groups, then single tests, because these differ by a factor of a thousand in time."""

    def _split_scope(self, nodeid: str) -> str:  # what xdist's own subclasses override
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        if folder in ONE_PROCESS:
            return folder
        return file if file in ONE_PROCESS or file.endswith(".md") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Schedule as above. ``--dist loadgroup`` would do, but xdist 3.8 groups nothing with pytest 9.2."""
    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Keep what is collected from the garbage collector: it would search all of it again and again, in vain.

    So collecting the tests takes 40 % less time, and a collection within one no longer half a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse ids that differ between processes."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"The id of a test has an address, give it ids=: {item.nodeid}")


def encodable(value: Any) -> Any:
    """Return *value* with an escape in place of each lone surrogate."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: encodable(each) for key, each in value.items()}
    return type(value)(map(encodable, value)) if isinstance(value, list | tuple) else value


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Let a test log lone surrogates: what a parallel process reports travels as UTF-8."""
    return encodable((yield))


@contextlib.contextmanager
def level_of_the_log() -> Iterator[None]:
    """Undo what a command's ``--verbose``, or a page that shows the log, does to its process."""
    logger = logging.getLogger("navai_client")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture(autouse=True)
def same_log() -> Iterator[None]:
    """Begin each test with the log as it was."""
    with level_of_the_log():
        yield


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
    """The URL of the bundled server's demo, in a process of its own on a free local port."""
    command = [sys.executable, "-m", "navai_client.server", "--demo", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator["Serve"]:
    """Start ``navai serve`` with arguments and an environment, in the test's directory."""
    from tests import serving  # noqa: PLC0415 - importing the server takes half a second, which few tests need

    with serving.serving(tmp_path) as serve:
        yield serve


@pytest.fixture
def start(tmp_path: Path) -> "Start":
    """Run ``navai serve`` where it cannot start, and return its status and what it wrote."""
    from tests import serving  # noqa: PLC0415 - as above

    return functools.partial(serving.start, tmp_path)


@pytest.fixture(scope="module")
def readers_environment(demo_server: str) -> Iterator[None]:
    """The environment of a page's reader: the demo server runs at ``NAVAI_API_URL``."""
    before = os.environ.get("NAVAI_API_URL")
    os.environ["NAVAI_API_URL"] = demo_server
    with level_of_the_log():
        yield
    if before is None:
        del os.environ["NAVAI_API_URL"]
    else:
        os.environ["NAVAI_API_URL"] = before
