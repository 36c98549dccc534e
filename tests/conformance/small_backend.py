"""A backend that shares no code with ours: WSGI and the standard library, written from docs/contract.md."""

import base64
import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

__all__ = ["application"]

Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], object]

KEPT: Final[dict[str, tuple[Any, Any]]] = {}
ORIGINS: Final = ("http://localhost:3000",)
LARGEST: Final = 2**20
REASONS: Final = {
    200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    413: "Content Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Content",
}  # fmt: skip
LISTED: Final = {"name": "divide", "description": "Divide two numbers.", "source": "small_backend"}


class RefusedError(Exception):
    """Becomes a response with a status and an error."""

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.record = {"error": error, **more}
        self.headers = headers or {}


def divide(payload: Any) -> float:
    dividend, divisor = payload["args"]
    return float(dividend / divisor)


def execute(body: dict[str, Any]) -> dict[str, Any]:
    name = body.get("function_name")
    name = name.strip().lower() if isinstance(name, str) else ""
    if not name:
        raise RefusedError(400, "function_name is required.")
    if name != "divide":
        raise RefusedError(404, "Unknown or disallowed function.", available_functions=["divide"])
    try:
        result = divide(body.get("payload"))
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        failed = {"error": "Function execution failed.", "details": str(error)}
        return {"ok": False, "function_name": name, **failed}
    return {"ok": True, "function_name": name, "source": "small_backend", "result": result}


def mint(body: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(body.get("model", ""), str):
        raise RefusedError(400, "model must be a string.")
    return {"value": "ek_of_a_small_backend", "expires_at": int(time.time()) + 60}


def speak(body: dict[str, Any]) -> dict[str, Any]:
    if not str(body.get("text", "")).strip():
        raise RefusedError(400, "text is required.")
    audio = base64.b64encode(b"not really sound").decode()
    return {"provider": "elevenlabs", "mimeType": "audio/mpeg", "audioBase64": audio}


POSTED: Final = {
    "/navai/functions/execute": execute,
    "/navai/realtime/client-secret": mint,
    "/navai/speech/synthesize": speak,
}


def read(environ: Environ) -> dict[str, Any]:
    if environ.get("CONTENT_TYPE", "").partition(";")[0] != "application/json":
        raise RefusedError(415, "Content-Type must be application/json.")
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LARGEST:
        raise RefusedError(413, "The body is too large.")
    try:
        body = json.loads(environ["wsgi.input"].read(length))
    except (ValueError, RecursionError):
        raise RefusedError(400, "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body is not an object.")
    return body


def replayed(environ: Environ, respond: Callable[[dict[str, Any]], Any]) -> tuple[Any, dict[str, str]]:
    """Respond, and to the same call with the same key as before."""
    body, key = read(environ), environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return respond(body), {}
    if key in KEPT:
        before, record = KEPT[key]
        if body != before:
            raise RefusedError(422, "Idempotency-Key was used before.")
        return record, {"Idempotency-Key": key, "Idempotent-Replayed": "true"}
    KEPT[key] = body, respond(body)
    return KEPT[key][1], {"Idempotency-Key": key}


def answer(environ: Environ) -> tuple[int, Any, dict[str, str]]:
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    allowed = "GET" if path == "/navai/functions" else "POST"
    if allowed == "POST" and path not in POSTED:
        raise RefusedError(404, "Not found.")
    if method == "OPTIONS":
        grant = {"Access-Control-Allow-Methods": allowed, "Access-Control-Allow-Headers": "Content-Type"}
        return 204, None, grant
    if method != allowed:
        raise RefusedError(405, "Method not allowed.", {"Allow": allowed})
    if allowed == "GET":
        return 200, {"items": [LISTED], "warnings": []}, {}
    return 200, *replayed(environ, POSTED[path])


def application(environ: Environ, start: Start) -> Iterable[bytes]:
    """Serve one request."""
    try:
        status, record, headers = answer(environ)
    except RefusedError as refused:
        status, record, headers = refused.status, refused.record, refused.headers
    body = b"" if record is None else json.dumps(record).encode()
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(body)), "Vary": "Origin"}
    if environ.get("HTTP_ORIGIN") in ORIGINS:
        headers["Access-Control-Allow-Origin"] = environ["HTTP_ORIGIN"]
    start(f"{status} {REASONS[status]}", list(headers.items()))
    return [body]
