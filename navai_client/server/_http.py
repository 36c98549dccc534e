"""What goes into the server's core and what comes out of it: one request, one answer, no framework.

Both are structs of msgspec, because one of each is made for every request, at a quarter of what attrs takes.
No repr shows headers or bodies.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import msgspec

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


class BackendResponse(msgspec.Struct, frozen=True):
    """What is sent back; *function* is the called function's name, for the access log."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = (JSON_HEADER,)
    function: str | None = None

    def __repr__(self) -> str:
        return f"BackendResponse({self.status}, {len(self.body)} bytes, function={self.function!r})"


def json_response(status: int, value: object, *headers: Header) -> BackendResponse:
    """Answer with *value* as JSON."""
    return BackendResponse(status, msgspec.json.encode(value), (JSON_HEADER, *headers))


def error_response(status: int, message: str, *headers: Header) -> BackendResponse:
    """Answer with an error in the form that all Navai backends share: ``{"error": message}``."""
    return json_response(status, {"error": message}, *headers)


_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_NOT_JSON: Final = "Request body is not valid JSON."

_decode = msgspec.json.Decoder().decode


class BodyError(Exception):
    """A body that is not JSON, or not an object; the message says which."""


def decode_record(body: bytes) -> dict[str, Any]:
    """Decode *body*, which must be a JSON object; of a key that comes twice the last one counts.

    Raises:
        BodyError: It is not.
    """
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        value = _decode_slowly(body)
    except RecursionError:
        raise BodyError("Request body is nested too deeply.") from None
    if not isinstance(value, dict):
        raise BodyError("Request body must be a JSON object.")
    return value


def _decode_slowly(body: bytes) -> Any:
    """Decode what msgspec does not: a byte order mark and lone surrogates, which JavaScript writes."""
    try:
        text = body.removeprefix(_BYTE_ORDER_MARK).decode()
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise BodyError("Request body is nested too deeply.") from None
    except ValueError:
        raise BodyError(_NOT_JSON) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
