"""A backend's functions for any host of the Model Context Protocol. Needs the extra ``mcp``."""

import asyncio
import contextlib
import hmac
import logging
import signal
import socket
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack

from navai_client._abandoned import BackgroundTasks
from navai_client._version import __version__
from navai_client.client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.errors import NavaiConfigError
from navai_client.integrations._missing import needs_extra

if TYPE_CHECKING:
    from mcp.server.session import ServerSession

with needs_extra("mcp", "mcp", "mcp_types", "starlette", "uvicorn"):
    import mcp_types as types
    import uvicorn
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import NotificationOptions, Server
    from mcp.server.models import InitializationOptions
    from mcp.server.stdio import stdio_server
    from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp.shared.exceptions import MCPError
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS
    from starlette.responses import PlainTextResponse
    from starlette.types import ASGIApp, Receive, Scope, Send

    from navai_client.integrations._options import complete
    from navai_client.integrations.tools import Tool
    from navai_client.integrations.toolset import Toolset, ToolsetOptions

__all__ = ["build_mcp_server", "serve_http", "serve_stdio"]

Client = NavaiBackendClient | AsyncNavaiBackendClient

_MAX_AGE: Final = 30.0  # seconds
_POLL: Final = 60.0  # seconds
_MOST_SESSIONS: Final = 1000
_GRACE: Final = 3  # seconds that connections have to end by themselves
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_log: Final = logging.getLogger("navai_client")
_log_url: Final = partial(_log.info, "MCP is spoken at %s")


def build_mcp_server(
    client: Client,
    *,
    name: str = "navai",
    instructions: str | None = None,
    max_age: float = _MAX_AGE,
    poll: float | None = _POLL,
    **options: Unpack[ToolsetOptions],
) -> "Server[None]":
    """Return a server of MCP's own package that offers the functions of *client*'s backend as tools.

    Whoever lists the tools gets them as the backend has them. A call is answered with one result, whatever
    becomes of it: the outcome as JSON text and as structured content, with ``is_error`` when it failed. What
    was begun is let finish when a host cancels it or goes.

    Args:
        client: The backend's client, which stays yours to close.
        name: What hosts call this server.
        instructions: What hosts tell their model about it.
        max_age: Seconds for which a list of tools is good before the backend is asked again.
        poll: Seconds between looks for tools that changed, of which hosts are then told; None for never.
        options: As for ``Toolset.load``; ``generic_tool`` is False by default, because hosts know many tools.

    Raises:
        NavaiConfigError: If an option cannot work.
    """
    bridge = _Bridge(client, max_age, poll, complete({"generic_tool": False, **options}))
    return _Server(
        name,
        version=__version__,
        instructions=instructions,
        lifespan=bridge.lifespan,
        on_list_tools=bridge.list_tools,
        on_call_tool=bridge.call_tool,
        on_subscriptions_listen=bridge.listen,
    )


async def serve_stdio(
    client: Client,
    *,
    name: str = "navai",
    instructions: str | None = None,
    max_age: float = _MAX_AGE,
    poll: float | None = _POLL,
    **options: Unpack[ToolsetOptions],
) -> None:
    """Serve one host over standard input and output, until it closes them.

    Standard output belongs to the protocol meanwhile: what functions of this process print goes to standard
    error. In the main thread, Ctrl-C ends the process meanwhile, because nothing can interrupt what reads
    standard input.

    Args:
        client: As for ``build_mcp_server``, and so are all others.
        name: See there.
        instructions: See there.
        max_age: See there.
        poll: See there.
        options: See there.
    """
    server = build_mcp_server(
        client, name=name, instructions=instructions, max_age=max_age, poll=poll, **options
    )
    with _ended_by_ctrl_c():
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
    name: str = "navai",
    instructions: str | None = None,
    max_age: float = _MAX_AGE,
    poll: float | None = _POLL,
    **options: Unpack[ToolsetOptions],
) -> None:
    """Serve any number of hosts over streamable HTTP, until the process is told to stop or this is cancelled.

    Args:
        client: As for ``build_mcp_server``.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        path: Where the protocol is spoken.
        allowed_hosts: The names by which other machines may reach it, such as ``mcp.example.com``. A request
            under another name is refused: a page that somebody has open could have sent it.
        access_token: What hosts must send as ``Authorization: Bearer ...``; None lets all in.
        on_listening: Told the URL once connections are taken; by default it is logged.
        name: As for ``build_mcp_server``, and so are all that follow.
        instructions: See there.
        max_age: See there.
        poll: See there.
        options: See there.

    Raises:
        NavaiConfigError: If an option cannot work.
        OSError: If the address cannot be listened on.
    """
    bridge = build_mcp_server(
        client, name=name, instructions=instructions, max_age=max_age, poll=poll, **options
    )
    app: ASGIApp = bridge.streamable_http_app(
        streamable_http_path=path, host=host, transport_security=_security(host, allowed_hosts)
    )
    if access_token is not None:
        app = _TokenGate(app, access_token)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        shown = f"[{host}]" if ":" in host else host
        on_listening(f"http://{shown}:{listener.getsockname()[1]}{path}")
        config = uvicorn.Config(
            app, access_log=False, lifespan="on", log_config=None, timeout_graceful_shutdown=_GRACE, ws="none"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True  # uvicorn itself would leave everything as it is when it is cancelled
            await serving


@contextlib.contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # others hear of no signal
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _security(host: str, allowed_hosts: Collection[str]) -> TransportSecuritySettings | None:
    if not allowed_hosts and host in _LOOPBACK:
        return None  # MCP's package then allows the names of this machine alone
    if not allowed_hosts:
        raise NavaiConfigError(
            f"Listening on {host}, say in allowed_hosts by which names this server may be reached."
        )
    names = [each for allowed in (*_LOOPBACK, *allowed_hosts) for each in (allowed, f"{allowed}:*")]
    origins = [f"{scheme}://{each}" for each in names for scheme in ("http", "https")]
    return TransportSecuritySettings(allowed_hosts=names, allowed_origins=origins)


class _TokenGate:
    """Lets only those in who know the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = PlainTextResponse("Unauthorized", 401, {"WWW-Authenticate": "Bearer"})
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Server(Server[None]):
    """A server that says that its tools may change, whichever way it is served."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        return super().create_initialization_options(
            notification_options or NotificationOptions(tools_changed=True),
            experimental_capabilities,
            extensions,
        )


