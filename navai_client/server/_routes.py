"""The routes: their handlers, the authorization, and the refusals before a body is read.

Statuses and texts are those of the contract. Nothing here knows ASGI or sockets.
"""

import asyncio
import functools
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from navai_client.functions._registry import FunctionRegistry, RegisteredFunction
from navai_client.functions._results import encode_result
from navai_client.server._approvals import APPROVALS_PATH, ONE_APPROVAL, Approvals
from navai_client.server._authentication import APPROVE, INSPECTOR, Authentication, is_token
from navai_client.server._calls import FAILED, PENDING, Outcome
from navai_client.server._cors import CrossOrigin
from navai_client.server._errors import (
    BackendError,
    BackendOptionsError,
    RequestError,
    StoreError,
    UpstreamError,
)
from navai_client.server._execution import SHUT_DOWN, Invoker, RunsElsewhereError
from navai_client.server._hosts import AllowedHosts
from navai_client.server._http import (
    IDEMPOTENCY_KEY,
    JSON_HEADER,
    BackendRequest,
    BackendResponse,
    BodyError,
    Header,
    decode_call,
    decode_record,
    error_response,
    etag_of,
    json_response,
    not_modified,
)
from navai_client.server._inspector import CALLS_PATH, page_responses
from navai_client.server._inspector._recent import RecentCalls
from navai_client.server._metrics import Metrics, Service
from navai_client.server._minting import Minting
from navai_client.server._openapi import describe
from navai_client.server._settings import ServerSettings
from navai_client.server._store import key_digest
from navai_client.wire._decode import trim
from navai_client.wire._operations import (
    CANCEL_EXECUTION,
    CREATE_CLIENT_SECRET,
    EXECUTE_FUNCTION,
    LIST_FUNCTIONS,
    SYNTHESIZE_SPEECH,
    Operation,
)

_log: Final = logging.getLogger("navai_client.server")

MINTS: Final = b"navai-client-secrets"
"""A header of the list: with whose key the backend mints client secrets, for those who look for a mistake."""

HEALTH_PATH: Final = "/health"
READY_PATH: Final = "/ready"
METRICS_PATH: Final = "/metrics"
OPENAPI_PATH: Final = "/navai/openapi.json"
ROUTES_OF_A_HOST: Final = ("/", HEALTH_PATH, READY_PATH)
"""What an application has itself, if the routes of a backend stand among its own."""

_LONGEST_SHOWN: Final = 255  # bytes: the longest host name (RFC 1035, section 2.3.4)
_NO_SCOPES: Final[frozenset[str]] = frozenset()
_MAX_LISTINGS: Final = 256  # visible sets, more than owners declare: issuers may invent scopes
# RFC 9111, 4.1 and 5.2.2.7: a list is for its caller alone.
_FOR_THIS_CALLER: Final = ((b"cache-control", b"private, no-cache"), (b"vary", b"Authorization"))
_UNAUTHENTICATED: Final = error_response(
    401, "Missing or wrong access token.", (b"www-authenticate", b'Bearer realm="navai"')
)
_WRONG_TYPE: Final = error_response(415, "Content-Type must be application/json.")
# They reveal how the owner's agent works.
_PRIVATE_SESSION_FIELDS: Final = ("instructions", "tools", "prompt")
_BELOW_APPROVALS: Final = f"{APPROVALS_PATH}/"
_REPLAYED: Final = (b"idempotent-replayed", b"true")
_RETRY_AFTER: Final = (b"retry-after", b"1")
_CLOSE: Final = (b"connection", b"close")

OVERLOADED: Final = "navai.overloaded"
"""An ASGI extension: the server has too many connections to serve the request, unless it is a probe."""

Handler = Callable[[BackendRequest, bytes], Coroutine[Any, Any, BackendResponse]]


