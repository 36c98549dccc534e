"""Waiting for a backend that starts, and opening a connection ahead. One suite for both clients."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from navai_client import (
    InvalidResponseError,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.testing import FakeBackend
from navai_client.wire._operations import Paths
from navai_client.wire._readiness import Waiting
from navai_client.wire._requests import Invocations
from tests.clients import make_client
from tests.faults.server import FaultServer, Peer, answer
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, SHORT_S

OK = answer('{"ok": true}')
LIST = answer('{"items": []}')
NOT_FOUND = answer('{"error": "Not found."}', status="404 Not Found")
NOT_YET = answer('{"ok": false}', "Retry-After: 1", status="503 Service Unavailable")
PAGE = answer("<!doctype html>", "Content-Type: text/html")
RESET = b""

Answers = dict[str, list[bytes]]


class Server:
    """Responds to each path with the next of its answers, and repeats the last; the default is 404.

    Attributes:
        paths: The paths that were requested.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = {path: [*each] for path, each in answers.items()}
        self.paths: list[str] = []

    def __call__(self, peer: Peer) -> None:
        while peer.request() is not None:
            path = peer._server.arrived[-1][0]
            self.paths.append(path)
            left = self._answers.get(path, [NOT_FOUND])
            response = left.pop(0) if len(left) > 1 else left[0]
            if response == RESET:
                return
            peer.send(response)


@pytest.fixture
def waits(kind: str, through: str) -> Callable[..., list[str]]:
    """Wait for a server with given answers; return the paths that were requested."""

    def wait(answers: Answers, timeout: float = PATIENCE_S, base: str = "", **options: Any) -> list[str]:
        server = Server(answers)
        with (
            FaultServer(server) as serving,
            make_client(kind, serving.url + base, through=through, **options) as client,
        ):
            assert client.wait_until_ready(timeout) is None
        return server.paths

    return wait


@pytest.mark.parametrize(
    ("answers", "paths"),
    [
        ({"/ready": [OK]}, ["/ready"]),
        ({"/health": [OK]}, ["/ready", "/health"]),
        ({"/navai/functions": [LIST]}, ["/ready", "/health", "/navai/functions"]),
        ({"/ready": [NOT_YET, NOT_YET, OK], "/health": [OK]}, ["/ready"] * 3),
        ({"/ready": [RESET, RESET, OK]}, ["/ready"] * 3),
        # An application that has a page for every path, and the backend below one of them.
        (
            {"/ready": [PAGE], "/health": [PAGE], "/navai/functions": [LIST]},
            ["/ready", "/health", "/navai/functions"],
        ),
        # A gateway whose backend does not run yet.
        (
            {"/navai/functions": [NOT_FOUND, PAGE, LIST]},
            ["/ready", "/health", "/navai/functions"] * 3,
        ),
    ],
)
def test_the_best_probe_that_a_backend_has_is_asked_until_it_succeeds(
    waits: Callable[..., list[str]], answers: Answers, paths: list[str]
) -> None:
    assert waits(answers) == paths


def test_a_backend_below_a_path_is_asked_there(waits: Callable[..., list[str]]) -> None:
    assert waits({"/api/ready": [OK]}, base="/api/") == ["/api/ready"]


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "421 Misdirected Request"])
def test_a_refusal_that_waiting_does_not_change_is_raised_at_once(
    waits: Callable[..., list[str]], status: str
) -> None:
    refused = answer('{"error": "no"}', status=status)
    with pytest.raises(NavaiHTTPError) as caught:
        waits({"/ready": [refused], "/health": [refused], "/navai/functions": [refused]})
    assert caught.value.status_code == int(status[:3])


def test_a_backend_that_is_not_ready_in_time_is_an_error_that_says_why(
    waits: Callable[..., list[str]],
) -> None:
    said = r"^The backend at http://127\.0\.0\.1:\d+ was not ready within 2 s: HTTP 503\.$"
    with pytest.raises(NavaiTimeoutError, match=said) as caught:
        waits({"/ready": [NOT_YET]}, SHORT_S)
    assert not caught.value.may_have_executed
    assert isinstance(caught.value.__cause__, NavaiHTTPError)


def test_a_backend_that_hangs_is_not_waited_for_any_longer(kind: str, through: str) -> None:
    with (
        FaultServer(Peer.silence) as server,
        make_client(kind, server.url, through=through) as client,
        pytest.raises(NavaiTimeoutError, match=r"not ready within 0.2 s"),
    ):
        client.wait_until_ready(0.2)


def test_a_port_that_stays_closed_is_not_waited_for_any_longer(kind: str, through: str) -> None:
    with (
        reserved_port() as port,
        make_client(kind, f"http://127.0.0.1:{port}", through=through) as client,
        pytest.raises(NavaiTimeoutError, match=r"within 2 s: No response from .*Errno 111"),
    ):
        client.wait_until_ready(SHORT_S)