class _Bridge:
    """One toolset, for all who are connected."""

    def __init__(self, client: Client, max_age: float, poll: float | None, options: ToolsetOptions) -> None:
        self._client = client
        self._max_age = max_age
        self._poll = poll
        self._options = options
        self._toolset: Toolset | None = None
        self._asked_at = 0.0
        self._asking = asyncio.Lock()
        self._open = 0
        self._bus = InMemorySubscriptionBus()
        self._sessions: OrderedDict[int, ServerSession] = OrderedDict()
        self._notifications = BackgroundTasks(_log)
        self.listen = ListenHandler(self._bus)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: "Server[None]") -> AsyncIterator[None]:
        """Keep the toolset while somebody is connected, and let what was begun finish after."""
        self._open += 1
        polling = None if self._poll is None else asyncio.create_task(self._look_for_changes(self._poll))
        try:
            yield
        finally:
            if polling is not None:
                await _cancelled(polling)
            self._open -= 1
            if not self._open:
                await self._close()

    async def _close(self) -> None:
        self._sessions.clear()
        await self._notifications.close(0)
        toolset, self._toolset = self._toolset, None
        if toolset is not None:
            await toolset.close()

    async def list_tools(
        self, context: ServerRequestContext[None], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """Answer with all tools in one page."""
        if params is not None and params.cursor is not None:
            raise MCPError(types.INVALID_PARAMS, "There is no such page: all tools are in the first one.")
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:  # the others listen
            self._sessions[id(context.session.client_params)] = context.session
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        toolset = await self._current(self._max_age)
        return types.ListToolsResult(tools=[_described(tool) for tool in toolset.tools])

    async def call_tool(
        self, _: ServerRequestContext[None], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """Call a tool, and answer with its outcome."""
        toolset = await self._current(None)
        outcome = await toolset.call(params.name, params.arguments)
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=outcome.to_json())],
            structured_content=outcome.as_dict(),
            is_error=not outcome.ok,
        )

    async def _current(self, max_age: float | None) -> Toolset:
        """Return the toolset, not older than *max_age* seconds."""
        now = asyncio.get_running_loop().time
        async with self._asking:
            if self._toolset is None:
                self._toolset = await Toolset.load(self._client, **self._options)
                self._asked_at = now()
                for warning in self._toolset.warnings:
                    _log.warning("%s", warning)
            elif max_age is not None and now() - self._asked_at >= max_age:
                changes = await self._toolset.refresh()
                self._asked_at = now()
                if changes:
                    await self._tell()
            return self._toolset

    async def _look_for_changes(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            if self._toolset is not None:
                await self._current(0.0)

    async def _tell(self) -> None:
        """Tell all who are connected that the tools are others now; who does not read holds up nobody."""
        await self._bus.publish(ToolsListChanged())
        for session in self._sessions.values():
            self._notifications.start(session.send_tool_list_changed(), "tools/list_changed")


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.parameters,
        annotations=types.ToolAnnotations(read_only_hint=True) if tool.read_only else None,
    )
