"""The options of a toolset: their types, documentation, defaults and checks, each in one place."""

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypedDict, TypeVar

from navai_client.config import checked_timeout
from navai_client.errors import NavaiConfigError
from navai_client.functions._declaration import time_limit
from navai_client.integrations._local import LocalFunctions, settled
from navai_client.integrations._results import MAX_RESULT_CHARS
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.tools import ToolCall, ToolOutcome, ToolProgress
from navai_client.wire._decode import trim

F = TypeVar("F", bound=Callable[..., Any])
Approve = Callable[[ToolCall], Awaitable[bool] | bool]
Say = Callable[[str], Awaitable[None] | None]
Progress = Callable[[str], Awaitable[None] | None]
Tell = Callable[[ToolProgress], Awaitable[None] | None]
Decided = Callable[[ToolCall, ToolOutcome], Awaitable[None] | None]

_MIN_RESULT_CHARS: Final = 200  # less has no room for the text that says what was cut


class ToolsetOptions(TypedDict, total=False):
    """The options of ``Toolset.load``.

    Attributes:
        required: Whether loading raises if the backend's functions cannot be listed (False).
        functions: Python functions of this process, under their own names or the names of a mapping. They
            replace backend functions of the same name. Coroutine functions run in the event loop, others in
            threads. A class becomes one function for each public method, ``{class}_{method}``. Each call
            creates a new instance, so attributes do not last between calls. It may also be the result of
            ``navai_client.server.load_functions``.
        routes: The routes that ``navigate_to`` may open.
        navigate: Opens a path. It is called in the event loop, and awaited if it returns an awaitable.
            Without it, there is no tool ``navigate_to``.
        timeout: Seconds that one call may take, including its ``before`` hook (20); None for no limit. A
            local function can declare its own limit, with ``navai_client.server.function(timeout=...)``, and
            a backend can recommend one (``BackendFunction.timeout_seconds``). A function that declares only
            its typical time (``typical_seconds``) may take twice that, if it is more.
        timeouts: Limits for single functions, by name.
        max_result_chars: Maximum length of the JSON that a model reads (16000). A longer result is cut.
        show_details: Whether the model sees every error text of a function (False), not only the message of a
            ``ToolError`` and what is wrong with the arguments.
        read_only: Names of functions that change nothing, whatever they declare
            (``navai_client.server.function(effect="read")``).
        approval: Names of functions that run only after the person in the session has approved the call. So
            do functions that declare ``effect="dangerous"``, unless a person approves their calls at the
            backend. They always have their own tool. The integrations ask the person: the Agents SDK through
            ``needs_approval``, LiveKit and Pipecat in the conversation, MCP through an elicitation. The wait
            does not count against the timeout of the call.
        approve: Asks the person instead, and returns True if the call may run. You need it if no integration
            asks, as in your own loop: a call that nobody can approve is refused.
        parallel: By name, whether a function may run at the same time as all others, whatever it declares. By
            default, calls of functions that declare ``effect="write"`` or ``"dangerous"`` run one after the
            other within a conversation, in the order of the model's calls. The wait does not count against
            the timeout of the call.
        only: Names of the backend functions to offer; None for all.
        generic_tool: Whether to offer ``execute_app_function`` for functions that have no tool of their own
            (True).
        direct_tools: Whether to offer one tool for each function whose name models accept (True).
        before: Called before a call runs. If it returns a string, the call is refused, and the model gets the
            string. If it raises, the call is refused, too.
        slow: Called once for each call that takes longer than ``slow_after``.
        slow_after: Seconds (2). After this time, the person hears the function's ``say_while_waiting``, or
            the model learns that the call still runs; None for never.
        progress: Called with a call and each text that its function reports (``FunctionContext.progress``).
        after: Called with each call and its outcome, including calls that did not run.
        decided: Called with a call that waited for approval (``ToolOutcome.pending``) and its outcome, if the
            backend reports it within an hour, while the toolset is open. The integrations also tell their
            model; in a session of the OpenAI Agents SDK, only if ``tell_decisions(session)`` was called
            before the session was entered.
    """

    required: bool
    functions: LocalFunctions
    routes: Iterable[NavaiRoute]
    navigate: Callable[[str], Any] | None
    timeout: float | None
    timeouts: Mapping[str, float | None]
    max_result_chars: int
    show_details: bool
    read_only: Collection[str]
    approval: Collection[str]
    approve: Approve | None
    parallel: Mapping[str, bool]
    only: Collection[str] | None
    generic_tool: bool
    direct_tools: bool
    before: Callable[[ToolCall], Awaitable[str | None] | str | None] | None
    slow: Callable[[ToolCall], Awaitable[None] | None] | None
    slow_after: float | None
    progress: Callable[[ToolCall, str], Awaitable[None] | None] | None
    after: Callable[[ToolCall, ToolOutcome], Awaitable[None] | None] | None
    decided: Decided | None


