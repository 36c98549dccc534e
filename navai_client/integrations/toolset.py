"""A backend's functions, local functions and navigation as the tools of one agent, for any framework.

A call always has exactly one outcome, which a model can read. Whatever the backend does, no call raises.
"""

import asyncio
import copy
import inspect
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Unpack, final

import attrs

from navai_client._ids import new_uuid
from navai_client._threads import CallThreads, run_in_thread
from navai_client.client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.config import checked_timeout
from navai_client.errors import NavaiConfigError, NavaiError, NavaiHTTPError
from navai_client.instrumentation import tool_call
from navai_client.integrations import _prompt
from navai_client.integrations._calls import Calls, Run, call_after, unlisted
from navai_client.integrations._catalog import BUILT_IN, Catalog, Resolved, build_catalog, resolve
from navai_client.integrations._hooks import Companion, Signals, awaited
from navai_client.integrations._local import local_functions
from navai_client.integrations._options import (
    Approve,
    Decided,
    Progress,
    Say,
    Tell,
    ToolsetOptions,
    complete,
    documents_options,
    normalized,
    timeout_of,
)
from navai_client.integrations.tools import Tool, ToolCall, ToolOutcome, ToolsetChanges
from navai_client.models import Cancellation, FunctionList

__all__ = ["Toolset", "ToolsetOptions"]

_GRACE: Final = 5.0  # seconds that close() waits for running calls, as the client waits for abandoned ones
_WITHDRAWAL_LIMIT: Final = 5.0  # seconds for a request to cancel: the person waits for the answer
_WITHDRAWAL_DELAYS: Final = (0.0, 0.2)  # seconds; a call may arrive after the first request to cancel it
_NAMES_SHOWN: Final = 8  # by a repr, which a debugger shows on one line

_UNLISTED: Final = FunctionList(error=NavaiError("The functions were not listed yet."))

Client = NavaiBackendClient | AsyncNavaiBackendClient


class _Backend:
    """A client and what the toolsets of one application share: the list, the calls, the threads."""

    def __init__(self, client: Any, listed: FunctionList, navigate: Callable[[str], Any] | None) -> None:
        self.client = client
        self.navigate = navigate  # for the functions of agents that have no tool for it
        self.listed = listed
        self.warnings = listed.warnings  # of the last attempt to list
        self.calls = Calls()
        self.calls_of_users: weakref.WeakSet[Calls] = weakref.WeakSet()
        self.threads = CallThreads()
        self.client_is_async = inspect.iscoroutinefunction(client.execute_function)

    def for_user(self, headers: Mapping[str, str]) -> "_Backend":
        """Return the backend for one user, whose calls meet no others."""
        other = copy.copy(self)
        other.client = self.client.with_options(headers=headers)
        other.calls = Calls()
        self.calls_of_users.add(other.calls)
        return other

    async def close(self) -> None:
        """Wait for the calls that run, those of users too, then cancel them."""
        await asyncio.gather(*(calls.close(_GRACE) for calls in (self.calls, *self.calls_of_users)))

    async def refresh(self) -> None:
        """List the functions; if the backend fails, keep the list and say why in ``warnings``."""
        method = self.client.list_functions
        listed: FunctionList = await (method() if self.client_is_async else run_in_thread(method))
        self.warnings = listed.warnings
        if listed.error is None or self.listed.error is not None:
            self.listed = listed


