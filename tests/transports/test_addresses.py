"""Hosts with several addresses, some of which are dead: Happy Eyeballs (RFC 8305)."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from navai_client import NavaiTimeoutError, NavaiTransportError
from navai_client.transports import Call, _connecting, _network
from tests.clients import Client, make_client
from tests.faults.server import OK, FaultServer, Peer, answer
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, SHORT_S, until

Names = dict[str, list[tuple[str, int]]]


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connecting, "_reached", {})
    monkeypatch.setattr(_connecting, "_avoided", {})


def made(kind: str, through: str, **options: Any) -> Client:
    options = {"timeout": PATIENCE_S, "max_retries": 0, "base_url": "http://backend.test", **options}
    return make_client(kind, through=through, **options)


def good(peer: Peer) -> None:
    while peer.request() is not None:
        peer.send(answer(OK))


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that neither accepts nor refuses connections: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            full = stack.enter_context(socket.socket())
            full.setblocking(False)  # noqa: FBT003 - it takes no keyword
            full.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_the_next_address_is_tried_at_once_when_one_refuses(kind: str, through: str, names: Names) -> None:
    with FaultServer(good) as server, reserved_port() as port:
        names["backend.test"] = [*[("127.0.0.1", port)] * 30, ("127.0.0.1", server.port)]
        with made(kind, through) as client:
            assert client.execute_function("f") == "done"


@pytest.fixture
def trusted(authority: trustme.CA) -> Iterator[tuple[FaultServer, ssl.SSLContext]]:
    """A backend with TLS, and a context that trusts it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("backend.test").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def treat(peer: Peer) -> None:
        with context.wrap_socket(peer._connection, server_side=True) as encrypted:
            peer._connection = encrypted
            good(peer)

    with FaultServer(treat) as server:
        yield server, trusting


def test_an_address_where_tls_gets_no_response_is_tried_last_by_the_next_call(
    kind: str, through: str, names: Names, trusted: tuple[FaultServer, ssl.SSLContext]
) -> None:
    server, context = trusted
    with FaultServer(Peer.silence) as mute:
        names["backend.test"] = [("127.0.0.1", mute.port), ("127.0.0.1", server.port)]
        with made(kind, through, verify=context, base_url="https://backend.test") as client:
            with pytest.raises(NavaiTimeoutError) as caught:
                client.execute_function("f", timeout=SHORT_S)
            assert not caught.value.may_have_executed
            until(lambda: mute.connections)
            assert client.execute_function("f") == "done"
        assert mute.connections == 1


def test_an_address_where_tls_fails_is_tried_last_by_the_next_attempt(
    kind: str, through: str, names: Names, trusted: tuple[FaultServer, ssl.SSLContext]
) -> None:
    server, context = trusted
    with FaultServer(lambda peer: None) as closing:
        names["backend.test"] = [("127.0.0.1", closing.port), ("127.0.0.1", server.port)]
        options = {"max_retries": 1, "verify": context, "base_url": "https://backend.test"}
        with made(kind, through, **options) as client:
            assert client.execute_function("f") == "done"
    names["backend.test"] = [("127.0.0.1", server.port)]
    with (  # now it is not trusted, and avoided, but it is the only one
        made(kind, through, verify=True, base_url="https://backend.test") as client,
        pytest.raises(NavaiTransportError),
    ):
        client.execute_function("f")
    with made(kind, through, verify=context, base_url="https://backend.test") as client:
        assert client.execute_function("f") == "done"
    assert ("127.0.0.1", server.port) not in _connecting._avoided


def test_a_bounded_number_of_addresses_is_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connecting, "_REMEMBERED", 2)
    for peer in (("1.1.1.1", 1), ("1.1.1.2", 1, 0, 0), "/a.sock", None, ("1.1.1.3", 1)):
        with pytest.raises(OSError, match="failed"), _connecting.noting_handshake(peer):
            raise OSError("failed")
    assert list(_connecting._avoided) == [("1.1.1.3", 1)]
    with _connecting.noting_handshake(None):
        pass