_DEFAULTS: Final[ToolsetOptions] = {
    "required": False,
    "functions": (),
    "routes": (),
    "navigate": None,
    "timeout": 20.0,
    "timeouts": {},
    "max_result_chars": MAX_RESULT_CHARS,
    "show_details": False,
    "read_only": (),
    "approval": (),
    "approve": None,
    "parallel": {},
    "only": None,
    "generic_tool": True,
    "direct_tools": True,
    "before": None,
    "slow": None,
    "slow_after": 2.0,
    "progress": None,
    "after": None,
    "decided": None,
}


def complete(options: ToolsetOptions) -> ToolsetOptions:
    """Return *options* with defaults, checked, with normalized names. Complete options stay as they are.

    Iterators are read here, so that the same options can be used for several toolsets.

    Raises:
        NavaiConfigError: If an option cannot work.
        TypeError: If there is no such option.
    """
    for name in options.keys() - _DEFAULTS.keys():
        raise TypeError(f"A toolset has no option {name!r}.")
    full: ToolsetOptions = {**_DEFAULTS, **options}
    full["functions"] = settled(full["functions"])
    full["routes"] = tuple(full["routes"])
    full["timeout"] = checked_timeout(full["timeout"])
    full["timeouts"] = {normalized(name): checked_timeout(each) for name, each in full["timeouts"].items()}
    if full["max_result_chars"] < _MIN_RESULT_CHARS:
        raise NavaiConfigError(
            f"max_result_chars must be {_MIN_RESULT_CHARS} or more; it is {full['max_result_chars']}."
        )
    full["read_only"] = _names(full["read_only"])
    full["approval"] = _names(full["approval"])
    full["parallel"] = {normalized(name): each for name, each in full["parallel"].items()}
    full["only"] = None if full["only"] is None else _names(full["only"])
    full["slow_after"] = checked_timeout(full["slow_after"])
    return full


def timeout_of(
    options: ToolsetOptions,
    function_name: str,
    declared: float | None = None,
    typical_seconds: float | None = None,
) -> float | None:
    """Return the seconds that a call of *function_name* may take; None for no limit.

    Args:
        options: The complete options.
        function_name: The function.
        declared: The timeout of its declaration, in which 0 is no limit; None if it declares none.
        typical_seconds: How long a call takes as a rule, as declared, or None.
    """
    limit = time_limit(options["timeout"], declared, typical_seconds)
    return options["timeouts"].get(function_name, limit)


def normalized(name: str) -> str:
    """Return *name* as the JavaScript agent looks it up: trimmed, in lower case."""
    return trim(name).lower()


def documents_options(function: F) -> F:
    """Append the options to the docstring of *function*, each with its type, its default and its meaning."""
    _, _, described = inspect.cleandoc(ToolsetOptions.__doc__ or "").partition("Attributes:\n")
    described = re.sub(r" \((?:False|True|\d+)\)(?=[,.;])", "", described)  # the defaults, which follow
    for name, default in _DEFAULTS.items():
        annotation = inspect.formatannotation(ToolsetOptions.__annotations__[name])
        written = re.sub(r"(?:\w+\.)+(?=\w)", "", annotation)
        head = f"    {name} ({written}, by default {default!r}):\n        "
        described = described.replace(f"    {name}: ", head, 1)
    function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nKeyword Args:\n{described}"
    return function


def _names(given: Collection[str]) -> frozenset[str]:
    if isinstance(given, str):  # a collection of its letters is hardly meant
        raise NavaiConfigError(f"Expected a collection of names, not the string {given!r}.")
    return frozenset(map(normalized, given))
