"""Transports, clients of httpx and of httpx2, and functions that are passed in, sync and async."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from navai_client import (
    AsyncNavaiBackendClient,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.transports import Call
from navai_client.transports.fast import AsyncFastTransport
from navai_client.wire._values import Request, Response, TransportFailure
from tests.clients import make_client
from tests.faults.server import FAULTS, OK, FaultServer, Peer, answer
from tests.waiting import PATIENCE_S, SHORT_S, until, until_async

URL = "http://backend.test"
FAST = {"timeout": PATIENCE_S, "max_retries": 0}


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def backend() -> Iterator[FaultServer]:
    def good(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer(OK, "Set-Cookie: seen=yes"))

    with FaultServer(good) as server:
        yield server


@contextlib.contextmanager
def made(kind: str, **options: Any) -> Iterator[Any]:
    client = make_client(kind, **{**FAST, **options})
    try:
        yield client
    finally:
        client.close()


def real_transport(kind: str, library: ModuleType, **options: Any) -> Any:
    return (library.HTTPTransport if kind == "sync" else library.AsyncHTTPTransport)(**options)


def echo(library: ModuleType) -> Any:
    def handler(request: Any) -> Any:
        return library.Response(200, json={"ok": True, "result": json.loads(request.content)["payload"]})

    return library.MockTransport(handler)


def test_a_mock_transport_responds(kind: str, library: Any) -> None:
    with made(kind, base_url=URL, transport=echo(library)) as client:
        assert client.execute_function("f", {"a": 1}) == {"a": 1}


def test_a_mock_transport_runs_in_the_callers_thread(library: Any) -> None:
    threads: list[threading.Thread] = []

    def handler(request: Any) -> Any:
        threads.append(threading.current_thread())
        return library.Response(200, text=OK)

    with made("sync", base_url=URL, transport=library.MockTransport(handler)) as client:
        client.execute_function("f")
    assert threads == [threading.current_thread()]


@pytest.mark.parametrize(
    ("error", "sent"),
    [("ConnectError", False), ("ConnectTimeout", False), ("ReadError", True), ("ReadTimeout", True)],
)
def test_the_error_of_a_mock_says_whether_it_was_sent(
    kind: str, library: Any, error: str, sent: bool
) -> None:
    def handler(request: Any) -> Any:
        raise getattr(library, error)("a mocked failure")

    with (
        made(kind, base_url=URL, transport=library.MockTransport(handler)) as client,
        pytest.raises(NavaiTransportError, match="a mocked failure") as caught,
    ):
        client.execute_function("f")
    assert caught.value.may_have_executed is sent
    assert isinstance(caught.value, NavaiTimeoutError) is error.endswith("Timeout")


def test_a_mistake_in_a_handler_is_not_hidden(kind: str, library: Any) -> None:
    def handler(request: Any) -> Any:
        raise ZeroDivisionError

    with (
        made(kind, base_url=URL, transport=library.MockTransport(handler)) as client,
        pytest.raises(ZeroDivisionError),
    ):
        client.execute_function("f")


def test_an_asgi_application_responds(library: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": OK.encode()})

    with made("async", base_url=URL, transport=library.ASGITransport(app)) as client:
        assert client.execute_function("f") == "done"


def test_a_wsgi_application_responds(library: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [OK.encode()]

    with made("sync", base_url=URL, transport=library.WSGITransport(app)) as client:
        assert client.execute_function("f") == "done"


def test_a_transport_with_retries_responds_and_is_closed_with_the_client(
    kind: str, library: Any, backend: FaultServer
) -> None:
    transport = real_transport(kind, library, retries=1)
    with made(kind, base_url=backend.url, transport=transport) as client:
        assert [client.execute_function("f") for _ in range(3)] == ["done"] * 3
    assert backend.connections == 1


@pytest.mark.parametrize(
    "fault",
    ["never answers", "drips a body", "drips headers", "floods with 100 Continue", "drips 100 Continue"],
)
def test_a_given_transport_keeps_the_deadline(kind: str, library: Any, fault: str) -> None:
    with FaultServer(FAULTS[fault]) as server:
        transport = real_transport(kind, library)
        with made(kind, base_url=server.url, transport=transport, timeout=SHORT_S) as client:
            began = time.monotonic()
            with pytest.raises(NavaiTimeoutError) as caught:
                client.execute_function("f")
            assert time.monotonic() - began < PATIENCE_S / 2
        assert caught.value.may_have_executed
        until(lambda: server.arrived)
        assert server.count("execute") == 1


def test_a_given_transport_without_a_handshake_has_sent_nothing(kind: str, library: Any) -> None:
    with FaultServer(Peer.silence) as server:
        url = server.url.replace("http:", "https:")
        with (
            made(kind, base_url=url, transport=real_transport(kind, library), timeout=SHORT_S) as client,
            pytest.raises(NavaiTimeoutError) as caught,
        ):
            client.execute_function("f")
        assert not caught.value.may_have_executed


@pytest.mark.parametrize("handshake", ["TLS", "SOCKS"])
def test_a_handshake_that_is_cancelled_at_the_deadline_leaves_no_connection_open(
    handshake: str, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()

    def never_shakes_hands(peer: Peer) -> None:
        peer.silence()
        gone.set()

    # As on a slow machine: the timeout of the library, which closes the connection, is not over then.
    monkeypatch.setattr("navai_client.transports._given._PATIENCE", -SHORT_S)
    with FaultServer(never_shakes_hands) as server:
        url, transport = server.url.replace("http:", "https:"), real_transport("async", library)
        if handshake == "SOCKS":
            proxy = server.url.replace("http:", "socks5:")
            url, transport = URL, library.AsyncHTTPTransport(proxy=proxy)
        with made("async", base_url=url, transport=transport, timeout=2 * SHORT_S) as client:
            gc.disable()  # it would close what nobody closes
            try:
                with pytest.raises(NavaiTimeoutError) as caught:
                    client.execute_function("f")
                assert not caught.value.may_have_executed
                client.run(until_async(gone.is_set))
            finally:
                gc.enable()


def test_a_transport_that_blocks_forever_is_abandoned_at_the_deadline(library: Any) -> None:
    release = threading.Event()

    class Blocks(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            release.wait()
            return library.Response(200, text=OK)

    began = time.monotonic()
    with (
        made("sync", base_url=URL, transport=Blocks(), timeout=SHORT_S) as client,
        pytest.raises(NavaiTimeoutError) as caught,
    ):
        client.execute_function("f")
    release.set()
    assert time.monotonic() - began < PATIENCE_S / 2
    assert caught.value.may_have_executed  # it is not known


def test_an_interrupt_abandons_a_given_transport(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    def interrupted(timeout: float | None, work: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("navai_client.transports._given.run_within", interrupted)
    with (
        made("sync", base_url=URL, transport=library.HTTPTransport()) as client,
        pytest.raises(KeyboardInterrupt),
    ):
        client.execute_function("f")


def whole_client(kind: str, library: ModuleType, **options: Any) -> Any:
    return (library.Client if kind == "sync" else library.AsyncClient)(**options)


def hook(kind: str, note: Any) -> Any:
    async def asynchronous(value: Any) -> None:
        if hasattr(value, "status_code"):
            await value.aread()
        note(value)

    def synchronous(value: Any) -> None:
        if hasattr(value, "status_code"):
            value.read()
        note(value)

    return synchronous if kind == "sync" else asynchronous


def test_a_given_client_keeps_its_own_options_and_stays_open(
    kind: str, library: Any, backend: FaultServer
) -> None:
    seen: list[Any] = []
    given = whole_client(
        kind,
        library,
        headers={"X-Own": "1", "Accept": "text/plain"},
        auth=("user", "word"),
        cookies={"own": "biscuit"},
        event_hooks={"request": [hook(kind, seen.append)], "response": [hook(kind, seen.append)]},
        base_url="http://elsewhere.test/path",
        follow_redirects=True,
    )
    with made(kind, base_url=backend.url, http_client=given, headers={"X-Ours": "2"}) as client:
        assert client.execute_function("f") == "done"
        assert client.execute_function("f") == "done"
        client.run(client.real.close())
        assert not given.is_closed
        client.run(given.close() if kind == "sync" else given.aclose())
    assert len(seen) == 4  # a hook that reads the body does not consume it
    first, second = (head.decode().lower() for _, head, _ in backend.arrived)
    assert "x-own: 1" in first
    assert "x-ours: 2" in first
    assert "accept: application/json" in first
    assert "authorization: basic dxnlcjp3b3jk" in first
    assert "own=biscuit" in first
    assert "seen=yes" not in first
    assert "seen=yes" in second


def test_a_body_that_a_hook_has_read_is_limited_too(library: Any) -> None:
    given = library.Client(transport=library.MockTransport(lambda _: library.Response(200, text=OK)))
    with given, made("sync", base_url=URL, http_client=given, max_response_bytes=5) as client:
        assert "larger than" in client.list_functions().warnings[0]


def test_a_client_that_refuses_an_url_has_sent_nothing(kind: str, library: Any) -> None:
    def handler(request: Any) -> Any:
        raise library.InvalidURL("a mocked refusal")

    with (
        made(kind, base_url=URL, transport=library.MockTransport(handler)) as client,
        pytest.raises(NavaiTransportError) as caught,
    ):
        client.execute_function("f")
    assert not caught.value.may_have_executed


def test_a_header_that_the_library_refuses_is_not_shown(kind: str, library: Any) -> None:
    def handler(request: Any) -> Any:
        raise library.LocalProtocolError("Illegal header value b'hidden'")

    with (
        made(kind, base_url=URL, transport=library.MockTransport(handler)) as client,
        pytest.raises(NavaiTransportError, match="cannot be sent as it is") as caught,
    ):
        client.execute_function("f")
    assert "hidden" not in str(caught.value)


def test_a_body_that_takes_too_long_is_abandoned_between_two_pieces(library: Any) -> None:
    class Slow(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(100):
                yield b" "
                threading.Event().wait(0.01)

    transport = library.MockTransport(lambda _: library.Response(200, stream=Slow()))
    with (
        made("sync", base_url=URL, transport=transport, timeout=0.03) as client,
        pytest.raises(NavaiTimeoutError),
    ):
        client.execute_function("f")


def test_connections_of_a_given_client_serve_its_owner_too(kind: str, library: Any) -> None:
    def good(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer(OK))

    given = whole_client(kind, library)
    with FaultServer(good) as server, made(kind, base_url=server.url, http_client=given) as client:
        for _ in range(2):
            assert client.execute_function("f") == "done"
            own = given.get(server.url)
            assert (own if kind == "sync" else client.run(own)).json()["result"] == "done"
        client.run(given.close() if kind == "sync" else given.aclose())
        assert server.connections == 1


def respond(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"ok": True, "result": json.loads(request.content)["payload"]})


async def asynchronous(request: httpx.Request) -> httpx.Response:
    await asyncio.sleep(0)
    return respond(request)


class Calls:
    """A function with a state of its own."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return respond(request)


