"""The ASGI application: a backend as a whole, its start and stop, and the boundary for all errors."""

import asyncio
import contextlib
import functools
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, Unpack, final, overload
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import msgspec

from navai_client._ids import new_request_id
from navai_client._redaction import Redactor
from navai_client.functions._declaration import (
    Declaration,
    Runner,
    module_of,
    name_of,
    registrable,
)
from navai_client.functions._discovery import DEFAULT_FUNCTIONS_FOLDER, discover_function_modules
from navai_client.functions._registry import FunctionRegistry
from navai_client.models import Effect
from navai_client.server._access_log import LONGEST_PATH, AccessLog, AccessRecords
from navai_client.server._approvals import Approvals, Holding
from navai_client.server._authentication import Authenticate, Authentication, authentication_of
from navai_client.server._demo import DEMO_FUNCTIONS, DemoServices
from navai_client.server._disconnects import Disconnects, Receive
from navai_client.server._errors import BackendOptionsError
from navai_client.server._events import EVENT_STREAM, Events, accepts_events
from navai_client.server._execution import Invoker, threads_of
from navai_client.server._http import IDEMPOTENCY_KEY, BackendRequest, BackendResponse, Header, error_response
from navai_client.server._inspector._recent import RecentCalls
from navai_client.server._metrics import Metrics
from navai_client.server._minting import Minting, MintPolicy, PolicyOf, policy_of
from navai_client.server._processes import Processes
from navai_client.server._routes import ROUTES_OF_A_HOST, Router, Services
from navai_client.server._settings import BackendKeywords, ServerSettings
from navai_client.server._store import MemoryStore, Store
from navai_client.server._tracing import Tracing
from navai_client.server._upstream import UpstreamServices
from navai_client.server._upstream_settings import BackendOptions

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_F = TypeVar("_F")

# Ids that are safe in a log line: UUIDs, trace ids, base64. Other ids are replaced.
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
_NAMES_SHOWN: Final = 20  # names of functions in the log line at the start
_CLIENT_HAS_GONE: Final = 499  # as in nginx's log: the client left before it got a response
_SHARED: Final = (b"navai-idempotency", b"shared")
_WITHOUT_BODY: Final = (204, 304)  # RFC 9110, section 6.4.1
# https://platform.openai.com/docs/deprecations; in the openai package, at RealtimeSessionCreateRequestParam.
_MODELS_WITH_AN_END: Final = frozenset(
    {"gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-mini", "gpt-realtime-mini-2025-12-15"}
)

_log: Final = logging.getLogger("navai_client.server")


class _DisconnectedError(Exception):
    """The client closed its connection before its request was complete."""


