"""Cancelling a call by its key, with both clients over every transport, against the bundled server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from navai_client import (
    Cancellation,
    FunctionFailedError,
    InvalidResponseError,
    NavaiBackendClient,
    NavaiHTTPError,
    NavaiPayloadError,
)
from navai_client.server import FunctionContext
from navai_client.testing import FakeBackend, LiveServer
from tests.backends import BASE, EVERY_WAY, Backend, Clients, answer
from tests.clients import GIVEN, KINDS, THROUGH, make_client
from tests.waiting import PATIENCE_S


class Waiting:
    """A function that waits until it is told to stop."""

    def __init__(self) -> None:
        self.began, self.stopped = threading.Event(), threading.Event()

    def wait(self, context: FunctionContext) -> str:
        """Wait."""
        self.began.set()
        assert context.cancelled.wait(PATIENCE_S)
        self.stopped.set()
        return "stopped"


@pytest.fixture(name="server")
def _server() -> Iterator[LiveServer]:
    with LiveServer(access_token="t", function_timeout=None) as server:
        yield server


@pytest.mark.parametrize("through", [*THROUGH, *GIVEN])
@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_reaches_the_function_and_ends_the_call(
    server: LiveServer, kind: str, through: str
) -> None:
    waiting = Waiting()
    server.function(waiting.wait)
    options: dict[str, Any] = {"access_token": "t", "through": through}
    with (
        make_client(kind, server.url, **options) as caller,
        make_client(kind, server.url, **options) as other,
        ThreadPoolExecutor() as threads,
    ):
        call = threads.submit(caller.execute_function, "wait", idempotency_key="k")
        assert waiting.began.wait(PATIENCE_S)
        assert other.cancel_execution("k") == Cancellation(cancelled=True, may_have_executed=True)
        with pytest.raises(FunctionFailedError, match="cancelled") as failed:
            call.result(PATIENCE_S)
        assert failed.value.may_have_executed
        assert waiting.stopped.wait(PATIENCE_S)
        with pytest.raises(NavaiHTTPError, match="No call has this Idempotency-Key") as unknown:
            other.cancel_execution("another")
        assert unknown.value.status_code == 404


def test_a_call_that_has_ended_is_not_cancelled() -> None:
    with FakeBackend() as backend, NavaiBackendClient(transport=backend.transport) as client:
        backend.function(lambda: "done", name="f")
        assert client.execute_function("f", idempotency_key="k") == "done"
        assert not client.cancel_execution("k").cancelled
        backend.fail_next(503, retry_after=0, operation="cancel_execution")
        raw = client.with_raw_response.cancel_execution("k")
        assert (raw.value.cancelled, raw.value.may_have_executed, raw.attempts) == (False, False, 2)
        assert [each.operation for each in backend.requests[1:]] == ["cancel_execution"] * 3


class TestTheRequest:
    """What is sent, and what is read."""

    @EVERY_WAY
    def test_has_the_key_and_no_body_below_the_path_that_executes(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True, "cancelled": False}))
        with clients.make(backend, BASE, functions_execute_path="/run") as client:
            client.cancel_execution("k", headers={"X-Tenant": "a"}, timeout=5)
        request = backend.request
        assert (request.method, request.url.path, request.content) == ("POST", "/run/cancel", b"")
        assert (request.headers["idempotency-key"], request.headers["x-tenant"]) == ("k", "a")
        assert request.headers["content-length"] == "0"

    @pytest.mark.parametrize("key", [None, "", "two words", 7])
    def test_is_not_sent_without_a_key(self, clients: Clients, key: Any) -> None:
        backend = Backend(answer({}))
        with clients.make(backend, BASE) as client, pytest.raises(NavaiPayloadError, match="idempotency_key"):
            client.cancel_execution(key)
        assert backend.requests == []

    @pytest.mark.parametrize("body", [{}, [], {"ok": True, "cancelled": "yes"}])
    def test_a_response_of_another_kind_is_invalid(self, clients: Clients, body: Any) -> None:
        with clients.make(Backend(answer(body)), BASE) as client, pytest.raises(InvalidResponseError):
            client.cancel_execution("k")

    def test_a_backend_that_cannot_cancel_says_404(self, clients: Clients) -> None:
        backend = Backend(httpx.Response(404, text="Cannot POST /navai/functions/execute/cancel"))
        with clients.make(backend, BASE) as client, pytest.raises(NavaiHTTPError) as error:
            client.cancel_execution("k")
        assert error.value.status_code == 404
