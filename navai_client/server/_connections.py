"""The connections of our own server: a response in one write, and limits on what strangers may take up.

uvicorn reads the requests and runs the application. Through public methods of its protocol, this module adds
the limits that uvicorn lacks: for the size of headers and the time until they are complete, for requests that
are sent ahead, bodies that nothing reads, clients that do not read, and for the number of connections.
docs/deployment.md lists what another server must limit itself.

One sweep a second checks all connections. A request sets no timer, and its bytes are counted only if it
arrives in several pieces.
"""

import asyncio
import collections
import http
import logging
import math
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from navai_client.server._descriptors import free_descriptors, has_free_descriptor
from navai_client.server._http import error_response
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._routes import OVERLOADED

_log: Final = logging.getLogger("navai_client.server")

_PIECE: Final = 16 * 1024  # bytes parsed at a time: what is read beyond a limit stays small
_MAX_SKIPPED: Final = 64 * 1024  # bytes that are read and not used: of a body, or of empty chunks
_MAX_DISCARDED: Final = 2**20  # bytes that are read after a refusal
_PROGRESS: Final = (
    64 * 1024
)  # bytes of a response that must leave within the write timeout, or all that is left
_MAX_UNSENT: Final = 64 * 2**20  # bytes of responses that wait for slow readers, in one process
_SWEEP_S: Final = 1.0
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # close() then resets the connection, see socket(7)
_LINGER_S: Final = 2.0  # a client that still sends can read the response first; nginx waits up to 5 s
_REPEAT_S: Final = 60.0  # between two log lines that say the same
_EVICTED: Final = 20  # one unused connection in this many is closed to make room
_SPARE: Final = 32  # connections beyond the limit, for probes, and to tell clients that it is reached
_SHARE: Final = 3 / 4  # of the free descriptors; an eighth is for upstream calls, an eighth for functions

_CONTROLS: Final = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])  # in no field (RFC 9110, section 5.5)
_CONTENT_LENGTH: Final = b"content-length"
_FRAMING: Final = (_CONTENT_LENGTH, b"transfer-encoding")
_CLOSE: Final = (b"connection", b"close")

# Trailers go here: a server may discard them (RFC 9110, section 6.5.1), and must not take them for headers.
_TRAILERS: Final = cast("list[tuple[bytes, bytes]]", collections.deque[Any](maxlen=0))


class _HeadersTooLargeError(Exception):
    """The headers of a request are over the limit."""


