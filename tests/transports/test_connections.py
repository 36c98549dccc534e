"""Connections of each transport of ours: shared by threads, used again, given up, forked, interrupted."""

import asyncio
import contextlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from navai_client import NavaiTimeoutError, NavaiTransportError
from navai_client.transports import Call, _pool
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure
from tests.clients import Client, make_client
from tests.faults.server import FaultServer, Peer, answer
from tests.transports.conftest import echo, waiting

SOON: dict[str, Any] = {"timeout": 5.0, "max_retries": 0}


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
    together = threading.Barrier(25)

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
        client.run(slots.acquire())
        with pytest.raises(NavaiTimeoutError, match="connections were busy") as caught:
            client.execute_function("f", timeout=0.05)
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
        outcome = client.run(transport.send(request, Call(timeout=5, max_response_bytes=100)))
        assert isinstance(outcome, Response)
        assert not waiting(transport)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the threads of the server
def test_a_child_of_fork_does_not_speak_on_its_parents_connections(
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
    assert backend.connections == 2  # the child's, and the parent's, which is as good as before


def test_forgetting_the_parent_drops_connections_and_frees_all_slots(
    through: str, backend: FaultServer
) -> None:
    with make_client("sync", through=through, base_url=backend.url, **SOON) as client:
        client.execute_function("f", 1)
        transport = client.real._transport
        for _ in range(100):
            transport._slots.acquire()
        _pool._forget_parents()
        assert not waiting(transport)
        assert client.execute_function("f", 2) == 2
    assert backend.connections == 2


def test_an_answer_that_repeats_our_request_where_no_header_can_be_is_not_shown(
    kind: str, through: str
) -> None:
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
    said = {"default": "RemoteProtocolError: illegal header line.", "fast": "the answer is not proper HTTP"}
    assert said[through] in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_interrupt_by_the_system_reaches_the_caller(through: str) -> None:
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
            thread.join()  # the connection is gone, though nobody else would have ended it
        assert server.count("execute") == 1


@pytest.mark.parametrize(
    "url", ["ftp://backend.test", "http://backend.test:99999/", "http://[::1/", "http://"]
)
def test_where_nothing_can_be_sent_nothing_was_sent(kind: str, through: str, url: str) -> None:
    with make_client(kind, through=through) as client:
        transport = client.real._transport
        request = Request(Endpoint("GET", url))
        outcome = client.run(transport.send(request, Call(timeout=5, max_response_bytes=100)))
    assert isinstance(outcome, TransportFailure)
    assert not outcome.sent


def test_two_places_never_share_a_connection(kind: str, through: str, backend: FaultServer) -> None:
    with FaultServer(echo) as other, make_client(kind, through=through) as client:
        transport = client.real._transport
        for server in (backend, other, backend, other):
            request = Request(Endpoint("POST", f"{server.url}/navai/functions/execute"), (), b"1")
            client.run(transport.send(request, Call(timeout=5, max_response_bytes=100)))
        assert (backend.count("execute"), other.count("execute")) == (2, 2)


@pytest.mark.parametrize(
    "header",
    [("X-Own", "a\r\nX-Other: b"), ("X-Own", "a\nb"), ("X-\nOwn", "a"), ("X Own", "a"), ("X-Own", "a\0")],
)
def test_a_header_that_would_be_more_than_one_is_not_sent(
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
            outcome = client.run(transport.send(request, Call(timeout=5, max_response_bytes=100)))
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
            client.run(client.real._transport.send(request, Call(timeout=5, max_response_bytes=100)))
    heads = [head.lower() for _, head, _ in backend.arrived]
    assert [b"authorization: second" in head for head in heads] == [False, False, True]
    assert [b"authorization: first" in head for head in heads] == [True, True, False]


def test_calls_without_a_timeout_are_answered_too(kind: str, through: str, backend: FaultServer) -> None:
    with make_client(kind, through=through, base_url=backend.url, timeout=None) as client:
        assert [client.execute_function("f", number) for number in range(3)] == [0, 1, 2]
    assert backend.connections == 1
