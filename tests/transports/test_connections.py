"""Connections of the default and the fast transports: shared, used again, abandoned, forked, interrupted."""

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme
import uvloop

from navai_client import AsyncNavaiBackendClient, NavaiTimeoutError, NavaiTransportError
from navai_client._threads import CallThreads
from navai_client.integrations.toolset import Toolset
from navai_client.models import BackendFunction, FunctionList
from navai_client.transports import Call, _connecting, _pool
from navai_client.transports._default import AsyncHTTPXTransport
from navai_client.transports.fast import AsyncFastTransport
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure
from tests.clients import Client, make_client
from tests.faults.backend import LoopBackend
from tests.faults.server import OK, FaultServer, Peer, answer
from tests.transports.conftest import echo, waiting
from tests.waiting import PATIENCE_S, Clock, until, until_async

TRANSPORTS: dict[str, Any] = {"default": AsyncHTTPXTransport, "fast": AsyncFastTransport}
SOON: dict[str, Any] = {"timeout": PATIENCE_S, "max_retries": 0}


def test_calls_one_after_the_other_share_a_connection(kind: str, through: str, backend: FaultServer) -> None:
    with make_client(kind, through=through, base_url=backend.url, **SOON) as client:
        assert [client.execute_function("f", number) for number in range(20)] == list(range(20))
    assert backend.connections == 1


def test_a_large_request_arrives_whole(kind: str, through: str, backend: FaultServer) -> None:
    with make_client(kind, through=through, base_url=backend.url, **SOON) as client:
        assert client.execute_function("f", "x" * 1_000_000) == "x" * 1_000_000


def test_sixteen_threads_share_a_client(through: str, backend: FaultServer) -> None:
    with make_client("sync", through=through, base_url=backend.url, **SOON) as client:

        def work(thread: int) -> bool:
            numbers = range(thread * 1000, thread * 1000 + 50)
            return [client.execute_function("f", number) for number in numbers] == list(numbers)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, range(16)))
    assert backend.connections <= 16
    assert backend.count("execute") == 16 * 50


def test_a_connection_that_waited_too_long_is_closed(
    kind: str, through: str, backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "_IDLE_FOR", 0.0)
    with make_client(kind, through=through, base_url=backend.url, **SOON) as client:
        assert [client.execute_function("f", number) for number in range(3)] == [0, 1, 2]
    assert backend.connections == 3


def test_as_many_connections_are_kept_as_were_used_at_the_same_time(through: str) -> None:
    together = threading.Barrier(25, timeout=PATIENCE_S)

    def all_at_once(peer: Peer) -> None:
        while peer.request() is not None:
            together.wait()
            peer.send(answer('{"ok": true, "result": 1}'))

    async def calls(client: Any) -> list[Any]:
        return await asyncio.gather(*(client.execute_function("f") for _ in range(25)))

    with (
        FaultServer(all_at_once) as server,
        make_client("async", through=through, base_url=server.url, **SOON) as client,
    ):
        for _ in range(3):
            assert client.run(calls(client.real)) == [1] * 25
        assert server.connections == 25


def test_a_call_for_which_no_connection_is_free_has_not_been_sent(
    kind: str, through: str, backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "MAX_CONNECTIONS", 1)
    with make_client(kind, through=through, base_url=backend.url, **SOON) as client:
        slots = client.real._transport._slots
        if kind == "sync":
            slots.get()
        else:
            client.run(slots.acquire())
        with pytest.raises(NavaiTimeoutError, match="connections were busy") as caught:
            client.execute_function("f", timeout=0.5)
        assert not caught.value.may_have_executed
        assert backend.connections == 0
        if kind == "async":
            _release_while_waiting(client, slots)


def _release_while_waiting(client: Client, slots: Any) -> None:
    async def main() -> None:
        call = asyncio.create_task(client.real.execute_function("f", 7))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        slots.release()
        assert await call == 7

    client.run(main())


