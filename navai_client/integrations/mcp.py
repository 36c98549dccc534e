"""A backend's functions for any host of the Model Context Protocol. Needs the extra ``mcp``."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import signal
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack

import attrs
from attrs import define, field, frozen

from navai_client._abandoned import BackgroundTasks
from navai_client._extras import needs_extra
from navai_client._ids import new_uuid
from navai_client._version import __version__
from navai_client.errors import NavaiConfigError

if TYPE_CHECKING:
    from mcp.server.session import ServerSession

with needs_extra("mcp", "mcp", "mcp_types", "pydantic", "uvicorn"):
    import mcp_types as types
    import uvicorn
    from mcp.server.auth.provider import AccessToken
    from mcp.server.auth.settings import AuthSettings
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import NotificationOptions, Server
    from mcp.server.models import InitializationOptions
    from mcp.server.stdio import stdio_server
    from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp.shared.exceptions import MCPError
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS
    from pydantic import AnyHttpUrl

    from navai_client.integrations._options import complete
    from navai_client.integrations._results import compact
    from navai_client.integrations.tools import Tool, ToolCall, ToolOutcome, ToolProgress
    from navai_client.integrations.toolset import Client, Toolset, ToolsetOptions

__all__ = ["McpServerOptions", "build_mcp_server", "serve_http", "serve_stdio"]

Identity = Callable[[Mapping[str, str]], Mapping[str, str]]
_User = tuple[tuple[str, str], ...]  # the headers with which a user calls the backend

# Notified of changes, and users whose tools are kept. A session that went away is not always noticed.
_MAX_SESSIONS: Final = 1000
_MAX_WAITING: Final = 128  # calls that wait for approval at the backend; a toolset follows as many
_RETRIED_WITHIN: Final = 120.0  # seconds; a model asks again soon after its host has cancelled a call
_ASK_AGAIN: Final = (
    "The call waits for the approval of a person. It was not executed. Call the tool again later, with the "
    "same arguments, to learn what came of it: nothing is requested twice."
)
_GRACE: Final = 3  # seconds for open connections at the end; hosts keep event streams open for ever
_APPROVAL: Final = "approval"
_NOTHING_TO_FILL: Final[dict[str, Any]] = {"type": "object", "properties": {}}  # accepting is the answer
_OUTCOME: Final[dict[str, Any]] = {  # of the outcomes of every tool
    "type": "object",
    "properties": {
        "ok": {"type": "boolean", "description": "Whether there is a result."},
        "function_name": {"type": "string"},
        "source": {"type": "string", "description": "Where the function comes from."},
        "result": {"description": "What the function returned."},
        "truncated": {"type": "boolean", "description": "Whether the result was cut, with a mark there."},
        "path": {"type": "string", "description": "The path that was opened."},
        "error": {"type": "string", "description": "Why there is no result."},
        "available_functions": {"type": "array", "items": {"type": "string"}},
        "may_have_executed": {"type": "boolean", "description": "Whether the function may have run."},
        "pending": {"type": "boolean", "description": "Whether the call waits for a person's approval."},
        "details": {"type": "string"},
    },
    "required": ["ok"],
}
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_log: Final = logging.getLogger("navai_client")
_log_url: Final = partial(_log.info, "MCP server listening on %s")


class McpServerOptions(ToolsetOptions, total=False):
    """The options of ``build_mcp_server``, which documents them."""

    name: str
    instructions: str | None
    max_age: float
    poll: float | None
    identity: Identity | None


def build_mcp_server(
    client: Client,
    *,
    name: str = "navai",
    instructions: str | None = None,
    max_age: float = 30.0,
    poll: float | None = 60.0,
    identity: Identity | None = None,
    **options: Unpack[ToolsetOptions],
) -> "Server[None]":
    """Return a server of the ``mcp`` package that offers the functions of *client*'s backend as tools.

    A host that lists the tools gets the current functions of the backend. Each call has one result: the
    outcome as JSON text and as structured content, with ``is_error`` if it failed. A call that has begun runs
    to its end, even if its host cancels it or disconnects. If a call waits for approval at the backend, the
    result says so; if any host repeats the same call later, it gets the outcome.

    Args:
        client: The backend's client. You close it yourself.
        name: The name of the server for hosts.
        instructions: What hosts tell their model about the server.
        max_age: Seconds for which a list of tools is used before the backend is asked again.
        poll: Seconds between checks for changed tools, about which hosts are notified; None for never.
        identity: Called with the headers of a host's HTTP request; returns those with which its user calls
            the backend, such as ``Authorization``, beside the client's or instead of those of the same names.
            Each user gets the tools that the backend lists for them. If it raises, the request is refused.
            Not called for a host without HTTP, which calls as the client.
        options: As for ``Toolset.load``; ``generic_tool`` is False by default, because hosts support many
            tools.

    Raises:
        NavaiConfigError: If an option cannot work.
    """
    bridge = _Bridge(client, complete({"generic_tool": False, **options}), max_age, poll, identity)
    return _Server(
        name,
        version=__version__,
        instructions=instructions,
        lifespan=bridge.lifespan,
        on_list_tools=bridge.list_tools,
        on_call_tool=bridge.call_tool,
        on_subscriptions_listen=bridge.listen,
    )


async def serve_stdio(client: Client, **options: Unpack[McpServerOptions]) -> None:
    """Serve one host over standard input and output, until the host closes them.

    Standard output is reserved for the protocol: what functions of this process print goes to standard error.
    In the main thread, Ctrl-C ends the process, because a read of standard input cannot be interrupted.

    Args:
        client: As for ``build_mcp_server``.
        options: As for ``build_mcp_server``.
    """
    server = build_mcp_server(client, **options)
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_DFL))
        async with stdio_server() as (received, sent):
            await server.run(received, sent, server.create_initialization_options())


async def serve_http(
    client: Client,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    path: str = "/mcp",
    allowed_hosts: Collection[str] = (),
    access_token: str | None = None,
    on_listening: Callable[[str], object] = _log_url,
    **options: Unpack[McpServerOptions],
) -> None:
    """Serve any number of hosts over streamable HTTP, until the process is stopped or this is cancelled.

    Args:
        client: As for ``build_mcp_server``.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        path: The path of the endpoint.
        allowed_hosts: The host names by which other machines may reach the server, such as
            ``mcp.example.com``. Requests for other names are refused, which stops DNS rebinding by web pages.
        access_token: The bearer token that hosts must send in ``Authorization``; None admits every host.
        on_listening: Called with the URL once connections are accepted; logs it by default.
        options: As for ``build_mcp_server``.

    Raises:
        NavaiConfigError: If an option cannot work.
        OSError: If the address cannot be listened on.
    """
    bridge = build_mcp_server(client, **options)
    security = _security(host, allowed_hosts)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the bundled server's does
        origin = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        app = bridge.streamable_http_app(
            streamable_http_path=path,
            host=host,
            transport_security=security,
            # The package requires an issuer. Nothing publishes it, as there is no resource_server_url.
            auth=AuthSettings(issuer_url=AnyHttpUrl(origin), resource_server_url=None),
            token_verifier=None if access_token is None else _TokenVerifier(access_token),
        )
        on_listening(f"{origin}{path}")
        config = uvicorn.Config(
            app, access_log=False, lifespan="on", log_config=None, timeout_graceful_shutdown=_GRACE, ws="none"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True  # a cancelled uvicorn would not shut down its lifespan and connections
            await serving


def _security(host: str, allowed_hosts: Collection[str]) -> TransportSecuritySettings | None:
    if not allowed_hosts and host in _LOOPBACK:
        return None  # the mcp package then admits the names of this machine alone
    if not allowed_hosts:
        raise NavaiConfigError(
            f"To listen on {host}, pass allowed_hosts: the names by which this server may be reached."
        )
    names = [each for allowed in (*_LOOPBACK, *allowed_hosts) for each in (allowed, f"{allowed}:*")]
    origins = [f"{scheme}://{each}" for each in names for scheme in ("http", "https")]
    return TransportSecuritySettings(allowed_hosts=names, allowed_origins=origins)


@define
class _Reports:
    """Tells a host what the function reports, and that it runs, if it asked for the progress of a call."""

    session: "ServerSession"
    count: int = 0
    is_new: bool = False  # whether the function has reported since the host was told how the call stands

    async def report(self, text: str) -> None:
        """Pass on *text*. The number grows with each notification, as the protocol wants it."""
        self.count += 1
        self.is_new = True
        await self.session.report_progress(self.count, message=text)

    async def tell(self, progress: ToolProgress) -> None:
        """Tell that the call still runs, unless the function has just said so itself."""
        if not self.is_new:
            running = f"{progress.call.function_name} has been running for {progress.seconds:.0f} s."
            await self.report(progress.message or running)
        self.is_new = False


def _hints(tool: Tool) -> types.ToolAnnotations | None:
    """Return what hosts are told of the effect of *tool*; they take what is unknown for destructive."""
    if tool.effect is None:
        return None
    if tool.read_only:
        return types.ToolAnnotations(read_only_hint=True)
    return types.ToolAnnotations(read_only_hint=False, destructive_hint=tool.effect == "dangerous")


def _result(outcome: ToolOutcome) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=outcome.to_json())],
        structured_content=outcome.as_dict(),
        is_error=not outcome.ok,
    )


class _Approval:
    """The approval of one call by the user of its host."""

    def __init__(
        self, context: ServerRequestContext[None], params: types.CallToolRequestParams, tool: Tool
    ) -> None:
        asked = f"{tool.name} with {json.dumps(params.arguments or {}, ensure_ascii=False, sort_keys=True)}"
        self._context = context
        self._params = params
        self._message = f"Allow {asked}?"
        form = types.ElicitationCapability(form=types.FormElicitationCapability())
        capability = types.ClientCapabilities(elicitation=form)
        self.can_ask = context.session.check_client_capability(capability)
        self._asks_by_result = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        self._state = hashlib.sha256(asked.encode()).hexdigest()  # an answer is for these arguments alone

    def request(self) -> types.InputRequiredResult | None:
        """Return what asks for the user's answer, unless it is there, or comes while the call runs."""
        if not self.can_ask or not self._asks_by_result or self._answer() is not None:
            return None
        form_params = types.ElicitRequestFormParams(message=self._message, requested_schema=_NOTHING_TO_FILL)
        return types.InputRequiredResult(
            input_requests={_APPROVAL: types.ElicitRequest(params=form_params)}, request_state=self._state
        )

    async def given(self, _: ToolCall) -> bool:
        answer = self._answer()
        if not self._asks_by_result:
            answer = await self._context.session.elicit_form(
                self._message, _NOTHING_TO_FILL, related_request_id=self._context.request_id
            )
        return answer is not None and answer.action == "accept"

    def _answer(self) -> types.ElicitResult | None:
        answer = (self._params.input_responses or {}).get(_APPROVAL)
        is_ours = self._params.request_state == self._state
        return answer if is_ours and isinstance(answer, types.ElicitResult) else None


