"""The events of an execution, as they arrive: the function's messages of progress, then the response.

They are server-sent events, read as section 9.2.6 of the WHATWG's HTML standard says. Pure: a transport feeds
what it receives.
"""

import contextlib
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from navai_client.errors import NavaiPayloadError
from navai_client.wire._decode import json_of, trim
from navai_client.wire._encode import encode_json
from navai_client.wire._values import Response, TransportFailure

ACCEPT: Final = ("Accept", "text/event-stream, application/json")

_LINE_END: Final = re.compile(rb"\r\n?|\n")
_BYTE_ORDER_MARK: Final = "\ufeff".encode()
_ENVELOPE: Final = 1024  # bytes of an event around the body in it
_MOST_WAITING: Final = 16  # messages; a caller who missed that many needs the latest
_LONGEST_MESSAGE: Final = 1000  # characters; people hear it, and the bundled server sends no more
_STATUSES: Final = range(200, 600)
_NOT_OF_THE_STREAM: Final = {"content-type", "content-length", "transfer-encoding"}


class EventStream:
    """Reads the response to one attempt, if it is a stream of events.

    Args:
        limit: Bytes of the body of a response that are kept.
        redact: Returns a text without the client's secrets, cut to a number of characters.
    """

    def __init__(self, limit: int, redact: Callable[[str, int], str]) -> None:
        self._limit = limit
        self._redact = redact
        self._head: tuple[int, Mapping[str, str]] | None = None
        self._messages: deque[str] = deque(maxlen=_MOST_WAITING)
        self._response: Response | None = None
        self._is_first_line = True
        self._skips_line_feed = False
        self._line = bytearray()
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0  # bytes of the data
        self._is_too_large = False

    def begin(self, status: int, headers: Mapping[str, str]) -> Self | None:
        """Return itself if a response with this *status* and these *headers* is a stream of events."""
        media_type = trim(headers.get("content-type", "").partition(";")[0]).lower()
        if media_type != "text/event-stream" or not 200 <= status <= 299:  # noqa: PLR2004 - success
            return None
        self._head = status, headers
        return self

    def feed(self, chunk: bytes) -> bool:
        """Read *chunk*. Return whether to go on: an event that is too large ends the stream."""
        start = 0
        if self._skips_line_feed and chunk:
            start = int(chunk.startswith(b"\n"))  # the second half of a CRLF
            self._skips_line_feed = False
        for end in _LINE_END.finditer(chunk, start):
            self._line += chunk[start : end.start()]
            self._read_line(bytes(self._line))
            self._line.clear()
            start = end.end()
            self._skips_line_feed = start == len(chunk) and chunk.endswith(b"\r")
        self._line += chunk[start:]
        self._is_too_large |= len(self._line) + self._size > self._limit + _ENVELOPE
        return not self._is_too_large

    def take(self) -> list[str]:
        """Return the latest of the messages that have not been taken yet."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def outcome(self, outcome: Response | TransportFailure) -> Response | TransportFailure:
        """Return the response that the events brought, if *outcome* is their stream or how it broke off."""
        if self._head is None:
            if isinstance(outcome, TransportFailure) or self.begin(outcome.status, outcome.headers) is None:
                return outcome
            self._is_too_large = not self.feed(outcome.content) or outcome.truncated  # it came as a whole
        if self._response is not None:
            return self._response
        if isinstance(outcome, TransportFailure):
            return outcome
        if self._is_too_large:
            start = b"\n".join([*self._data, bytes(self._line)])
            status, headers = self._begun()
            return Response(status, headers, start[: self._limit], truncated=True)
        return TransportFailure("the stream of events ended without the response")

    def _begun(self) -> tuple[int, Mapping[str, str]]:
        assert self._head is not None  # noqa: S101 - for type checkers: nothing is fed before
        return self._head

    def _read_line(self, line: bytes) -> None:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            self._dispatch(self._event, b"\n".join(self._data))
            self._event, self._size = "", 0
            self._data.clear()
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            self._is_too_large |= self._size > self._limit + _ENVELOPE

    def _dispatch(self, event: str, data: bytes) -> None:
        if event not in {"progress", "response"} or self._response is not None or self._is_too_large:
            return
        said = Response(200, {}, data)
        content = json_of(said)
        if event == "response":
            self._response = self._read_response(content, said)
        elif isinstance(content, dict) and isinstance(message := content.get("message"), str):
            self._messages.append(self._redact(message, _LONGEST_MESSAGE))

    def _read_response(self, event: Any, said: Response) -> Response:
        status, stream_headers = self._begun()
        headers = {name: value for name, value in stream_headers.items() if name not in _NOT_OF_THE_STREAM}
        if not isinstance(event, dict) or not isinstance(said_status := event.get("status"), int):
            return Response(status, headers, b"")  # which no operation reads as a value
        if said_status not in _STATUSES or "body" not in event:
            return Response(status, headers, b"")
        given = event.get("headers")
        if isinstance(given, dict):
            headers |= {name.lower(): text for name, text in given.items() if isinstance(text, str)}
        made = Response(said_status, headers, said.content)
        made.parsed = event["body"]
        if not made.is_success:  # errors show their body as text
            with contextlib.suppress(NavaiPayloadError):  # nested deeper than the encoder writes
                made.content = encode_json(event["body"], name="The body")
        return made
