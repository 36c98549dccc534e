"""The inspector: a page for development that shows a backend's functions and its latest calls.

The page is static and calls the backend's own routes, as any client does. Only the latest calls have a route
of their own. ``ServerSettings.inspector`` switches it on; it costs nothing while it is off.
The headers keep all other content out of the page.
"""

import html
from typing import Final

from navai_client.server._http import BackendResponse, etag_of
from navai_client.server._settings import ServerSettings

PAGE_PATH: Final = "/navai/"
CALLS_PATH: Final = "/navai/inspector/calls"

_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),  # for browsers that do not know frame-ancestors
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)
_SCRIPT: Final = b"text/javascript; charset=utf-8"
_PAGE: Final = "inspector.html"
_FILES: Final = {
    _PAGE: b"text/html; charset=utf-8",
    "inspector.css": b"text/css; charset=utf-8",
    "inspector.js": _SCRIPT,
    "inspector-approvals.js": _SCRIPT,
    "inspector-backend.js": _SCRIPT,
    "inspector-calls.js": _SCRIPT,
    "inspector-fields.js": _SCRIPT,
    "inspector-json.js": _SCRIPT,
    "inspector-snippets.js": _SCRIPT,
    "inspector.svg": b"image/svg+xml",
}


def page_responses(settings: ServerSettings) -> dict[str, BackendResponse]:
    """Return the response for each path of the page. Its HTML holds the paths of the backend's routes.

    The page resolves them relative to itself, so that it works wherever the backend is mounted.
    """
    from importlib import resources  # noqa: PLC0415 - loads much that only the page needs

    folder = resources.files("navai_client.server._inspector")
    responses = {}
    for name, media_type in _FILES.items():
        body = (folder / name).read_bytes()
        path = PAGE_PATH + name
        if name == _PAGE:
            path = PAGE_PATH
            body = body.replace(b"<html ", b"<html %s " % _route_attributes(settings), 1)
        headers = ((b"content-type", media_type), etag_of(body), *_SECURITY_HEADERS)
        responses[path] = BackendResponse(200, body, headers)
    # Relative to where the backend is mounted.
    to_page = BackendResponse(307, b"", ((b"location", PAGE_PATH.removeprefix("/").encode()),))
    return {**responses, "/": to_page, PAGE_PATH.removesuffix("/"): to_page}


def _route_attributes(settings: ServerSettings) -> bytes:
    paths = {"secret": settings.client_secret_path}
    if settings.include_functions_routes:
        paths |= {"list": settings.functions_list_path, "execute": settings.functions_execute_path}
    return " ".join(f'data-{name}="{html.escape(path)}"' for name, path in paths.items()).encode()