def test_headers_are_sent_and_derived_clients_can_wait(kind: str, through: str) -> None:
    server = Server({"/ready": [OK]})
    with (
        FaultServer(server) as serving,
        make_client(kind, serving.url, through=through, access_token=lambda: "token-1234") as client,
    ):
        client.run(client.with_options(headers={"X-Tenant": "t"}).wait_until_ready())
        head = serving.arrived[0][1].lower()
        assert b"authorization: bearer token-1234" in head
        assert b"x-tenant: t" in head


@pytest.mark.parametrize("timeout", [0, -1, "5", True])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(kind: str, timeout: Any) -> None:
    with make_client(kind, "http://127.0.0.1:1") as client:
        for wait in (client.wait_until_ready, client.warmup):
            with pytest.raises(NavaiConfigError, match="timeout"):
                wait(timeout=timeout)


def test_a_closed_client_does_not_wait(kind: str) -> None:
    client = make_client(kind, "http://127.0.0.1:1")
    client.run(client.real.close())
    with pytest.raises(NavaiStateError):
        client.wait_until_ready()
    with pytest.raises(NavaiStateError):
        client.warmup()
    client.close()


def test_the_bundled_server_is_ready_when_it_has_started(kind: str) -> None:
    command = [sys.executable, "-m", "navai_client.server", "--demo", "--host", "127.0.0.1", "--port"]
    with (
        reserved_port() as port,
        subprocess.Popen(
            [*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        make_client(kind, f"http://127.0.0.1:{port}") as client,
    ):
        try:
            client.wait_until_ready(PATIENCE_S)
            assert client.list_functions()
        finally:
            process.terminate()


def test_a_fake_backend_is_ready(kind: str) -> None:
    with FakeBackend() as backend:
        transport = backend.transport if kind == "sync" else backend.async_transport
        with make_client(kind, transport=transport) as client:
            client.wait_until_ready()
            client.warmup()
        assert not backend.calls


def waiting_for(timeout: float | None) -> Waiting:
    return Waiting(Invocations("http://x", Paths(), lambda: "key"), "http://x", timeout, 0.0)


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([NavaiHTTPError("x", status_code=404)] * 3, "HTTP 404"),
        ([NavaiTransportError("refused.")], "refused"),
        ([NavaiTransportError("refused."), NavaiTimeoutError("late.")], "refused"),
        ([NavaiTimeoutError("late.")] * 2, "late"),
        ([NavaiTimeoutError("late."), NavaiTransportError("refused.")], "refused"),
        (
            [*[NavaiHTTPError("x", status_code=404)] * 2, InvalidResponseError("A page.", status_code=200)],
            "A page",
        ),
    ],
)
def test_the_error_of_a_wait_that_was_too_short_gives_the_latest_reason(
    errors: list[NavaiError], said: str
) -> None:
    waiting = waiting_for(10.0)
    for error in errors:
        assert waiting.next(0.0).timeout == 5.0
        waiting.failed(error)
    with pytest.raises(NavaiTimeoutError) as caught:
        waiting.next(10.0)
    assert str(caught.value) == f"The backend at http://x was not ready within 10 s: {said}."
    assert caught.value.__cause__ is next(error for error in reversed(errors) if said in f"HTTP 404 {error}")


def test_without_a_limit_waiting_goes_on_with_growing_delays() -> None:
    waiting = waiting_for(None)
    delays = []
    for _ in range(8):
        probe = waiting.next(0.0)
        assert probe.timeout == 5.0
        delays.append(probe.delay)
        waiting.failed(NavaiTransportError("refused"))
    assert delays == [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize("timeout", [0.2, 1.0, 1.6, 30.0])
def test_probes_go_on_until_the_time_is_up(timeout: float) -> None:
    waiting, now = waiting_for(timeout), 0.0
    for _ in range(50):
        try:
            probe = waiting.next(now)
        except NavaiTimeoutError:
            break
        assert probe.timeout > 0
        now += probe.delay
        waiting.failed(NavaiTransportError("refused"))
    else:
        pytest.fail("it did not end")
    assert timeout - 0.1 <= now <= timeout


@pytest.mark.parametrize("response", [OK, NOT_FOUND, NOT_YET])
def test_warmup_opens_the_connection_of_the_next_call(kind: str, through: str, response: bytes) -> None:
    server = Server({"/health": [response], "/navai/functions": [LIST]})
    with FaultServer(server) as serving, make_client(kind, serving.url, through=through) as client:
        assert client.warmup() is None
        assert serving.connections == 1
        client.list_functions()
        assert serving.connections == 1
        assert server.paths == ["/health", "/navai/functions"]


def test_warmup_says_that_a_backend_cannot_be_reached(kind: str, through: str) -> None:
    with (
        reserved_port() as port,
        make_client(kind, f"http://127.0.0.1:{port}", through=through) as client,
        pytest.raises(NavaiTransportError, match="Errno 111"),
    ):
        client.warmup(timeout=PATIENCE_S)
