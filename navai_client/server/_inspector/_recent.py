"""The latest calls of one process for the inspector: bounded, cut, and without secrets."""

import time
from collections import deque
from collections.abc import Collection
from typing import Any, Final

import msgspec

from navai_client._redaction import Redactor
from navai_client.server._http import (
    JSON_HEADER,
    BackendRequest,
    BackendResponse,
    not_modified,
)
from navai_client.server._inspector import PAGE_PATH

_MAX_CALLS: Final = 100  # at most 3.2 MB with _KEPT_BYTES of each body
_IGNORED_PATHS: Final = frozenset({PAGE_PATH, "/health", "/navai/approvals"})
_FILES_OF_THE_PAGE: Final = PAGE_PATH + "inspector"
_FROM_THE_PAGE: Final = b"x-navai-inspector"  # a header of its requests
_KEPT_BYTES: Final = 16_384  # more than is shown, so that a secret across the cut is found as a whole
_SHOWN_CHARACTERS: Final = 2000
_SECONDS: Final = 0.25  # for masking one body: the event loop waits for it


class _Call(msgspec.Struct):
    """A call as it is kept: masked only when it is shown."""

    id: int
    at: float
    request: BackendRequest
    response: BackendResponse
    seconds: float
    body: bytes
    description: dict[str, Any] | None = None  # once it has been requested


class _Asked(msgspec.Struct):
    """The body of a request to execute a function, as far as it is shown."""

    function_name: str


class RecentCalls:
    """Keeps the latest calls. Of those that mint or speak, no body is kept.

    Args:
        redactor: Masks the bodies.
        shown_paths: The paths whose bodies may be shown: those of the functions' routes.
        limit: The number of calls to keep.
    """

    def __init__(self, redactor: Redactor, shown_paths: Collection[str], *, limit: int = _MAX_CALLS) -> None:
        self._redactor = redactor
        self._shown_paths = shown_paths
        self._calls: deque[_Call] = deque(maxlen=limit)
        self._latest = 0

    def record(self, request: BackendRequest, body: bytes, response: BackendResponse, seconds: float) -> None:
        """Keep a call that took *seconds*, unless it serves the inspector, which lists the functions, too."""
        if request.path in _IGNORED_PATHS or request.path.startswith(_FILES_OF_THE_PAGE):
            return
        if request.method == "GET" and _FROM_THE_PAGE in request.raw_headers:
            return
        kept = _KEPT_BYTES if request.path in self._shown_paths else 0
        self._latest += 1
        self._calls.append(
            _Call(
                self._latest,
                time.time(),
                BackendRequest(request.method, request.path, {}, request.request_id),
                BackendResponse(response.status, response.body[:kept], (), response.function),
                seconds,
                body[:kept],
            )
        )

    def respond(self, request: BackendRequest) -> BackendResponse:
        """Respond with the calls, the latest first, or with 304 if the client knows them."""
        headers = ((b"etag", b'"%d"' % self._latest), (b"cache-control", b"no-cache"))
        unchanged = not_modified(BackendResponse(200, headers=headers), request)
        if unchanged.status == 304:  # noqa: PLR2004 - Not Modified
            return unchanged
        calls = [self._describe(call) for call in reversed(self._calls)]
        return BackendResponse(200, msgspec.json.encode({"calls": calls}), (JSON_HEADER, *headers))

    def _describe(self, call: _Call) -> dict[str, Any]:
        if call.description is None:
            call.description = self._masked(call)
        return call.description

    def _masked(self, call: _Call) -> dict[str, Any]:
        status = call.response.status
        failed = status >= 400 or (status == 200 and call.response.body.startswith(b'{"ok":false'))  # noqa: PLR2004
        return {
            "id": call.id,
            "at": call.at,
            "method": call.request.method[:20],
            "path": self._redactor.text(call.request.path, 200),
            "request_id": call.request.request_id,
            "status": call.response.status,
            "ok": not failed,
            "function": call.response.function or self._asked(call.body),
            "duration_ms": round(call.seconds * 1000, 2),
            "sent": self._text(call.body),
            "given": self._text(call.response.body),
        }

    def _asked(self, body: bytes) -> str | None:
        """Return the name that was asked for where no function was called."""
        try:
            return self._redactor.text(msgspec.json.decode(body, type=_Asked).function_name, 200)
        except msgspec.DecodeError:
            return None

    def _text(self, body: bytes) -> str:
        return self._redactor.content(body, seconds=_SECONDS).decode("utf-8", "replace")[:_SHOWN_CHARACTERS]