class Services(Protocol):
    """Mints secrets and synthesizes speech, for the routes that execute no function."""

    async def create_client_secret(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Mint a client secret; raise :class:`BackendError`.

        A policy with ``ttl_seconds`` passes that as a keyword.
        """
        ...

    async def synthesize_speech(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Synthesize speech; raise :class:`BackendError`."""
        ...

    async def aclose(self) -> None:
        """Free what is held."""
        ...


async def _without_private_session(service: Service, request: Mapping[str, Any]) -> dict[str, Any]:
    """Mint a client secret by *service*, and leave out what of its session is the owner's alone."""
    minted = await service(request)
    if "session" in minted:
        session = minted["session"].items()
        public = {name: each for name, each in session if name not in _PRIVATE_SESSION_FIELDS}
        minted = {**minted, "session": public}
    return minted


class _Route:
    """A handler and its method.

    Args:
        method: The method; GET includes HEAD.
        handler: The handler.
        is_open: Whether it needs no access token.
        any_host: Whether it is for probes of the infrastructure, which name the server by its address.
        takes_body: Whether a POST takes JSON; else whatever it has is ignored.
        token: The only access token that may call it, if it has one of its own.
        scope: What a principal must hold to call it.
    """

    def __init__(
        self,
        method: str,
        handler: Handler,
        *,
        is_open: bool = False,
        any_host: bool = False,
        takes_body: bool = True,
        token: str | None = None,
        scope: str | None = None,
    ) -> None:
        self.methods = ("GET", "HEAD") if method == "GET" else (method,)
        self.allow = ", ".join([*self.methods, "OPTIONS"]).encode()
        self.handler = handler
        self.is_open = is_open
        self.is_restricted = token is not None or scope is not None
        self.any_host = any_host
        self.takes_body = takes_body and method == "POST"
        self.token = None if token is None else token.encode()
        self.scope = scope


class Router:
    """Responds to requests.

    :meth:`refuse` gets each request first, and refuses it if the body need not be read for that.
    :meth:`respond` gets the others, with their bodies.
    """

    def __init__(  # noqa: PLR0917 - its parts
        self,
        settings: ServerSettings,
        functions: Callable[[], FunctionRegistry],
        services: Services,
        invoker: Invoker,
        recent_calls: RecentCalls | None = None,
        authentication: Authentication | None = None,
        *,
        minting: Minting | None = None,
        metrics: Metrics | None = None,
        approvals: Approvals | None = None,
        not_ready: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.settings = settings
        self._functions = functions
        self._services = services
        self._invoker = invoker
        self._authentication = authentication
        self._minting = minting
        self._metrics = metrics
        self._approvals = approvals
        self._not_ready = not_ready
        self.cross_origin = CrossOrigin(settings.cors_origins, settings.cors_headers)
        token = settings.inspector_token
        self._inspector_token = None if token is None else token.encode()
        self._hosts = AllowedHosts(settings.allowed_hosts) if settings.allowed_hosts else None
        self._routes = self._make_routes()
        if recent_calls is not None:
            self._add_inspector(recent_calls)
        self._version = -1
        self._listings: dict[frozenset[str], BackendResponse] = {}  # as of that version of the registry

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._routes)

    def route_of(self, path: str) -> str | None:
        """Return the path of the route of *path*, without what its caller has chosen; None if it has none."""
        if path in self._routes:
            return path
        return ONE_APPROVAL if self._approvals is not None and path.startswith(_BELOW_APPROVALS) else None

    async def refuse(self, request: BackendRequest) -> BackendResponse | None:
        """Return the response to *request* if its body is not needed for it, else None.

        This sets its principal.
        """
        route = self._routes.get(request.path) or self._routes.get(self.route_of(request.path) or "")
        refused = self._refuse_early(request, is_probe=route is not None and route.any_host)
        if refused is not None:
            return refused
        if route is None:
            return error_response(404, "Not found.")
        if request.method == "OPTIONS":
            return self.cross_origin.options(request, route.allow)
        if not route.is_open and (self._authentication is not None or route.is_restricted):
            refusal = await self._identify(route, request)
            if refusal is not None:
                return refusal
        if request.method not in route.methods:
            return error_response(405, "Method not allowed.", (b"allow", route.allow))
        return self._refuse_body(request.raw_headers) if route.takes_body else None

    def respond(self, request: BackendRequest, body: bytes) -> Coroutine[Any, Any, BackendResponse]:
        """Respond to *request*, which :meth:`refuse` has not refused."""
        route = self._routes.get(request.path) or self._routes[ONE_APPROVAL]
        if body and route.takes_body and b"content-type" not in request.raw_headers:
            return _refuse_type()  # chunks and HTTP/2 announce no length
        return route.handler(request, body)

    def too_large(self) -> BackendResponse:
        """Refuse a body that is over the limit."""
        return error_response(
            413, f"Request body is larger than {self.settings.max_body_bytes} bytes.", _CLOSE
        )

    def _refuse_early(self, request: BackendRequest, *, is_probe: bool) -> BackendResponse | None:
        """Refuse what a server has no connection for, hosts that are not ours (DNS rebinding), and pages.

        Pages are refused whose origin is not allowed.
        """
        if "extensions" in request.scope and OVERLOADED in request.scope["extensions"] and not is_probe:
            return error_response(503, "The server has too many connections.", _RETRY_AFTER, _CLOSE)
        sent = request.scope.get("headers", ())
        if len(sent) > len(request.raw_headers):  # of a repeated header, that has only the last value
            names = [name for name, _ in sent]
            if names.count(b"host") > 1 or names.count(b"origin") > 1:
                return error_response(400, "Host and Origin must not be repeated.")  # RFC 9112, section 3.2
        host = request.raw_headers.get(b"host", b"")
        if not (is_probe or self._hosts is None or self._hosts.allow(host)):
            return error_response(400, _not_allowed("Host", host, "NAVAI_ALLOWED_HOSTS (allowed_hosts=)"))
        if self.cross_origin.refuses(request):
            origin = request.raw_headers[b"origin"]
            return error_response(403, _not_allowed("Origin", origin, "NAVAI_CORS_ORIGIN (cors_origins=)"))
        return None

    async def _identify(self, route: _Route, request: BackendRequest) -> BackendResponse | None:
        """Set the principal of *request*, or return the refusal of a caller that has none."""
        if route.token is not None:
            return None if is_token(request, route.token) else _UNAUTHENTICATED
        if self._authentication is not None:
            try:
                request.principal = await self._authentication.identify(request)
            except BackendError as error:
                return _refusal(error)
        elif self._inspector_token is not None and is_token(request, self._inspector_token):
            request.principal = INSPECTOR
        if request.principal is None:
            return _UNAUTHENTICATED
        if route.scope is not None and route.scope not in request.principal.scopes:
            return error_response(403, f"This needs a principal with the scope {route.scope}.")
        return None

    def _make_routes(self) -> dict[str, _Route]:
        handlers: dict[str, Handler] = {
            CREATE_CLIENT_SECRET.name: self._create_client_secret,
            LIST_FUNCTIONS.name: self._list,
            EXECUTE_FUNCTION.name: self._execute,
            SYNTHESIZE_SPEECH.name: self._synthesize_speech,
        }
        routes = {
            HEALTH_PATH: _Route("GET", self._health, is_open=True, any_host=True),
            READY_PATH: _Route("GET", self._ready, is_open=True, any_host=True),
            OPENAPI_PATH: _Route("GET", self._openapi),
        }
        if self._metrics is not None:
            metrics = functools.partial(_metrics, self._metrics)
            routes[METRICS_PATH] = _Route("GET", metrics, any_host=True, token=self.settings.metrics_token)
        if self._approvals is not None:
            routes[APPROVALS_PATH] = _Route("GET", self._approvals.list, scope=APPROVE)
            routes[ONE_APPROVAL] = _Route("POST", self._approvals.decide, scope=APPROVE)
        for operation in self.settings.operations:
            path = self.settings.path_of(operation)
            routes[path] = _Route(operation.method, handlers[operation.name])
            if operation is EXECUTE_FUNCTION:
                path = self.settings.path_of(CANCEL_EXECUTION)
                routes[path] = _Route("POST", self._cancel, takes_body=False)
        return routes

    def _add_inspector(self, recent_calls: RecentCalls) -> None:
        async def calls(request: BackendRequest, _body: bytes) -> BackendResponse:
            return recent_calls.respond(request)

        # With a token of its own, the inspector shows nobody else what others have sent.
        scope = None if self._inspector_token is None else APPROVE
        self._routes[CALLS_PATH] = _Route("GET", calls, scope=scope)
        for path, response in page_responses(self.settings).items():
            # The page asks for the access token, and holds no secret itself.
            self._routes[path] = _Route("GET", functools.partial(_static, response), is_open=True)

    def _refuse_body(self, headers: Mapping[bytes, bytes]) -> BackendResponse | None:
        content_type = headers.get(b"content-type")
        if content_type is None:  # as of curl -X POST: no body counts as {}
            if headers.get(b"content-length", b"0") != b"0":
                return _WRONG_TYPE
        elif content_type != b"application/json" and not _is_json(content_type):
            return _WRONG_TYPE
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.strip().lower() != b"identity":
            return error_response(415, "Content-Encoding is not supported: send the body as it is.")
        length = headers.get(b"content-length", b"")
        # As a float: int() refuses very long numbers.
        if length.isdigit() and float(length) > self.settings.max_body_bytes:
            return self.too_large()
        return None

    async def _health(self, _request: BackendRequest, _body: bytes) -> BackendResponse:
        return json_response(200, {"ok": True})

    async def _ready(self, _request: BackendRequest, _body: bytes) -> BackendResponse:
        reason = self._not_ready() or await self._invoker.why_store_fails()
        return json_response(200, {"ok": True}) if reason is None else error_response(503, reason)

    async def _openapi(self, _request: BackendRequest, _body: bytes) -> BackendResponse:
        return json_response(200, describe(self.settings, authenticated=self._authentication is not None))

    async def _create_client_secret(self, request: BackendRequest, body: bytes) -> BackendResponse:
        service: Service = self._services.create_client_secret
        if self._minting is not None:
            service = functools.partial(self._minting.mint, request.principal)
        if not self.settings.expose_session:
            service = functools.partial(_without_private_session, service)
        response = await self._serve(CREATE_CLIENT_SECRET, service, request, body)
        if self._metrics is not None:
            self._metrics.minted(response)
        return response

    async def _synthesize_speech(self, request: BackendRequest, body: bytes) -> BackendResponse:
        return await self._serve(SYNTHESIZE_SPEECH, self._services.synthesize_speech, request, body)

    async def _serve(
        self, operation: Operation[Any], service: Service, request: BackendRequest, body: bytes
    ) -> BackendResponse:
        try:
            record = decode_record(body)
            if self._metrics is not None:
                service = self._metrics.around(operation.name, service)
            return json_response(200, await service(record), (b"cache-control", b"no-store"))
        except BodyError as error:
            return error_response(400, str(error))
        except BackendError as error:
            if isinstance(error, UpstreamError | BackendOptionsError):
                text = " ".join(filter(None, (str(error), getattr(error, "detail", None))))
                _log.warning("Request %s: %s", request.request_id, text.encode("unicode_escape").decode())
            if isinstance(error, UpstreamError) and not self.settings.expose_errors:
                return _refusal(error, error.brief)
            return _refusal(error)

    async def _list(self, request: BackendRequest, _body: bytes) -> BackendResponse:
        registry = self._functions()
        if self._version != registry.version or len(self._listings) > _MAX_LISTINGS:
            self._version = registry.version
            self._listings.clear()
        scopes = _scopes_of(request) & registry.scopes
        listing = self._listings.get(scopes)
        if listing is None:
            body = registry.listing(scopes)
            headers: tuple[Header, ...] = (JSON_HEADER, etag_of(body), (b"cache-control", b"no-cache"))
            if self._authentication is not None:
                headers = (JSON_HEADER, etag_of(body), *_FOR_THIS_CALLER)
            if (mints := getattr(self._services, "mints", None)) is not None:
                headers = (*headers, (MINTS, mints.encode()))
            listing = self._listings[scopes] = BackendResponse(200, body, headers)
        return not_modified(listing, request)

    async def _execute(self, request: BackendRequest, body: bytes) -> BackendResponse:
        try:
            given, payload = decode_call(body)
        except BodyError as error:
            return error_response(400, str(error))
        name = trim(given).lower() if isinstance(given, str) else ""
        if not name:
            return error_response(400, "function_name is required.")
        registry = self._functions()
        function = registry.find(name)
        if function is None or (function.scopes and not function.scopes <= _scopes_of(request)):
            names = [each.name for each in registry.visible(_scopes_of(request))]
            return json_response(
                404, {"error": "Unknown or disallowed function.", "available_functions": names}
            )
        try:
            key = _key_of(request)
            call, replayed = await self._invoker.begin(function, payload, request, key=key)
        except BackendError as error:
            return _refusal(error)
        try:
            events = request.events
            outcome = await (call.wait() if events is None else events.follow(call))
        except asyncio.CancelledError:
            if key is None:  # the caller has left; a call with a key goes on, and keeps its outcome
                self._invoker.stop(call, SHUT_DOWN)
            elif function.reads_only and not call.is_awaited:
                self._invoker.drop(call)  # it runs again, if the caller asks again
            raise
        return _to_response(function, outcome, replayed=replayed or call.is_replayed)

    async def _cancel(self, request: BackendRequest, _body: bytes) -> BackendResponse:
        try:
            key = _key_of(request)
        except RequestError as error:
            return _refusal(error)
        if key is None:
            return error_response(400, "Idempotency-Key is required: it names the call to cancel.")
        try:
            found = await self._invoker.cancel(key)
        except StoreError:
            return error_response(503, "Idempotency keys cannot be looked up at the moment.", _RETRY_AFTER)
        except RunsElsewhereError:
            text = "Another process of the backend has this call, and alone can cancel it."
            return json_response(409, {"error": text, "may_have_executed": True})
        if found is None:
            return error_response(404, "No call has this Idempotency-Key.")
        cancelled, begun = found
        body = {"ok": True, "cancelled": cancelled}
        return json_response(200, {**body, "may_have_executed": True} if cancelled and begun else body)


def _key_of(request: BackendRequest) -> bytes | None:
    """Return a digest of the caller of *request* and its idempotency key.

    Raises:
        RequestError: It is not a key.
    """
    key = request.raw_headers.get(b"idempotency-key")
    if key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise RequestError("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    who = request.raw_headers.get(b"authorization", b"")
    if request.principal is not None:  # who is the same after a rotation of access tokens
        who = request.principal.id.encode("utf-8", "surrogatepass")
    return key_digest(who, key)


def _not_allowed(header: str, value: bytes, setting: str) -> str:
    shown = json.dumps(value[:_LONGEST_SHOWN].decode("latin-1"))
    return f"{header} {shown} is not allowed. If it should be, add it to {setting}."


def _scopes_of(request: BackendRequest) -> frozenset[str]:
    return _NO_SCOPES if request.principal is None else request.principal.scopes


def _refusal(error: BackendError, message: str | None = None) -> BackendResponse:
    headers = () if error.retry_after is None else ((b"retry-after", error.retry_after.encode("latin-1")),)
    return error_response(error.status_code, message or str(error), *headers)


async def _metrics(metrics: Metrics, _request: BackendRequest, _body: bytes) -> BackendResponse:
    body, media_type = metrics.render()
    return BackendResponse(200, body, ((b"content-type", media_type), (b"cache-control", b"no-store")))


async def _static(response: BackendResponse, request: BackendRequest, _body: bytes) -> BackendResponse:
    return not_modified(response, request)


async def _refuse_type() -> BackendResponse:
    return _WRONG_TYPE


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


def _to_response(function: RegisteredFunction, outcome: Outcome, *, replayed: bool) -> BackendResponse:
    headers: tuple[Header, ...] = (JSON_HEADER, _REPLAYED) if replayed else (JSON_HEADER,)
    if isinstance(outcome, bytes):
        return BackendResponse(200, b"".join((function.opening, outcome, b"}")), headers, function.name)
    if outcome.status == FAILED:
        body: dict[str, Any] = {"ok": False, "function_name": function.name}
        body |= {"error": outcome.error, "details": outcome.message}
        if outcome.details_for_model:
            body["details_for_model"] = True
    elif outcome.status == PENDING:  # as upstream's WordPress plugin has it
        body = {"ok": False, "pending_approval": True, "function_name": function.name}
        body |= {"approval": {"id": outcome.approval_id, "status": "pending"}, "message": outcome.message}
    else:
        body = {"error": outcome.message}
    if not outcome.has_begun:
        headers += ((b"retry-after", outcome.retry_after.encode()),)
    if outcome.may_have_executed:
        body["may_have_executed"] = True
    return BackendResponse(outcome.status, encode_result(body), headers, function.name)
