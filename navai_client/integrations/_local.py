"""Python functions of this process as tools, read and called as a backend reads and calls its own."""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from attrs import evolve

from navai_client._extras import needs_extra
from navai_client._threads import run_in_thread
from navai_client.errors import NavaiConfigError
from navai_client.integrations._hooks import Signals

with needs_extra("tools", "docstring_parser", "pydantic"):
    from navai_client.functions._binding import Payload
    from navai_client.functions._context import FunctionContext
    from navai_client.functions._declaration import Declaration, name_of, registrable, source_of
    from navai_client.functions._exports import Export
    from navai_client.functions._registry import FunctionRegistry, RegisteredFunction
    from navai_client.functions._results import is_quick, jsonable


# What a toolset takes as functions of its process.
LocalFunctions = Iterable[Callable[..., Any] | RegisteredFunction] | Mapping[str, Callable[..., Any]]
# Opens a path in an event loop, for a function that may run elsewhere.
Navigate = Callable[[asyncio.AbstractEventLoop, str], Any]


def settled(given: LocalFunctions) -> LocalFunctions:
    """Return what can be read more than once."""
    if isinstance(given, FunctionRegistry):
        return given
    return dict(given) if isinstance(given, Mapping) else tuple(given)


def local_functions(given: LocalFunctions) -> tuple[tuple[RegisteredFunction, ...], tuple[str, ...]]:
    """Return the functions *given*, by their own names or those of a mapping, and the warnings about them.

    Raises:
        NavaiConfigError: One is not callable, cannot be called as it is, or needs approval.
    """
    registry = given if isinstance(given, FunctionRegistry) else _registry_of(given)
    for each in registry:
        if each.needs_approval:
            raise NavaiConfigError(
                f"functions: {each.name} needs a person's approval, which a toolset cannot ask for. "
                "Offer it by a backend."
            )
    return registry.functions, tuple(registry.warnings)


def _registry_of(given: LocalFunctions) -> FunctionRegistry:
    pairs = given.items() if isinstance(given, Mapping) else ((None, each) for each in given)
    registry = FunctionRegistry()
    for name, each in pairs:
        if isinstance(each, RegisteredFunction):
            registry.include(each, name)
            continue
        if not callable(each):
            raise NavaiConfigError(f"functions: {name or each} is not callable.")
        if isinstance(each, type):
            registry.add_value(each.__module__, each.__qualname__, each, Declaration(name=name))
            continue
        call = registrable(each)
        raw = name or name_of(call)
        export = Export(raw, f"Call exported function {raw}.", source_of(call), call)
        registry.add(export, Declaration(name=name))
    return registry


def bind_local(
    function: RegisteredFunction, navigate: Navigate | None, payload: dict[str, Any], signals: Signals
) -> Callable[[], Any]:
    """Return the call of *function* to make for *payload*; what it returns is of JSON's own types.

    It is bound in the event loop in which *navigate*, if given, opens paths for it.

    The call raises ResultError if JSON cannot hold the result.

    Raises:
        ArgumentsError: The payload does not fit.
    """
    target = function.target
    context = None
    if target.takes_context:
        context = FunctionContext(progress=signals.report)
        if navigate is not None:
            context = evolve(context, navigate=partial(navigate, asyncio.get_running_loop()))
        signals.cancelled = context.cancelled
    call = target.prepare(Payload(payload), context)

    def run() -> Any:
        result = call()
        return _awaited(result) if inspect.isawaitable(result) else jsonable(result)

    return run


async def _awaited(result: Any) -> Any:
    value = await result
    return jsonable(value) if is_quick(value) else await run_in_thread(partial(jsonable, value))
