"""A response body on its way in: decompressed and counted as it comes. No I/O."""

import zlib
from typing import Final

__all__ = ["ACCEPT_ENCODING", "Body"]

ACCEPT_ENCODING: Final = "gzip, deflate"

_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 47}  # 31: gzip; 47: gzip or zlib, by its header


class Body:
    """Collects a body of at most *limit* decompressed bytes, without ever holding more.

    Args:
        limit: Bytes to keep at most.
        encoding: The ``Content-Encoding``; one that is not known is passed through as it is.
    """

    def __init__(self, limit: int, encoding: str | None) -> None:
        self._left = limit
        self._chunks: list[bytes] = []
        window_bits = _WINDOW_BITS.get((encoding or "").strip().lower())
        self._decompressor = None if window_bits is None else zlib.decompressobj(window_bits)
        self.truncated = False

    def feed(self, chunk: bytes) -> bool:
        """Take *chunk*; return whether more is wanted. Damaged compression ends the body where it is."""
        if self._decompressor is not None:
            try:
                chunk = self._decompressor.decompress(chunk, self._left + 1)
            except zlib.error:
                return False
        if len(chunk) > self._left:
            self.truncated = True
            chunk = chunk[: self._left]
        self._left -= len(chunk)
        if chunk:
            self._chunks.append(chunk)
        return not self.truncated

    def content(self) -> bytes:
        """Return what was kept."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
