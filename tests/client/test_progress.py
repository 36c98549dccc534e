"""Progress of a call, with both clients over every transport, and the streams of events that carry it."""

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest

from navai_client import (
    AsyncNavaiBackendClient,
    FunctionFailedError,
    InvalidResponseError,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
    UnknownFunctionError,
)
from navai_client.server import FunctionContext
from navai_client.testing import FakeBackend, LiveServer
from navai_client.transports import Call, Request, Response, TransportFailure
from navai_client.transports._fast_json import decoder
from tests.backends import BASE, EVERY_WAY, Backend, Clients, answer
from tests.clients import GIVEN, KINDS, THROUGH, make_client
from tests.faults.server import FaultServer, Peer
from tests.waiting import PATIENCE_S, SHORT_S, until_async

STREAM: Final = {"content-type": "text/event-stream; charset=utf-8"}
DONE: Final = {"status": 200, "body": {"ok": True, "function_name": "f", "result": 7}}


def event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def stream(*events: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(200, headers={**STREAM, **(headers or {})}, content=b"".join(events))


class Steps:
    """A function that goes on only when its caller has heard of each step."""

    def __init__(self) -> None:
        self.heard = threading.Event()
        self.messages: list[str] = []

    def offered_by(self, backend: FakeBackend | LiveServer) -> None:
        backend.function(self.steps)
        backend.function(self.async_steps)

    def hear(self, message: str) -> None:
        self.messages.append(message)
        self.heard.set()

    async def hear_async(self, message: str) -> None:
        await asyncio.sleep(0)
        self.hear(message)

    def _step(self, context: FunctionContext, message: str) -> None:
        context.progress(message)
        assert self.heard.wait(PATIENCE_S), "nobody heard of this step while the function ran"
        self.heard.clear()

    def steps(self, context: FunctionContext) -> str:
        """Take two steps."""
        self._step(context, "Looking at March")
        self._step(context, "Looking at Ma\u00ed\n")
        return "done"

    async def async_steps(self, context: FunctionContext) -> str:
        """Take two steps on the event loop."""
        await asyncio.to_thread(self.steps, context)
        return "done"


@pytest.fixture(name="server")
def _server() -> Iterator[LiveServer]:
    with LiveServer() as server:
        yield server


@pytest.fixture(name="steps")
def _steps() -> Steps:
    return Steps()


@pytest.mark.parametrize("through", [*THROUGH, *GIVEN])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["steps", "async_steps"])
def test_progress_is_heard_while_the_function_runs(
    server: LiveServer, steps: Steps, name: str, kind: str, through: str
) -> None:
    steps.offered_by(server)
    with make_client(kind, server.url, through=through) as client:
        assert client.execute_function(name, on_progress=steps.hear) == "done"
        assert steps.messages == ["Looking at March", "Looking at Ma\u00ed\n"]
        assert client.execute_function("steps", on_progress=steps.hear, timeout=PATIENCE_S) == "done"


