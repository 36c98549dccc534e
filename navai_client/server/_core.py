"""The backend without HTTP library or framework: (method, path, headers), then a body -> an answer.

Routes, statuses and texts are the contract's; how they travel is the business of whoever calls this.
"""

import asyncio
import functools
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

import attrs
import msgspec

from navai_client.functions._registry import FunctionRegistry, RegisteredFunction
from navai_client.server._calls import Invoker, Outcome, RunningCall
from navai_client.server._errors import BackendError
from navai_client.server._http import (
    JSON_HEADER,
    BackendRequest,
    BackendResponse,
    BodyError,
    decode_record,
    error_response,
    json_response,
)
from navai_client.server._idempotency import IdempotencyKeys, KeyReusedError
from navai_client.server._inspector import CALLS_PATH, RecentCalls, page_answers
from navai_client.server._openapi import describe
from navai_client.server._settings import ServerSettings
from navai_client.wire._decode import trim

_DIGITS: Final = 18
HEALTH_PATH: Final = "/health"
OPENAPI_PATH: Final = "/navai/openapi.json"

_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")
_FAILED: Final = "Function execution failed."
_REPLAYED: Final = (b"idempotent-replayed", b"true")

Handler = Callable[[BackendRequest, bytes], Coroutine[Any, Any, BackendResponse]]


