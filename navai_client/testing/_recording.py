"""What a backend under test was asked: requests as they arrived, and the calls that they make up."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from navai_client.server._http import BodyError, decode_record
from navai_client.testing._display import shown

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
