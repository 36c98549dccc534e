"""Cross-origin requests: which pages may call the backend, and how responses say so (Fetch standard, 3.2)."""

import re
from collections.abc import Sequence
from typing import Final

from navai_client.server._http import BackendRequest, BackendResponse, Header

_LOCAL_ORIGIN: Final = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.ASCII)
_ALLOWED_HEADERS: Final = b"Authorization, Content-Type, If-None-Match, Idempotency-Key, X-Request-ID"
_EXPOSED_HEADERS: Final = b"ETag, Idempotent-Replayed, Retry-After, X-Request-ID"
_PREFLIGHT_SECONDS: Final = b"600"  # Chromium keeps a preflight for at most 7200 seconds
_VARY: Final[Header] = (b"vary", b"Origin")


class CrossOrigin:
    """The rules for pages of other origins.

    Args:
        origins: The origins that may call the backend, beside those of this machine; ``*`` allows all.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def allows(self, origin: str) -> bool:
        """Return whether a page of *origin* may call the backend."""
        return (
            _LOCAL_ORIGIN.fullmatch(origin) is not None
            or "*" in self._origins
            or origin.lower() in self._origins
        )

    def headers(self, request: BackendRequest) -> tuple[Header, ...]:
        """Return the headers for every response to *request*, errors included."""
        origin = request.raw_headers.get(b"origin")
        if origin is None or not self.allows(origin.decode("latin-1")):
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