class Connections:
    """What the connections of one process share: their limits, the sweep, and the log of what was closed."""

    def __init__(self, settings: ProcessSettings, body_timeout: float) -> None:
        self.settings = settings
        self.body_timeout = body_timeout
        self._limit = 0  # not known before the first connection
        self._spare = 0
        self._open: set[Connection] = set()
        self._sweeping = False
        self._closed: collections.Counter[str] = collections.Counter()
        self._said: dict[str, float] = {}

    def add(self, connection: "Connection") -> bool:
        """Add *connection*, and return whether it is within the limit. Unused ones are closed to make room.

        A connection far beyond the limit is closed at once.
        """
        if not self._limit:
            self._limit = self._find_limit()
            self._spare = min(_SPARE, 1 + self._limit // 4)
        if not self._sweeping:
            self._sweeping = True
            connection.loop.call_later(self._interval, self._sweep, connection.loop)
        room = len(self._open) < self._limit or self._evict()
        self._open.add(connection)
        if not room:
            self.closed(f"{self._limit} others were in use (NAVAI_MAX_CONNECTIONS)")
            if len(self._open) > self._limit + self._spare:
                connection.transport.abort()
        return room

    def remove(self, connection: "Connection") -> None:
        self._open.discard(connection)

    def closed(self, why: str) -> None:
        """Note that a connection was closed or refused: the log says so at the next sweep."""
        self._closed[why] += 1

    @property
    def _interval(self) -> float:
        """Seconds between two sweeps: fewer for short time limits."""
        settings = self.settings
        limits = (settings.headers_timeout, settings.keep_alive, settings.write_timeout, self.body_timeout)
        return min(_SWEEP_S, *(limit / 4 for limit in limits))

    def _find_limit(self) -> int:
        """Return how many connections this process may have, given how many files it may open."""
        limit = self.settings.max_connections
        free = free_descriptors()
        room = max(1, int(free * _SHARE)) if free < math.inf else limit
        if room < limit:
            text = "There may be %d connections at a time, not %d: RLIMIT_NOFILE leaves %d files and sockets."
            _log.warning(text, room, limit, free)
            limit = room
        return limit

    def _evict(self) -> bool:
        """Close the connections that have had no request for the longest time, if there are any.

        nginx does so too: "worker_connections are not enough, reusing connections".
        """
        unused = sorted((each for each in self._open if each.is_unused()), key=Connection.unused_since)
        evicted = unused[: 1 + len(unused) // _EVICTED]
        for each in evicted:
            self.remove(each)
            each.drop("they had no request, and others needed their places (NAVAI_MAX_CONNECTIONS)")
        return bool(evicted)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._look_at_all(loop.time())
        finally:
            self._sweeping = bool(self._open)
            if self._sweeping:
                loop.call_later(self._interval, self._sweep, loop)

    def _look_at_all(self, now: float) -> None:
        """Close the connections whose time is over, and write to the log what was closed."""
        slow: list[tuple[Connection, int]] = []
        for each in tuple(self._open):
            each.check_request(now)
            unsent = each.check_reader(now)
            if unsent:
                slow.append((each, unsent))
        total = sum(unsent for _, unsent in slow)
        for each, unsent in sorted(slow, key=lambda entry: entry[0].reading_since):
            if total <= _MAX_UNSENT:
                break
            total -= unsent
            each.reset(f"more than {_MAX_UNSENT} bytes of responses waited for slow readers")
        if not has_free_descriptor():
            self._evict()
            self.closed("this process cannot open another file, which RLIMIT_NOFILE limits")
        for why, count in tuple(self._closed.items()):
            if now - self._said.get(why, -math.inf) >= _REPEAT_S:
                self._said[why] = now
                del self._closed[why]
                _log.warning("%d connection(s) closed or refused: %s.", count, why)


class Connection(HttpToolsProtocol):
    """A connection: uvicorn's protocol, within the limits of *shared*.

    Attributes:
        reading_since: When the client last took a part of a response that is not sent completely.
    """

    def __init__(self, shared: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._shared = shared
        self._piece = min(_PIECE, shared.settings.max_header_bytes)
        self._waiting_since = 0.0  # for bytes of the client; 0 until a sweep has seen it wait
        self._waiting_after: object = None  # the latest request at that time
        self._head = 0  # bytes of headers that come in several pieces
        self._skipping: object = None  # the request whose body is skipped
        self._skipped = 0  # bytes of it
        self._ahead = bytearray()  # sent before the responses to earlier requests
        self._refused = False
        self._counted: _CountedTransport
        self._taken = 0
        self.reading_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start. A connection beyond the limit gets refusals, except for probes."""
        self._counted = _CountedTransport(transport, self)
        super().connection_made(self._counted)  # type: ignore[arg-type]
        if not self._shared.add(self):
            self.app = _overloaded(self.app)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.remove(self)
        super().connection_lost(exc)

    # From bytes to requests.

    def data_received(self, data: bytes) -> None:
        """Parse *data*, or keep it while there are requests before it."""
        if self._refused:
            self._discard(len(data))
        elif len(data) > self._piece or self.pipeline or self._ahead:
            self._ahead += data
            self._parse_ahead()
        else:
            self._parse(data)

    def _parse_ahead(self) -> None:
        """Parse in pieces, as long as no request waits for the response to another."""
        while self._ahead and not (self.pipeline or self._refused):
            piece = bytes(self._ahead[: self._piece])
            del self._ahead[: self._piece]
            self._parse(piece)
        if self._refused:
            self._ahead.clear()
        if self._ahead or self.pipeline:
            self.flow.pause_reading()

    def _discard(self, size: int) -> None:
        """Discard *size* bytes. Reading goes on, up to a limit, because it shows when the client leaves."""
        self._skipped += size
        if self._skipped > _MAX_DISCARDED:
            self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # It is declined (RFC 9110, section 7.8): what follows is HTTP/1.1, too.
            rest = data[upgrade.args[0] :]
            if self._reads_body():
                self._parse_declined_body(rest)
            else:
                self._ahead[:0] = rest
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _HeadersTooLargeError):
                self._refuse_headers()
            else:
                self.send_400_response("Invalid HTTP request received.")
        else:
            if self.headers is not _TRAILERS or self.cycle.more_body:
                self._check_unfinished(len(data))

    def on_headers_complete(self) -> None:
        """Begin to serve a request."""
        if self._head:
            lines = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + lines > self._shared.settings.max_header_bytes:
                raise _HeadersTooLargeError
            self._head = 0
        version = self.parser.get_http_version()
        url = httptools.parse_url(self.url)
        self.scope |= {
            "method": self.parser.get_method().decode(),
            "http_version": version,
            "path": self.root_path + unquote(url.path.decode()),
            "raw_path": self.root_path.encode() + url.path,
            "query_string": url.query or b"",
        }
        before = self.cycle
        self.cycle = _Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        self.headers = _TRAILERS

    def on_message_complete(self) -> None:
        """Note that a request is complete, also if its response has been sent: uvicorn does not."""
        if not (self.parser.should_upgrade() and self._framing()):  # else its body comes next
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _framing(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that say how long the body of the latest request is, if it has one."""
        return [each for each in self.scope["headers"] if each[0] in _FRAMING and each[1].strip(b"0")]

    def _parse_declined_body(self, rest: bytes) -> None:
        """Parse the body of a request to upgrade, which begins with *rest*, and close after the response.

        httptools takes the body for the new protocol. Java's client asks for HTTP/2 in this way.
        """
        self.cycle.keep_alive = False
        head = b"\r\n".join([b"POST / HTTP/1.1", *map(b": ".join, self._framing()), b"", b""])
        self.parser = httptools.HttpRequestParser(_DeclinedBody(self))
        self._parse(head + rest)

    def on_response_complete(self) -> None:
        """Go on with what was sent ahead. uvicorn would also set a timer to close an idle connection."""
        if (self.pipeline or self._ahead or self.flow.read_paused) and not self.transport.is_closing():
            if self.pipeline:
                super().on_response_complete()
            else:
                self.flow.resume_reading()
            self._parse_ahead()

    def _is_idle(self) -> bool:
        """Return whether all requests so far have their responses."""
        return self.cycle is None or self.cycle.response_complete

    def _reads_body(self) -> bool:
        """Return whether the headers of the latest request are complete, and the rest of it is not."""
        return self.headers is _TRAILERS and self.cycle.more_body

    def _check_unfinished(self, size: int) -> None:
        """Limit what comes in several pieces, of which *size* bytes are the latest."""
        if self.headers is not _TRAILERS:
            if not self._head:
                self._waiting_since = 0.0
                size = 1  # how much of the first piece belongs to these headers is not known
            self._head += size
            if self._head > self._shared.settings.max_header_bytes:
                self._refuse_headers()
        elif self.cycle.message_event.is_set() and not self._is_idle():
            self._skipped = 0  # the application gets more of the body
        else:
            if self._skipping is not self.cycle:
                self._skipping, self._skipped = self.cycle, 0
            self._skipped += size
            if self._skipped > _MAX_SKIPPED + self._piece:  # the first piece had headers, too
                self.drop("they went on with a body after its response, or with chunks without content")

    # The end.

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg, "they sent no valid HTTP")

    def _refuse_headers(self) -> None:
        limit = self._shared.settings.max_header_bytes
        why = f"their headers were larger than {limit} bytes (NAVAI_MAX_HEADER_BYTES)"
        self._refuse(431, f"Request headers are larger than {limit} bytes.", why)

    def drop(self, why: str) -> None:
        """Close at once; the log says *why*."""
        self._shared.closed(why)
        self.transport.abort()

    def reset(self, why: str) -> None:
        """Close at once, and drop what the client has not read: the kernel would keep it for minutes."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.drop(why)

    def _refuse(self, status: int, message: str, why: str) -> None:
        """Read no more, and respond with *status*, unless requests before this one have no response yet."""
        self._refused = True
        self._shared.closed(why)
        self.flow.pause_reading()
        reads_body = self._reads_body()
        if reads_body and (self._is_idle() or self.pipeline):
            self.transport.abort()  # this request has its response already, or would wait for earlier ones
        elif reads_body or self._is_idle():
            refusal = error_response(status, message, (b"connection", b"close"))
            length = (b"content-length", b"%d" % len(refusal.body))
            headers = (*self.server_state.default_headers, *refusal.headers, length)
            lines = [b"HTTP/1.1 %d %s" % (status, http.HTTPStatus(status).phrase.encode())]
            lines += [b"%s: %s" % header for header in headers]
            self.transport.write(b"\r\n".join([*lines, b"", refusal.body]))
            self.transport.close()
        else:
            self.cycle.keep_alive = False  # close after the responses that are still to come

    def is_unread(self) -> bool:
        """Return whether the client may still be sending what is not read any more."""
        return self._refused or self._reads_body()

    def linger(self) -> None:
        """Discard what the client still sends, while it reads its response."""
        self._refused, self._skipped = True, 0
        self._ahead.clear()
        self.flow.resume_reading()

    # What the sweep asks.

    def check_request(self, now: float) -> None:
        """Close a connection whose request is not complete in time."""
        if self._refused:
            return
        idle = self._is_idle()
        if self.cycle is not self._waiting_after or not (idle or self._reads_body()):
            self._waiting_after, self._waiting_since = self.cycle, 0.0
        if not self._waiting_since:
            self._waiting_since = now
        else:
            self._check_waiting(now - self._waiting_since, idle=idle)

    def _check_waiting(self, seconds: float, *, idle: bool) -> None:
        limit = self._shared.settings.headers_timeout
        if not idle:
            # The application applies this limit, too, but not while it waits for the first bytes of a body.
            limit = self._shared.body_timeout
            if seconds >= limit:
                why = f"their bodies did not arrive within {limit:g} seconds (NAVAI_BODY_TIMEOUT)"
                self._refuse(408, "Request body did not arrive in time.", why)
        elif self._head:
            if seconds >= limit:
                why = f"their headers were not complete after {limit:g} seconds (NAVAI_HEADERS_TIMEOUT)"
                self._refuse(408, "Request headers did not arrive in time.", why)
        elif self.cycle is None or self._reads_body():
            if seconds >= limit:
                self.drop(f"they sent no request within {limit:g} seconds (NAVAI_HEADERS_TIMEOUT)")
        elif seconds >= self._shared.settings.keep_alive:
            self.transport.close()

    def check_reader(self, now: float) -> int:
        """Close a connection whose client does not read; return how many bytes wait for it."""
        unsent = self._counted.unsent()
        taken = self._counted.written - unsent
        if not unsent or not self.reading_since or taken - self._taken >= _PROGRESS:
            self.reading_since, self._taken = now, taken
        elif now - self.reading_since >= self._shared.settings.write_timeout:
            limit = f"{self._shared.settings.write_timeout:g} seconds (NAVAI_WRITE_TIMEOUT)"
            self.reset(f"their clients read too little of a response within {limit}")
            return 0
        return unsent

    def is_unused(self) -> bool:
        """Return whether it waits for a request."""
        return self._is_idle() and not self._refused and not self.transport.is_closing()

    def unused_since(self) -> tuple[int, float]:
        """Order unused connections: slow headers first, then idle ones, then those that have just come."""
        if not self._waiting_since:
            return 2, 0.0
        return (0 if self._head or self.cycle is None else 1), self._waiting_since


def _overloaded(app: Callable[..., Any]) -> Any:
    """Let *app* refuse a request."""

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "extensions": {OVERLOADED: {}}}, receive, send)

    return refuse


class _Exchange(RequestResponseCycle):
    """A request and its response, which leaves in one write: uvicorn writes a head, then a body."""

    _start: Any = None

    async def send(self, message: Any) -> None:
        """Send a response whose length is known in one piece, and leave all others to uvicorn."""
        start, self._start = self._start, None
        if start is None:
            if message["type"] == "http.response.start":
                if self.more_body and not self._may_be_skipped():
                    self.keep_alive = False  # else the next request would meet a connection that is reset
                if message["headers"][-1][0] == _CONTENT_LENGTH:
                    self._start = message  # its body comes next
                    return
            await super().send(message)
            return
        headers, body = start["headers"], message["body"]
        fields = b"\r\n".join(map(b": ".join, (*self.default_headers, *headers)))
        line_ends = 2 * (len(self.default_headers) + len(headers) - 1)
        if (
            self.disconnected
            or self.flow.write_paused
            or not self.keep_alive
            or _CLOSE in headers
            or headers[-1][1] != b"%d" % len(body)
            or len(fields) - len(fields.translate(None, _CONTROLS)) != line_ends
        ):
            await super().send(start)
            await super().send(message)
            return
        self.transport.write(b"".join((STATUS_LINE[start["status"]], fields, b"\r\n\r\n", body)))
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.on_response()

    def _may_be_skipped(self) -> bool:
        """Return whether the rest of the request will certainly come, and is short enough to be skipped."""
        lengths = [int(value) for name, value in self.scope["headers"] if name == _CONTENT_LENGTH]
        return bool(lengths) and lengths[0] <= _MAX_SKIPPED and not self.waiting_for_100_continue


class _DeclinedBody:
    """The body of a request that asked for an upgrade, and nothing of what follows it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def on_body(self, body: bytes) -> None:
        if self._connection.cycle.more_body:
            self._connection.on_body(body)

    def on_message_complete(self) -> None:
        if self._connection.cycle.more_body:
            self._connection.on_message_complete()


class _CountedTransport:
    """A transport that lets a client read its response before it closes.

    Attributes:
        written: The bytes that it was given.
    """

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport = transport
        self._connection = connection
        self._closed = False
        self.written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._closed:
            self.written += len(data)
            self._transport.write(data)

    def unsent(self) -> int:
        """Return how many bytes wait for the client to read."""
        return self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def close(self) -> None:
        """Close when everything is written. A client that may still be sending gets time to read first.

        Closing with unread bytes makes TCP reset the connection, and the client may lose the response
        (RFC 9112, section 9.6).
        """
        if self._closed:
            return
        self._closed = True
        if self._connection.is_unread() and not self._transport.is_closing():
            self._transport.write_eof()
            self._connection.linger()
            self._connection.loop.call_later(_LINGER_S, self._transport.close)
        else:
            self._transport.close()