@pytest.mark.parametrize("dead", [1, 3])
def test_the_next_address_is_tried_soon_when_one_is_silent(
    kind: str, through: str, dead: int, names: Names, silent: tuple[str, int]
) -> None:
    with FaultServer(good) as server:
        names["backend.test"] = [*[silent] * dead, ("127.0.0.1", server.port)]
        with made(kind, through) as client:
            began = time.monotonic()
            assert client.execute_function("f") == "done"
            assert time.monotonic() - began < PATIENCE_S / 2  # it has not waited for their time to be over


def test_each_address_has_its_turn_within_a_short_timeout(
    kind: str, through: str, names: Names, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connecting, "_ATTEMPT_DELAY", PATIENCE_S)  # one alone would take all the time
    with FaultServer(good) as server:
        names["backend.test"] = [silent] * 2 + [("127.0.0.1", server.port)]
        with made(kind, through, timeout=2 * SHORT_S) as client:
            assert client.execute_function("f") == "done"


def test_silent_addresses_alone_end_in_time_and_nothing_was_sent(
    kind: str, through: str, names: Names, silent: tuple[str, int]
) -> None:
    names["backend.test"] = [silent] * 2
    with made(kind, through, timeout=0.3) as client, pytest.raises(NavaiTimeoutError) as caught:
        client.execute_function("f")
    assert not caught.value.may_have_executed


