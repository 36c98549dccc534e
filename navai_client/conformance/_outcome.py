"""The outcome of a probe: the response as rules read it, and as a person may see it. No I/O."""

import functools
import json
import re
from collections.abc import Iterable
from typing import Any, Final, final

from navai_client._redaction import Redactor
from navai_client.wire._decode import parse_long_int, refuse_constant
from navai_client.wire._values import Response, TransportFailure

NOT_JSON: Final = object()  # what a body that is not JSON parses to

_NO_RESPONSE: Final = Response(0, {}, b"")
_EXCERPT: Final = 300  # characters of a body that a person gets to see
_MEMBERS: Final = 12  # of an object that may hold a secret
_SUCCESS: Final = range(200, 300)
_SECRET_LENGTHS: Final = range(8, 512)  # shorter strings are words, such as openai
_MOST_SECRETS: Final = 2  # of one response: a peer must not cause minutes of searching for more


def shown(text: str, secrets: Iterable[str] = ()) -> str:
    """Return *text* for display: on one line, shortened, secrets masked, control characters escaped."""
    line = " ".join(text.split())
    excerpt = Redactor(secrets).text(line, _EXCERPT) + ("..." if len(line) > _EXCERPT else "")
    return "".join(each if each.isprintable() else _escape(each) for each in excerpt)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


@final
class Outcome:
    """The outcome of one probe.

    Args:
        outcome: The response or the failure.
        seconds: How long it took.
        private: Whether the body may hold a secret, so that only its shape is shown.

    Attributes:
        failure: Why there is no response, or None.
        timed_out: Whether there is no response because the time ran out.
        status: The HTTP status; 0 without a response.
        content: The body.
    """

    def __init__(
        self, outcome: Response | TransportFailure, *, seconds: float = 0.0, private: bool = False
    ) -> None:
        self._private = private
        self.seconds = seconds
        self.failure: str | None = None
        self.timed_out = False
        if isinstance(outcome, TransportFailure):
            self.failure = outcome.message or "no reason was given"
            self.timed_out = outcome.timed_out
            outcome = _NO_RESPONSE
        self._response = outcome
        self.status: int = outcome.status
        self.content: bytes = outcome.content

    @property
    def success(self) -> bool:
        return self.status in _SUCCESS

    @functools.cached_property
    def text(self) -> str:
        """The body, read as the clients do: UTF-8, bad bytes replaced, a byte order mark dropped."""
        return self.content.decode("utf-8-sig", "replace")

    @functools.cached_property
    def json(self) -> Any:
        """The body as strict JSON, or ``NOT_JSON``."""
        if self._response.truncated:
            return NOT_JSON
        try:
            return json.loads(self.text, parse_constant=refuse_constant, parse_int=parse_long_int)
        except (ValueError, RecursionError):
            return NOT_JSON

    @property
    def record(self) -> dict[str, Any]:
        """The body if it is a JSON object, else an empty one."""
        return self.json if isinstance(self.json, dict) else {}

    def header(self, name: str) -> str:
        """Return the header *name*, empty when there is none."""
        return self._response.headers.get(name.lower(), "").strip()

    def items(self) -> list[Any]:
        items = self.record.get("items")
        return items if isinstance(items, list) else []

    def functions(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the items that are objects, each with its index."""
        return [(index, item) for index, item in enumerate(self.items()) if isinstance(item, dict)]

    def function_names(self) -> list[str]:
        return [item["name"] for _, item in self.functions() if isinstance(item.get("name"), str)]

    def secrets(self) -> tuple[str, ...]:
        """Return the strings of a private response that must not be shown: the longest ones, at any depth."""
        if not self._private or not self.success or self.json is NOT_JSON:
            return ()
        found, unread = set(), [self.json]
        while unread:
            each = unread.pop()
            if isinstance(each, dict):
                unread += each.values()
            elif isinstance(each, list):
                unread += each
            elif isinstance(each, str) and len(each) in _SECRET_LENGTHS:
                found.add(each)
        return tuple(sorted(found, key=len, reverse=True)[:_MOST_SECRETS])

    def summary(self) -> str:
        """Return what came, for a person."""
        if self.failure is not None:
            return f"no response: {self.failure}"
        parts = [f"HTTP {self.status}"]
        if location := self.header("location"):
            parts.append(f"to {re.split('[?#]', location)[0]}")
        if self._private and self.success:
            return f"{' '.join(parts)}: {self._shape()}"
        if media_type := self.header("content-type"):
            parts.append(f"({media_type})")
        if self._response.truncated:
            parts.append(f"with more than {len(self.content):,} bytes")
        return f"{' '.join(parts)}: {self.text or '(empty)'}"

    def _shape(self) -> str:
        if not isinstance(self.json, dict):
            return f"a body of {len(self.content)} bytes, not shown because it may hold a secret"
        members = [f"{json.dumps(key)}: {kind_of(each)}" for key, each in self.json.items()]
        return "{" + ", ".join(members[:_MEMBERS]) + (", ..." if len(members) > _MEMBERS else "") + "}"


def kind_of(value: Any) -> str:
    """Return the kind of the JSON *value*, without the content of strings, arrays and objects."""
    if isinstance(value, str):
        return f"a string of {len(value)} characters" if value else '""'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return json.dumps(value)
