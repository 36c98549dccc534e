"""Upstream's WordPress plugin as the client sees it: what NAVAI Voice 0.3.45 responded on WordPress 6.1.

The texts, statuses and members of each response were taken from the running plugin. Only OpenAI is scripted.
"""

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from attrs import define, field

from tests.serving import serving_app

__all__ = ["BASIC", "PASSWORD", "Plugin", "Site", "serving_site"]

PASSWORD: Final = "abcd EFGH 1234 ijkl MNOP 5678"
AGENT: Final = {"agent_key": "default", "instructions_text": "Never say this.", "allowed_tools": []}
BASIC: Final = f"Basic {base64.b64encode(f'admin:{PASSWORD}'.encode()).decode()}"
CITY: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
_HTML: Final = (404, "text/html", b"<!DOCTYPE html><title>Page not found</title>")
_FORBIDDEN: Final = "Sorry, you are not allowed to do that."
_CORS: Final = (  # of WordPress itself, for every origin
    (b"access-control-allow-methods", b"OPTIONS, GET, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-allow-headers", b"Authorization, X-WP-Nonce, Content-Disposition, Content-Type"),
    (b"vary", b"Origin"),
)
_MINT: Final = "/navai/v1/realtime/client-secret"
_METHODS: Final = {_MINT: "POST", "/navai/v1/functions": "GET", "/navai/v1/functions/execute": "POST"}
_LIMIT: Final = 30  # client secrets in a minute

Answer = tuple[int, str, bytes]


def _json(status: int, value: Any) -> Answer:
    return status, "application/json; charset=UTF-8", json.dumps(value, separators=(",", ":")).encode()


def _error(status: int, code: str, message: str) -> Answer:
    return _json(status, {"code": code, "message": message, "data": {"status": status}})


@define
class Function:
    """A function of the plugin's registry."""

    run: Callable[[Any], Any]
    schema: Any = None
    approval: bool = False
    timeout: int = 0
    source: str = "shop"


def _out_of_stock(_: Any) -> Any:
    raise RuntimeError("No stock for Oslo.")


def _functions() -> dict[str, Function]:
    dashboard = {"ok": True, "execution_mode": "client_js", "code": "alert(1)", "payload": []}
    return {
        "get_weather": Function(lambda payload: {"city": payload["city"]}, CITY, timeout=45),
        "echo": Function(lambda payload: {"payload": payload}),
        # As PHP writes schemas without properties, and properties without a schema.
        "nothing": Function(lambda _: [], {"type": "object", "properties": []}),
        "anything": Function(lambda _: "done", []),
        "order": Function(lambda _: {"order_id": "o-1"}, CITY, approval=True),
        "fail": Function(_out_of_stock),
        "wp_error": Function(lambda _: {"errors": {"no_stock": ["No stock left."]}, "error_data": []}),
        "mcp_off": Function(lambda _: {"ok": False, "error": "MCP server is disabled."}),
        "open_cart": Function(lambda _: dashboard, source="navai-dashboard-custom"),
    }