@pytest.mark.parametrize("through", THROUGH)
def test_the_async_client_awaits_an_async_listener(server: LiveServer, steps: Steps, through: str) -> None:
    steps.offered_by(server)
    with make_client("async", server.url, through=through) as client:
        assert client.execute_function("steps", on_progress=steps.hear_async) == "done"
    assert steps.messages == ["Looking at March", "Looking at Ma\u00ed\n"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_works_with_a_fake_backend(steps: Steps, kind: str) -> None:
    with FakeBackend() as backend:
        steps.offered_by(backend)
        transport = backend.transport if kind == "sync" else backend.async_transport
        with make_client(kind, transport=transport) as client:
            assert client.execute_function("steps", on_progress=steps.hear) == "done"
            assert client.execute_function("steps", on_progress=steps.hear) == "done"
            with pytest.raises(UnknownFunctionError):
                client.execute_function("unknown", on_progress=steps.hear)
            backend.fail_next(503)
            with pytest.raises(NavaiHTTPError):
                client.execute_function("steps", on_progress=steps.hear)
    assert steps.messages == ["Looking at March", "Looking at Ma\u00ed\n"] * 2
    assert [call.function_name for call in backend.calls] == ["steps", "steps", "unknown", "steps"]


@pytest.mark.parametrize("backend_for_tests", [FakeBackend, LiveServer])
def test_a_scripted_drop_loses_the_messages_too(backend_for_tests: type[FakeBackend | LiveServer]) -> None:
    heard: list[str] = []
    with backend_for_tests() as backend:

        @backend.function
        def report(context: FunctionContext) -> str:
            context.progress("one")
            return "done"

        backend.drop_next()
        at = (
            {"transport": backend.transport}
            if isinstance(backend, FakeBackend)
            else {"base_url": backend.url}
        )
        given: Any = at
        with NavaiBackendClient(**given) as client, pytest.raises(NavaiTransportError) as lost:
            client.execute_function("report", on_progress=heard.append)
    assert lost.value.may_have_executed
    assert heard == []
    assert backend.requests[0].outcome == "connection dropped before answering (scripted)"


def test_a_listener_may_call_the_same_fake_backend() -> None:
    with FakeBackend() as backend, NavaiBackendClient(transport=backend.transport) as client:

        @backend.function
        def report(context: FunctionContext) -> str:
            context.progress("asking")
            return "done"

        @backend.function
        def other() -> str:
            return "other"

        heard: list[str] = []

        def hear(_: str) -> None:
            heard.append(client.execute_function("other"))

        told = client.execute_function("report", on_progress=hear)
    assert (told, heard) == ("done", ["other"])


def test_a_mock_of_httpx_gives_it_at_the_end() -> None:
    with FakeBackend() as backend:

        @backend.function
        def report(context: FunctionContext) -> str:
            context.progress("one")
            return "done"

        heard: list[str] = []
        with NavaiBackendClient(transport=httpx.MockTransport(backend.handle)) as client:
            assert client.execute_function("report", on_progress=heard.append) == "done"
        accepting = {"Accept": "text/event-stream"}
        with (
            NavaiBackendClient(transport=backend.transport, headers=accepting) as client,
            pytest.raises(InvalidResponseError),  # who sets the header by hand gets what it asked for
        ):
            client.execute_function("report")
    assert heard == ["one"]


class Whole:
    """A transport of a user, which knows nothing of streams."""

    def __init__(self, response: Response | TransportFailure) -> None:
        self._response = response

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        return self._response

    def close(self) -> None:
        """Do nothing."""


class TestTheRequest:
    """What is sent, and how a backend may respond."""

    def test_accepts_a_stream_of_events_and_json(self, clients: Clients) -> None:
        backend = Backend(answer(DONE["body"]))
        with clients.make(backend, BASE) as client:
            assert client.execute_function("f", on_progress=print) == 7
        assert backend.request.headers.get_list("accept")[-1].endswith("text/event-stream, application/json")

    def test_is_what_it_was_without_a_listener(self, clients: Clients) -> None:
        backend = Backend(answer(DONE["body"]))
        with clients.make(backend, BASE) as client:
            assert client.execute_function("f") == 7
        assert backend.request.headers["accept"] == "application/json"

    @pytest.mark.parametrize("given", ["text", 7])
    def test_is_not_sent_for_a_listener_that_cannot_be_called(self, clients: Clients, given: Any) -> None:
        backend = Backend(answer(DONE["body"]))
        with clients.make(backend, BASE) as client, pytest.raises(NavaiConfigError, match="on_progress"):
            client.execute_function("f", on_progress=given)
        assert backend.requests == []

    def test_of_a_sync_client_takes_no_async_listener(self, steps: Steps) -> None:
        with (
            NavaiBackendClient(BASE) as client,
            pytest.raises(NavaiConfigError, match="AsyncNavaiBackendClient"),
        ):
            client.execute_function("f", on_progress=steps.hear_async)


class TestTheResponse:
    """Streams of events as backends in any language may send them."""

    @EVERY_WAY
    def test_has_the_messages_and_the_result(self, clients: Clients) -> None:
        heard: list[str] = []
        events = (b": hello\n\n", event("progress", {"message": "one"}), event("response", DONE))
        with clients.make(Backend(stream(*events)), BASE) as client:
            assert client.execute_function("f", on_progress=heard.append) == 7
            raw = client.raw.execute_function("f", on_progress=heard.append)
        assert heard == ["one", "one"]
        assert (raw.value, raw.status_code) == (7, 200)

    @EVERY_WAY
    def test_is_the_event_also_where_large_responses_have_loaded_another_parser(
        self, clients: Clients
    ) -> None:
        decoder.load()
        assert decoder.loading is not None
        decoder.loading.join(60)
        with clients.make(Backend(stream(event("response", DONE))), BASE) as client:
            assert client.execute_function("f", on_progress=print) == 7

    def test_has_the_errors_of_a_plain_one(self, clients: Clients) -> None:
        failed = {"ok": False, "function_name": "f", "error": "Failed.", "details": "Why."}
        unknown = {"error": "Unknown.", "available_functions": ["g"]}
        backend = Backend(
            stream(event("response", {"status": 200, "body": failed})),
            stream(event("response", {"status": 404, "body": unknown})),
            stream(event("response", {"status": 418, "body": {"error": "No."}})),
        )
        with clients.make(backend, BASE) as client:
            with pytest.raises(FunctionFailedError, match="Why"):
                client.execute_function("f", on_progress=print)
            with pytest.raises(UnknownFunctionError) as missing:
                client.execute_function("f", on_progress=print)
            assert missing.value.available_functions == ("g",)
            with pytest.raises(NavaiHTTPError) as refused:
                client.execute_function("f", on_progress=print)
            assert (refused.value.status_code, refused.value.error) == (418, "No.")

    def test_is_tried_again_when_it_says_that_the_function_did_not_begin(self, clients: Clients) -> None:
        busy = {"status": 503, "body": {"error": "Busy."}, "headers": {"Retry-After": "0", "bad": 7}}
        backend = Backend(stream(event("response", busy)), stream(event("response", DONE)))
        with clients.make(backend, BASE) as client:
            assert client.execute_function("f", on_progress=print) == 7
        assert len(backend.requests) == 2

    @pytest.mark.parametrize(
        "end", [b"", event("progress", {"message": "one"}), b'event: response\ndata: {"sta']
    )
    @EVERY_WAY
    def test_that_ends_without_the_outcome_is_lost(self, clients: Clients, end: bytes) -> None:
        backend = Backend(stream(b": hello\n\n", end))
        with (
            clients.make(backend, BASE) as client,
            pytest.raises(NavaiTransportError, match="ended without the response") as lost,
        ):
            client.execute_function("f", on_progress=print)
        assert lost.value.may_have_executed

    @pytest.mark.parametrize(
        "data",
        [
            "no json",
            "[]",
            "{}",
            '{"status": "200", "body": {}}',
            '{"status": 99, "body": {}}',
            '{"status": 200}',
        ],
    )
    def test_with_an_outcome_of_another_form_is_invalid(self, clients: Clients, data: str) -> None:
        backend = Backend(stream(f"event: response\ndata: {data}\n\n".encode()))
        with clients.make(backend, BASE) as client, pytest.raises(InvalidResponseError):
            client.execute_function("f", on_progress=print)

    @EVERY_WAY
    def test_too_large_is_said(self, clients: Clients) -> None:
        large = {"status": 200, "body": {"ok": True, "result": "x" * 5000}}
        for events in (event("response", large), b"data: x\n" * 2000, b": " + b"x" * 5000):
            with (
                clients.make(Backend(stream(events)), BASE, max_response_bytes=1000) as client,
                pytest.raises(InvalidResponseError, match="max_response_bytes"),
            ):
                client.execute_function("f", on_progress=print)

    @EVERY_WAY
    def test_may_be_longer_than_a_response_as_long_as_each_event_is_not(self, clients: Clients) -> None:
        heard: list[str] = []
        messages = [event("progress", {"message": str(number)}) for number in range(500)]
        with clients.make(
            Backend(stream(*messages, event("response", DONE))), BASE, max_response_bytes=1000
        ) as client:
            assert client.execute_function("f", on_progress=heard.append) == 7
        assert heard[-1] == "499"

    def test_has_messages_without_the_secrets_of_the_client_and_not_too_long(self, clients: Clients) -> None:
        heard: list[str] = []
        told = [event("progress", {"message": text}) for text in ("the token is hunter2hunter2", "y" * 5000)]
        others = [event("progress", data) for data in (None, {}, {"message": 7})]
        backend = Backend(stream(*told, *others, event("other", {}), event("response", DONE)))
        with clients.make(backend, BASE, access_token="hunter2hunter2") as client:
            client.execute_function("f", on_progress=heard.append)
        assert "hunter2" not in heard[0]
        assert heard[1:] == ["y" * 1000]

    def test_of_a_transport_that_collects_it_gives_the_messages_at_the_end(self) -> None:
        heard: list[str] = []
        content = event("progress", {"message": "one"}) + event("response", DONE)

        def call(outcome: Response | TransportFailure) -> Any:
            with NavaiBackendClient(BASE, transport=Whole(outcome), max_retries=0) as client:
                return client.execute_function("f", on_progress=heard.append)

        assert call(Response(200, STREAM, content)) == 7
        assert heard == ["one"]
        with pytest.raises(InvalidResponseError, match="max_response_bytes"):
            call(Response(200, STREAM, content[:-9], truncated=True))
        with pytest.raises(NavaiTransportError, match="cut"):
            call(TransportFailure("cut", sent=False))


class TestTheListener:
    """What a listener may do, and what it cannot break."""

    def test_that_raises_loses_no_outcome_and_is_logged(
        self, clients: Clients, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(message: str) -> None:
            raise ZeroDivisionError(message)

        events = (event("progress", {"message": "one"}), event("response", DONE))
        with clients.make(Backend(stream(*events)), BASE) as client:
            assert client.execute_function("f", on_progress=fail) == 7
        (record,) = (
            each for each in caplog.records if each.name == "navai_client" and each.levelno > logging.INFO
        )
        assert "on_progress" in record.message
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ZeroDivisionError)

    def test_runs_in_the_context_of_its_caller(self, server: LiveServer, steps: Steps) -> None:
        steps.offered_by(server)
        who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
        heard: list[str] = []

        def hear(message: str) -> None:
            heard.append(who.get())
            steps.hear(message)

        async def run() -> None:
            async with AsyncNavaiBackendClient(server.url) as client:
                await client.list_functions()  # the connection is of an earlier call
                who.set("caller")
                await client.execute_function("steps", on_progress=hear)

        asyncio.run(run())
        assert heard == ["caller", "caller"]

    def test_that_hangs_holds_up_no_call_beyond_its_timeout(self, server: LiveServer) -> None:
        @server.function
        async def report(context: FunctionContext) -> str:
            context.progress("one")
            return "done"

        cancelled: list[str] = []

        async def hang(message: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(message)

        async def run() -> Any:
            async with AsyncNavaiBackendClient(server.url) as client:
                result = await client.execute_function("report", on_progress=hang, timeout=SHORT_S)
                await asyncio.sleep(0)
                return result

        assert asyncio.run(run()) == "done"
        assert cancelled == ["one"]

    def test_hears_nothing_once_its_caller_is_cancelled(self, server: LiveServer, steps: Steps) -> None:
        steps.offered_by(server)

        async def run() -> None:
            begun = asyncio.Event()

            async def hear(message: str) -> None:
                steps.messages.append(message)
                begun.set()
                await asyncio.Event().wait()

            async with AsyncNavaiBackendClient(server.url) as client:
                call = asyncio.create_task(client.execute_function("steps", on_progress=hear))
                await begun.wait()
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                steps.heard.set()  # the function goes on, and says more

                def has_ended() -> bool:
                    steps.heard.set()
                    return not server._app.invoker.running

                await until_async(has_ended)

        asyncio.run(run())
        assert steps.messages == ["Looking at March"]


def cut_after(*parts: bytes, headers: str = "") -> Callable[[Peer], None]:
    """Return a peer that sends *parts* of a stream in chunks, and closes the connection in the middle."""

    def serve(peer: Peer) -> None:
        assert peer.request() is not None
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{headers}"
        peer.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for part in parts:
            peer.send(b"%x\r\n%b\r\n" % (len(part), part))

    return serve


@pytest.mark.parametrize("through", THROUGH)
@pytest.mark.parametrize("kind", KINDS)
class TestAStreamThatBreaksOff:
    """The connection is cut, or stays silent."""

    def test_has_its_outcome_if_that_has_arrived(self, kind: str, through: str) -> None:
        parts = (event("progress", {"message": "one"}), *(bytes([each]) for each in event("response", DONE)))
        with (
            FaultServer(cut_after(*parts)) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            assert client.execute_function("f", on_progress=print) == 7

    def test_is_lost_otherwise(self, kind: str, through: str) -> None:
        heard: list[str] = []
        with (
            FaultServer(cut_after(event("progress", {"message": "one"}))) as server,
            make_client(kind, server.url, through=through) as client,
            pytest.raises(NavaiTransportError) as lost,
        ):
            client.execute_function("f", on_progress=heard.append)
        assert lost.value.may_have_executed
        assert heard == ["one"]

    def test_ends_with_the_timeout_of_the_call(self, kind: str, through: str) -> None:
        over = threading.Event()

        def serve(peer: Peer) -> None:
            cut_after(event("progress", {"message": "one"}))(peer)
            over.wait(PATIENCE_S)

        with FaultServer(serve) as server, make_client(kind, server.url, through=through) as client:
            with pytest.raises(NavaiTimeoutError) as late:
                client.execute_function("f", on_progress=print, timeout=SHORT_S)
            over.set()
        assert late.value.may_have_executed
