"""Cross-origin requests: which pages may call the backend, and how responses say so (Fetch standard, 3.2)."""

from collections.abc import Sequence
from typing import Final

from navai_client.server._hosts import AllowedOrigins, is_same_origin
from navai_client.server._http import BackendRequest, BackendResponse, Header

_ALLOWED_HEADERS: Final = b"Authorization, Content-Type, If-None-Match, Idempotency-Key, X-Request-ID"
_EXPOSED_HEADERS: Final = b"ETag, Idempotency-Key, Idempotent-Replayed, Retry-After, X-Request-ID"
_PREFLIGHT_SECONDS: Final = b"600"  # Chromium keeps a preflight for at most 7200 seconds
_VARY: Final[Header] = (b"vary", b"Origin")


class CrossOrigin:
    """The rules for pages of other origins.

    Args:
        origins: The origins that may call the backend, beside those of this machine; ``*`` allows all.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = AllowedOrigins(origins)

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


def options_response(request: BackendRequest, allow: bytes) -> BackendResponse:
    """Respond to ``OPTIONS``, a preflight or not, for a route whose methods are *allow*."""
    if b"access-control-request-method" not in request.raw_headers:
        return BackendResponse(204, headers=((b"allow", allow),))
    return BackendResponse(
        204,
        headers=(
            (b"access-control-allow-methods", allow),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", _PREFLIGHT_SECONDS),
        ),
    )