class Services(Protocol):
    """What stands behind the routes that are no functions."""

    async def create_client_secret(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Mint a client secret; raise :class:`BackendError`."""
        ...

    async def synthesize_speech(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Synthesize speech; raise :class:`BackendError`."""
        ...

    async def aclose(self) -> None:
        """Let go of what is held."""
        ...


@attrs.frozen
class _Route:
    methods: Mapping[str, Handler]
    allow: bytes


def _route(**methods: Handler) -> _Route:
    if "GET" in methods:
        methods["HEAD"] = methods["GET"]
    return _Route(methods, ", ".join([*methods, "OPTIONS"]).encode())


class BackendCore:
    """Answers requests.

    A request is first shown to :meth:`admit`, which refuses what can be refused before its body is read. What
    it lets pass goes to :meth:`answer` with its body.
    """

    def __init__(
        self,
        settings: ServerSettings,
        functions: Callable[[], FunctionRegistry],
        services: Services,
        invoker: Invoker,
        recent_calls: RecentCalls | None = None,
    ) -> None:
        self.settings = settings
        self._functions = functions
        self._services = services
        self._invoker = invoker
        self._token = None if settings.access_token is None else settings.access_token.encode()
        self._keys = IdempotencyKeys()
        self._open_paths = {HEALTH_PATH}
        self._routes = self._make_routes()
        if recent_calls is not None:
            self._add_inspector(recent_calls)
        self._listing: tuple[FunctionRegistry, int, BackendResponse] | None = None

    def admit(self, request: BackendRequest) -> BackendResponse | None:
        """Answer *request* if it can be answered without its body, or return None."""
        route = self._routes.get(request.path)
        if route is None:
            return error_response(404, "Not found.")
        if request.method == "OPTIONS":
            return self._options(request, route)
        if self._token is not None and request.path not in self._open_paths and not self._is_let_in(request):
            return error_response(
                401, "Missing or wrong access token.", (b"www-authenticate", b'Bearer realm="navai"')
            )
        if request.method not in route.methods:
            return error_response(405, "Method not allowed.", (b"allow", route.allow))
        if request.method == "POST":
            return self._refuse_body(request.raw_headers)
        return None

    def answer(self, request: BackendRequest, body: bytes) -> Coroutine[Any, Any, BackendResponse]:
        """Answer *request*, which :meth:`admit` has let pass, with its *body*."""
        return self._routes[request.path].methods[request.method](request, body)

    async def aclose(self) -> None:
        """Give up the calls that still run."""
        await self._invoker.close()

    def too_large(self) -> BackendResponse:
        """Refuse a body that is over the limit."""
        return error_response(413, f"Request body is larger than {self.settings.max_body_bytes} bytes.")

    def _make_routes(self) -> dict[str, _Route]:
        settings = self.settings
        routes = {
            HEALTH_PATH: _route(GET=self._health),
            OPENAPI_PATH: _route(GET=self._openapi),
            settings.client_secret_path: _route(POST=self._client_secret),
            settings.speech_synthesize_path: _route(POST=self._speech),
        }
        if settings.include_functions_routes:
            routes[settings.functions_list_path] = _route(GET=self._list)
            routes[settings.functions_execute_path] = _route(POST=self._execute)
        return routes

    def _add_inspector(self, recent_calls: RecentCalls) -> None:
        async def calls(request: BackendRequest, _body: bytes) -> BackendResponse:
            return recent_calls.answer(request)

        self._routes[CALLS_PATH] = _route(GET=calls)
        for path, answer in page_answers(self.settings).items():
            self._open_paths.add(path)  # the page asks for the access token; there is nothing else in it
            self._routes[path] = _route(GET=functools.partial(_unless_known, answer))

    def _is_let_in(self, request: BackendRequest) -> bool:
        scheme, _, given = request.raw_headers.get(b"authorization", b"").partition(b" ")
        wanted = self._token or b""
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), wanted)

    def _options(self, request: BackendRequest, route: _Route) -> BackendResponse:
        if b"access-control-request-method" not in request.raw_headers:
            return BackendResponse(204, headers=((b"allow", route.allow),))
        return BackendResponse(
            204,
            headers=(
                (b"access-control-allow-methods", route.allow),
                (
                    b"access-control-allow-headers",
                    b"Authorization, Content-Type, If-None-Match, Idempotency-Key, X-Request-ID",
                ),
                (b"access-control-max-age", b"600"),
            ),
        )

    def _refuse_body(self, headers: Mapping[bytes, bytes]) -> BackendResponse | None:
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/json" and not _is_json(content_type):
            return error_response(415, "Content-Type must be application/json.")
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.strip().lower() != b"identity":
            return error_response(415, "Content-Encoding is not supported: send the body as it is.")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and (len(length) > _DIGITS or int(length) > self.settings.max_body_bytes):
            return self.too_large()
        return None

    async def _health(self, _request: BackendRequest, _body: bytes) -> BackendResponse:
        return json_response(200, {"ok": True})

    async def _openapi(self, _request: BackendRequest, _body: bytes) -> BackendResponse:
        return json_response(200, describe(self.settings))

    async def _client_secret(self, _request: BackendRequest, body: bytes) -> BackendResponse:
        return await self._serve(self._services.create_client_secret, body)

    async def _speech(self, _request: BackendRequest, body: bytes) -> BackendResponse:
        return await self._serve(self._services.synthesize_speech, body)

    async def _serve(
        self, service: Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]], body: bytes
    ) -> BackendResponse:
        try:
            return json_response(200, await service(decode_record(body)), (b"cache-control", b"no-store"))
        except BodyError as error:
            return error_response(400, str(error))
        except BackendError as error:
            headers = () if error.retry_after is None else ((b"retry-after", error.retry_after.encode()),)
            return error_response(error.status_code, str(error), *headers)

    async def _list(self, request: BackendRequest, _body: bytes) -> BackendResponse:
        return await _unless_known(self._prepared_listing(), request, b"")

    def _prepared_listing(self) -> BackendResponse:
        registry = self._functions()
        prepared = self._listing
        if prepared is None or prepared[0] is not registry or prepared[1] != registry.version:
            body = registry.listing()
            etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
            headers = (JSON_HEADER, (b"etag", etag), (b"cache-control", b"no-cache"))
            answer = BackendResponse(200, body, headers)
            prepared = self._listing = (registry, registry.version, answer)
        return prepared[2]

    async def _execute(self, request: BackendRequest, body: bytes) -> BackendResponse:
        try:
            record = decode_record(body)
        except BodyError as error:
            return error_response(400, str(error))
        given = record.get("function_name")
        name = trim(given).lower() if isinstance(given, str) else ""
        if not name:
            return error_response(400, "function_name is required.")
        registry = self._functions()
        function = registry.find(name)
        if function is None:
            return json_response(
                404, {"error": "Unknown or disallowed function.", "available_functions": registry.names}
            )
        payload = record.get("payload")
        key = request.raw_headers.get(b"idempotency-key")
        if key is not None:
            return await self._call_once(key, request, function, payload)
        running = self._begin(request, function, payload)
        try:
            return _told(function, await running.wait())
        except asyncio.CancelledError:
            running.cancel()  # the one who asked has left
            raise

    async def _call_once(
        self, key: bytes, request: BackendRequest, function: RegisteredFunction, payload: Any
    ) -> BackendResponse:
        if not _KEY.fullmatch(key):
            return error_response(400, "Idempotency-Key must be 1 to 255 printable ASCII characters.")
        try:
            running, replayed = self._keys.once(
                key.decode(), function.name, payload, lambda: self._begin(request, function, payload)
            )
        except KeyReusedError:
            return error_response(422, "Idempotency-Key was used before with another function or payload.")
        # Who asked may leave: the call goes on, and its answer is there for who asks again.
        answer = _told(function, await running.wait())
        return msgspec.structs.replace(answer, headers=(*answer.headers, _REPLAYED)) if replayed else answer

    def _begin(self, request: BackendRequest, function: RegisteredFunction, payload: Any) -> RunningCall:
        timeout = self.settings.function_timeout if function.timeout is None else function.timeout or None
        return self._invoker.begin(function.name, function.target, payload, request, timeout)


async def _unless_known(answer: BackendResponse, request: BackendRequest, _body: bytes) -> BackendResponse:
    """Give *answer*, or 304 when the one who asks has it already (RFC 9110, 13.1.2)."""
    asked = request.raw_headers.get(b"if-none-match")
    if asked is None:
        return answer
    etag = next(value for name, value in answer.headers if name == b"etag")
    known = {each.strip().removeprefix(b"W/") for each in asked.split(b",")}
    if etag not in known and b"*" not in known:
        return answer
    return BackendResponse(304, headers=tuple(each for each in answer.headers if each[0] != b"content-type"))


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


def _told(function: RegisteredFunction, outcome: Outcome) -> BackendResponse:
    if isinstance(outcome, bytes):
        return BackendResponse(200, function.opening + outcome + b"}", function=function.name)
    failed = {"ok": False, "function_name": function.name, "error": _FAILED, "details": str(outcome)}
    return BackendResponse(200, msgspec.json.encode(failed), function=function.name)
