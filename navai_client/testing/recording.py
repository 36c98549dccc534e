"""What a backend under test was asked: requests as they arrived, and the calls that they make up."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from navai_client.server.bodies import BodyError, decode_record
from navai_client.server.settings import ServerSettings
from navai_client.testing.display import shown
from navai_client.wire.text import trim

__all__ = ["OPERATIONS", "Headers", "Journal", "RecordedCall", "RecordedRequest"]

OPERATIONS: Final = ("create_client_secret", "list_functions", "execute_function", "synthesize_speech")

_PLAIN_HEADERS: Final = frozenset({"accept", "accept-encoding", "content-length", "content-type", "host"})


class Headers(Mapping[str, str]):
    """The headers of a request, by name in any case. What could be secret is shown by no repr.

    Attributes:
        raw: Names in lower case and values, as they came.
    """

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self.raw = raw
        self._values = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw.items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = {name: value if name in _PLAIN_HEADERS else "***" for name, value in self._values.items()}
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
            a path of another kind.
        function_name: The function that shall be executed, as the backend looks it up, or None.
        payload: What the function shall be given.
        status: The status that was answered, or None when no answer was.
        outcome: What came of it, in words.
    """

    method: str
    path: str
    headers: Headers
    content: bytes = field(repr=False)
    operation: str | None = None
    function_name: str | None = None
    payload: Any = field(default=None, repr=shown)
    status: int | None = None
    outcome: str = "no answer"

    @classmethod
    def received(
        cls, settings: ServerSettings, method: str, path: str, headers: Mapping[bytes, bytes], content: bytes
    ) -> "RecordedRequest":
        """Read what a request is about, as a backend with *settings* would."""
        paths = {
            settings.client_secret_path: "create_client_secret",
            settings.functions_list_path: "list_functions",
            settings.functions_execute_path: "execute_function",
            settings.speech_synthesize_path: "synthesize_speech",
        }
        request = cls(method, path, Headers(headers), content, paths.get(path))
        if request.operation == "execute_function":
            record = request.json()
            name = record.get("function_name")
            request.function_name = trim(name).lower() if isinstance(name, str) else None
            request.payload = record.get("payload")
        return request

    def json(self) -> dict[str, Any]:
        """Return the body as the JSON object that it is; a body that is none gives an empty one."""
        try:
            return decode_record(self.content)
        except BodyError:
            return {}

    def summary(self) -> str:
        """Return the request and what came of it, in one line without secrets."""
        what = self.operation or f"{self.method} {self.path}"
        if self.function_name is not None:
            what = f"{self.function_name}({shown(self.payload)})"
        return f"{what} -> {self.outcome}"


@frozen(eq=False)
class RecordedCall:
    """One call of a function: one request, or several attempts that share an ``Idempotency-Key``.

    Attributes:
        function_name: The function, as the backend looks it up.
        payload: What it was given.
        requests: The attempts that arrived, in order.
    """

    function_name: str
    payload: Any = field(repr=shown)
    requests: tuple[RecordedRequest, ...] = field(repr=False)

    @property
    def outcome(self) -> str:
        """What came of each attempt, in words."""
        return ", then ".join(request.outcome for request in self.requests)


class Journal:
    """The requests that arrived, in order, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []

    def write(self, request: RecordedRequest) -> None:
        """Note *request*."""
        with self._lock:
            self._requests.append(request)

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far."""
        with self._lock:
            return list(self._requests)

    @property
    def calls(self) -> list[RecordedCall]:
        """Every call so far, in the order of their first attempts."""
        attempts: dict[object, list[RecordedRequest]] = {}
        for request in self.requests:
            if request.function_name is not None:
                key = request.headers.get("idempotency-key")
                same = request if key is None else (key, request.content)
                attempts.setdefault(same, []).append(request)
        return [
            RecordedCall(each[0].function_name or "", each[0].payload, tuple(each))
            for each in attempts.values()
        ]
