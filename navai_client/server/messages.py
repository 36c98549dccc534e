"""What goes into the server's core and what comes out of it: one request, one answer, no framework."""

from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

__all__ = ["Answer", "BackendRequest", "error_answer", "json_answer"]

Header = tuple[bytes, bytes]

JSON_HEADER: Final[Header] = (b"content-type", b"application/json; charset=utf-8")


@attrs.frozen
class BackendRequest:
    """A request as far as the core sees it before its body.

    Attributes:
        method: The HTTP method, in capitals.
        path: The path below the mount point, percent-decoded, without the query.
        raw_headers: Names in lower case; of a name that came twice the last one.
        request_id: What this request is called in the log and in its answer.
    """

    method: str
    path: str
    raw_headers: Mapping[bytes, bytes] = attrs.field(repr=False)
    request_id: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers as text, names in lower case."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers.items()}


@attrs.frozen
class Answer:
    """What is sent back; *function* is the called function's name, for the access log."""

    status: int
    body: bytes = attrs.field(default=b"", repr=False)
    headers: tuple[Header, ...] = (JSON_HEADER,)
    function: str | None = None


def json_answer(status: int, value: object, *headers: Header) -> Answer:
    """Answer with *value* as JSON."""
    return Answer(status, msgspec.json.encode(value), (JSON_HEADER, *headers))


def error_answer(status: int, message: str, *headers: Header) -> Answer:
    """Answer with an error in the form that all Navai backends share: ``{"error": message}``."""
    return json_answer(status, {"error": message}, *headers)