@define
class Plugin:
    """The plugin: an ASGI application.

    Attributes:
        public_functions: The setting ``allow_public_functions``, which is off by default.
        openai: What minting responds with, once the limit and the key have passed.
        functions: The registry, by name.
        asked: The method, the path and the JSON of each request, in their order.
        headers: The headers of the last request.
        ran: The names of the functions that ran.
        approvals: The names of the functions whose approval was requested; their ids count from 1.
        minted: How many client secrets were requested.
    """

    public_functions: bool = False
    openai: Answer = field(
        factory=lambda: _json(
            200, {"value": "ek_1", "expires_at": int(time.time()) + 600, "session": {"enabled": False}}
        )
    )
    functions: dict[str, Function] = field(factory=_functions)
    asked: list[tuple[str, str, Any]] = field(factory=list)
    headers: dict[str, str] = field(factory=dict)
    ran: list[str] = field(factory=list)
    approvals: list[str] = field(factory=list)
    minted: int = 0

    def refuse_by_openai(self, status: int) -> None:
        """Let OpenAI refuse with *status*, as the plugin passes it on."""
        self.openai = _error(502, "navai_openai_http_error", f"OpenAI client_secrets failed ({status}): no.")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        content, more = b"", True
        while more:
            event = await receive()
            content, more = content + event.get("body", b""), event.get("more_body", False)
        self.headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        path = scope["path"] + (f"?{query}" if query else "")
        status, media_type, body = self._answer(scope["method"], path, content)
        headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body))]
        if (origin := self.headers.get("origin")) is not None and path.startswith("/wp-json"):
            headers += [(b"access-control-allow-origin", origin.encode()), *_CORS]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, method: str, path: str, content: bytes) -> Answer:
        asked, is_json = self._read(content)
        self.asked.append((method, path, asked))
        for root in ("/wp-json", "/?rest_route=", "/index.php?rest_route="):
            if path.startswith(root):
                route = path.removeprefix(root)
                return self._refuse(method, route, is_json=is_json) or self._route(method, route, asked)
        return _HTML

    def _read(self, content: bytes) -> tuple[Any, bool]:
        """Return the JSON of a body, and whether it is none or JSON; WordPress goes by the type."""
        if not content or not self.headers.get("content-type", "").startswith("application/json"):
            return None, True
        try:
            return json.loads(content), True
        except (ValueError, RecursionError):
            return None, False

    def _refuse(self, method: str, route: str, *, is_json: bool) -> Answer | None:
        """Return a refusal of WordPress itself, which comes before the plugin."""
        if self.headers.get("x-wp-nonce", "fresh") != "fresh":
            return _error(403, "rest_cookie_invalid_nonce", "Cookie check failed")
        if method == "OPTIONS":
            return _json(200, {"namespace": "navai/v1", "methods": ["POST"]})
        if _METHODS.get(route) != method:
            return _error(404, "rest_no_route", "No route was found matching the URL and request method.")
        is_admin = self.headers.get("authorization") == BASIC or "x-wp-nonce" in self.headers
        if not (is_admin or self.public_functions or route == _MINT):
            return _error(401, "rest_forbidden", _FORBIDDEN)
        return None if is_json else _error(400, "rest_invalid_json", "Invalid JSON body passed.")

    def _route(self, method: str, route: str, asked: Any) -> Answer:
        if route == _MINT:
            return self._mint()
        if method == "GET":
            return _json(200, {"items": [*map(self._item, self.functions)], "warnings": []})
        return self._execute(asked if isinstance(asked, dict) else {})

    def _mint(self) -> Answer:
        self.minted += 1
        if self.minted > _LIMIT:  # without Retry-After
            return _error(429, "navai_rate_limit", "Too many requests. Try again in a moment.")
        return self.openai

    def _item(self, name: str) -> dict[str, Any]:
        function = self.functions[name]
        metadata = {
            "requires_approval": function.approval,
            "timeout_seconds": function.timeout,
            "execution_scope": "both",
            "retries": 0,
            "argument_schema": function.schema,
        }
        return {"name": name, "description": "", "source": function.source, "metadata": metadata}

    def _execute(self, asked: dict[str, Any]) -> Answer:
        name = (
            (str(name) if isinstance(name := asked.get("function_name"), str | int) else "").strip().lower()
        )
        if not name:
            return _error(400, "navai_invalid_function_name", "function_name is required.")
        payload: Any = asked.get("payload")
        payload = payload if isinstance(payload, dict | list) and payload else []
        if name not in self.functions:
            error = {"error": "Unknown or disallowed function.", "available_functions": [*self.functions]}
            return _json(404, error)
        function, ids = self.functions[name], {"function_name": name, "trace_id": "t-1"}
        problems = _problems(function.schema, payload)
        if problems:
            error = {"error": "Payload does not match configured argument schema."}
            return _json(400, {"ok": False, **ids, **error, "validation_errors": problems})
        if function.approval:  # whatever Idempotency-Key there is
            self.approvals.append(name)
            approval = {"id": len(self.approvals), "status": "pending"}
            text = "Function requires admin approval before execution."
            pending = {"ok": False, "pending_approval": True, **ids, "approval": approval, "message": text}
            return _json(202, {**pending, "agent": AGENT})
        self.ran.append(name)
        try:
            result = function.run(payload)
        except RuntimeError as error:
            failed = {"error": "Function execution failed.", "details": str(error)}
            return _json(500, {"ok": False, **ids, **failed, "agent": AGENT})
        return _json(200, {"ok": True, **ids, "source": function.source, "agent": AGENT, "result": result})


def _problems(schema: Any, payload: Any) -> list[str]:
    if not schema or not schema["properties"]:
        return []
    given = payload if isinstance(payload, dict) else {}
    missing = [f"$.{name} is required." for name in schema["required"] if name not in given]
    return missing + [f"$.{name} is not allowed." for name in given if name not in schema["properties"]]


class Site:
    """A site on a port of this machine, whose plugin can be replaced.

    Attributes:
        plugin: The plugin.
        url: The site's URL.
    """

    def __init__(self) -> None:
        self.plugin = Plugin()
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.plugin(scope, receive, send)


@contextlib.contextmanager
def serving_site() -> Iterator[Site]:
    """Serve a site."""
    site = Site()
    with serving_app(site) as site.url:
        yield site