def test_a_connection_that_is_open_when_the_transport_closes_is_not_kept(
    kind: str, through: str, backend: FaultServer
) -> None:
    with make_client(kind, through=through, base_url=backend.url) as client:
        transport = client.real._transport
        request = Request(Endpoint("POST", f"{backend.url}/navai/functions/execute"), (), b'{"ok":true}')
        client.run(transport.close())
        outcome = client.run(transport.send(request, Call(timeout=PATIENCE_S, max_response_bytes=100)))
        assert isinstance(outcome, Response)
        assert not waiting(transport)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the threads of the server
def test_a_child_of_fork_does_not_use_the_connections_of_its_parent(
    through: str, backend: FaultServer
) -> None:
    with make_client("sync", through=through, base_url=backend.url, **SOON) as client:
        assert client.execute_function("f", 1) == 1
        child = os.fork()
        if child == 0:  # pragma: no cover - not measured in there
            right = False
            with contextlib.suppress(BaseException):
                right = client.execute_function("f", 2) == 2
            os._exit(0 if right else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.execute_function("f", 3) == 3
    assert backend.connections == 2  # the child's, and the parent's, which still works


def test_forgetting_the_parent_drops_connections_and_frees_all_slots(
    through: str, backend: FaultServer
) -> None:
    with make_client("sync", through=through, base_url=backend.url, **SOON) as client:
        client.execute_function("f", 1)
        transport = client.real._transport
        for _ in range(100):
            transport._slots.get()
        transport.forget_parent()
        assert not waiting(transport)
        assert client.execute_function("f", 2) == 2
    assert backend.connections == 2


def test_an_invalid_header_line_that_repeats_the_request_is_not_shown(kind: str, through: str) -> None:
    def reflects(peer: Peer) -> None:
        if peer.request() is not None:
            peer.send(
                b"HTTP/1.1 200 OK\r\nbad header " + peer._server.arrived[0][1].split(b"\r\n")[1] + b"\r\n\r\n"
            )

    headers = {"Authorization": "Bearer hidden"}
    with (
        FaultServer(reflects) as server,
        make_client(kind, through=through, base_url=server.url, headers=headers, **SOON) as client,
        pytest.raises(NavaiTransportError) as caught,
    ):
        client.execute_function("f", "hidden")
    said = {"default": "RemoteProtocolError: illegal header line.", "fast": "the response is not valid HTTP"}
    assert said[through] in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_signal_interrupts_the_caller(through: str) -> None:
    def interrupt(peer: Peer) -> None:
        if peer.request() is not None:
            os.kill(os.getpid(), signal.SIGINT)
            peer.silence()

    with (
        FaultServer(interrupt) as server,
        make_client("sync", through=through, base_url=server.url, timeout=60) as client,
    ):
        with pytest.raises(KeyboardInterrupt):
            client.execute_function("f")
        for thread in server._threads:
            thread.join(PATIENCE_S)  # the connection is closed, and nothing else would have closed it
            assert not thread.is_alive()
        assert server.count("execute") == 1


@pytest.mark.parametrize(
    "url", ["ftp://backend.test", "http://backend.test:99999/", "http://[::1/", "http://"]
)
def test_a_url_that_cannot_be_requested_has_sent_nothing(kind: str, through: str, url: str) -> None:
    with make_client(kind, through=through) as client:
        transport = client.real._transport
        request = Request(Endpoint("GET", url))
        outcome = client.run(transport.send(request, Call(timeout=PATIENCE_S, max_response_bytes=100)))
    assert isinstance(outcome, TransportFailure)
    assert not outcome.sent


def test_two_origins_never_share_a_connection(kind: str, through: str, backend: FaultServer) -> None:
    with FaultServer(echo) as other, make_client(kind, through=through) as client:
        transport = client.real._transport
        for server in (backend, other, backend, other):
            request = Request(Endpoint("POST", f"{server.url}/navai/functions/execute"), (), b"1")
            client.run(transport.send(request, Call(timeout=PATIENCE_S, max_response_bytes=100)))
        assert (backend.count("execute"), other.count("execute")) == (2, 2)


@pytest.mark.parametrize(
    "header",
    [("X-Own", "a\r\nX-Other: b"), ("X-Own", "a\nb"), ("X-\nOwn", "a"), ("X Own", "a"), ("X-Own", "a\0")],
)
def test_a_header_that_would_inject_another_is_not_sent(
    kind: str, through: str, header: tuple[str, str], backend: FaultServer
) -> None:
    url = f"{backend.url}/navai/functions/execute"
    requests = [
        Request(Endpoint("POST", url), (), b"{}", (header,)),
        Request(Endpoint("POST", url), (header,), b"{}"),
    ]
    with make_client(kind, through=through) as client:
        for request in requests:
            transport = client.real._transport
            outcome = client.run(transport.send(request, Call(timeout=PATIENCE_S, max_response_bytes=100)))
            assert isinstance(outcome, TransportFailure)
            assert header[1] not in outcome.message or header[1] == "a"
    assert not backend.arrived


def test_an_endpoint_takes_other_headers_with_each_request(
    kind: str, through: str, backend: FaultServer
) -> None:
    endpoint = Endpoint("POST", f"{backend.url}/navai/functions/execute")
    with make_client(kind, through=through) as client:
        for token in ("first", "first", "second"):
            request = Request(endpoint, (("Authorization", token),), b"1")
            client.run(client.real._transport.send(request, Call(timeout=PATIENCE_S, max_response_bytes=100)))
    heads = [head.lower() for _, head, _ in backend.arrived]
    assert [b"authorization: second" in head for head in heads] == [False, False, True]
    assert [b"authorization: first" in head for head in heads] == [True, True, False]


def test_calls_without_a_timeout_get_their_responses(kind: str, through: str, backend: FaultServer) -> None:
    with make_client(kind, through=through, base_url=backend.url, timeout=None) as client:
        assert [client.execute_function("f", number) for number in range(3)] == [0, 1, 2]
    assert backend.connections == 1


def test_each_call_on_a_connection_has_its_own_deadline(
    through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, waits, ended = Clock(), threading.Event(), threading.Event()

    def late(peer: Peer) -> None:
        while (body := peer.request()) is not None:
            payload = json.loads(body)["payload"]
            if payload == "never":
                waits.set()
                ended.wait(PATIENCE_S)
            elif payload == "late":
                clock.ahead += 200.0
            peer.send(answer('{"ok": true, "result": "late"}'))

    async def calls(url: str) -> list[str]:
        outcomes = []
        async with AsyncNavaiBackendClient(url, transport=TRANSPORTS[through](), max_retries=0) as client:
            # The timer of the first call is still running in the second, ends in it, or has ended before it.
            for first, idle, timeout, payload in (
                (150.0, 0.0, 1000.0, "late"),
                (150.0, 0.0, None, "late"),
                (150.0, 200.0, 100.0, "never"),
                (1000.0, 0.0, 100.0, "never"),
                (150.0, 0.0, 300.0, "never"),
            ):
                await client.execute_function("f", 0, timeout=1000.0)  # connects
                await client.execute_function("f", 0, timeout=first)
                clock.ahead += idle
                await asyncio.sleep(0.001)
                call = asyncio.create_task(client.execute_function("f", payload, timeout=timeout))
                if payload == "never":
                    await until_async(waits.is_set)
                    waits.clear()
                    clock.ahead += first if first < (timeout or 0.0) else 0.0
                    await asyncio.sleep(0.001)
                    assert not call.done()
                    clock.ahead += timeout or 0.0
                try:
                    outcomes.append(await call)
                except NavaiTimeoutError:
                    outcomes.append("no response in time")
        return outcomes

    monkeypatch.setattr(_pool, "_IDLE_FOR", math.inf)
    monkeypatch.setattr("time.monotonic", clock)  # that of the event loop, too
    with FaultServer(late) as server:
        try:
            assert asyncio.run(calls(server.url)) == ["late"] * 2 + ["no response in time"] * 3
        finally:
            ended.set()
        assert server.connections == 3  # a call that times out ends its connection


def made(kind: str, through: str, url: str, **options: Any) -> Client:
    return make_client(kind, through=through, base_url=url, **{**SOON, **options})


def good(peer: Peer) -> None:
    while peer.request() is not None:
        peer.send(answer(OK))


def test_a_name_without_addresses_has_sent_nothing(
    kind: str, through: str, names: dict[str, list[tuple[str, int]]]
) -> None:
    names["backend.test"] = []
    with made(kind, through, "http://backend.test") as client, pytest.raises(NavaiTransportError) as caught:
        client.execute_function("f")
    assert not caught.value.may_have_executed


def test_a_name_that_is_looked_up_too_slowly_ends_in_time(
    kind: str, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = threading.Event()

    def slow(*args: Any, **options: Any) -> Any:
        found.wait()
        raise socket.gaierror("not known")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = made(kind, through, "http://backend.test", timeout=0.05)
    with pytest.raises(NavaiTimeoutError) as caught:
        client.execute_function("f")
    assert not caught.value.may_have_executed
    found.set()
    client.close()
    until(lambda: not _connecting._lookups.running)  # as the next test needs it


def test_a_call_that_is_cancelled_during_a_handshake_is_withdrawn(through: str) -> None:
    arrived, gone = threading.Event(), threading.Event()

    def never_shakes_hands(peer: Peer) -> None:
        peer._receive()
        arrived.set()
        peer.silence()
        gone.set()

    async def main(url: str) -> None:
        async with AsyncNavaiBackendClient(url, transport=TRANSPORTS[through](verify=False)) as client:
            caller = asyncio.create_task(client.execute_function("f"))
            await asyncio.to_thread(arrived.wait, PATIENCE_S)
            caller.cancel()
            await asyncio.wait([caller])
        await asyncio.to_thread(gone.wait, PATIENCE_S)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with FaultServer(never_shakes_hands) as server:
        asyncio.run(main(server.url.replace("http:", "https:")))


def test_a_call_that_outlasts_the_grace_of_close_is_ended(
    through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, gone = threading.Event(), threading.Event()

    def never(peer: Peer) -> None:
        peer.request()
        arrived.set()
        peer.silence()
        gone.set()

    async def main(url: str) -> None:
        async with AsyncNavaiBackendClient(url, transport=TRANSPORTS[through](), timeout=None) as client:
            caller = asyncio.create_task(client.execute_function("f"))
            await asyncio.to_thread(arrived.wait, PATIENCE_S)
            caller.cancel()
            await asyncio.wait([caller])
        await asyncio.to_thread(gone.wait, PATIENCE_S)

    monkeypatch.setattr("navai_client.client._GRACE", 0.01)
    with FaultServer(never) as server:
        asyncio.run(main(server.url))


def test_unexpected_bytes_end_an_idle_connection(kind: str, through: str) -> None:
    sent, may_send = threading.Event(), threading.Event()

    def talks(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK))
        may_send.wait(PATIENCE_S)
        peer.send(answer('{"ok": true, "result": "a stranger\'s"}'))
        sent.set()
        good(peer)

    with FaultServer(talks) as server, made(kind, through, server.url) as client:
        assert client.execute_function("f") == "done"
        may_send.set()
        assert sent.wait(PATIENCE_S)
        if kind == "async":
            client.run(until_async(lambda: not waiting(client.real._transport)[0].is_alive()))
        assert client.execute_function("f") == "done"
        assert server.connections == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_it_works_in_an_event_loop_of_uvloop(scheme: str, through: str, encrypted: FaultServer) -> None:
    async def main(url: str) -> list[Any]:
        async with AsyncNavaiBackendClient(url, transport=TRANSPORTS[through](verify=False)) as client:
            return [await client.execute_function("f", number) for number in range(3)]

    with FaultServer(echo) as plain, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = plain if scheme == "http" else encrypted
        assert runner.run(main(server.url)) == [0, 1, 2]
        assert server.connections == 1


@pytest.mark.parametrize("size", [100_000, 1_000_000])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connections_are_used_again_after_large_responses(
    kind: str, through: str, scheme: str, size: int, authority: trustme.CA
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def treat(peer: Peer) -> None:
        if scheme == "https":
            peer._connection = context.wrap_socket(peer._connection, server_side=True)
        with peer._connection:
            while peer.request() is not None:
                peer.send(answer('{"ok": true, "result": "%s"}' % ("x" * size)))

    with FaultServer(treat) as server:
        url = server.url.replace("http:", f"{scheme}:")
        with made(kind, through, url, verify=False) as client:
            for _ in range(5):
                assert client.execute_function("f") == "x" * size
        assert server.connections == 1


@pytest.mark.parametrize("timeout", [PATIENCE_S, None])
def test_calls_that_were_sent_and_abandoned_do_not_delay_others(
    through: str, timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "_ABANDONED_FOR", PATIENCE_S)

    async def main() -> None:
        slow, transport = asyncio.Event(), TRANSPORTS[through]()
        async with (
            LoopBackend(slow.wait) as backend,
            AsyncNavaiBackendClient(backend.url, transport=transport, timeout=timeout) as client,
        ):
            for _ in range(2):  # more than there are slots, and more than may be abandoned
                backend.arrived.clear()
                calls = [asyncio.create_task(client.execute_function("f", n)) for n in range(75)]
                await until_async(lambda: len(backend.arrived) == 75)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
            await until_async(lambda: len(transport._abandoned) == 100)
            slow.set()
            assert await client.execute_function("f", "next") == "next"
            await until_async(lambda: not transport._abandoned)
            assert transport._slots._value == 100

    asyncio.run(main())


def test_calls_that_a_toolset_carries_on_are_not_abandoned(
    through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption cancels the caller of a tool, and the tool's result is still needed."""
    monkeypatch.setattr(_pool, "_ABANDONED_FOR", 0.0)
    outcomes: list[Any] = []

    async def main() -> None:
        slow = asyncio.Event()
        async with (
            LoopBackend(slow.wait) as backend,
            AsyncNavaiBackendClient(backend.url, transport=TRANSPORTS[through]()) as client,
        ):
            listed = FunctionList(functions=(BackendFunction(name="book"),))
            toolset = Toolset(client, listed, after=lambda _, outcome: outcomes.append(outcome))
            call = asyncio.create_task(toolset.call("book", {"payload": {"table": 7}}))
            await until_async(lambda: len(backend.arrived) == 1)
            call.cancel()
            await asyncio.wait([call])
            await asyncio.sleep(0.05)
            slow.set()
            await toolset.close()
            assert not backend.abandoned

    asyncio.run(main())
    assert [outcome.ok for outcome in outcomes] == [True]


def test_a_call_that_is_abandoned_after_its_end_changes_nothing(through: str, backend: FaultServer) -> None:
    async def main() -> None:
        transport = TRANSPORTS[through]()
        request = Request(Endpoint("POST", f"{backend.url}/navai/functions/execute"), (), b"{}")
        for _ in range(3):
            call = Call(timeout=PATIENCE_S, max_response_bytes=100)
            assert isinstance(await transport.send(request, call), Response)
            call.abandon()
        assert not transport._abandoned
        assert transport._slots._value == 100
        await transport.close()

    asyncio.run(main())
    assert backend.connections == 1


def test_an_abandoned_call_ends_when_its_time_is_over(
    through: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arrived, gone = threading.Event(), threading.Event()

    def never(peer: Peer) -> None:
        peer.request()
        arrived.set()
        peer.silence()
        gone.set()

    async def main(url: str) -> None:
        async with AsyncNavaiBackendClient(url, transport=TRANSPORTS[through](), timeout=None) as client:
            caller = asyncio.create_task(client.execute_function("f"))
            await asyncio.to_thread(arrived.wait, PATIENCE_S)
            caller.cancel()
            await asyncio.wait([caller])
            await asyncio.to_thread(gone.wait, PATIENCE_S)

    monkeypatch.setattr(_pool, "_ABANDONED_FOR", 0.01)
    with caplog.at_level("DEBUG", "navai_client"), FaultServer(never) as server:
        asyncio.run(main(server.url))
    assert "went on in the background and failed" in caplog.text


def test_a_call_that_is_abandoned_by_another_thread_at_the_moment_of_sending_is_not_sent() -> None:
    class Abandoned(Call):
        """A call whose caller leaves between the two checks of ``mark_sent``."""

        @property
        def sent(self) -> bool:
            return True

        @sent.setter
        def sent(self, value: bool) -> None:
            if value:
                self.abandon()

    with pytest.raises(TimeoutError):
        Abandoned(timeout=5, max_response_bytes=10).mark_sent()


@pytest.mark.parametrize("status", ["099 Odd", "99 Odd", "000 Odd", "042"])
def test_a_status_below_100_is_an_error_at_once(kind: str, through: str, status: str) -> None:
    """A status has three digits of which the first is 1 to 5 (RFC 9110, section 15)."""

    def odd(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer(OK, status=status))

    with (
        FaultServer(odd) as server,
        made(kind, through, server.url, timeout=20) as client,
        pytest.raises(NavaiTransportError) as caught,
    ):
        client.execute_function("f")
    assert not isinstance(caught.value, NavaiTimeoutError)
    assert caught.value.may_have_executed


@pytest.mark.parametrize(
    "host",
    ["xn--abc", "xn--a-ecp.test", "\u200d.test", "a\u0301\u0301..test", "a" * 64 + ".test", "backend..test"],
)
def test_a_name_that_idna_refuses_has_sent_nothing(kind: str, through: str, host: str) -> None:
    with make_client(kind, through=through) as client:
        transport = client.real._transport
        request = Request(Endpoint("GET", f"http://{host}/"))
        outcome = client.run(transport.send(request, Call(timeout=PATIENCE_S, max_response_bytes=100)))
    assert isinstance(outcome, TransportFailure)
    assert not outcome.sent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_fork_looks_up_names_whatever_its_parent_waits_for() -> None:
    release = threading.Event()
    lookups = _connecting._lookups
    waiting = [lookups.submit(None, release.wait, lambda *_: None) for _ in range(32)]
    assert lookups.running == 32
    child = os.fork()
    if child == 0:
        try:
            call = Call(timeout=PATIENCE_S, max_response_bytes=100)
            os._exit(0 if _connecting._addresses("localhost", 80, call) else 1)
        finally:
            os._exit(1)
    release.set()
    assert len(waiting) == 32
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("lookups", [32, 1])
def test_a_resolver_that_hangs_keeps_neither_the_event_loop_nor_its_executor(
    lookups: int, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor of asyncio would look names up, and asyncio.run() waits for it."""
    clock, found = Clock(), threading.Event()

    def hangs(*args: Any, **options: Any) -> Any:
        found.wait()
        raise socket.gaierror("not known")

    async def main() -> Any:
        transport = TRANSPORTS[through]()
        async with AsyncNavaiBackendClient(
            "http://backend.test", transport=transport, timeout=1000.0, max_retries=0
        ) as client:
            calls = [asyncio.create_task(client.execute_function("f")) for _ in range(40)]
            await until_async(lambda: threads.running + threads.waiting == 40)
            clock.ahead += 1000.0
            both = await asyncio.gather(*calls, return_exceptions=True)
            last = client.execute_function("f", timeout=0.3)
            third = await asyncio.gather(last, return_exceptions=True)
            return [*both, await asyncio.wait_for(asyncio.to_thread(lambda: "free"), PATIENCE_S), *third]

    threads = CallThreads(lookups)
    monkeypatch.setattr(_connecting, "_lookups", threads)
    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    monkeypatch.setattr("time.monotonic", clock)  # that of the event loop, too
    *errors, free, last = asyncio.run(main())
    assert not found.is_set()
    assert free == "free"
    assert all(isinstance(error, NavaiTimeoutError) and not error.may_have_executed for error in errors)
    assert isinstance(last, NavaiTransportError)
    assert not last.may_have_executed
    if lookups == 1:
        assert "the system's resolver does not respond" in str(last)
    found.set()


def test_a_resolver_that_hangs_takes_a_bounded_number_of_threads(
    through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = threading.Event()

    def hangs(*args: Any, **options: Any) -> Any:
        found.wait()
        raise socket.gaierror("not known")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    before = threading.active_count()
    with (
        made("sync", through, "http://backend.test", timeout=0.3) as client,
        ThreadPoolExecutor(90) as callers,
    ):
        calls = [callers.submit(client.list_functions) for _ in range(90)]
        errors = [str(call.result().error) for call in calls]
        # Whoever begins after the 32 lookups were given up is told at once.
        assert all("0.3 s" in error or "32 lookups" in error for error in errors)
        assert any("0.3 s" in error for error in errors)
        assert threading.active_count() - before <= 90 + 32
    found.set()
    until(lambda: not _connecting._lookups.running)  # as the next test needs it
