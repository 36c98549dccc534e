r"""Where an HTTP/1.1 response ends in the bytes of a connection (RFC 9112, sections 2 and 6). No I/O.

HTTP libraries keep what arrives after a response for the next one on that connection. A peer that sends two
answers in one packet would so answer the next call with the wrong one, and a call's result must never be
another's. Whoever reads from a socket asks ``Framing`` how much of it belongs to the response.
"""

import re
from typing import Final

__all__ = ["Framing"]

_HEAD_LIMIT: Final = 256 * 1024  # more than any HTTP library takes; it will refuse the response itself
_STATUS: Final = re.compile(rb"HTTP/\d\.\d (\d{3})")
_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*(\d{1,20})(?!\d)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\ntransfer-encoding:[ \t]*chunked[ \t]*\r?\n", re.IGNORECASE)
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,20})[ \t]*(?:;.*)?")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")


class Framing:
    """Follows one response from its first byte."""

    def __init__(self) -> None:
        self._buffer = b""
        self._state = "head"
        self._left = 0
        self.complete = False

    def feed(self, data: bytes) -> int:
        """Return how many bytes of *data* belong to the response."""
        position = 0
        while position < len(data) and not self.complete:
            position = getattr(self, f"_{self._state}")(data, position)
        return position

    def _head(self, data: bytes, position: int) -> int:
        known = len(self._buffer)
        self._buffer += data[position:]
        end = _END_OF_HEAD.search(self._buffer, max(0, known - 3))
        if end is None:
            if len(self._buffer) > _HEAD_LIMIT:
                self._until_close()
            return len(data)
        head, self._buffer = self._buffer[: end.end()], b""
        status = _STATUS.match(head.lstrip(b"\r\n"))
        if not head.strip(b"\r\n") or (status is not None and status[1].startswith(b"1")):
            pass  # blank lines or an interim response: the head is still to come
        elif status is None:
            self._until_close()
        elif status[1] in {b"204", b"304"}:
            self.complete = True
        elif _CHUNKED.search(head):
            self._state = "chunk_line"
        elif length := _LENGTH.search(head):
            self._left = int(length[1])
            self._state = "body"
            self.complete = self._left == 0
        else:
            self._until_close()
        return position + end.end() - known

    def _until_close(self) -> None:
        """Everything that follows belongs to it: so say the rules, or it is not HTTP/1.1 at all."""
        self._state = "rest"
        self._buffer = b""

    def _rest(self, data: bytes, _position: int) -> int:
        return len(data)

    def _body(self, data: bytes, position: int) -> int:
        taken = min(self._left, len(data) - position)
        self._left -= taken
        self.complete = self._left == 0
        return position + taken

    def _line(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """Return the line that ends in *data*, if one does, and the position after what was read."""
        end = data.find(b"\n", position)
        if end < 0:
            self._buffer += data[position:]
            if len(self._buffer) > _HEAD_LIMIT:
                self._until_close()
            return None, len(data)
        line, self._buffer = self._buffer + data[position:end], b""
        return line.rstrip(b"\r"), end + 1

    def _chunk_line(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position)
        if line is not None:
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                self._until_close()
            else:
                self._left = int(size[1], 16)
                self._state = "chunk" if self._left else "trailer"
        return position

    def _chunk(self, data: bytes, position: int) -> int:
        taken = min(self._left, len(data) - position)
        self._left -= taken
        if self._left == 0:
            self._state = "chunk_end"
        return position + taken

    def _chunk_end(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position)
        if line is not None:
            self._state = "chunk_line"
        return position

    def _trailer(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position)
        self.complete = line == b""
        return position
