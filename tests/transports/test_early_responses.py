"""Backends that refuse a request before they have read it."""

import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from navai_client import NavaiHTTPError, NavaiTransportError
from tests.clients import Client, make_client
from tests.faults.server import OK, FaultServer, Peer, answer
from tests.waiting import PATIENCE_S


def made(kind: str, through: str, url: str, **options: Any) -> Client:
    options = {"timeout": 2 * PATIENCE_S, "max_retries": 0, **options}
    return make_client(kind, through=through, base_url=url, verify=False, **options)


def goes_on_reading(peer: Peer) -> None:
    while peer._connection.recv(65536):
        pass


def stops_reading(peer: Peer) -> None:
    peer.wait()


def closes(peer: Peer) -> None:
    peer.wait(0.1)  # so that more arrives, which the end of the connection then resets


def closes_at_once(peer: Peer) -> None:
    """Return; the connection is closed then."""


# The last two call the same client again, which must not use a connection that has bytes to send.
@pytest.mark.parametrize("then", [goes_on_reading, closes_at_once, closes, stops_reading])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_response_that_comes_before_the_request_was_read_is_received(
    kind: str, through: str, scheme: str, then: Callable[[Peer], None], authority: trustme.CA
) -> None:
    status = {"goes_on_reading": "413 Too Large", "stops_reading": "401 Unauthorized"}.get(
        then.__name__, "429 Too Many Requests"
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def refuses(peer: Peer) -> None:
        if scheme == "https":
            peer._connection = context.wrap_socket(peer._connection, server_side=True)
        with peer._connection:
            peer._connection.recv(1000)
            peer.send(answer('{"error": "no"}', status=status))
            then(peer)

    with FaultServer(refuses) as server:
        url = server.url.replace("http:", f"{scheme}:")
        with made(kind, through, url) as client:
            began = time.monotonic()
            with pytest.raises(NavaiHTTPError) as caught:
                client.execute_function("f", "x" * 8 * 2**20)
            assert time.monotonic() - began < PATIENCE_S
            assert caught.value.status_code == int(status[:3])
            assert server.connections == 1
            if then in {closes, stops_reading}:
                with pytest.raises(NavaiHTTPError):  # on another connection
                    client.execute_function("f", "x" * 8 * 2**20)
                assert server.connections == 2


def test_an_interim_response_does_not_end_the_request(kind: str, through: str) -> None:
    def welcomes(peer: Peer) -> None:
        peer._received = peer._connection.recv(1000)
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while peer.request() is not None:
            peer.send(answer(OK))

    with FaultServer(welcomes) as server, made(kind, through, server.url) as client:
        assert client.execute_function("f", "x" * 8 * 2**20) == "done"
        assert client.execute_function("f") == "done"
        assert len(server.arrived[0][2]) > 8 * 2**20
        assert server.connections == 1


def test_a_peer_that_closes_without_a_response_while_a_request_is_sent_is_an_error_at_once(
    kind: str, through: str
) -> None:
    with (
        FaultServer(lambda peer: peer._connection.recv(1000)) as server,
        made(kind, through, server.url) as client,
    ):
        began = time.monotonic()
        with pytest.raises(NavaiTransportError) as caught:
            client.execute_function("f", "x" * 8 * 2**20)
        assert time.monotonic() - began < PATIENCE_S
        assert caught.value.may_have_executed
