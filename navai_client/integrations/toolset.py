"""A backend's functions, local ones and navigation as the tools of one agent, whatever its framework.

A call always has exactly one outcome, which a model can read; a backend that fails raises nothing.
"""

import asyncio
import contextvars
import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, Unpack, final

import attrs

from navai_client.client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.config import checked_timeout
from navai_client.instrumentation import tool_call
from navai_client.integrations import _prompt
from navai_client.integrations._catalog import build_catalog
from navai_client.integrations._local import local_functions
from navai_client.integrations._options import Settings, ToolsetOptions, normalized
from navai_client.integrations._pipeline import Pipeline, Work
from navai_client.integrations._resolution import Resolved, resolve
from navai_client.integrations._running import Begun, Running
from navai_client.integrations.tools import BUILT_IN, Tool, ToolCall, ToolOutcome, ToolsetChanges
from navai_client.models import FunctionList

__all__ = ["Toolset"]

_GRACE: Final = 5.0  # seconds that close() waits for calls under way
_MOST_THREADS: Final = 64
_FAILED_TO_LIST: Final = "[navai] Failed to "

Client = NavaiBackendClient | AsyncNavaiBackendClient


@final
class Toolset:
    """The tools of one agent: a backend's functions, local ones, and navigation.

    Made by ``await Toolset.load(client, ...)``. It belongs to one event loop. Use it as an async context
    manager, or call ``close()``, so that what was begun is let finish; the client stays yours to close.

    Args:
        client: The backend's client, of either kind. Calls of a synchronous one run in threads.
        listed: What the backend offers, as ``list_functions`` gave it.
        options: As for ``load``.

    Raises:
        NavaiConfigError: If an option cannot work.
    """

    def __init__(self, client: Client, listed: FunctionList, **options: Unpack[ToolsetOptions]) -> None:
        self._client: Any = client
        self._client_is_async = inspect.iscoroutinefunction(client.execute_function)
        self._options = options
        self._settings = Settings(**options)
        self._local, self._local_warnings = local_functions(self._settings.functions)
        self._blank = ToolOutcome(
            ok=False,
            max_result_chars=self._settings.max_result_chars,
            show_details=self._settings.show_details,
        )
        self._running = Running()
        self._pipeline = Pipeline(self._settings.hooks(), self._running)
        self._namespace = uuid.uuid4()
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="navai-tool")
        self._derived: dict[str, Toolset] = {}
        self._take(listed)

    @classmethod
    async def load(cls, client: Client, **options: Unpack[ToolsetOptions]) -> Self:
        """Ask the backend for its functions and make a toolset of them.

        A backend that fails raises nothing: its reason is in ``warnings``, and ``refresh()`` asks again.

        Args:
            client: The backend's client, of either kind.
            options: Any of these.

                ``functions``: Python functions of this process, by their own names or those of a mapping.
                They win over the backend's of the same name. Coroutine functions run in the event loop,
                others in threads.
                ``routes``: The routes that ``navigate_to`` may open.
                ``navigate``: Opens a path; called in the event loop, and awaited if it gives an awaitable.
                Without it there is no ``navigate_to``.
                ``timeout``: Seconds that one call may take, its ``before`` hook included (20); None for no
                limit. ``timeouts``: Other limits for some functions, by name.
                ``max_result_chars``: How long the JSON of a result may be before it is cut (16000).
                ``show_details``: Whether the model is told a backend's own words about a failure (False).
                ``read_only``: Names of functions that are known to change nothing.
                ``only``: Names of the backend's functions that are offered; None for all.
                ``generic_tool``: Whether there is ``execute_app_function`` (True).
                ``direct_tools``: Whether there is a tool for each function (True).
                ``before``: Asked before a call runs. A text that it returns refuses the call, and is told to
                the model; a call is refused, too, if it raises.
                ``slow``: Told once of a call that takes longer than ``slow_after`` seconds (2).
                ``after``: Told of each call and its outcome, also of those that did not run.

        Raises:
            NavaiConfigError: If an option cannot work.
        """
        return cls(client, await _list(client), **options)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What a model is offered: built-in tools first, then local functions, then the backend's."""
        return self._catalog.tools

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd, in the words of the JavaScript agent where it has some."""
        settings = self._settings
        options = {*settings.timeouts, *settings.read_only} - {*self._catalog.functions, *BUILT_IN}
        return (
            *self._told,
            *self._catalog.warnings,
            *(
                f'[navai] An option names "{name}", but there is no such function.'
                for name in sorted(options)
            ),
            *(each for derived in self._derived.values() for each in derived._catalog.warnings),  # noqa: SLF001 - its own class
        )

    @property
    def function_lines(self) -> list[str]:
        """One line for each function, for instructions."""
        functions = self._catalog.functions.values()
        return _prompt.function_lines((each.name, each.description) for each in functions)

    def instructions(self, base: str | None = None, *, specialists: Sequence[str] = ()) -> str:
        """Return the instructions of the JavaScript agent for these tools.

        Args:
            base: Who the agent is: the first lines.
            specialists: Lines about agents to hand over to.
        """
        return _prompt.primary_instructions(
            base,
            routes=None if self._settings.navigate is None else self._settings.routes,
            functions=self.function_lines,
            specialists=specialists,
            generic=self._settings.generic_tool,
            named=any(each.parameters is not None for each in self._catalog.functions.values()),
        )

    def derive(self, name: str, **options: Unpack[ToolsetOptions]) -> "Toolset":
        """Return the toolset of another agent of the same application: same client, hooks and limits.

        It is closed with this one, and this one's ``warnings`` tell of it, too.

        Args:
            name: Who it is for. A second one of the same name takes the place of the first.
            options: What differs, as for ``load``.
        """
        given: ToolsetOptions = {**self._options, "routes": self._settings.routes, "functions": (), **options}
        made = Toolset(self._client, self.listed, **given)
        made._running, made._pipeline, made._threads = self._running, self._pipeline, self._threads
        self._derived[name] = made
        return made

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | bytes | None = None,
        *,
        call_id: str | None = None,
        timeout: float | None = None,
    ) -> ToolOutcome:
        """Call a tool, and return what came of it; whatever the backend does, nothing is raised.

        A caller that is cancelled is released at once; a call that was begun is let finish. Who asks again
        with the same *call_id* gets its outcome, and the function does not run twice.

        Args:
            name: The tool's name, or a function's.
            arguments: An object, its JSON text as a model wrote it, or None.
            call_id: The id of the call, as the model gave it; another call must have another.
            timeout: Seconds for this call instead of the tool's own.
        """
        limit = None if timeout is None else checked_timeout(timeout)
        found = resolve(self._catalog, self._settings, name, arguments)
        call = ToolCall(
            call_id=call_id or f"call_{uuid.uuid4().hex}",
            tool_name=normalized(name),
            function_name=found.function_name or normalized(name),
            arguments=found.arguments,
            source=found.source or "navai",
            kind=found.kind,
            read_only=found.function_name in self._settings.read_only,
        )
        blank = attrs.evolve(
            self._blank, call_id=call.call_id, function_name=found.function_name, source=found.source
        )
        if found.refusal is not None:
            outcome = attrs.evolve(blank, **found.refusal)
            await self._pipeline.tell_after(call, outcome)
            return outcome
        if limit is None:
            limit = self._settings.timeout_of(call.function_name)
        work = self._work(call, found)

        async def run(begun: Begun) -> ToolOutcome:
            with tool_call(call_id):  # for who watches the client
                return await self._pipeline.run(
                    call, attrs.evolve(blank, path=found.path), work, limit, begun
                )

        return await self._running.once(call, run)

    async def refresh(self) -> ToolsetChanges:
        """Ask the backend again, and return what changed.

        When the backend cannot be asked, everything stays as it was, and ``warnings`` say why.
        """
        listed = await _list(self._client)
        if not listed.functions and any(each.startswith(_FAILED_TO_LIST) for each in listed.warnings):
            self._told = listed.warnings
            return ToolsetChanges()
        before = self.tools
        for toolset in (self, *self._derived.values()):
            toolset._take(listed)  # noqa: SLF001 - its own class
        return ToolsetChanges.between(before, self.tools)

    async def close(self) -> None:
        """Wait up to 5 seconds for calls that were begun, then cancel them. Can be called more than once."""
        await self._running.close(_GRACE)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _take(self, listed: FunctionList) -> None:
        self.listed = listed
        self._catalog = build_catalog(listed.functions, self._local, self._local_warnings, self._settings)
        self._told = listed.warnings

    def _work(self, call: ToolCall, found: Resolved) -> Work:
        async def ask_backend(left: float | None) -> Any:
            ask = partial(
                self._client.execute_function,
                call.function_name,
                call.arguments,
                idempotency_key=self._idempotency_key(call),
                timeout=left,
            )
            return await (ask() if self._client_is_async else self._in_thread(ask))

        if (bound := found.bound) is None:
            return ask_backend

        async def run_here(_: float | None) -> Any:
            result = await self._in_thread(bound) if found.in_thread else bound()
            return await result if inspect.isawaitable(result) else result

        return run_here

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)

    def _idempotency_key(self, call: ToolCall) -> str:
        """Return the same key for the same call: a backend that knows keys then runs it once, too."""
        return str(uuid.uuid5(self._namespace, f"{call.call_id}\n{call.function_name}\n{call.arguments!r}"))


async def _list(client: Any) -> FunctionList:
    if inspect.iscoroutinefunction(client.list_functions):
        listed: FunctionList = await client.list_functions()
    else:
        listed = await asyncio.to_thread(client.list_functions)
    return listed
