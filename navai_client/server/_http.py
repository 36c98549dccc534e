"""A request and a response as the routes see them, and the JSON bodies of requests.

Both values are structs of msgspec: one of each is made for every request, at a quarter of the cost of attrs.
No repr shows headers or bodies.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from navai_client.functions._binding import Payload
from navai_client.functions._context import Principal
from navai_client.wire._decode import parse_finite, refuse_constant

Header = tuple[bytes, bytes]

IDEMPOTENCY_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")  # 255: the limit of Stripe's API, the precedent
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST"})  # that a backend knows
JSON_HEADER: Final[Header] = (b"content-type", b"application/json; charset=utf-8")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_decode = msgspec.json.Decoder().decode


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    function_name: Any = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


_decode_call: Final = msgspec.json.Decoder(_Call).decode


class BackendRequest(msgspec.Struct):
    """A request without its body.

    Attributes:
        method: The HTTP method, in capitals.
        path: The path below the mount point, percent-decoded, without the query.
        raw_headers: Names in lower case. Of a repeated header, only the last value is kept.
        request_id: The id of this request in the log and in its response.
        scope: Its ASGI scope, with what a host application has put there; empty without a server.
        principal: Who it is made for; None where nobody has to say, and before it is known.
        events: Where a function's progress goes, if its caller accepts a stream of events.
    """

    method: str
    path: str
    raw_headers: Mapping[bytes, bytes]
    request_id: str = ""
    scope: Mapping[str, Any] = {}
    principal: Principal | None = None
    events: Any = None  # its Events; their module imports this one

    def __reduce__(self) -> tuple[Any, ...]:
        """Make a copy for another process, without the scope, which may hold what only this one can use."""
        fields: tuple[Any, ...] = (
            self.method,
            self.path,
            dict(self.raw_headers),
            self.request_id,
            {},
            self.principal,
        )
        return BackendRequest, fields

    def __repr__(self) -> str:
        return f"BackendRequest({self.method!r}, {self.path!r}, request_id={self.request_id!r})"

    @property
    def headers(self) -> dict[str, str]:
        """The headers as text, names in lower case."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers.items()}


class BackendResponse(msgspec.Struct, frozen=True):
    """A response; *function* is the name of the function that was called, for the access log."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = (JSON_HEADER,)
    function: str | None = None

    def __repr__(self) -> str:
        return f"BackendResponse({self.status}, {len(self.body)} bytes, function={self.function!r})"


def json_response(status: int, value: object, *headers: Header) -> BackendResponse:
    return BackendResponse(status, msgspec.json.encode(value), (JSON_HEADER, *headers))


def error_response(status: int, message: str, *headers: Header) -> BackendResponse:
    """Return an error in the form that all Navai backends share: ``{"error": message}``."""
    return json_response(status, {"error": message}, *headers)


def etag_of(body: bytes) -> Header:
    return b"etag", b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()


def not_modified(response: BackendResponse, request: BackendRequest) -> BackendResponse:
    """Return *response*, or 304 if the client has it already by its ETag (RFC 9110, section 13.1.2)."""
    known = request.raw_headers.get(b"if-none-match")
    if known is None:
        return response
    etag = next(value for name, value in response.headers if name == b"etag")
    tags = {tag.strip().removeprefix(b"W/") for tag in known.split(b",")}
    if etag not in tags and b"*" not in tags:
        return response
    headers = tuple(header for header in response.headers if header[0] != b"content-type")
    return BackendResponse(304, headers=headers)


class BodyError(Exception):
    """A request body that is not a JSON object; the message says why."""


def decode_record(body: bytes) -> dict[str, Any]:
    """Decode *body*, which must be a JSON object or empty. Of a repeated member, the last value is kept.

    Raises:
        BodyError: It is not a JSON object.
    """
    if not body:
        return {}
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        value = _decode_leniently(body)
    except RecursionError:
        raise BodyError("Request body is nested too deeply.") from None
    if not isinstance(value, dict):
        raise BodyError("Request body must be a JSON object.")
    return value


def decode_call(body: bytes) -> tuple[Any, Payload]:
    """Decode the *body* of a call: the function's name and the payload.

    Raises:
        BodyError: It is not a JSON object.
    """
    try:
        call = _decode_call(body)
        return call.function_name, Payload(_decode(call.payload), bytes(call.payload))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # It has other fields, or what msgspec does not read: lone surrogates, or what is not JSON.
        record = decode_record(body)
        return record.get("function_name"), Payload(record.get("payload"))


def _decode_leniently(body: bytes) -> Any:
    """Decode JSON that msgspec refuses and JavaScript produces: a byte order mark, and lone surrogates."""
    try:
        text = body.removeprefix(_BYTE_ORDER_MARK).decode()
        return json.loads(text, parse_constant=refuse_constant, parse_float=parse_finite)
    except RecursionError:
        raise BodyError("Request body is nested too deeply.") from None
    except ValueError:
        raise BodyError("Request body is not valid JSON.") from None