def test_an_address_of_a_family_that_cannot_be_reached_is_passed_over(
    kind: str, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(good) as server:
        stream = (socket.SOCK_STREAM, 6, "")
        found = [
            (socket.AF_INET6, *stream, ("2001:db8::1", server.port, 0, 0)),  # for documentation (RFC 3849)
            (socket.AF_INET, *stream, ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with made(kind, through) as client:
            assert client.execute_function("f") == "done"


@pytest.mark.parametrize("where", ["socket", "connect"])
def test_an_address_that_fails_at_once_is_passed_over(
    kind: str, through: str, where: str, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = _connecting._new_socket

    def new_socket(address: Any) -> socket.socket:
        if where == "socket" and address[4][0] == "255.255.255.255":
            raise OSError(97, "Address family not supported by protocol")
        return original(address)

    monkeypatch.setattr(_connecting, "_new_socket", new_socket)
    with FaultServer(good) as server:
        names["backend.test"] = [("255.255.255.255", 1), ("127.0.0.1", server.port)]
        with made(kind, through) as client:
            assert client.execute_function("f") == "done"


def test_a_silent_address_is_waited_for_when_the_others_refuse(
    kind: str, through: str, names: Names, silent: tuple[str, int]
) -> None:
    with reserved_port() as port:
        names["backend.test"] = [silent, ("127.0.0.1", port)]
        with made(kind, through, timeout=0.5) as client, pytest.raises(NavaiTimeoutError):
            client.execute_function("f")


def test_one_of_several_connections_that_are_ready_is_used(
    kind: str, through: str, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connecting, "_ATTEMPT_DELAY", 0.0)
    with FaultServer(good) as server:
        names["backend.test"] = [("127.0.0.1", server.port)] * 5
        with made(kind, through) as client:
            assert client.execute_function("f") == "done"
        assert server.count("execute") == 1


def test_of_connections_that_are_ready_together_one_stays_open(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[socket.socket] = []
    monkeypatch.setattr(_connecting, "_ATTEMPT_DELAY", 0.0)
    names["backend.test"] = [("127.0.0.1", 1)] * 5

    async def main() -> None:
        ready, loop = asyncio.Event(), asyncio.get_running_loop()

        async def connects(connection: socket.socket, _: Any) -> None:
            opened.append(connection)
            if len(opened) == 5:
                ready.set()
            await ready.wait()

        monkeypatch.setattr(loop, "sock_connect", connects)
        call = Call(timeout=PATIENCE_S, max_response_bytes=1)
        with await _connecting.connect_async(loop, "backend.test", 80, call) as connection:
            await asyncio.sleep(0)
            assert [each for each in opened if each.fileno() >= 0] == [connection]

    asyncio.run(main())


def test_a_socket_that_the_event_loop_refuses_is_closed(
    through: str, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: Any, **__: Any) -> None:
        raise OSError("refused by the loop")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", refuses)
    with FaultServer(good) as server:
        names["backend.test"] = [("127.0.0.1", server.port)]
        with made("async", through) as client, pytest.raises(NavaiTransportError) as caught:
            client.execute_function("f")
    assert not caught.value.may_have_executed


def test_a_connection_that_is_gone_before_its_handshake_is_an_error() -> None:
    async def main() -> None:
        call = Call(timeout=PATIENCE_S, max_response_bytes=1)
        with pytest.raises(ConnectionResetError):
            await _network.AsyncConnection().encrypt(ssl.create_default_context(), "host", call)

    asyncio.run(main())


def test_the_error_is_that_of_an_address_when_all_refuse(kind: str, through: str, names: Names) -> None:
    with reserved_port() as port:
        names["backend.test"] = [("127.0.0.1", port)] * 3
        with (
            made(kind, through) as client,
            pytest.raises(NavaiTransportError, match=r"(?i)refused|call failed") as caught,
        ):
            client.execute_function("f")
        assert not caught.value.may_have_executed


def test_the_address_that_worked_is_the_first_of_the_next_connection(
    kind: str, through: str, names: Names, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_answer_each(peer: Peer) -> None:
        if peer.request() is not None:
            peer.send(answer(OK, "Connection: close"))

    with FaultServer(one_answer_each) as server:
        names["backend.test"] = [("127.0.0.2", silent[1]), ("127.0.0.1", server.port)]
        with reserved_port(), made(kind, through) as client:
            assert client.execute_function("f") == "done"
            tried: list[str] = []
            original = _connecting._new_socket

            def new_socket(address: Any) -> socket.socket:
                tried.append(address[4][0])
                return original(address)

            monkeypatch.setattr(_connecting, "_new_socket", new_socket)
            assert client.execute_function("f") == "done"
            assert tried == ["127.0.0.1"]


def test_families_take_turns_and_what_worked_comes_first() -> None:
    def address(text: str) -> Any:
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        return (family, socket.SOCK_STREAM, 6, "", (text, 80))

    def ordered() -> list[str]:
        given = [address(text) for text in ("::1", "::2", "::3", "1.1.1.1", "1.1.1.2")]
        return [each[4][0] for each in _connecting._in_order(given, "host")]

    assert ordered() == ["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"]
    _connecting._remember("host", address("1.1.1.2"))
    assert ordered() == ["1.1.1.2", "::1", "1.1.1.1", "::2", "::3"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connecting, "_REMEMBERED", 2)
    for host in ("a", "b", "c"):
        _connecting._remember(host, (0, 0, 0, "", ("1.1.1.1", 80)))
    assert set(_connecting._reached) == {"c"}


def test_no_socket_is_left_of_the_attempts_that_lost(
    kind: str, through: str, names: Names, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[socket.socket] = []
    threads = threading.active_count()
    original = _connecting._new_socket

    def new_socket(address: Any) -> socket.socket:
        opened.append(original(address))
        return opened[-1]

    monkeypatch.setattr(_connecting, "_new_socket", new_socket)
    with FaultServer(good) as server:
        names["backend.test"] = [silent, silent, ("127.0.0.1", server.port)]
        with made(kind, through) as client:
            client.execute_function("f")
        assert len(opened) == 3
        assert all(each.fileno() == -1 for each in opened)
    assert threading.active_count() < threads + 5  # a thread for each attempt would make more
