"""A response body on its way in: decompressed and counted as it comes. No I/O."""

import zlib
from collections.abc import Mapping
from typing import Final

from navai_client.wire._values import Response, TransportFailure

__all__ = ["ACCEPT_ENCODING", "Body", "outcome"]

ACCEPT_ENCODING: Final = "gzip, deflate"

_GZIP: Final = 31  # what zlib calls "window bits"
_ZLIB: Final = 15
_RAW: Final = -15


class Body:
    """Collects a body of at most *limit* decompressed bytes, without ever holding more.

    Args:
        limit: Bytes to keep at most.
        encoding: The ``Content-Encoding``; one that is not known is passed through as it is.

    Attributes:
        truncated: Whether there was more than *limit*.
        broken: Whether the compression made no sense at some point.
    """

    def __init__(self, limit: int, encoding: str | None) -> None:
        self._left = limit
        self._chunks: list[bytes] = []
        self._encoding = (encoding or "").strip().lower()
        self._compressed = self._encoding in {"gzip", "x-gzip", "deflate"}
        self._start = b""
        self._decompressor: zlib._Decompress | None = None
        self.broken = False
        self.truncated = False

    def feed(self, chunk: bytes) -> bool:
        """Take *chunk*; return whether more is wanted. Damaged compression ends the body where it is."""
        if self._compressed:
            try:
                chunk = self._decompress(chunk)
            except zlib.error:
                self.broken = True
                return False
        if len(chunk) > self._left:
            self.truncated = True
            chunk = chunk[: self._left]
        self._left -= len(chunk)
        if chunk:
            self._chunks.append(chunk)
        return not self.truncated

    def damaged(self) -> bool:
        """Return whether a compressed body was not one, or ended too early."""
        if self.broken:
            return True
        if self._decompressor is None:
            return bool(self._start)
        return not self.truncated and not self._decompressor.eof

    def content(self) -> bytes:
        """Return what was kept."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _decompress(self, chunk: bytes) -> bytes:
        parts = []
        room = self._left + 1
        while chunk and room > 0:
            if self._decompressor is not None and self._decompressor.eof:
                # gzip may go on with another member (RFC 1952), or with zeros, which Node.js passes over too
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
        # Some servers send deflate without the zlib header that RFC 9110 asks for, and browsers take it.
        is_zlib = start[0] & 0x0F == 8 and int.from_bytes(start[:2]) % 31 == 0  # noqa: PLR2004 - RFC 1950
        return _ZLIB if is_zlib else _RAW


def outcome(status: int, headers: Mapping[str, str], body: Body) -> Response | TransportFailure:
    """Return the response that *body* belongs to, or why it is none."""
    if 200 <= status <= 299 and body.damaged():  # noqa: PLR2004 - what HTTP calls success
        return TransportFailure("the answer is compressed, and damaged or cut short")
    text = b"" if body.broken else body.content()  # an error keeps its status, and the text that can be read
    return Response(status, headers, text, body.truncated)
