"""The HTTP side of the fake Realtime API: ``POST /v1/realtime/client_secrets``, for backends under test."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from attrs import field, frozen

from navai_client._redaction import mask
from navai_client.testing.realtime._validation import Refusal, refusal_of_client_secret

_PATH: Final = "/v1/realtime/client_secrets"
_DEFAULT_TTL: Final = 600  # seconds, OpenAI's default


@frozen(kw_only=True)
class MintedSecret:
    """One client secret that the fake API gave to a backend.

    Attributes:
        value: The secret.
        api_key: The backend's API key.
        session: The requested session: model, instructions, voice.
        expires_at: Seconds since the Unix epoch.
    """

    value: str = field(repr=mask)
    api_key: str = field(repr=mask)
    session: dict[str, Any] = field(hash=False)
    expires_at: int


_Mint = Callable[[str, dict[str, Any], int], MintedSecret]  # of a key, a session and when the secret expires


class LocalServer:
    """An HTTP server on this machine, in threads, until it is closed."""

    def __init__(self, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class RequestHandler(BaseHTTPRequestHandler):
    """Handles one request of a ``LocalServer``."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def respond(self, status: int, media_type: str, content: bytes) -> None:
        """Send a response, unless the client has gone."""
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(content)))
        with suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class MintServer(LocalServer):
    """Serves this one path."""

    def __init__(self, mint: _Mint) -> None:
        super().__init__(partial(_Handler, mint))

    @property
    def base_url(self) -> str:
        """The value for a backend's ``OPENAI_BASE_URL``."""
        return f"{self.url}/v1"


class _Handler(RequestHandler):
    def __init__(self, mint: _Mint, *connection: Any) -> None:
        self._mint = mint
        super().__init__(*connection)

    def do_POST(self) -> None:
        content = self.body()
        scheme, _, key = self.headers.get("authorization", "").partition(" ")
        if self.path != _PATH:
            return self._respond(404, {"error": {"message": f"There is only {_PATH}."}})
        if scheme.lower() != "bearer" or not key:
            return self._respond(401, {"error": {"message": "A Bearer key is needed."}})
        try:
            asked = json.loads(content or b"{}")
        except ValueError:
            return self._refuse(Refusal("invalid_json", "The body is not JSON."))
        refusal = refusal_of_client_secret(asked)
        if refusal is not None:
            return self._refuse(refusal)
        session = asked.get("session", {})
        seconds = asked.get("expires_after", {}).get("seconds", _DEFAULT_TTL)
        made = self._mint(key, session, int(time.time()) + seconds)
        shown = {"type": "realtime", **session, "object": "realtime.session", "id": f"sess_{made.value[-8:]}"}
        return self._respond(200, {"value": made.value, "expires_at": made.expires_at, "session": shown})

    def _refuse(self, refusal: Refusal) -> None:
        error = {"type": "invalid_request_error", "code": refusal.code, "param": refusal.param}
        self._respond(400, {"error": {**error, "message": refusal.message}})

    def _respond(self, status: int, body: dict[str, Any]) -> None:
        self.respond(status, "application/json", json.dumps(body).encode())
