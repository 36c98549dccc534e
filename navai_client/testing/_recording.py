"""The record of a test backend: requests as they arrived, and the calls that they belong to."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from navai_client._redaction import Redactor
from navai_client.errors import Headers as ResponseHeaders
from navai_client.server._http import BodyError, decode_record
from navai_client.server._settings import ServerSettings
from navai_client.wire._decode import trim
from navai_client.wire._operations import EXECUTE_FUNCTION, WITH_EXTENSIONS

_PLAIN_HEADERS: Final = frozenset({"accept", "accept-encoding", "content-length", "content-type", "host"})
_LONGEST_SHOWN: Final = 300  # characters
_DEEPEST_SHOWN: Final = 20  # levels
_REDACTOR: Final = Redactor()


def shown(value: Any) -> str:
    """Return the JSON *value* for a message: in one line, cut if it is long or deep, secrets masked."""
    written = json.dumps(_shallow(value, _DEEPEST_SHOWN), ensure_ascii=False, default=repr)
    text = _REDACTOR.content(written.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    if len(text) <= _LONGEST_SHOWN:
        return text
    return f"{text[:_LONGEST_SHOWN]}... ({len(text)} characters)"


def _shallow(value: Any, levels: int) -> Any:
    if isinstance(value, dict | list | tuple) and levels == 0:
        return "..."
    if isinstance(value, dict):
        return {str(key): _shallow(child, levels - 1) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_shallow(child, levels - 1) for child in value]
    return value


class Headers(ResponseHeaders):
    """The headers of a request, by name in any case. A repr masks all values that could be secret.

    Attributes:
        raw: Names in lower case and values, as bytes.
    """

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        super().__init__({name.decode("latin-1"): value.decode("latin-1") for name, value in raw.items()})
        self.raw = raw

    def __repr__(self) -> str:
        shown = {name: value if name in _PLAIN_HEADERS else "***" for name, value in self.items()}
        return f"<Headers {shown}>"


@define(eq=False)
class RecordedRequest:
    """One request that reached the backend.

    Attributes:
        method: The HTTP method.
        path: The path, percent-decoded, without the query.
        headers: The headers, by name in any case.
        content: The body.
        operation: The client's method that sends such a request, such as ``"execute_function"``, or None for
            other paths.
        function_name: The name of the function to execute, as the backend looks it up, or None.
        payload: The function's payload.
        status: The status of the response, or None without a response.
        outcome: The outcome, in words.
    """

    method: str
    path: str
    headers: Headers
    content: bytes = field(repr=False)
    operation: str | None = None
    function_name: str | None = None
    payload: Any = field(default=None, repr=shown)
    status: int | None = None
    outcome: str = "no response"

    def json(self) -> dict[str, Any]:
        """Return the body if it is a JSON object, else an empty one."""
        try:
            return decode_record(self.content)
        except BodyError:
            return {}

    def summary(self) -> str:
        """Return the request and its outcome, in one line without secrets."""
        what = self.operation or f"{self.method} {self.path}"
        if self.function_name is not None:
            what = f"{self.function_name}({shown(self.payload)})"
        return f"{what} -> {self.outcome}"


@frozen(eq=False)
class RecordedCall:
    """One call of a function: one request, or several attempts that share an ``Idempotency-Key``.

    Attributes:
        function_name: The function, as the backend looks it up.
        payload: The payload.
        requests: The attempts that arrived, in order.
    """

    function_name: str
    payload: Any = field(repr=shown)
    requests: tuple[RecordedRequest, ...] = field(repr=False)

    @property
    def outcome(self) -> str:
        """The outcome of each attempt, in words."""
        return ", then ".join(request.outcome for request in self.requests)


def lookup_name(name: str) -> str:
    """Return the function name *name* as the backend looks it up."""
    return trim(name).lower()


def read_request(
    settings: ServerSettings, method: str, path: str, headers: Mapping[bytes, bytes], content: bytes
) -> RecordedRequest:
    """Return the record of a request, read as a backend with *settings* reads it."""
    operation = next((each.name for each in WITH_EXTENSIONS if settings.path_of(each) == path), None)
    request = RecordedRequest(method, path, Headers(headers), content, operation)
    if operation == EXECUTE_FUNCTION.name:
        record = request.json()
        name = record.get("function_name")
        request.function_name = lookup_name(name) if isinstance(name, str) else None
        request.payload = record.get("payload")
    return request


def calls_of(requests: Iterable[RecordedRequest]) -> list[RecordedCall]:
    """Return the calls that *requests* belong to, in the order of their first attempts."""
    attempts: dict[object, list[RecordedRequest]] = {}
    for request in requests:
        if request.function_name is not None:
            key = request.headers.get("idempotency-key")
            same = request if key is None else (key, request.content)
            attempts.setdefault(same, []).append(request)
    return [
        RecordedCall(each[0].function_name or "", each[0].payload, tuple(each)) for each in attempts.values()
    ]
