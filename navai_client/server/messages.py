"""What goes into the server's core and what comes out of it: one request, one answer, no framework.

Both are structs of msgspec, because one of each is made for every request, at a quarter of what attrs takes.
No repr shows headers or bodies.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["Answer", "BackendRequest", "error_answer", "json_answer"]

Header = tuple[bytes, bytes]

JSON_HEADER: Final[Header] = (b"content-type", b"application/json; charset=utf-8")


class BackendRequest(msgspec.Struct, frozen=True):
    """A request as far as the core sees it before its body.

    Attributes:
        method: The HTTP method, in capitals.
        path: The path below the mount point, percent-decoded, without the query.
        raw_headers: Names in lower case; of a name that came twice the last one.
        request_id: What this request is called in the log and in its answer.
    """

    method: str
    path: str
    raw_headers: Mapping[bytes, bytes]
    request_id: str = ""

    def __repr__(self) -> str:
        return f"BackendRequest({self.method!r}, {self.path!r}, request_id={self.request_id!r})"

    @property
    def headers(self) -> dict[str, str]:
        """The headers as text, names in lower case."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers.items()}


class Answer(msgspec.Struct, frozen=True):
    """What is sent back; *function* is the called function's name, for the access log."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = (JSON_HEADER,)
    function: str | None = None

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes, function={self.function!r})"


def json_answer(status: int, value: object, *headers: Header) -> Answer:
    """Answer with *value* as JSON."""
    return Answer(status, msgspec.json.encode(value), (JSON_HEADER, *headers))


def error_answer(status: int, message: str, *headers: Header) -> Answer:
    """Answer with an error in the form that all Navai backends share: ``{"error": message}``."""
    return json_answer(status, {"error": message}, *headers)
