"""The catalog of a toolset: its functions and tools, and what the call of a tool refers to. No I/O.

``build_catalog`` gives each function its name, its tool, or a warning. ``resolve`` finds the function that a
model means and checks its arguments, before anything runs.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import evolve, field, frozen

from navai_client._extras import needs_extra
from navai_client.functions._schema_check import (
    checker,
    inlined,
    read_arguments,
    without_optional_nulls,
)
from navai_client.functions._tool_schemas import (
    LONGEST_TOOL_NAME,
    PAYLOAD,
    TOOL_NAME,
    UNDESCRIBED,
    UNKNOWN_PARAMETERS,
    UnusableSchemaError,
    without_refused_keywords,
)
from navai_client.integrations._hooks import Signals
from navai_client.integrations._local import Navigate, bind_local
from navai_client.integrations._options import ToolsetOptions, normalized, timeout_of
from navai_client.integrations.routes import NavaiRoute, resolve_navai_route
from navai_client.integrations.tools import EXECUTE_APP_FUNCTION, NAVIGATE_TO, Tool
from navai_client.models import BackendFunction

with needs_extra("tools", "docstring_parser", "pydantic"):
    from navai_client.functions._binding import ArgumentsError
    from navai_client.functions._declaration import Declaration
    from navai_client.functions._registry import RegisteredFunction

BUILT_IN: Final = (NAVIGATE_TO, EXECUTE_APP_FUNCTION)
UNKNOWN_FUNCTION: Final = "Unknown or disallowed function."
_REFUSED: Final = re.compile(r"[^a-zA-Z0-9_-]")
_CHANGES: Final = ("write", "dangerous")  # effects of functions that do not run beside each other
_UNKNOWN_ROUTE: Final = "Unknown or disallowed route."

_GENERIC_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "function_name": {"type": "string", "minLength": 1, "description": "The name of the function."},
        "payload": {"type": ["object", "null"], "description": PAYLOAD},
    },
    "required": ["function_name", "payload"],
    "additionalProperties": False,
}
_NAVIGATE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "target": {
            "type": "string",
            "minLength": 1,
            "description": "The name or the path of the route, such as profile or /profile.",
        }
    },
    "required": ["target"],
    "additionalProperties": False,
}
_check_generic = checker(_GENERIC_SCHEMA, by_name=True)
_check_navigate = checker(_NAVIGATE_SCHEMA, by_name=True)


Bind = Callable[[dict[str, Any], Signals], Callable[[], Any] | None]


@frozen
class Function:
    """One function that can be called.

    Attributes:
        tool: The function as a tool, whether or not models are offered it.
        bind: Checks arguments, and returns the call to make of a function of this process; None if nothing is
            known about the arguments.
        may_block: Whether the call must not be made in the event loop.
    """

    tool: Tool
    bind: Callable[[dict[str, Any], Signals], Callable[[], Any] | None] | None = field(
        default=None, repr=False
    )
    may_block: bool = False


@frozen(kw_only=True)
class Catalog:
    """The functions by name, and the tools that a model is offered.

    Attributes:
        functions: All functions, by name.
        direct: The tools of those that have one of their own, by the functions' names.
        hidden: Those without a tool of their own, which ``execute_app_function`` reaches, and no others: a
            framework that asks a person before a tool runs knows tools by their names.
        tools: The tools.
        warnings: What was left out, and why.
    """

    functions: Mapping[str, Function]
    direct: Mapping[str, Tool]
    hidden: Mapping[str, Function]
    tools: tuple[Tool, ...]
    warnings: tuple[str, ...]

    @property
    def has_generic_tool(self) -> bool:
        """Whether a model is offered ``execute_app_function``."""
        return any(tool.name == EXECUTE_APP_FUNCTION for tool in self.tools)

    def renamed(self, tool_name: str) -> Function | None:
        """Return the function whose tool has another name than itself: *tool_name*."""
        return next(
            (self.functions[each] for each, tool in self.direct.items() if tool.name == tool_name), None
        )


@frozen(kw_only=True)
class Resolved:
    """What the call of a tool refers to.

    Attributes:
        function: The function; None for ``navigate_to``, and if there is no such function.
        arguments: Its arguments.
        path: The path that ``navigate_to`` opens.
        bound: Calls a function of this process; None for a function of the backend.
        refusal: Fields of the outcome, if nothing may run.
    """

    function: Function | None = None
    arguments: dict[str, Any] | None = None
    path: str | None = None
    bound: Callable[[], Any] | None = field(default=None, repr=False)
    refusal: Mapping[str, Any] | None = None


def build_catalog(
    listed: Iterable[BackendFunction],
    local: Sequence[RegisteredFunction],
    local_warnings: Iterable[str],
    options: ToolsetOptions,
    navigate: Navigate | None,
) -> Catalog:
    """Give each function its name and its tool; a function that is left out becomes a warning."""
    functions = {each.name: _from_local(each, options, navigate) for each in local}
    warnings: list[str] = []
    schema_warnings: list[str] = []
    for given in listed:
        name = normalized(given.name)
        if not name or (options["only"] is not None and name not in options["only"]):
            continue
        taken = functions.get(name)
        if taken is None:
            functions[name] = _from_backend(name, given, options, schema_warnings)
        elif taken.tool.kind == "local":
            warnings.append(
                f'[navai] Ignored backend function "{given.name}": name conflicts with a frontend function.'
            )
        else:
            warnings.append(f'[navai] Ignored duplicated backend function "{given.name}".')
    warnings += local_warnings
    tools_of = {name: each.tool for name, each in functions.items()}
    names = {*tools_of, *BUILT_IN}
    own = {name: _own_tool(tool, options, names, warnings) for name, tool in tools_of.items()}
    direct = {name: tool for name, tool in own.items() if tool is not None}
    warnings += schema_warnings
    tools: list[Tool] = []
    if options["navigate"] is not None:
        description = "Open one of the allowed routes of the app."
        tools.append(_built_in(NAVIGATE_TO, description, _NAVIGATE_SCHEMA, timeout_of(options, NAVIGATE_TO)))
    hidden = {name: each for name, each in functions.items() if name not in direct}
    if options["generic_tool"] and hidden:
        description = "Execute one of the allowed app functions by its name."
        for name, each in hidden.items():
            if each.bind is not None:
                description += f" {name} takes {json.dumps(each.tool.parameters, ensure_ascii=False)}."
        limits = [options["timeout"], *(each.tool.timeout for each in hidden.values())]
        longest = max(limits, key=lambda limit: math.inf if limit is None else limit)
        generic = _built_in(EXECUTE_APP_FUNCTION, description, _GENERIC_SCHEMA, longest)
        tools.append(evolve(generic, parallel=all(each.tool.parallel for each in hidden.values())))
    tools += direct.values()
    return Catalog(
        functions=functions, direct=direct, hidden=hidden, tools=tuple(tools), warnings=tuple(warnings)
    )


def resolve(
    catalog: Catalog,
    options: ToolsetOptions,
    name: str,
    given: Mapping[str, Any] | str | bytes | None,
    signals: Signals,
) -> Resolved:
    """Find what the tool *name* refers to and check the arguments *given* to it.

    A function of this process is bound to *signals*.
    """
    wanted = normalized(name)
    function: Function | None = None
    payload: dict[str, Any] | None = None
    try:
        if wanted == NAVIGATE_TO and options["navigate"] is not None:
            return _resolve_route(options["navigate"], options["routes"], read_arguments(given) or {})
        if wanted == EXECUTE_APP_FUNCTION and catalog.has_generic_tool:
            asked = read_arguments(given) or {}
            # Some models write the payload as a string of JSON, and some omit it.
            payload = asked["payload"] = read_arguments(asked.get("payload"))
            _check_generic(asked)
            named = normalized(asked["function_name"])
            function = catalog.hidden.get(named)
            if function is None and named in catalog.functions:
                error = f"{named} has a tool of its own: call {named}."
                return Resolved(
                    function=catalog.functions[named],
                    arguments=payload,
                    refusal={"error": error, "error_type": "refused"},
                )
        elif wanted not in BUILT_IN:
            function = catalog.functions.get(wanted) or catalog.renamed(wanted)
            payload = None if function is None else read_arguments(given)
        if function is None:
            return Resolved(
                refusal={
                    "error": UNKNOWN_FUNCTION,
                    "error_type": "unknown_function",
                    "available_functions": tuple(catalog.functions),
                }
            )
        if function.bind is not None and payload is not None:
            payload = without_optional_nulls(payload, function.tool.parameters)
        bound = None if function.bind is None else function.bind(payload or {}, signals)
    except ArgumentsError as error:
        refusal = {"error": str(error), "error_type": "invalid_arguments"}
        return Resolved(function=function, arguments=payload, refusal=refusal)
    return Resolved(function=function, arguments=payload, bound=bound)


def _from_local(local: RegisteredFunction, options: ToolsetOptions, navigate: Navigate | None) -> Function:
    tool = _tool(
        options,
        local.declaration,
        name=local.name,
        description=local.description or UNDESCRIBED,
        parameters=without_refused_keywords(local.parameters),
        source=local.source,
        kind="local",
        timeout=timeout_of(options, local.name, local.declaration.timeout, local.declaration.typical_seconds),
    )
    return Function(tool, partial(bind_local, local, navigate), may_block=not local.target.is_async)


def _from_backend(
    name: str, given: BackendFunction, options: ToolsetOptions, warnings: list[str]
) -> Function:
    schema, check = UNKNOWN_PARAMETERS, None
    try:
        if given.parameters is not None:
            schema = inlined(given.parameters)
            check = _only_check(checker(schema))
    except UnusableSchemaError as problem:
        warnings.append(f'[navai] Ignored the parameters of backend function "{given.name}": {problem}.')
    tool = _tool(
        options,
        given,
        name=name,
        description=given.description or UNDESCRIBED,
        parameters=without_refused_keywords(schema),
        source=given.source or "backend",
        kind="backend",
        timeout=timeout_of(options, name, given.timeout_seconds, given.typical_seconds),
    )
    return Function(tool, check)


def _only_check(check: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any], Signals], None]:
    return lambda arguments, _: check(arguments)


def _tool(
    options: ToolsetOptions, declared: BackendFunction | Declaration, *, name: str, **fields: Any
) -> Tool:
    """Return the tool of a function: what it declares, unless *options* say otherwise."""
    effect = "read" if name in options["read_only"] else declared.effect
    return Tool(
        name=name,
        effect=effect,
        # Where a person approves each call at the backend, nobody is asked twice.
        approval=name in options["approval"] or (effect == "dangerous" and not declared.approval),
        parallel=options["parallel"].get(name, effect not in _CHANGES),
        typical_seconds=declared.typical_seconds,
        say_while_waiting=declared.say_while_waiting,
        **fields,
    )


def _own_tool(tool: Tool, options: ToolsetOptions, names: set[str], warnings: list[str]) -> Tool | None:
    """Return the tool of its own that a function gets, or None; if its name forbids it, warn.

    Where no other tool would reach it, the tool gets a name that is not among *names*, and is added to them.
    """
    name = tool.name
    if not options["direct_tools"] and not tool.approval:
        return None
    if name in BUILT_IN:
        reason = "conflicts with a built-in tool"
    elif not TOOL_NAME.fullmatch(name):
        reason = "is not a valid tool id"
        if not options["generic_tool"]:
            accepted = _accepted(name, names)
            names.add(accepted)
            warnings.append(
                f'[navai] Function "{name}" is offered as "{accepted}" because its name {reason}.'
            )
            return evolve(tool, name=accepted)
    else:
        return tool
    where = "available only via execute_app_function" if options["generic_tool"] else "not available"
    warnings.append(f'[navai] Function "{name}" is {where} because its name {reason}.')
    return None


def _accepted(name: str, names: set[str]) -> str:
    """Return a name for models that is like *name*, not among *names*, and the same each time."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    like = _REFUSED.sub("_", ascii_name)
    if any(map(str.isalnum, like)) and len(like) <= LONGEST_TOOL_NAME and like not in names:
        return like
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{like[: LONGEST_TOOL_NAME - 9]}_{digest}"


def _built_in(name: str, description: str, parameters: dict[str, Any], timeout: float | None) -> Tool:
    return Tool(
        name=name,
        description=description,
        parameters=without_refused_keywords(parameters),
        source="navai",
        kind="built-in",
        timeout=timeout,
    )


def _resolve_route(
    navigate: Callable[[str], Any], routes: Iterable[NavaiRoute], arguments: dict[str, Any]
) -> Resolved:
    _check_navigate(arguments)
    path = resolve_navai_route(arguments["target"], routes)
    if path is None:
        refusal = {"error": _UNKNOWN_ROUTE, "error_type": "unknown_route"}
        return Resolved(arguments=arguments, refusal=refusal)
    return Resolved(arguments=arguments, path=path, bound=partial(navigate, path))
