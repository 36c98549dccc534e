"""The body of a response while it arrives: decompressed, and limited in size. No I/O."""

import zlib
from collections.abc import Mapping
from typing import Final

from navai_client.wire._events import EventStream
from navai_client.wire._values import Response, TransportFailure

ACCEPT_ENCODING: Final = "gzip, deflate"

_GZIP: Final = 31  # what zlib calls "window bits"
_ZLIB: Final = 15
_RAW: Final = -15


class Body:
    """Collects a body of at most *limit* decompressed bytes, and never holds more.

    Args:
        limit: Bytes to keep at most.
        encoding: The ``Content-Encoding``. A body in an unknown one is kept as it is.
        events: What reads the body instead, if it is a stream of events: it may be of any length.

    Attributes:
        truncated: Whether the body is larger than *limit*.
        broken: Whether the compressed data are damaged.
    """

    def __init__(self, limit: int, encoding: str | None, events: EventStream | None = None) -> None:
        self.events = events
        self._room = limit
        self._chunks: list[bytes] = []
        self._encoding = (encoding or "").strip().lower()
        self._compressed = self._encoding in {"gzip", "x-gzip", "deflate"}
        self._start = b""
        self._decompressor: zlib._Decompress | None = None
        self.broken = False
        self.truncated = False

    def feed(self, chunk: bytes) -> bool:
        """Add *chunk*; return whether more is wanted. Damaged compressed data end the body."""
        if self._compressed:
            try:
                chunk = self._decompress(chunk)
            except zlib.error:
                self.broken = True
                return False
        if self.events is not None:
            return self.events.feed(chunk)
        if len(chunk) > self._room:
            self.truncated = True
            chunk = chunk[: self._room]
        self._room -= len(chunk)
        if chunk:
            self._chunks.append(chunk)
        return not self.truncated

    def damaged(self) -> bool:
        """Return whether a compressed body is damaged, or ended too early."""
        if self.broken:
            return True
        if self._decompressor is None:
            return bool(self._start)
        return not self.truncated and not self._decompressor.eof

    def content(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _decompress(self, chunk: bytes) -> bytes:
        parts = []
        room = self._room + 1
        while chunk and room > 0:
            if self._decompressor is not None and self._decompressor.eof:
                # In gzip another member may follow (RFC 1952, section 2.2), or zeros, which Node.js skips.
                chunk = b"" if self._encoding == "deflate" else chunk.lstrip(b"\0")
                if not chunk:
                    break
                self._decompressor = None
            if self._decompressor is None:
                self._start += chunk
                if len(self._start) < 2:  # noqa: PLR2004 - the length of both headers
                    break
                chunk, self._start = self._start, b""
                self._decompressor = zlib.decompressobj(self._window_bits(chunk))
            parts.append(self._decompressor.decompress(chunk, room))
            room -= len(parts[-1])
            chunk = self._decompressor.unused_data
        return b"".join(parts)

    def _window_bits(self, start: bytes) -> int:
        if self._encoding != "deflate":
            return _GZIP
        # Some servers send deflate without the zlib header of RFC 9110, section 8.4.1.2; browsers accept it.
        is_zlib = start[0] & 0x0F == 8 and int.from_bytes(start[:2]) % 31 == 0  # noqa: PLR2004 - RFC 1950
        return _ZLIB if is_zlib else _RAW


def outcome(status: int, headers: Mapping[str, str], body: Body) -> Response | TransportFailure:
    """Return the response with *body*, or why it cannot be used."""
    if body.events is not None:
        return body.events.outcome(Response(status, headers, b""))
    if 200 <= status <= 299 and body.damaged():  # noqa: PLR2004 - what HTTP calls success
        return TransportFailure("the response is compressed, and damaged or cut short")
    text = b"" if body.broken else body.content()  # an error keeps its status
    return Response(status, headers, text, body.truncated)
