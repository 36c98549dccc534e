"""The pytest plugin: fixtures, at no cost for test runs without them.

pytest loads this file in every run where the package is installed. So it imports only pytest, which is loaded
already; what a fixture needs is imported when a test requests it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from navai_client import AsyncNavaiBackendClient, NavaiBackendClient
    from navai_client.testing import FakeBackend, FakeRealtimeServer, LiveServer

__all__ = [
    "async_navai_client",
    "navai_backend",
    "navai_backend_functions",
    "navai_backend_settings",
    "navai_client",
    "navai_client_options",
    "navai_realtime_script",
    "navai_realtime_server",
    "navai_server",
]

_BASE_URL = "https://navai.test"  # RFC 6761 reserves .test


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting of pytest's configuration that names a saved list of functions."""
    parser.addini(
        "navai_functions",
        "What `navai functions --save FILE` wrote: navai_backend offers these functions, and refuses calls "
        "that their schemas refuse",
        type="paths",
        default=[],
    )


@pytest.fixture
def navai_backend_functions(request: pytest.FixtureRequest) -> Path | None:
    """The file of ``FakeBackend.from_file`` for ``navai_backend``, by default that of ``navai_functions``."""
    files: list[Path] = request.config.getini("navai_functions")
    return next(iter(files), None)


@pytest.fixture
def navai_backend_settings() -> dict[str, Any]:
    """Settings of ``navai_backend`` and ``navai_server``, fields of ServerSettings; override it."""
    return {}


@pytest.fixture
def navai_client_options() -> dict[str, Any]:
    """Options of ``navai_client`` and ``async_navai_client``, such as ``timeout``; override it."""
    return {}


@pytest.fixture
def navai_backend(
    request: pytest.FixtureRequest,
    navai_backend_settings: dict[str, Any],
    navai_backend_functions: str | os.PathLike[str] | None,
) -> Iterator["FakeBackend"]:
    """A Navai backend in memory: register functions on it, assert what was called, script failures."""
    made, file = _load("FakeBackend"), navai_backend_functions
    backend = (
        made(**navai_backend_settings) if file is None else made.from_file(file, **navai_backend_settings)
    )

    def check() -> None:
        backend.assert_calls_accepted()
        backend.assert_failures_used()

    with contextlib.closing(backend):
        _connect(request, backend)
        yield from _strictly(request, backend, check)


@pytest.fixture
def navai_server(
    request: pytest.FixtureRequest, navai_backend_settings: dict[str, Any]
) -> Iterator["LiveServer"]:
    """A Navai server on a free port, at ``navai_server.url``; otherwise the same as ``navai_backend``."""
    with _load("LiveServer")(**navai_backend_settings) as server:
        _connect(request, server)
        yield from _strictly(request, server, server.assert_failures_used)


@pytest.fixture
def navai_realtime_script() -> list[Any]:
    """The turns that ``navai_realtime_server`` plays, by default none; override or parametrize it."""
    return []


@pytest.fixture
def navai_realtime_server(
    request: pytest.FixtureRequest, navai_realtime_script: list[Any]
) -> Iterator["FakeRealtimeServer"]:
    """A fake of OpenAI's Realtime API that plays a script; after the test, it checks that all was played.

    It accepts the client secrets of ``navai_backend`` and ``navai_server``, if a test uses both.
    """
    with _load("FakeRealtimeServer")(navai_realtime_script, strict=False) as api:
        yield from _strictly(request, api, api.check)


@pytest.fixture
def navai_client(
    navai_backend: "FakeBackend", navai_client_options: dict[str, Any]
) -> Iterator["NavaiBackendClient"]:
    """A client of ``navai_backend``, closed after the test."""
    from navai_client import NavaiBackendClient  # noqa: PLC0415 - see the top of this file

    options = {"base_url": _BASE_URL, **navai_client_options}
    with NavaiBackendClient(transport=navai_backend.transport, **options) as client:
        yield client


@pytest.fixture
def async_navai_client(
    navai_backend: "FakeBackend", navai_client_options: dict[str, Any]
) -> Iterator["AsyncNavaiBackendClient"]:
    """An async client of ``navai_backend``, for the event loop in which the test uses it first."""
    from navai_client import AsyncNavaiBackendClient  # noqa: PLC0415 - see the top of this file

    options = {"base_url": _BASE_URL, **navai_client_options}
    client = AsyncNavaiBackendClient(transport=navai_backend.async_transport, **options)
    yield client
    _close_without_loop(client)


def _connect(request: pytest.FixtureRequest, backend: Any) -> None:
    """Let the client secrets of *backend* open sessions of the fake Realtime API, if the test uses it."""
    if "navai_realtime_server" in request.fixturenames:
        backend.mint_for(request.getfixturevalue("navai_realtime_server"))


def _load(name: str) -> Any:
    """Return a name of ``navai_client.testing``, or fail with the one line that says what is missing."""
    from navai_client import testing  # noqa: PLC0415 - see the top of this file

    try:
        return getattr(testing, name)
    except ImportError as error:
        problem = str(error)
    pytest.fail(problem, pytrace=False)  # outside the handler: pytest would show its context, too


def _strictly(request: pytest.FixtureRequest, backend: Any, check: Callable[[], None]) -> Iterator[Any]:
    """Give *backend* to the test; if the test passes, check that everything scripted was used."""
    watch = _Watch(request.node.nodeid)
    plugins = request.config.pluginmanager
    plugins.register(watch)
    try:
        yield backend
    finally:
        plugins.unregister(watch)
    if not watch.passed:
        return
    try:
        check()
    except AssertionError as error:
        problem = str(error)
    else:
        return
    pytest.fail(problem, pytrace=False)  # as in _load


class _Watch:
    """Records whether one test passed; registered with pytest while that test runs."""

    def __init__(self, nodeid: str) -> None:
        self._nodeid = nodeid
        self.passed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.nodeid == self._nodeid:
            self.passed = report.passed


def _close_without_loop(client: "AsyncNavaiBackendClient") -> None:
    """Close a client in memory. Closing only waits for abandoned calls.

    These run in the test's own event loop, and end with it.
    """
    closing = client.close()
    try:
        closing.send(None)
    except (StopIteration, RuntimeError):  # done, or "no running event loop"
        return
