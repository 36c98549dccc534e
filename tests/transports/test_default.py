"""The default transport at work: shared by threads, connections used again, interrupted, forked, closed."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from navai_client import NavaiBackendClient, NavaiTimeoutError, NavaiTransportError
from navai_client.transports import Call, _httpx, _lanes
from navai_client.transports._lanes import HTTPXTransport
from navai_client.wire.messages import Endpoint, Request, Response, TransportFailure
from tests.clients import make_client
from tests.faults.server import FaultServer, Peer, answer

FAST: dict[str, Any] = {"timeout": 5.0, "max_retries": 0}


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def echo(peer: Peer) -> None:
    while (body := peer.request()) is not None:
        peer.send(answer(body.replace(b'"function_name":"f","payload"', b'"ok":true,"result"')))


@pytest.fixture
def backend() -> Iterator[FaultServer]:
    with FaultServer(echo) as server:
        yield server


def test_calls_one_after_the_other_share_a_connection(kind: str, backend: FaultServer) -> None:
    client = make_client(kind, base_url=backend.url, **FAST)
    try:
        assert [client.execute_function("f", number) for number in range(20)] == list(range(20))
    finally:
        client.close()
    assert backend.connections == 1


def test_a_large_request_arrives_whole(kind: str, backend: FaultServer) -> None:
    client = make_client(kind, base_url=backend.url, **FAST)
    try:
        assert client.execute_function("f", "x" * 100_000) == "x" * 100_000
    finally:
        client.close()


def test_sixteen_threads_share_a_client(backend: FaultServer) -> None:
    with NavaiBackendClient(backend.url, **FAST) as client, ThreadPoolExecutor(16) as pool:

        def work(thread: int) -> bool:
            numbers = range(thread * 1000, thread * 1000 + 50)
            return [client.execute_function("f", number) for number in numbers] == list(numbers)

        assert all(pool.map(work, range(16)))
    assert backend.connections <= 16
    assert backend.count("execute") == 16 * 50


def test_an_idle_connection_is_given_up_after_a_while(
    kind: str, backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lanes, "_IDLE_FOR", 0.0)
    client = make_client(kind, base_url=backend.url, **FAST)
    try:
        assert [client.execute_function("f", number) for number in range(3)] == [0, 1, 2]
    finally:
        client.close()
    assert backend.connections == 3


def test_no_more_idle_connections_than_allowed_are_kept(
    kind: str, backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lanes, "_MAX_IDLE", 0)
    client = make_client(kind, base_url=backend.url, **FAST)
    try:
        assert [client.execute_function("f", number) for number in range(3)] == [0, 1, 2]
    finally:
        client.close()
    assert backend.connections == 3


def test_a_call_for_which_no_connection_is_free_has_not_been_sent(
    kind: str, backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lanes, "_MAX_CONNECTIONS", 1)
    client = make_client(kind, base_url=backend.url, **FAST)
    transport = (client.client if kind == "async" else client)._transport
    if kind == "async":
        client.run(transport._places.acquire())
    else:
        transport._places.acquire()
    try:
        with pytest.raises(NavaiTimeoutError, match="connections were busy") as caught:
            client.execute_function("f", timeout=0.05)
        assert not caught.value.may_have_executed
        if kind == "async":
            _release_while_waiting(client, transport)
    finally:
        client.close()


def _release_while_waiting(client: Any, transport: Any) -> None:
    async def main() -> None:
        waiting = asyncio.create_task(client.client.execute_function("f", 7))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        transport._places.release()
        assert await waiting == 7

    client.run(main())


class Stop(BaseException):
    """Stands for KeyboardInterrupt."""


def test_an_interrupted_call_leaves_no_connection_behind(
    backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with NavaiBackendClient(backend.url, **FAST) as client:
        client.execute_function("f", 1)
        transport: Any = client._transport
        lane = transport._lanes._idle[0]

        def interrupted(*_: object, **__: object) -> bytes:
            raise Stop

        lane.trace.tap._read = interrupted
        with pytest.raises(Stop):
            client.execute_function("f", 2)
        assert not transport._lanes._idle
        assert lane.trace.tap._get_extra_info("socket").fileno() == -1
        assert client.execute_function("f", 3) == 3
        assert backend.connections == 2
        assert all(transport._places.acquire(blocking=False) for _ in range(100))
        for _ in range(100):
            transport._places.release()


@pytest.mark.parametrize("connected", [True, False])
def test_a_call_interrupted_while_another_thread_works_for_it_is_cut_off(
    connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, gone, may_look_up = threading.Event(), threading.Event(), threading.Event()

    def never(peer: Peer) -> None:
        if peer.request() is not None:
            arrived.set()
        peer.silence()
        gone.set()

    def run_within(timeout: float | None, work: Callable[[], Any]) -> Any:
        def at_last() -> None:
            if not connected:
                may_look_up.wait()
            work()

        thread = threading.Thread(target=at_last)
        thread.start()
        threads.append(thread)
        if connected:
            arrived.wait()
        raise Stop

    threads: list[threading.Thread] = []
    monkeypatch.setattr(_lanes, "run_within", run_within)
    with FaultServer(never) as server, NavaiBackendClient(server.url, timeout=None) as client:
        with pytest.raises(Stop):
            client.execute_function("f")
        may_look_up.set()
        threads[0].join()  # although there is no deadline, and no answer
        gone.wait()
        assert server.count("execute") == connected
        assert not client._transport._lanes._idle  # type: ignore[attr-defined]


def test_a_name_that_is_looked_up_too_slowly_sends_nothing_when_it_is_found(
    backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, looked_up = threading.Event(), threading.Event()
    original = _httpx.send

    def slow(*args: Any) -> Any:
        found.wait()
        try:
            return original(*args)
        finally:
            looked_up.set()

    monkeypatch.setattr(_lanes, "send", slow)
    with NavaiBackendClient(backend.url, timeout=0.05, max_retries=0) as client:
        with pytest.raises(NavaiTimeoutError) as caught:
            client.execute_function("f")
        assert not caught.value.may_have_executed
        found.set()
        looked_up.wait()
    assert backend.count("execute") == 0


def test_a_connection_that_is_open_when_the_client_closes_is_not_kept(backend: FaultServer) -> None:
    transport = HTTPXTransport()
    request = Request(Endpoint("POST", f"{backend.url}/navai/functions/execute", ()), b'{"ok":true}')
    transport.close()
    outcome = transport.send(request, Call(timeout=5, max_response_bytes=100))
    assert isinstance(outcome, Response)
    assert not transport._lanes._idle


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the threads of the server
def test_a_child_of_fork_does_not_speak_on_its_parents_connections(backend: FaultServer) -> None:
    with NavaiBackendClient(backend.url, **FAST) as client:
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
    assert backend.connections == 2  # the child's, and the parent's, which is as good as before


def test_forgetting_the_parent_drops_connections_and_frees_all_places(backend: FaultServer) -> None:
    with NavaiBackendClient(backend.url, **FAST) as client:
        client.execute_function("f", 1)
        transport: Any = client._transport
        transport._places.acquire()
        _lanes._forget_parents()
        assert not transport._lanes._idle
        assert client.execute_function("f", 2) == 2
    assert backend.connections == 2


def test_a_retry_of_the_peers_own_making_shows_no_part_of_our_request(kind: str) -> None:
    def reflects(peer: Peer) -> None:
        if peer.request() is not None:
            peer.send(
                b"HTTP/1.1 200 OK\r\nbad header " + peer._server.arrived[0][1].split(b"\r\n")[1] + b"\r\n\r\n"
            )

    with FaultServer(reflects) as server:
        client = make_client(kind, base_url=server.url, headers={"Authorization": "Bearer hidden"}, **FAST)
        try:
            with pytest.raises(NavaiTransportError) as caught:
                client.execute_function("f", "hidden")
        finally:
            client.close()
    assert "RemoteProtocolError: illegal header line." in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_interrupt_by_the_system_reaches_the_caller(backend: FaultServer) -> None:
    def interrupt(peer: Peer) -> None:
        if peer.request() is not None:
            os.kill(os.getpid(), signal.SIGINT)
            peer.silence()

    with FaultServer(interrupt) as server, NavaiBackendClient(server.url, timeout=None) as client:
        with pytest.raises(KeyboardInterrupt):
            client.execute_function("f")
        for thread in server._threads:
            thread.join()  # the connection is gone, though nobody else would have ended it
        assert server.count("execute") == 1


def test_a_failure_says_whether_it_was_sent() -> None:
    outcome = HTTPXTransport().send(
        Request(Endpoint("GET", "ftp://backend.test", ())), Call(timeout=5, max_response_bytes=100)
    )
    assert isinstance(outcome, TransportFailure)
    assert not outcome.sent
