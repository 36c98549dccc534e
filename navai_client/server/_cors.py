"""Cross-origin requests: which pages may call the backend, and how responses say so (Fetch standard, 3.2)."""

from collections.abc import Sequence
from typing import Final

from navai_client.server._hosts import AllowedOrigins, is_same_origin
from navai_client.server._http import BackendRequest, BackendResponse, Header

_ALLOWED_HEADERS: Final = (
    *("Authorization", "Content-Type", "If-None-Match", "Idempotency-Key", "X-Request-ID"),
    *("traceparent", "tracestate", "baggage"),  # W3C Trace Context and Baggage: traces of a page's own tools
)
_EXPOSED_HEADERS: Final = b"ETag, Idempotency-Key, Idempotent-Replayed, Retry-After, X-Request-ID"
_PREFLIGHT_SECONDS: Final = b"600"  # Chromium keeps a preflight for at most 7200 seconds
_VARY: Final[Header] = (b"vary", b"Origin")


class CrossOrigin:
    """The rules for pages of other origins.

    Args:
        origins: The origins that may call the backend, beside those of this machine; ``*`` allows all.
        headers: The headers that they may send, beside those of the contract; ``*`` allows all.
    """

    def __init__(self, origins: Sequence[str], headers: Sequence[str] = ()) -> None:
        self._origins = AllowedOrigins(origins)
        self._any_header = "*" in headers
        self._headers = ", ".join((*_ALLOWED_HEADERS, *headers)).encode()

    def refuses(self, request: BackendRequest) -> bool:
        """Return whether *request* comes from a page of another origin that is not allowed."""
        origin = request.raw_headers.get(b"origin")
        if origin is None or self._origins.allow(origin):
            return False
        return not is_same_origin(origin, request.raw_headers.get(b"host", b""))

    def headers(self, request: BackendRequest) -> tuple[Header, ...]:
        """Return the headers for every response to *request*, errors included."""
        origin = request.raw_headers.get(b"origin")
        if origin is None or not self._origins.allow(origin):
            return (_VARY,)
        return (
            _VARY,
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        )

    def options(self, request: BackendRequest, allow: bytes) -> BackendResponse:
        """Respond to ``OPTIONS``, a preflight or not, for a route whose methods are *allow*."""
        if b"access-control-request-method" not in request.raw_headers:
            return BackendResponse(204, headers=((b"allow", allow),))
        allowed = self._headers
        if self._any_header:  # one by one: for browsers, * does not stand for Authorization
            allowed = request.raw_headers.get(b"access-control-request-headers", allowed)
        return BackendResponse(
            204,
            headers=(
                (b"access-control-allow-methods", allow),
                (b"access-control-allow-headers", allowed),
                (b"access-control-max-age", _PREFLIGHT_SECONDS),
            ),
        )
