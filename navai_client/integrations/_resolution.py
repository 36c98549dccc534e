"""From a tool's name and a model's arguments to what is to run, or to why nothing is. Pure."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

from attrs import field, frozen

from navai_client.integrations import _failures
from navai_client.integrations._arguments import ArgumentsProblemError, is_by_position, read_arguments
from navai_client.integrations._catalog import GENERIC_SCHEMA, NAVIGATE_SCHEMA, Catalog, Function
from navai_client.integrations._local import InvalidArgumentsError
from navai_client.integrations._options import Navigate, Settings, normalized
from navai_client.integrations._schema import checker
from navai_client.integrations.routes import NavaiRoute, resolve_navai_route
from navai_client.integrations.tools import BUILT_IN, EXECUTE_APP_FUNCTION, NAVIGATE_TO

__all__ = ["Resolved", "resolve"]

_generic_problems = checker(GENERIC_SCHEMA)
_navigate_problems = checker(NAVIGATE_SCHEMA)


@frozen(kw_only=True)
class Resolved:
    """What a call is about.

    Attributes:
        function_name: The function that is meant, or None if there is none of that name.
        source: Where it is.
        kind: Who runs it.
        arguments: What it is given.
        path: Where ``navigate_to`` is to go.
        bound: Makes the call of what is no backend's function.
        in_thread: Whether that may block.
        refusal: Fields of the outcome, if nothing is to run.
    """

    function_name: str | None = None
    source: str | None = None
    kind: Literal["backend", "local", "built-in"] = "built-in"
    arguments: dict[str, Any] | None = None
    path: str | None = None
    bound: Callable[[], Any] | None = field(default=None, repr=False)
    in_thread: bool = False
    refusal: Mapping[str, Any] | None = None


def resolve(
    catalog: Catalog, settings: Settings, name: str, given: Mapping[str, Any] | str | bytes | None
) -> Resolved:
    """Find what *name* stands for and check the arguments *given* to it."""
    wanted = normalized(name)
    if wanted == EXECUTE_APP_FUNCTION and settings.generic_tool:
        return _generic(catalog, given)
    if wanted == NAVIGATE_TO and settings.navigate is not None:
        return _navigation(settings.navigate, settings.routes, given)
    function = None if wanted in BUILT_IN else catalog.functions.get(wanted)
    if function is None:
        return _unknown(catalog)
    try:
        payload = read_arguments(given)
    except ArgumentsProblemError as problem:
        return _invalid(str(problem), function)
    return _checked(function, payload)


def _generic(catalog: Catalog, given: Mapping[str, Any] | str | bytes | None) -> Resolved:
    try:
        asked = read_arguments(given) or {}
        # Some models give the payload as a text of its own, and some forget it.
        asked["payload"] = read_arguments(asked.get("payload"))
    except ArgumentsProblemError as problem:
        return _invalid(str(problem))
    if problems := _generic_problems(asked):
        return _invalid("; ".join(problems))
    function = catalog.functions.get(normalized(asked["function_name"]))
    return _unknown(catalog) if function is None else _checked(function, asked["payload"])


def _navigation(
    navigate: Navigate, routes: Iterable[NavaiRoute], given: Mapping[str, Any] | str | bytes | None
) -> Resolved:
    try:
        asked = read_arguments(given) or {}
    except ArgumentsProblemError as problem:
        return _invalid(str(problem))
    if problems := _navigate_problems(asked):
        return _invalid("; ".join(problems))
    path = resolve_navai_route(asked["target"], routes)
    if path is None:
        told = {"error": _failures.UNKNOWN_ROUTE, "error_type": "unknown_route"}
        return Resolved(arguments=asked, refusal=told)
    return Resolved(arguments=asked, path=path, bound=partial(navigate, path))


def _checked(function: Function, payload: dict[str, Any] | None) -> Resolved:
    bound: Callable[[], Any] | None = None
    problems: list[str] = []
    if function.local is not None:
        try:
            bound = function.local.bind(payload or {})
        except InvalidArgumentsError as error:
            problems = list(error.args)
    elif function.parameters is not None and not is_by_position(payload or {}, function.parameters):
        problems = function.problems(payload or {})
    if problems:
        return _invalid("; ".join(problems), function, payload)
    return Resolved(
        function_name=function.name,
        source=function.source,
        kind=function.kind,
        arguments=payload,
        bound=bound,
        in_thread=function.local is not None and not function.local.is_async,
    )


def _unknown(catalog: Catalog) -> Resolved:
    return Resolved(
        refusal={
            "error": _failures.UNKNOWN_FUNCTION,
            "error_type": "unknown_function",
            "available_functions": tuple(catalog.functions),
        }
    )


def _invalid(
    problem: str, function: Function | None = None, payload: dict[str, Any] | None = None
) -> Resolved:
    told = {"error": f"Invalid arguments: {problem}.", "error_type": "invalid_arguments"}
    if function is None:
        return Resolved(refusal=told)
    return Resolved(
        function_name=function.name,
        source=function.source,
        kind=function.kind,
        arguments=payload,
        refusal=told,
    )
