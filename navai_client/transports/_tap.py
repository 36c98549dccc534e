"""A hand on the connections of httpcore, which httpx and httpx2 send through.

Both announce each connection they open through their ``trace`` extension. We take the network stream from
there and look at what is read: no read waits past the call's deadline (their timeouts are per read, so that
a peer that drips bytes would never trip one), and no byte after the end of a response reaches them.
"""

import logging
import socket
import ssl
from contextvars import ContextVar
from typing import Any, Final

from navai_client.transports import Call
from navai_client.transports._framing import Framing

__all__ = ["AsyncTap", "AsyncTrace", "Timeouts", "Trace", "under_way"]


_SHORTEST_WAIT: Final = (
    0.001  # seconds; a timeout of 0 would mean "do not wait" to a socket, which is another error
)
_PIECE: Final = 16 * 1024  # bytes that a socket which has room at all takes at once
_ASYNC_READ: Final = 1024 * 1024  # more than an event loop reads at once, so that none of it stays behind
_LONG_ANSWER: Final = 250_000  # bytes; after so many an event loop may have read on where we cannot look
_LONG_TLS_ANSWER: Final = 60_000  # bytes; the same where TLS is between


under_way: Final[ContextVar[Call | None]] = ContextVar("under_way", default=None)  # the call of this context


class _Discreet(logging.Filter):
    """Keeps what a peer answers to our calls out of the logs of httpcore: it may repeat our keys."""

    def filter(self, record: logging.LogRecord) -> bool:
        if under_way.get() is not None and str(record.msg).startswith("receive_response"):
            record.msg, _, rest = str(record.msg).partition(" ")
            record.msg += " (not shown)" * bool(rest)
        return True


for _library in ("httpcore", "httpcore2"):
    for _part in ("http11", "http2"):
        logging.getLogger(f"{_library}.{_part}").addFilter(_Discreet())


def _remaining(call: Call) -> float | None:
    remaining = call.remaining()
    return None if remaining is None else max(_SHORTEST_WAIT, remaining)


class Timeouts(dict[str, float | None]):
    """The ``timeout`` extension: whatever phase asks is told what is left of the call."""

    def __init__(self, call: Call) -> None:
        super().__init__(dict.fromkeys(("connect", "read", "write", "pool"), _remaining(call)))
        self._call = call

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002 - dict.get
        return _remaining(self._call)


class Trace:
    """The ``trace`` extension: notes what was sent, and taps the connections that are opened.

    Attributes:
        call: The call under way.
        tap: The tap on the latest connection.
        speaks_http: Whether httpcore is at work, so that ``call.sent`` can be believed.
    """

    def __init__(self) -> None:
        self.call: Call | None = None
        self.tap: Tap | None = None
        self.speaks_http = False

    def __call__(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith(".send_request_headers.started"):
            self.speaks_http = True
            if self.call is not None and info["request"].method != b"CONNECT":
                self._send(self.call)
        elif name.endswith((".connect_tcp.started", ".connect_tcp.failed")):
            self.speaks_http = True
        elif name.endswith((".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")):
            stream = info["return_value"]
            tls = stream.get_extra_info("ssl_object")
            if tls is None or tls.selected_alpn_protocol() != "h2":
                self.tap = self._tap(stream, tls)

    def _send(self, call: Call) -> None:
        """Note that the request leaves now, unless nobody waits for it any more."""
        if call.left or call.remaining() == 0:
            raise TimeoutError
        call.sent = True
        if call.left:  # just now, in another thread
            raise TimeoutError

    def _tap(self, stream: Any, tls: Any) -> "Tap":
        return Tap(stream, tls)


class AsyncTrace(Trace):
    """The same for requests of the async world, whose callbacks are awaited."""

    async def __call__(self, name: str, info: dict[str, Any]) -> None:  # type: ignore[override]
        super().__call__(name, info)

    def _tap(self, stream: Any, tls: Any) -> "Tap":
        return AsyncTap(stream, tls)


class Tap:
    """Stands between httpcore and one of its network streams."""

    def __init__(self, stream: Any, tls: Any) -> None:
        self.stream = stream
        self._tls = tls
        self._framing: Framing | None = None
        self._received = 0
        self._surplus = False
        self._held = b""
        self._read = stream.read
        self._write = stream.write
        self._get_extra_info = stream.get_extra_info
        stream.read = self.read
        stream.write = self.write
        stream.get_extra_info = self.get_extra_info

    def clean(self) -> bool:
        """Return whether the last response ended where it said, and nothing came after it."""
        return (
            self._framing is not None
            and self._framing.complete
            and not self._surplus
            and not (self._tls is not None and _holds_more(self._tls))
        )

    def cut_off(self) -> None:
        """End the connection under whoever waits for it in another thread."""
        found = self._get_extra_info("socket")
        if found is not None and found.fileno() >= 0:
            try:
                socket.socket.shutdown(found, socket.SHUT_RDWR)  # not that of TLS, which another thread uses
            except OSError:
                return  # the peer was faster

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            self.write(b"", timeout)
        data: bytes = self._read(max_bytes, timeout=_bounded(timeout))
        return self._cut(data)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._hold(buffer):
            return
        whole, self._held = self._held + buffer, b""
        if len(whole) <= _PIECE:
            self._write(whole, timeout=_bounded(timeout))
            return
        view = memoryview(whole)  # in pieces, because httpcore waits anew for each part that a peer takes
        for start in range(0, len(view), _PIECE):
            self._write(view[start : start + _PIECE], timeout=_bounded(timeout))

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._framing is not None and not self.clean():
            return True  # to httpcore this means: the peer has ended this connection, take another
        return self._get_extra_info(info)

    def _hold(self, buffer: bytes) -> bool:
        """Keep the head of a request until its body comes, because httpcore sends them in two packets."""
        begins = self._framing is None or self._framing.complete
        if begins:
            self._framing = Framing()
            self._received = 0
            self._held = buffer
        return begins

    def _cut(self, data: bytes) -> bytes:
        if self._framing is None:
            return data
        self._received += len(data)
        end = self._framing.feed(data)
        if end < len(data):
            self._surplus = True
            return data[:end]
        return data


class AsyncTap(Tap):
    """The same for streams of the async world."""

    def clean(self) -> bool:
        limit = _LONG_ANSWER if self._tls is None else _LONG_TLS_ANSWER
        return self._received < limit and super().clean()

    async def aclose(self) -> None:
        """Close the connection: when a call is cancelled amid a TLS handshake, httpcore forgets to."""
        await self.stream.aclose()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # type: ignore[override]
        if self._held:
            await self.write(b"", timeout)
        data: bytes = await self._read(max(max_bytes, _ASYNC_READ), timeout=_bounded(timeout))
        return self._cut(data)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # type: ignore[override]
        if self._hold(buffer):
            return
        whole, self._held = self._held + buffer, b""
        await self._write(whole, timeout=_bounded(timeout))


def _bounded(timeout: float | None) -> float | None:
    """Return what is left of the call under way, else *timeout*.

    Raises:
        TimeoutError: If nothing is left: a peer that never stops sending gives no read a reason to wait.
    """
    call = under_way.get()
    if call is None:
        return timeout
    remaining = call.remaining()
    if remaining == 0:
        raise TimeoutError
    return remaining


def _holds_more(tls: Any) -> bool:
    """Return whether *tls* was given more than it has given out."""
    if tls.pending():
        return True
    if not isinstance(tls, ssl.SSLObject):
        return False  # it reads from its socket only what it is asked for
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True