@final
class Toolset:
    """The tools of one agent: a backend's functions, local functions, and navigation.

    Create it with ``await Toolset.load(client, ...)``. It belongs to one event loop. Use it as an async
    context manager, or call ``close()``, so that calls that have begun can finish. It does not close the
    client.

    Args:
        client: The backend's client, sync or async. Calls of a sync client run in threads.
        listed: The backend's functions, as ``list_functions`` returns them.
        options: The same as for ``load``.

    Raises:
        NavaiConfigError: If an option cannot work.
    """

    def __init__(
        self,
        client: Client,
        listed: FunctionList,
        *,
        _backend: _Backend | None = None,  # of the toolset that this one derives from
        **options: Unpack[ToolsetOptions],
    ) -> None:
        self._options = complete(options)
        self._local, self._local_warnings = local_functions(self._options["functions"])
        self._backend = _backend or _Backend(client, listed, self._options["navigate"])
        self._derived: dict[str, Toolset] = {}
        self._built: tuple[FunctionList, Catalog] | None = None

    def __repr__(self) -> str:
        names = [tool.name for tool in self.tools]
        shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        return f"<Toolset of {len(names)} tools: {shown}; {len(self.warnings)} warnings>"

    @classmethod
    @documents_options
    def load(cls, client: Client, **options: Unpack[ToolsetOptions]) -> "_LoadingToolset":
        """List the backend's functions and create a toolset from them.

        Await it, or write ``async with Toolset.load(client) as toolset``. If the backend fails, this does not
        raise, unless its functions are *required*. The reason is in ``warnings``, a model that calls a
        function reads that the backend cannot be reached, and ``refresh()`` tries again.

        Args:
            client: The backend's client, sync or async.
            options: See below.

        Raises:
            NavaiConfigError: If an option cannot work.
            NavaiError: If the functions are required and cannot be listed.
        """
        return _LoadingToolset(cls(client, _UNLISTED, **options))

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools for a model. Built-in tools come first, then local functions, then the backend's."""
        return self._catalog.tools

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything unusual, in the words of the JavaScript agent if it has such a warning."""
        options, catalog = self._options, self._catalog
        named = {*options["timeouts"], *options["read_only"], *options["approval"], *options["parallel"]}
        unknown = named - {*catalog.functions, *BUILT_IN}
        return (
            *self._backend.warnings,
            *catalog.warnings,
            *(
                f'[navai] An option names "{name}", but there is no such function.'
                for name in sorted(unknown)
            ),
            *(each for derived in self._derived.values() for each in derived._catalog.warnings),  # noqa: SLF001 - its own class
        )

    @property
    def approve(self) -> Approve | None:
        """The option ``approve``."""
        return self._options["approve"]

    @property
    def function_lines(self) -> list[str]:
        """One line for each function, for instructions."""
        catalog = self._catalog
        return _prompt.function_lines(
            catalog.direct.get(name, each.tool) for name, each in catalog.functions.items()
        )

    def instructions(self, base: str | None = None, *, specialists: Sequence[str] = ()) -> str:
        """Return the instructions of the JavaScript agent for these tools.

        Args:
            base: The first lines: who the agent is.
            specialists: Lines about agents to hand over to.
        """
        catalog = self._catalog
        return _prompt.primary_instructions(
            base,
            routes=None if self._options["navigate"] is None else self._options["routes"],
            functions=self.function_lines,
            specialists=specialists,
            generic=catalog.has_generic_tool,
            named=[each.bind is not None for each in catalog.hidden.values()],
        )

    def derive(self, name: str, **options: Unpack[ToolsetOptions]) -> "Toolset":
        """Return a toolset for another agent of the same application, with the same client, hooks and limits.

        It is refreshed and closed together with this one, and the ``warnings`` of this one include its own.

        Args:
            name: The name of the agent. A second toolset with the same name replaces the first.
            options: The options that differ, the same as for ``load``.
        """
        given: ToolsetOptions = {**self._options, "functions": (), **options}
        backend = self._backend
        made = self._derived[name] = Toolset(backend.client, backend.listed, _backend=backend, **given)
        return made

    def as_user(
        self, *, access_token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> "Toolset":
        """Return a toolset for one user's conversation. All its calls have that user's credentials.

        It costs little: it shares connections and threads, but no calls. It offers the same functions as this
        one; ``refresh()`` lists what the user may call. It is closed together with this one, or by itself.

        Args:
            access_token: Sent as ``Authorization: Bearer``, instead of the client's token.
            headers: Added to the client's headers; they replace headers with the same names.

        Raises:
            NavaiConfigError: If the headers cannot be sent, or both arguments have credentials.
        """
        given = dict(headers or {})
        if access_token is not None:
            if any(name.lower() == "authorization" for name in given):
                raise NavaiConfigError("access_token and an Authorization header were both given.")
            given["Authorization"] = f"Bearer {access_token}"
        other = copy.copy(self)
        other._backend = self._backend.for_user(given)  # noqa: SLF001 - its own class
        other._derived = {}  # noqa: SLF001
        return other

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | bytes | None = None,
        *,
        call_id: str | None = None,
        session: object = None,
        approve: Approve | None = None,
        decided: Decided | None = None,
        say: Say | None = None,
        tell: Tell | None = None,
        on_progress: Progress | None = None,
        timeout: float | None = None,
    ) -> ToolOutcome:
        """Call a tool and return its outcome. Whatever the backend does, this does not raise.

        If the caller is cancelled, it returns at once. A call that has begun runs to its end; if its function
        only reads, it is cancelled instead, at the backend, too. If the same call with the same *call_id* is
        made while it runs, or because its caller was cancelled, it joins the first call: it gets the outcome,
        and the function does not run twice. After an outcome was delivered, its id is free.

        Args:
            name: The name of a tool or of a function.
            arguments: An object, its JSON text as a model wrote it, or None.
            call_id: The id that the model gave the call.
            session: Any object that identifies the conversation of *call_id*. Calls of different
                conversations never join, and do not wait for each other (option ``parallel``). Without it,
                all calls of the toolset are one conversation.
            approve: Asks the person in the session, if the function needs approval and the toolset has no
                ``approve``. It returns True if the call may run.
            decided: Called with the call and its outcome after it waited for approval at the backend, like
                the toolset's ``decided``. It tells the model of this conversation.
            say: Says the function's ``say_while_waiting`` to the person, if the call takes, or usually takes,
                longer than ``slow_after``. Calls of one conversation that run at the same time say it once.
            tell: Tells the model about a call that takes longer than ``slow_after``: what its function
                reports, or from time to time that it still runs.
            on_progress: Called with each text that the function reports.
            timeout: Seconds for this call, instead of the tool's timeout.
        """
        limit = checked_timeout(timeout)
        options = self._options
        signals = Signals()
        found = resolve(self._catalog, options, name, arguments, signals)
        tool = None if found.function is None else found.function.tool
        call = ToolCall(
            call_id=call_id or f"call_{new_uuid()}",
            tool_name=normalized(name),
            function_name=tool.name if tool else normalized(name),
            arguments=found.arguments,
            source=tool.source if tool else "navai",
            kind=tool.kind if tool else "built-in",
            read_only=tool is not None and tool.read_only,
        )
        blank = ToolOutcome(
            ok=False,
            call_id=call.call_id,
            function_name=tool.name if tool else None,
            source=tool.source if tool else None,
            path=found.path,
            max_result_chars=options["max_result_chars"],
            show_details=options["show_details"],
        )
        if (refusal := found.refusal) is not None:
            error = self._backend.listed.error
            if error is not None and refusal["error_type"] == "unknown_function":
                refusal = {**refusal, **unlisted(error)}
            outcome = attrs.evolve(blank, **refusal)
            await call_after(options, call, outcome)
            return outcome
        if limit is None:
            limit = tool.timeout if tool else timeout_of(options, call.function_name)
        turns: object = None
        if tool is not None and not tool.parallel:
            turns = self._backend.calls if session is None else session
        run = Run(
            call=call,
            blank=blank,
            work=partial(self._work, found),
            timeout=limit,
            session=session,
            needs_approval=tool is not None and tool.approval,
            turns=turns,
            approve=approve,
            decided=decided,
            options=options,
            signals=signals,
            withdraw=self._withdraw,
            companion=self._companion(call, tool, say, tell, on_progress),
        )
        with tool_call(call_id):  # for the client's instrumentation
            return await self._backend.calls.run(run)

    async def cancel(self, call_id: str, *, session: object = None) -> ToolOutcome | None:
        """Cancel a running call, whatever its function does, because the person or the model asks for it.

        A request asks the backend to cancel it. For a local function, ``FunctionContext.cancelled`` is set;
        an async one is cancelled.

        Args:
            call_id: The id of the call.
            session: Its conversation, as for ``call``.

        Returns:
            The outcome, which the caller that waits for the call gets, too: that it was cancelled, and
            whether the function may have run; or the result, if the call ended before. None if no such call
            is running.
        """
        return await self._backend.calls.cancel((id(session), call_id))

    async def _load(self) -> None:
        await self._backend.refresh()
        if self._options["required"]:
            self._backend.listed.raise_for_error()

    async def refresh(self) -> ToolsetChanges:
        """List the backend's functions again and return what changed.

        If the backend fails, nothing changes, and ``warnings`` say why.
        """
        before = self.tools
        await self._backend.refresh()
        return ToolsetChanges.between(before, self.tools)

    async def close(self) -> None:
        """Wait up to 5 seconds for calls that have begun, then cancel them. Can be called more than once."""
        await self._backend.close()

    async def __aenter__(self) -> "Toolset":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def _catalog(self) -> Catalog:
        """The catalog of the functions that the backend listed last."""
        listed = self._backend.listed
        if self._built is None or self._built[0] is not listed:
            options, how = self._options, self._options["navigate"] or self._backend.navigate
            navigate = None if how is None else partial(self._backend.calls.navigate, how)
            catalog = build_catalog(listed.functions, self._local, self._local_warnings, options, navigate)
            self._built = listed, catalog
        return self._built[1]

    def _companion(
        self,
        call: ToolCall,
        tool: Tool | None,
        say: Say | None,
        tell: Tell | None,
        on_progress: Progress | None,
    ) -> Companion | None:
        """Return who is told of a call while it runs, or None if nobody is."""
        hook, longest = self._options["progress"], self._options["slow_after"]
        hooks: list[Progress] = [] if hook is None else [partial(hook, call)]
        if on_progress is not None:
            hooks.append(on_progress)
        declared = None if tool is None else tool.say_while_waiting
        companion = Companion(
            call=call,
            declared=declared,
            silence=longest if tool is None or longest is None else tool.silence(longest),
            pause=longest or 0.0,
            hooks=hooks,
            say=None if declared is None or longest is None else say,
            tell=None if longest is None else tell,
        )
        return companion if companion.hooks or companion.say or companion.tell else None

    async def _withdraw(self, run: Run) -> Cancellation | None:
        """Ask the backend to cancel *run*, and return what came of that, or None if it cannot say."""
        backend = self._backend
        cancel = partial(backend.client.cancel_execution, run.idempotency_key, timeout=_WITHDRAWAL_LIMIT)
        for delay in _WITHDRAWAL_DELAYS:
            await asyncio.sleep(delay)
            try:
                return await (cancel() if backend.client_is_async else run_in_thread(cancel))
            except NavaiHTTPError as error:
                if error.status_code != HTTPStatus.NOT_FOUND:
                    break
            except NavaiError:
                break
        return None

    async def _work(self, found: Resolved, run: Run, timeout: float | None) -> Any:
        name, backend = run.call.function_name, self._backend
        may_block = found.function is not None and found.function.may_block
        call = found.bound
        if call is None:
            may_block = not backend.client_is_async
            run.idempotency_key = run.idempotency_key or new_uuid()
            execute = partial(backend.client.execute_function, name, run.call.arguments)
            call = partial(execute, idempotency_key=run.idempotency_key, timeout=timeout)
            if run.signals.listener is not None:  # else the backend would send a stream for nobody
                call = partial(call, on_progress=run.signals.report)

        def start() -> Any:
            run.started = True
            return call()

        try:
            return await awaited(await backend.threads.run(name, start) if may_block else start())
        except SystemExit as error:  # it would end the event loop, and with it every conversation
            raise RuntimeError(f"The function called sys.exit({error.code!r}).") from error


@final
class _LoadingToolset:
    """A toolset whose functions are being listed: await it, or enter it as the toolset."""

    def __init__(self, toolset: Toolset) -> None:
        self._toolset = toolset

    def __await__(self) -> Generator[Any, None, Toolset]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Toolset:
        await self._toolset._load()  # noqa: SLF001 - made for it
        return self._toolset

    async def __aexit__(self, *_: object) -> None:
        await self._toolset.close()
