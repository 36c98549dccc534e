"""HTTP/1.1 for the fast transports: requests to bytes, and bytes to responses, by llhttp. No I/O."""

import re
from typing import Final

import httptools

from navai_client.transports import _fast_json
from navai_client.transports._body import ACCEPT_ENCODING, Body, outcome
from navai_client.transports._connecting import Target
from navai_client.wire._events import EventStream
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure

# Bytes without any of the body: headers, chunk sizes, interim responses, trailers. httpcore has 100 KiB.
_HEAD_LIMIT: Final = 64 * 1024
_SWITCHING: Final = 101
_LINES: Final = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)*")  # RFC 9110, section 5, in ASCII

_Headers = tuple[tuple[str, str], ...]


class Encoder:
    """Encodes requests. The part that requests with the same endpoint and headers share is encoded once."""

    def __init__(self) -> None:
        self._heads: dict[Endpoint, tuple[_Headers, bytes | None]] = {}

    def __call__(self, request: Request) -> bytes | TransportFailure:
        """Return the bytes of *request*, or why it cannot be sent."""
        head, lines = self._head(request.endpoint, request.headers), _lines(request.call_headers)
        if head is None or lines is None:
            message = "the request has a header that cannot be sent as it is"
            return TransportFailure(message, sent=False, permanent=True)
        if request.content is None:
            return b"%b%b\r\n" % (head, lines)
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, lines, len(request.content), request.content)

    def _head(self, endpoint: Endpoint, headers: _Headers) -> bytes | None:
        known = self._heads.get(endpoint)
        if known is None or known[0] is not headers:
            known = self._heads[endpoint] = (headers, _head(endpoint, headers))
        return known[1]


def _head(endpoint: Endpoint, headers: _Headers) -> bytes | None:
    target = Target.of(endpoint.url)
    assert isinstance(target, Target)  # noqa: S101 - the pool has found a connection to it
    if not any(name.lower() == "host" for name, _ in headers):
        headers = (("Host", target.authority.decode("ascii")), *headers)
    lines = _lines((*headers, ("Accept-Encoding", ACCEPT_ENCODING)))
    first = b"%b %b HTTP/1.1\r\n" % (endpoint.method.encode("ascii"), target.path)
    return None if lines is None else first + lines


def _lines(headers: _Headers) -> bytes | None:
    """Return *headers* encoded, or None if one would break the framing, for example by a line break."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return lines.encode("ascii") if _LINES.fullmatch(lines) and lines.count("\n") == len(headers) else None


class ResponseParser:
    """Reads the responses of one connection. Call ``begin()`` for each, then ``feed()`` until it is ``over``.

    Attributes:
        over: Whether no more bytes are wanted: the response is complete, too large, or invalid.
        reusable: Whether the response ended where it said, nothing followed, and the peer keeps listening.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin(0)

    def begin(self, limit: int, events: EventStream | None = None) -> None:
        """Expect another response, with a body of at most *limit* decompressed bytes, or of *events*."""
        self._limit = limit
        self._events = events
        self._body: Body | None = None
        self._headers: dict[str, str] = {}
        self._status = 0
        self._quiet = 0
        self._progress = False
        self._complete = False
        self._failure = ""
        self.over = False
        self.reusable = False

    def feed(self, data: bytes) -> None:
        """Read *data* from the peer."""
        self._progress = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if not self._complete:  # bytes after a complete response do not affect it
                self._fail(f"the response is not valid HTTP ({error})")
            return
        self._quiet = 0 if self._progress else self._quiet + len(data)
        if self._quiet > _HEAD_LIMIT and not self.over:
            self._fail(f"more than {_HEAD_LIMIT // 1024} KiB came without any of the body")

    def end(self) -> None:
        """Note that the peer has closed the connection."""
        self.reusable = False
        if self.over:
            return
        if self._body is not None and self._ends_with_connection():
            self._complete = self.over = True
        elif self._quiet or self._body is not None:
            self._fail("the connection was closed in the middle of the response")
        else:
            self._fail("the connection was closed without a response")

    def outcome(self) -> Response | TransportFailure:
        """Return the response, or why there is none. Only once it is over."""
        if self._failure or self._body is None:
            return TransportFailure(self._failure)
        answer = outcome(self._status, self._headers, self._body)
        if isinstance(answer, Response):
            _fast_json.parse(answer)
        return answer

    def _fail(self, message: str) -> None:
        self._failure = message
        self.over = True

    def _ends_with_connection(self) -> bool:
        """Return whether the body ends with the connection (RFC 9112, section 6.3, rule 8)."""
        return not self._headers.keys() & {"content-length", "transfer-encoding"}

    def on_message_begin(self) -> None:
        if self._complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers, which follow the body, are not needed."""
        if self._body is None:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            known = self._headers.get(key)
            self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """Expect the body, unless the response is an interim one."""
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < 100:  # noqa: PLR2004 - RFC 9110, section 15
            self._fail(f"the response is not valid HTTP (status {status})")
        elif status < 200 and status != _SWITCHING:  # noqa: PLR2004 - RFC 9110, section 15.2
            self._headers = {}
            return
        elif self._headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
            self._fail("the response has a transfer coding other than chunked")
        self._status = status
        events = self._events and self._events.begin(status, self._headers)
        self._body = Body(self._limit, self._headers.get("content-encoding"), events)

    def on_body(self, data: bytes) -> None:
        """Add a part of the body, up to the limit."""
        self._progress = True
        if self._body is not None and not self.over and not self._body.feed(data):
            self.over = True

    def on_message_complete(self) -> None:
        if self._body is not None and not self._complete:
            self._complete = True
            self.reusable = not self.over and self._parser.should_keep_alive()
            self.over = True
