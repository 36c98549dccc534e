"""The latest calls of one process, as the inspector shows them: bounded, cut, and without secrets."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from navai_client.server._http import JSON_HEADER, BackendRequest, BackendResponse
from navai_client.server._inspector._page import PAGE_PATH

_MOST_CALLS: Final = 100
_NO_CALLS: Final = frozenset({PAGE_PATH, "/health"})
_OF_THE_PAGE: Final = PAGE_PATH + "inspector"
_KEPT_BYTES: Final = 16_384  # more than are shown, so that a secret across the cut is seen as a whole
_SHOWN_CHARACTERS: Final = 2000


class _Call(msgspec.Struct, frozen=True):
    """What is kept of a call until somebody looks at it."""

    id: int
    at: float
    request: BackendRequest
    status: int
    function: str | None
    seconds: float
    sent: bytes
    given: bytes


class RecentCalls:
    """Keeps the latest calls, and nothing of what mints or speaks but that it was asked."""

    def __init__(
        self, hide: Callable[[str], str], shown_paths: Collection[str], *, most: int = _MOST_CALLS
    ) -> None:
        """Keep at most *most* calls.

        Args:
            hide: Takes out of a text what nobody may see.
            shown_paths: Where bodies may be shown: those of the functions' routes.
            most: How many.
        """
        self._hide = hide
        self._shown_paths = shown_paths
        self._calls: deque[_Call] = deque(maxlen=most)
        self._ids = itertools.count(1)
        self._latest = 0

    def record(self, request: BackendRequest, body: bytes, answer: BackendResponse, seconds: float) -> None:
        """Take in a call that was answered after *seconds*, unless it is one for the inspector itself."""
        if request.path in _NO_CALLS or request.path.startswith(_OF_THE_PAGE):
            return
        shown = request.path in self._shown_paths
        self._latest = next(self._ids)
        self._calls.append(
            _Call(
                self._latest,
                time.time(),
                BackendRequest(request.method, request.path, {}, request.request_id),
                answer.status,
                answer.function,
                seconds,
                body[:_KEPT_BYTES] if shown else b"",
                answer.body[:_KEPT_BYTES] if shown else b"",
            )
        )

    def answer(self, request: BackendRequest) -> BackendResponse:
        """Answer with the calls, the latest first; or with 304 when the one who asks knows them."""
        etag = b'"%d"' % self._latest
        headers = ((b"etag", etag), (b"cache-control", b"no-cache"))
        if request.raw_headers.get(b"if-none-match") == etag:
            return BackendResponse(304, headers=headers)
        calls = [self._shown(each) for each in reversed(self._calls)]
        return BackendResponse(200, msgspec.json.encode({"calls": calls}), (JSON_HEADER, *headers))

    def _shown(self, call: _Call) -> dict[str, Any]:
        return {
            "id": call.id,
            "at": call.at,
            "method": call.request.method[:20],
            "path": call.request.path[:200],
            "request_id": call.request.request_id,
            "status": call.status,
            "ok": call.status < 400 and not call.given.startswith(b'{"ok":false'),  # noqa: PLR2004 - HTTP's errors
            "function": call.function,
            "duration_ms": round(call.seconds * 1000, 2),
            "sent": self._text(call.sent),
            "given": self._text(call.given),
        }

    def _text(self, kept: bytes) -> str:
        return self._hide(kept.decode("utf-8", "replace"))[:_SHOWN_CHARACTERS]
