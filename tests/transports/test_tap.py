"""The hand on a connection, where no server can bring about what must be shown."""

import asyncio
import socket
import ssl
from typing import Any

import pytest

from navai_client.transports import Call
from navai_client.transports._tap import AsyncTap, Tap, Trace, _holds_more


class Stream:
    """A network stream as httpcore has them."""

    def __init__(self, **info: Any) -> None:
        self._info = info
        self.written = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return b"unasked"

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.written += buffer

    def get_extra_info(self, info: str) -> Any:
        return self._info.get(info)


class AsyncStream(Stream):
    """The same for the async world."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # type: ignore[override]
        return super().read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # type: ignore[override]
        super().write(buffer, timeout)


class TLS:
    """A TLS connection that has agreed on HTTP/2."""

    def selected_alpn_protocol(self) -> str:
        return "h2"


def test_http_2_is_left_alone() -> None:
    trace = Trace()
    trace("connection.start_tls.complete", {"return_value": Stream(ssl_object=TLS())})
    assert trace.tap is None


def test_what_is_read_before_anything_was_asked_is_passed_on() -> None:
    tap = Tap(Stream(), None)
    assert tap.read(100) == b"unasked"
    assert not tap.clean()


def test_a_head_without_a_body_leaves_before_the_answer_is_read() -> None:
    stream = Stream()
    tap = Tap(stream, None)
    tap.write(b"GET")
    tap.read(100)
    assert stream.written == b"GET"


def test_a_head_without_a_body_leaves_before_the_answer_is_read_in_the_async_world() -> None:
    async def main() -> None:
        stream = AsyncStream()
        tap = AsyncTap(stream, None)
        await tap.write(b"GET")
        await tap.read(100)
        assert stream.written == b"GET"

    asyncio.run(main())


def test_a_caller_who_leaves_at_the_moment_of_sending_stops_it() -> None:
    class Leaving(Call):
        @property
        def sent(self) -> bool:
            return True

        @sent.setter
        def sent(self, value: bool) -> None:
            self.left = value

    class Request:
        method = b"POST"

    trace = Trace()
    trace.call = Leaving(timeout=5, max_response_bytes=10)
    with pytest.raises(TimeoutError):
        trace("http11.send_request_headers.started", {"request": Request()})


def test_a_connection_that_is_gone_can_be_cut_off() -> None:
    Tap(Stream(), None).cut_off()
    with socket.socket() as never_connected:
        tap = Tap(Stream(socket=never_connected), None)
        tap.cut_off()
    tap.cut_off()


def test_tls_that_is_damaged_holds_more_than_was_asked_for() -> None:
    incoming = ssl.MemoryBIO()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="x")
    assert not _holds_more(tls)
    incoming.write(b"this is not TLS")
    assert _holds_more(tls)