@final
class NavaiBackend:
    """A Navai backend as one ASGI application, to be served alone or mounted into another.

    Args:
        options: The settings for client secrets and speech; by default read from *env*.
        env: The source of settings that are not given; by default the process's environment.
        demo: Whether to offer sample functions, and client secrets that open no session. The inspector is
            then served unless the environment or *settings* say otherwise.
        discover: Whether to search folders for functions.
        services: Mints secrets and synthesizes speech, in place of OpenAI and ElevenLabs.
        authenticate: Returns the principal of a request, or None to refuse it. Pass your own function,
            :func:`~navai_client.server.from_host` or :func:`~navai_client.server.from_jwt`. It is asked
            after the access tokens. It may be async; if it is not, it must not block.
        store: Keeps idempotency keys and counts. It is closed with the backend. By default, the setting
            ``store_url`` chooses it.
        mint_policy: The policy for all callers, or a function, sync or async, that returns the policy of
            a principal, or None to refuse it. By default, *settings* decide, for all callers alike.
        access_log: Where responses are recorded: by default, the logger ``navai_client.server.access``.
            None records nothing.
        settings: Fields of :class:`~navai_client.server.ServerSettings`, such as ``access_token``.

    Raises:
        BackendOptionsError: A setting cannot work.
        ImportError: The extra ``auth`` (for JWTs) or ``redis`` (for a Redis store) is not installed.

    Attributes:
        draining: Whether the server was asked to stop and still accepts requests; ``/ready`` then fails. Our
            own server sets it. Under another server, set it yourself.

    ::

        backend = NavaiBackend()

        @backend.function
        def get_weather(location: str) -> str:
            \"\"\"Get the current weather of a place.\"\"\"
    """

    def __init__(
        self,
        options: BackendOptions | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        demo: bool = False,
        discover: bool = True,
        services: Services | None = None,
        authenticate: Authenticate | None = None,
        store: Store | None = None,
        mint_policy: MintPolicy | PolicyOf | None = None,
        access_log: AccessLog | None = AccessRecords(),  # noqa: B008 - it has no state
        **settings: Unpack[BackendKeywords],
    ) -> None:
        env = os.environ if env is None else env
        self.options: BackendOptions = BackendOptions.from_env(env) if options is None else options
        self.settings: ServerSettings = ServerSettings.from_env(env, **settings)
        if self.settings.inspector is None:
            self.settings = attrs.evolve(self.settings, inspector=demo)
        self.access_log = access_log
        self.draining = False
        self._disconnects = Disconnects()
        self._base_dir = Path(self.settings.functions_base_dir or ".").resolve()
        self._loaded = not (discover and self.settings.include_functions_routes)
        secrets = (*self.options.secrets, *self.settings.secrets)
        redactor = Redactor(secrets, base_dir=self._base_dir)
        self.log_redactor: Redactor = Redactor(secrets)  # the owner may see paths
        self._registry = FunctionRegistry(self.log_redactor)
        self._redact = redactor.error
        if services is None:
            ttl = self.options.client_secret_ttl_seconds
            services = DemoServices(ttl) if demo else UpstreamServices(self.options)
        self.services: Services = services
        self.store: Store = _store_of(self.settings) if store is None else store
        threads = threads_of(self.settings)
        processes = Processes(self.settings.processes, waiting=self.settings.max_waiting_calls)
        holding = Holding(redactor, self.settings.approval_ttl, self.settings.max_waiting_approvals)
        self.invoker: Invoker = Invoker(
            threads,
            self._redact,
            timeout=self.settings.function_timeout,
            expose_errors=self.settings.expose_errors,
            max_result_bytes=self.settings.max_result_bytes,
            store=self.store,
            max_kept_bytes=self.settings.max_kept_result_bytes,
            key_ttl=self.settings.key_ttl,
            processes=processes,
            holding=holding,
        )
        self._approvals: Approvals | None = None
        if self.settings.include_functions_routes:
            path = self.settings.functions_execute_path
            self._approvals = Approvals(self.invoker, self.store, self.functions, holding, path)
        self.recent_calls: RecentCalls | None = None
        if self.settings.inspector:
            shown = (self.settings.functions_list_path, self.settings.functions_execute_path)
            self.recent_calls = RecentCalls(redactor, shown)
        self._tracing = Tracing() if self.settings.tracing else None
        self._handle = self._serve if self._tracing is None else self._trace
        self.metrics: Metrics | None = None
        if self.settings.metrics:
            self.metrics = Metrics(threads, processes.threads, lambda: self.invoker.running)
            self.invoker.observe = self.metrics.executed
        self.authentication: Authentication | None = authentication_of(self.settings, authenticate)
        self._authenticate = authenticate
        if mint_policy is None:
            mint_policy = policy_of(self.settings)
        self._minting: Minting | None = None
        if mint_policy != MintPolicy():
            self._minting = Minting(self.services.create_client_secret, mint_policy, self.options, self.store)
        self.router: Router = self._make_router(self.authentication)
        if demo:
            for function in DEMO_FUNCTIONS:
                self._registry.add_value("demo", function.__name__, function)

    def functions(self) -> FunctionRegistry:
        """Return the functions. The first call loads the modules."""
        if not self._loaded:
            settings = self.settings
            folders = settings.functions_folders or ""
            default = settings.default_functions_folder or DEFAULT_FUNCTIONS_FOLDER
            # A backend with functions registered in code needs no folder, and no warning that it is missing.
            if folders or not self._registry.names or (self._base_dir / default).is_dir():
                found = discover_function_modules(
                    self._base_dir,
                    folders,
                    settings.agents_folders,
                    exclude=settings.exclude,
                    default_folder=default,
                    hide=self._redact if settings.expose_errors else _hide_all,
                )
                for warning in found.warnings:
                    self._registry.warn(warning)
                for module in found.modules:
                    self._registry.add_module(module, strict=self.settings.strict_exports)
            self._loaded = True
        return self._registry

    def _make_router(self, authentication: Authentication | None) -> Router:
        return Router(
            self.settings,
            self.functions,
            self.services,
            self.invoker,
            self.recent_calls,
            authentication,
            minting=self._minting,
            metrics=self.metrics,
            approvals=self._approvals,
            not_ready=self._why_not_ready,
        )

    @functools.cached_property
    def client_secret_handler(self) -> "RouteHandler":
        """The route for client secrets alone, as an ASGI application for one route of a host application.

        It checks no access token, because the host authenticates its own routes. ``authenticate=`` still
        finds the principal, and a request without one is refused. The mint policy still applies.
        """
        authentication = None if self._authenticate is None else Authentication([self._authenticate])
        return self._handler(self.settings.client_secret_path, self._make_router(authentication))

    def routes(self) -> "list[BaseRoute]":
        """Return the routes to add to those of a Starlette or FastAPI application.

        These are the routes of the contract, at the paths in the settings, and, if they are switched on,
        ``/metrics`` and the inspector's routes below ``/navai``. The host keeps ``/``, ``/health``,
        ``/ready`` and the response to unknown paths. Pass :meth:`lifespan` to the host, too.

        ::

            app = Starlette(routes=[*backend.routes(), *others], lifespan=backend.lifespan)
            app = FastAPI(routes=backend.routes(), lifespan=backend.lifespan)

        Raises:
            ImportError: Starlette is not installed.
        """
        from starlette.routing import Route  # noqa: PLC0415 - the host has it

        paths = (path for path in self.router.paths if path not in ROUTES_OF_A_HOST)
        return [Route(path, self._handler(path, self.router)) for path in paths]

    def _handler(self, path: str, router: Router) -> "RouteHandler":
        def request_of(scope: Scope) -> BackendRequest:
            given: Mapping[str, str] = scope.get("path_params", {})  # from the host: the id of an approval
            return self._request_of(scope, path.replace("{id}", given.get("id", "{id}")))

        return RouteHandler(request_of, functools.partial(self._handle, router=router))

    def _why_not_ready(self) -> str | None:
        """Return why requests should go elsewhere. It reveals no names, because anybody may ask."""
        if self.draining:
            return "The server is stopping."
        if self.functions().failed:
            return "Modules of functions could not be imported; the log names them."
        return None

    def start(self) -> None:
        """Load the functions, and log warnings for the owner.

        Raises:
            BackendOptionsError: A function needs approval, and nobody could give it.
        """
        functions = self.functions()
        names = functions.names
        waiting = [each.name for each in functions if each.needs_approval]
        if waiting and not self._may_anybody_approve:
            raise BackendOptionsError(
                f"Functions need a person's approval, which nobody could give: {', '.join(waiting)}. Set "
                "NAVAI_INSPECTOR_TOKEN (inspector_token=), or let callers say who they are by authenticate= "
                "or JWTs, and give those who may approve the scope navai:approve."
            )
        shown = ", ".join(names[:_NAMES_SHOWN]) or "none"
        if len(names) > _NAMES_SHOWN:
            shown += f" and {len(names) - _NAMES_SHOWN} more"
        _log.info("Offers %d function%s: %s", len(names), "s"[: len(names) != 1], shown)
        if functions.scopes and self.authentication is None:
            _log.warning(
                "Functions require scopes, but callers do not say who they are, and cannot call them. "
                "Set authenticate=, or NAVAI_JWT_JWKS_URL, NAVAI_JWT_ISSUER and NAVAI_JWT_AUDIENCE."
            )
        match getattr(self.services, "mints", None):
            case "samples":
                _log.info("Client secrets are samples, which open no session.")
                return
            case "own-key":
                _log.info("Mints client secrets for %s.", self.options.default_model)
            case "request-key":
                _log.info("No OPENAI_API_KEY is set: only a request with an apiKey gets a client secret.")
            case "no-key":
                _log.warning("No OPENAI_API_KEY is set: requests for a client secret get status 401.")
        chosen = [("OPENAI_REALTIME_MODEL", self.options.default_model)]
        chosen += (("NAVAI_MINT_MODELS", model) for model in self.settings.mint_models)
        for variable, model in chosen:
            if model in _MODELS_WITH_AN_END:
                _log.warning(
                    "The model %s shuts down on 2027-01-20. Set %s to another, such as %s.",
                    model,
                    variable,
                    attrs.fields(BackendOptions).default_model.default,
                )

    @property
    def _may_anybody_approve(self) -> bool:
        """Whether any principal can hold the scope: access tokens give no scopes."""
        return self.settings.inspector_token is not None or bool(
            self._authenticate or self.settings.jwt_jwks_url
        )

    async def _open(self) -> None:
        self.start()
        if self.metrics is not None:
            self.metrics.open()
        await self.invoker.why_store_fails()  # this opens the store, which then checks its settings

    async def aclose(self) -> None:
        """Cancel the calls that still run, and close the connections upstream."""
        if self.metrics is not None:
            self.metrics.close()
        await self.invoker.close()
        await self.store.aclose()
        await self.services.aclose()
        if self.authentication is not None:
            await self.authentication.aclose()
        if self.access_log is not None:
            self.access_log.flush()

    @overload
    def function(
        self,
        call: _F,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        runs_in: Literal["process"] | Runner | None = None,
        scopes: Iterable[str] | None = None,
        approval: bool | None = None,
        effect: Effect | None = None,
        typical_seconds: float | None = None,
        say_while_waiting: str | None = None,
    ) -> _F: ...
    @overload
    def function(
        self,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        runs_in: Literal["process"] | Runner | None = None,
        scopes: Iterable[str] | None = None,
        approval: bool | None = None,
        effect: Effect | None = None,
        typical_seconds: float | None = None,
        say_while_waiting: str | None = None,
    ) -> Callable[[_F], _F]: ...
    def function(self, call: Any = None, /, **said: Any) -> Any:  # noqa: D417 - said are the others, by name
        """Register a function, or each public method of a class: ``@backend.function`` or with arguments.

        Args:
            call: The function or class; it is returned unchanged.
            name: Its name, by default that of its definition. It is converted to the contract's form.
            description: Its description for models, by default its docstring's first paragraph.
            timeout: Seconds that a call may take; by default the backend's limit, or twice *typical_seconds*
                if that is more. 0 means no limit.
            runs_in: ``"process"`` for a function that computes for long or may crash: each call has a process
                to itself, which ends at the time limit. The function must be at the top level of a module,
                and its arguments must be picklable. Or a :class:`Runner`, which runs the function elsewhere.
            scopes: The scopes that a caller's principal must hold, all of them, to see and call the function.
                By default, it needs none.
            approval: Whether each call waits until a person approves it: in the inspector, or by
                ``GET /navai/approvals`` and ``POST /navai/approvals/ID``. That person needs the scope
                ``navai:approve`` or the ``inspector_token``.
            effect: What it does, as a hint for agents. ``read`` changes nothing, so a call is cancelled when
                its caller leaves. ``write`` changes something. ``dangerous`` changes something that the
                person in the session should agree to first. Agents decide what to make of it; the backend
                refuses no call because of it.
            typical_seconds: How long a call usually takes. If that is long, an agent says something at once.
            say_while_waiting: What an agent says during a long call.

        Raises:
            NavaiConfigError: The function cannot be called as it is, such as a method without an instance. Or
                it cannot run in a process. Or a default does not have its parameter's type, such as a marker
                of another framework.
        """
        declaration = Declaration(**said)

        def register(call: Any) -> Any:
            callable_ = registrable(call)
            name = declaration.name or name_of(callable_)
            self._registry.add_value(module_of(callable_), name, callable_, declaration)
            return call

        return register if call is None else register(call)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request, or the start and stop of the server."""
        if scope["type"] != "http":
            await self._serve_other(scope["type"], receive, send)
            return
        await self._handle(self._request_of(scope, self._path_of(scope)), receive, send, self.router)

    def _request_of(self, scope: Scope, path: str) -> BackendRequest:
        headers = dict(scope["headers"])
        return BackendRequest(scope["method"], path, headers, self._request_id(headers), scope)

    async def _trace(
        self, request: BackendRequest, receive: Receive, send: Send, router: Router
    ) -> BackendResponse:
        assert self._tracing is not None  # noqa: S101 - for type checkers
        end_span = self._tracing.begin(request, self._route_of(request))
        response = None
        try:
            response = await self._serve(request, receive, send, router)
        finally:
            end_span(response)
        return response

    async def _serve(
        self, request: BackendRequest, receive: Receive, send: Send, router: Router
    ) -> BackendResponse:
        """Respond to *request* with the routes of *router*, record the response, and return it."""
        began = time.perf_counter()
        body = b""
        try:
            response = await router.refuse(request)
            if response is None and request.method == "POST":
                received = await self._read(receive)
                if isinstance(received, BackendResponse):
                    response = received
                else:
                    body = received
                    response = await self._respond(request, body, receive, send, router)
            elif response is None:
                response = await router.respond(request, b"")
        except _DisconnectedError:
            response = None
        # The outer boundary: a defect of the server or its owner's code fails one request, not the process.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            response = _failed(request, error)
        if response is None:
            response = BackendResponse(_CLIENT_HAS_GONE)
        else:
            await self._send(request, response, send)
        if self.access_log is not None:
            self.access_log.write(self._loggable(request), response, time.perf_counter() - began)
        if self.metrics is not None:
            self.metrics.responded(request, response, self._route_of(request), time.perf_counter() - began)
        if self.recent_calls is not None:
            self.recent_calls.record(request, body, response, time.perf_counter() - began)
        return response

    def _route_of(self, request: BackendRequest) -> str | None:
        """Return the path of *request* if it is a route: other paths may contain anything."""
        return self.router.route_of(request.path)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Start and stop with the application that this one is mounted into: ``Starlette(lifespan=...)``."""
        await self._open()
        try:
            yield
        finally:
            await self.aclose()

    async def _serve_other(self, protocol: str, receive: Receive, send: Send) -> None:
        if protocol == "lifespan":
            await self._serve_lifespan(receive, send)
        elif protocol == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"A Navai backend does not serve {protocol!r}.")

    def _loggable(self, request: BackendRequest) -> BackendRequest:
        """Return *request* as a log may show it: a path that is no route can contain a key."""
        if self.router.route_of(request.path) is not None:
            return request
        searched = request.path[: 10 * LONGEST_PATH]  # a path of 60 KiB must not cost milliseconds
        return msgspec.structs.replace(request, path=self.log_redactor.text(searched, LONGEST_PATH))

    def _path_of(self, scope: Scope) -> str:
        """Return the path below the mount point.

        A server with a root path puts it before every path. A proxy that has not removed it sends it, too.
        """
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        if not root:
            return path
        path = _below(root, path)
        return path if self.router.route_of(path) is not None else _below(root, path)

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return new_request_id()

    async def _read(self, receive: Receive) -> bytes | BackendResponse:
        """Read the body, or return the refusal of one that is too large or too slow."""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            return body if len(body) <= self.settings.max_body_bytes else self.router.too_large()
        parts = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                while True:
                    if message["type"] != "http.request":
                        raise _DisconnectedError
                    parts += message.get("body", b"")
                    if len(parts) > self.settings.max_body_bytes:
                        return self.router.too_large()
                    if not message.get("more_body"):
                        return bytes(parts)
                    message = await receive()
        except TimeoutError:
            return error_response(408, "Request body did not arrive in time.", (b"connection", b"close"))

    async def _respond(
        self, request: BackendRequest, body: bytes, receive: Receive, send: Send, router: Router
    ) -> BackendResponse:
        """Respond to *request*, unless its client disconnects first."""
        if accepts_events(request):
            self._offer_events(request, send)
        task = self._disconnects.add(receive)
        try:
            return await router.respond(request, body)
        finally:
            if self._disconnects.remove(task):
                raise _DisconnectedError

    def _offer_events(self, request: BackendRequest, send: Send) -> None:
        async def begin() -> None:
            headers = self._headers(request, EVENT_STREAM)
            await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def write(part: bytes, more: bool) -> None:
            await send({"type": "http.response.body", "body": part, "more_body": more})

        request.events = Events(begin, write)

    async def _send(self, request: BackendRequest, response: BackendResponse, send: Send) -> None:
        if request.events is not None and request.events.has_begun:
            await request.events.end(response)
            return
        headers = self._headers(request, response.headers)
        if response.status not in _WITHOUT_BODY:
            headers.append((b"content-length", b"%d" % len(response.body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if request.method == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})

    def _headers(self, request: BackendRequest, given: tuple[Header, ...]) -> list[Header]:
        headers = [
            *given,
            (b"x-request-id", request.request_id.encode()),
            *self.router.cross_origin.headers(request),
        ]
        key = request.raw_headers.get(b"idempotency-key")
        if key is not None and IDEMPOTENCY_KEY.fullmatch(key):  # it tells a client which call this is for
            headers.append((b"idempotency-key", key))
        if self.store.shared:
            headers.append(_SHARED)
        return headers

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._open()
                except BackendOptionsError as error:
                    _log.error("%s", error)
                    await send({"type": "lifespan.startup.failed"})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                _log.info("Stopped.")
                await send({"type": "lifespan.shutdown.complete"})
                return


def _failed(request: BackendRequest, error: BaseException) -> BackendResponse:
    """Return the response to a *request* that raised *error*.

    Raises:
        BaseException: The request itself was cancelled, not only what it waited for.
    """
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise error
    _log.error("Request %s failed.", request.request_id, exc_info=error)
    return error_response(500, "Internal server error.")


def _store_of(settings: ServerSettings) -> Store:
    """Make the store that *settings* name.

    Raises:
        BackendOptionsError: Its URL cannot work.
        ImportError: It is a Redis server, and the extra ``redis`` is not installed.
    """
    if settings.store_url is None:
        return MemoryStore(max_bytes=settings.max_key_bytes)
    url = urlsplit(settings.store_url)
    try:
        if url.scheme == "sqlite":
            from navai_client.server._sqlite_store import SQLiteStore  # noqa: PLC0415 - only if it is used

            # As SQLAlchemy reads it: three slashes and a relative path, four and an absolute one.
            path = unquote(url.path.removeprefix("/"))
            options: dict[str, Any] = dict(parse_qsl(url.query, strict_parsing=bool(url.query)))
            return SQLiteStore(path, max_bytes=settings.max_key_bytes, **options)
        from navai_client.server._redis_store import RedisStore  # noqa: PLC0415 - as above

        return RedisStore(settings.store_url)
    except (TypeError, ValueError):  # whose messages may contain a password
        raise BackendOptionsError(
            "store_url (NAVAI_STORE_URL, --store) has parts that its store does not take (it is not shown)."
        ) from None


def _hide_all(_text: str) -> str:
    return ""


class RouteHandler:
    """One route as an ASGI application. It is an object, because Starlette would wrap a function."""

    def __init__(
        self,
        request_of: Callable[[Scope], BackendRequest],
        serve: Callable[[BackendRequest, Receive, Send], Awaitable[object]],
    ) -> None:
        """Serve the request that *request_of* makes of each scope, whatever its path."""
        self._request_of = request_of
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        await self._serve(self._request_of(scope), receive, send)


def _below(root: str, path: str) -> str:
    """Return the part of *path* below *root*, or *path* unchanged if it is not below it."""
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path
