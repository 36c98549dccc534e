"""From a backend's list and local functions to tools: names, schemas and warnings. Pure."""

import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from attrs import field, frozen

from navai_client.integrations._local import LocalFunction
from navai_client.integrations._options import Settings, normalized
from navai_client.integrations._schema import (
    SchemaProblemError,
    checker,
    inlined,
    open_object,
    presentable,
)
from navai_client.integrations.tools import BUILT_IN, EXECUTE_APP_FUNCTION, NAVIGATE_TO, Tool
from navai_client.models import BackendFunction

__all__ = ["GENERIC_SCHEMA", "NAVIGATE_SCHEMA", "Catalog", "Function", "build_catalog"]

_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PAYLOAD: Final = (
    "An object with the function's arguments, by name or as a list called args; for methods of a class "
    "methodArgs, and constructorArgs for the class. Null when there are none."
)
GENERIC_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "function_name": {"type": "string", "minLength": 1, "description": "The name of the function."},
        "payload": {"type": ["object", "null"], "description": _PAYLOAD},
    },
    "required": ["function_name", "payload"],
    "additionalProperties": False,
}
NAVIGATE_SCHEMA: Final[dict[str, Any]] = {
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


def _no_problems(_: dict[str, Any]) -> list[str]:
    return []


@frozen
class Function:
    """One function that can be called, by its normalised name.

    Attributes:
        name: Its name.
        description: What the backend or the docstring says, or None.
        source: Where it is.
        kind: ``backend`` or ``local``.
        parameters: Its schema, inlined, or None if nothing is known.
        problems: Lists what arguments do wrong by that schema.
        local: The Python function.
    """

    name: str
    description: str | None
    source: str
    kind: Literal["backend", "local"]
    parameters: dict[str, Any] | None = field(default=None, repr=False)
    problems: Callable[[dict[str, Any]], list[str]] = field(default=_no_problems, repr=False)
    local: LocalFunction | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Catalog:
    """The functions by name, and what a model is offered."""

    functions: Mapping[str, Function]
    tools: tuple[Tool, ...]
    warnings: tuple[str, ...]


def build_catalog(
    listed: Iterable[BackendFunction],
    local: Sequence[LocalFunction],
    local_warnings: Iterable[str],
    settings: Settings,
) -> Catalog:
    """Give each function its name and its tool, and say what was left out."""
    functions = {each.name: _from_local(each) for each in local}
    warnings: list[str] = []
    schema_warnings: list[str] = []
    for given in listed:
        name = normalized(given.name)
        if not name or (settings.only is not None and name not in settings.only):
            continue
        taken = functions.get(name)
        if taken is None:
            functions[name] = _from_backend(name, given, schema_warnings)
        elif taken.kind == "local":
            warnings.append(
                f'[navai] Ignored backend function "{given.name}": name conflicts with a frontend function.'
            )
        else:
            warnings.append(f'[navai] Ignored duplicated backend function "{given.name}".')
    warnings += local_warnings
    direct = {name: each for name, each in functions.items() if _may_be_direct(name, settings, warnings)}
    warnings += schema_warnings
    tools: list[Tool] = []
    if settings.navigate is not None:
        tools.append(_navigate_tool(settings))
    if settings.generic_tool:
        hidden = [each for name, each in functions.items() if settings.direct_tools and name not in direct]
        tools.append(_generic_tool(hidden, settings))
    tools += [_direct_tool(each, settings) for each in direct.values()]
    return Catalog(functions=functions, tools=tuple(tools), warnings=tuple(warnings))


def _from_local(local: LocalFunction) -> Function:
    return Function(
        local.name, local.description, local.source, "local", inlined(local.parameters), local=local
    )


def _from_backend(name: str, given: BackendFunction, warnings: list[str]) -> Function:
    source = given.source or "backend"
    if given.parameters is None:
        return Function(name, given.description, source, "backend")
    try:
        schema = inlined(given.parameters)
    except SchemaProblemError as problem:
        warnings.append(f'[navai] Ignored the parameters of backend function "{given.name}": {problem}.')
        return Function(name, given.description, source, "backend")
    return Function(name, given.description, source, "backend", schema, checker(schema))


def _may_be_direct(name: str, settings: Settings, warnings: list[str]) -> bool:
    if not settings.direct_tools:
        return False
    if name in BUILT_IN:
        reason = "conflicts with a built-in tool"
    elif not _TOOL_NAME.fullmatch(name):
        reason = "is not a valid tool id"
    else:
        return True
    where = "available only via execute_app_function" if settings.generic_tool else "not available"
    warnings.append(f'[navai] Function "{name}" is {where} because its name {reason}.')
    return False


def _direct_tool(function: Function, settings: Settings) -> Tool:
    if function.parameters is None:
        parameters = {**open_object(), "description": _PAYLOAD}
    else:
        parameters = presentable(function.parameters)
    return Tool(
        name=function.name,
        description=function.description or "Execute backend function.",
        parameters=parameters,
        source=function.source,
        kind=function.kind,
        read_only=function.name in settings.read_only,
        timeout=settings.timeout_of(function.name),
    )


def _generic_tool(hidden: Sequence[Function], settings: Settings) -> Tool:
    described = [
        f" {each.name} takes {json.dumps(presentable(each.parameters), ensure_ascii=False)}."
        for each in hidden
        if each.parameters is not None
    ]
    return Tool(
        name=EXECUTE_APP_FUNCTION,
        description="Execute one of the allowed app functions by its name." + "".join(described),
        parameters=copy.deepcopy(GENERIC_SCHEMA),
        source="navai",
        kind="built-in",
        timeout=max(
            (settings.timeout, *settings.timeouts.values()),
            key=lambda limit: float("inf") if limit is None else limit,
        ),
    )


def _navigate_tool(settings: Settings) -> Tool:
    return Tool(
        name=NAVIGATE_TO,
        description="Open one of the allowed routes of the app.",
        parameters=copy.deepcopy(NAVIGATE_SCHEMA),
        source="navai",
        kind="built-in",
        timeout=settings.timeout_of(NAVIGATE_TO),
    )