@frozen
class _TokenVerifier:
    """Accepts one token, for the bearer authentication of the ``mcp`` package."""

    accepted: str = field(repr=False)

    async def verify_token(self, token: str) -> AccessToken | None:
        # Starlette decodes headers as Latin-1.
        if not hmac.compare_digest(token.encode("latin-1"), self.accepted.encode()):
            return None
        return AccessToken(token=token, client_id="navai", scopes=[])


class _Server(Server[None]):
    """A server that announces that its tools can change, however it is served."""

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *args: Any, **kwargs: Any
    ) -> InitializationOptions:
        announced = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(announced, *args, **kwargs)


@define
class _UserTools:
    """The tools of one user of hosts."""

    toolset: Toolset
    listed_at: float | None = None
    listing: asyncio.Lock = field(factory=asyncio.Lock)


@frozen
class _Cancelled:
    """A call that its host has cancelled."""

    call_id: str
    conversation: object  # held, so that no other one has the same identity
    at: float


class _Bridge:
    """One toolset for every connected host."""

    def __init__(
        self,
        client: Client,
        options: ToolsetOptions,
        max_age: float,
        poll: float | None,
        identity: Identity | None,
    ) -> None:
        self._client = client
        self._options = options
        self._max_age = max_age
        self._poll = poll
        self._identity = identity
        self._users: OrderedDict[_User, _UserTools] = OrderedDict()
        self._toolset: Toolset | None = None
        self._waiting: OrderedDict[str, ToolOutcome] = (
            OrderedDict()
        )  # calls for approval, then what came of them
        self._cancelled: OrderedDict[tuple[int, str], _Cancelled] = OrderedDict()
        self._warned: deque[str] = deque(maxlen=_MAX_SESSIONS)
        self._listed_at = 0.0
        self._listing = asyncio.Lock()
        self._hosts = 0
        self._bus = InMemorySubscriptionBus()
        self._sessions: OrderedDict[int, ServerSession] = OrderedDict()
        self._notifications = BackgroundTasks(_log)
        self.listen = ListenHandler(self._bus)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: "Server[None]") -> AsyncIterator[None]:
        """Keep the toolset while a host is connected; afterwards, let calls that have begun finish."""
        self._hosts += 1
        polling = asyncio.create_task(self._poll_for_changes())
        try:
            yield
        finally:
            polling.cancel()
            await asyncio.wait((polling,))
            self._hosts -= 1
            if not self._hosts:
                self._sessions.clear()
                self._waiting.clear()
                self._cancelled.clear()
                self._users.clear()
                await self._notifications.close(0)
                toolset, self._toolset = self._toolset, None
                if toolset is not None:
                    await toolset.close()

    async def list_tools(
        self, context: ServerRequestContext[None], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(types.INVALID_PARAMS, "There is no such page: all tools are on the first one.")
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:  # modern hosts listen
            self._sessions[id(context.session.client_params)] = context.session
            if len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)
        toolset = await self._toolset_of(self._user_of(context), self._max_age)
        tools = [
            types.Tool(
                name=tool.name,
                description=tool.description,
                input_schema=tool.parameters,
                output_schema=_OUTCOME,
                annotations=_hints(tool),
            )
            for tool in toolset.tools
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        self, context: ServerRequestContext[None], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        user = self._user_of(context)
        asked = compact([user, params.name, params.arguments])
        known = self._waiting.get(asked)
        if known is not None:
            if not known.decision_follows:
                del self._waiting[asked]
            return _result(known)
        toolset = await self._toolset_of(user, None)
        conversation = self._conversation(context, toolset)
        call_id = self._call_id(context, conversation, asked)
        # Without effect unless the host asked for the progress, as it may when it makes the call again.
        reports = _Reports(context.session)
        tool = next((each for each in toolset.tools if each.name == params.name and each.approval), None)
        approve = None
        if tool is not None and toolset.approve is None:
            approval = _Approval(context, params, tool)
            approve = approval.given if approval.can_ask else None
            if (request := approval.request()) is not None:
                return request
        try:
            outcome = await toolset.call(
                params.name,
                params.arguments,
                call_id=call_id,
                session=conversation,
                approve=approve,
                decided=partial(self._decided, asked),
                tell=reports.tell,
                on_progress=reports.report,
            )
        except asyncio.CancelledError:
            cancelled = _Cancelled(call_id, conversation, asyncio.get_running_loop().time())
            self._cancelled[id(conversation), asked] = cancelled
            if len(self._cancelled) > _MAX_WAITING:
                self._cancelled.popitem(last=False)
            raise
        if outcome.decision_follows:
            outcome = self._waiting[asked] = attrs.evolve(outcome, error=_ASK_AGAIN)
            if len(self._waiting) > _MAX_WAITING:
                self._waiting.popitem(last=False)
        return _result(outcome)

    def _decided(self, asked: str, _: ToolCall, outcome: ToolOutcome) -> None:
        with contextlib.suppress(KeyError):  # it was dropped
            self._waiting.move_to_end(asked)
            self._waiting[asked] = outcome

    def _conversation(self, context: ServerRequestContext[None], toolset: Toolset) -> object:
        """Return what the calls of one host have in common.

        Since protocol 2026-07-28, requests over HTTP have nothing in common but their user.
        """
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return context.session.client_params or context.session
        return context.session if context.request is not None and self._identity is None else toolset

    def _call_id(self, context: ServerRequestContext[None], conversation: object, asked: str) -> str:
        """Return the id of a call: that of an earlier request for the same, which did not get its outcome.

        Hosts say nowhere that a request is made again. A host that asks for the same as in a call that it has
        just cancelled, at its time limit as a rule, makes it again. Before protocol 2026-07-28, a request
        sent twice over one connection has the same id, which belongs to no other request.
        """
        earlier = self._cancelled.pop((id(conversation), asked), None)
        if earlier and asyncio.get_running_loop().time() - earlier.at < _RETRIED_WITHIN:
            return earlier.call_id
        is_unique = context.protocol_version not in MODERN_PROTOCOL_VERSIONS
        return f"request {context.request_id}" if is_unique else new_uuid()

    def _user_of(self, context: ServerRequestContext[None]) -> _User:
        """Return the headers with which the user of a host calls the backend, if the host tells."""
        if self._identity is None or context.request is None:
            return ()
        try:
            return tuple(sorted(self._identity(context.request.headers).items()))
        except Exception:  # noqa: BLE001 - the boundary to the owner's function
            _log.exception("The request of a host was refused, because its user is not known")
            raise MCPError(types.INVALID_REQUEST, "The user of the host is not known.") from None

    async def _toolset_of(self, user: _User, max_age: float | None) -> Toolset:
        """Return the toolset of *user*, as ``_current`` returns that of everybody."""
        toolset = await self._current(max_age)
        if not user:
            return toolset
        known = self._users.pop(user, None) or _UserTools(toolset.as_user(headers=dict(user)))
        self._users[user] = known
        if len(self._users) > _MAX_SESSIONS:
            self._users.popitem(last=False)
        now = asyncio.get_running_loop().time()
        async with known.listing:
            if known.listed_at is None or (max_age is not None and now - known.listed_at >= max_age):
                await known.toolset.refresh()
                known.listed_at = now
                self._log_warnings(known.toolset)
            return known.toolset

    async def _current(self, max_age: float | None) -> Toolset:
        """Return the toolset, with a list that is not older than *max_age* seconds."""
        now = asyncio.get_running_loop().time
        async with self._listing:
            if self._toolset is None:
                self._toolset = await Toolset.load(self._client, **self._options)
                self._listed_at = now()
                self._log_warnings(self._toolset)
            elif max_age is not None and now() - self._listed_at >= max_age:
                changes = await self._toolset.refresh()
                self._listed_at = now()
                self._log_warnings(self._toolset)
                if changes:
                    await self._notify()
            return self._toolset

    def _log_warnings(self, toolset: Toolset) -> None:
        """Log what is new among the warnings of the last list."""
        for warning in toolset.warnings:
            if warning not in self._warned:
                self._warned.append(warning)
                _log.warning("%s", warning)

    async def _poll_for_changes(self) -> None:
        while self._poll is not None:
            await asyncio.sleep(self._poll)
            if self._toolset is not None:
                await self._current(0.0)

    async def _notify(self) -> None:
        """Notify every connected host of changed tools; one that does not read delays no other."""
        await self._bus.publish(ToolsListChanged())
        for session in self._sessions.values():
            self._notifications.start(session.send_tool_list_changed(), "tools/list_changed")