class CallsAsync:
    """The async counterpart."""

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        return respond(request)


FUNCTIONS: dict[str, Any] = {
    "function": respond,
    "object": Calls(),
    "bound method": Calls().__call__,
    "partial": functools.partial(lambda word, request: respond(request), "word"),
    "coroutine function": asynchronous,
    "object with a coroutine": CallsAsync(),
    "function that returns an awaitable": functools.partial(
        lambda word, request: asynchronous(request), "word"
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_a_transport(kind: str, name: str) -> None:
    if kind == "sync" and name in {"coroutine function", "object with a coroutine"}:
        return  # refused at construction, below
    with made(kind, base_url=URL, transport=FUNCTIONS[name]) as client:
        if kind == "sync" and name == "function that returns an awaitable":
            with pytest.raises(
                TypeError, match=r"the transport must return an httpx\.Response, not a coroutine"
            ):
                client.execute_function("f")
        else:
            assert client.execute_function("f", {"a": 1}) == {"a": 1}


def test_a_function_sees_the_request_and_its_context(kind: str) -> None:
    seen: list[Any] = []
    variable = contextvars.ContextVar("variable", default=0)

    def note(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, str(request.url), request.headers["authorization"], variable.get()))
        return respond(request)

    token = variable.set(1)
    with made(kind, base_url=URL, transport=note, headers={"Authorization": "Bearer a-long-word"}) as client:
        client.execute_function("f")
    variable.reset(token)
    assert seen == [("POST", f"{URL}/navai/functions/execute", "Bearer a-long-word", 1)]


def test_a_function_that_sends_through_a_client_keeps_deadline_and_limits(kind: str) -> None:
    with FaultServer(FAULTS["drips a body"]) as server, contextlib.ExitStack() as stack:
        if kind == "sync":
            forward = stack.enter_context(httpx.Client(timeout=None)).send
        else:
            forward = httpx.AsyncClient(timeout=None).send  # type: ignore[assignment] # closed below
        with made(kind, base_url=server.url, transport=forward, timeout=SHORT_S) as client:
            began = time.monotonic()
            with pytest.raises(NavaiTimeoutError) as caught:
                client.execute_function("f")
            assert time.monotonic() - began < PATIENCE_S / 2
            assert caught.value.may_have_executed
            if kind == "async":
                client.run(forward.__self__.aclose())  # type: ignore[attr-defined]


def test_a_function_that_blocks_forever_is_abandoned_at_the_deadline() -> None:
    release = threading.Event()

    def blocks(request: httpx.Request) -> httpx.Response:
        release.wait()
        return respond(request)

    began = time.monotonic()
    with (
        made("sync", base_url=URL, transport=blocks, timeout=SHORT_S) as client,
        pytest.raises(NavaiTimeoutError) as caught,
    ):
        client.execute_function("f")
    release.set()
    assert time.monotonic() - began < PATIENCE_S / 2
    assert caught.value.may_have_executed


def test_a_coroutine_that_waits_forever_is_cancelled_at_the_deadline() -> None:
    async def waits(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        return respond(request)

    with (
        made("async", base_url=URL, transport=waits, timeout=0.2) as client,
        pytest.raises(NavaiTimeoutError) as caught,
    ):
        client.execute_function("f")
    assert caught.value.may_have_executed


@pytest.mark.parametrize(
    ("error", "sent"),
    [(httpx.ConnectError("no"), False), (httpx.ReadError("no"), True), (ConnectionResetError("no"), True)],
)
def test_an_error_of_a_function_says_whether_it_was_sent(kind: str, error: Exception, sent: bool) -> None:
    def fails(request: httpx.Request) -> httpx.Response:
        raise error

    with (
        made(kind, base_url=URL, transport=fails) as client,
        pytest.raises(NavaiTransportError) as caught,
    ):
        client.execute_function("f")
    assert caught.value.may_have_executed is sent


@pytest.mark.parametrize("wrong", [None, {"ok": True}, b"{}", httpx2.Response(200)], ids=type)
def test_a_function_that_returns_no_response_is_a_mistake(kind: str, wrong: Any) -> None:
    with (
        made(kind, base_url=URL, transport=lambda _: wrong) as client,
        pytest.raises(TypeError, match=r"the transport must return an httpx\.Response, not "),
    ):
        client.execute_function("f")


def test_a_mistake_in_a_function_is_not_hidden(kind: str) -> None:
    def fails(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    with made(kind, base_url=URL, transport=fails) as client, pytest.raises(ZeroDivisionError):
        client.execute_function("f")


def test_a_body_of_a_function_is_limited_and_may_come_in_pieces(kind: str) -> None:
    class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from (b'{"ok": true, ', b'"result": 1}')

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self:
                yield piece

    def streams(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Pieces())

    with made(kind, base_url=URL, transport=streams) as client:
        assert client.execute_function("f") == 1
    with made(kind, base_url=URL, transport=streams, max_response_bytes=20) as client:
        assert "larger than" in client.list_functions().warnings[0]


class Ours:
    """A transport as this package defines it."""

    def __init__(self) -> None:
        self.closed = 0

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        assert call.remaining() is None
        return Response(200, {}, OK.encode())

    def close(self) -> None:
        self.closed += 1


class OursAsync:
    """The async counterpart."""

    def __init__(self) -> None:
        self.closed = 0

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        return Response(200, {}, OK.encode())

    async def close(self) -> None:
        self.closed += 1


def test_a_transport_of_this_packages_kind_responds_and_is_closed_once(kind: str) -> None:
    transport = Ours() if kind == "sync" else OursAsync()
    with made(kind, base_url=URL, transport=transport, timeout=None) as client:
        assert client.execute_function("f") == "done"
        client.run(client.real.close())
    assert transport.closed == 1


@pytest.mark.parametrize(
    ("client_type", "options", "message"),
    [
        (NavaiBackendClient, {"transport": OursAsync()}, "OursAsync is async; use AsyncNavaiBackendClient"),
        (AsyncNavaiBackendClient, {"transport": Ours()}, "Ours is not async; use NavaiBackendClient"),
        (NavaiBackendClient, {"transport": object()}, "object is not a transport"),
        (AsyncNavaiBackendClient, {"transport": object()}, "object is not a transport"),
        (NavaiBackendClient, {"http_client": object()}, "object is not a client"),
        (NavaiBackendClient, {"transport": httpx.Client}, "is a client, not a transport"),
        (
            NavaiBackendClient,
            {"transport": httpx.HTTPTransport},
            "HTTPTransport is a class; pass an instance",
        ),
        (AsyncNavaiBackendClient, {"transport": AsyncFastTransport}, "AsyncFastTransport is a class"),
        (NavaiBackendClient, {"transport": asynchronous}, "asynchronous is async; use AsyncNavaiBackend"),
        (NavaiBackendClient, {"transport": CallsAsync()}, "CallsAsync is async; use AsyncNavaiBackend"),
        (NavaiBackendClient, {"http_client": lambda _: None}, "is not a client"),
        (NavaiBackendClient, {"http_client": httpx.HTTPTransport()}, "is not a client"),
        (NavaiBackendClient, {"transport": httpx.AsyncHTTPTransport()}, "is async; use AsyncNavai"),
        (AsyncNavaiBackendClient, {"transport": httpx2.HTTPTransport()}, "is not async; use NavaiBackend"),
        (NavaiBackendClient, {"http_client": httpx2.AsyncClient()}, "is async; use AsyncNavai"),
        (AsyncNavaiBackendClient, {"http_client": httpx.Client()}, "is not async; use NavaiBackend"),
        (NavaiBackendClient, {"transport": Ours(), "http_client": httpx.Client()}, "both given"),
        (NavaiBackendClient, {"transport": Ours(), "verify": False}, "verify, proxy, cert and uds"),
        (
            AsyncNavaiBackendClient,
            {"http_client": httpx.AsyncClient(), "proxy": "http://p"},
            "verify, proxy, cert and uds",
        ),
        (NavaiBackendClient, {"proxy": "nonsense://user:word@host"}, "proxy is not a proxy's URL"),
        (NavaiBackendClient, {"verify": "/nowhere/at/all"}, "no file or folder"),
        (NavaiBackendClient, {"verify": __file__}, "cannot be used"),
    ],
)
def test_what_cannot_work_is_refused_at_once(client_type: Any, options: Any, message: str) -> None:
    with pytest.raises(NavaiConfigError, match=message) as caught:
        client_type(URL, **options)
    assert "word" not in str(caught.value)


def test_a_transport_of_httpx_does_without_httpx2(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "httpx2")
    with made(kind, base_url=URL, transport=echo(httpx)) as client:
        assert client.execute_function("f", {"a": 1}) == {"a": 1}
