"""Python functions of this process as tools, read and called as a backend reads and calls its own."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from navai_client._extras import needs_extra
from navai_client.errors import NavaiConfigError

with needs_extra("tools", "docstring_parser", "pydantic"):
    from navai_client.functions._binding import Payload
    from navai_client.functions._context import FunctionContext
    from navai_client.functions._declaration import Declaration, name_of, registrable, source_of
    from navai_client.functions._exports import Export
    from navai_client.functions._registry import FunctionRegistry, RegisteredFunction
    from navai_client.functions._results import jsonable


def local_functions(
    given: Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]],
) -> tuple[tuple[RegisteredFunction, ...], tuple[str, ...]]:
    """Return the functions *given*, by their own names or those of a mapping, and the warnings about them.

    Raises:
        NavaiConfigError: One is not callable, or cannot be called as it is.
    """
    pairs = given.items() if isinstance(given, Mapping) else ((None, each) for each in given)
    registry = FunctionRegistry()
    for name, each in pairs:
        if not callable(each):
            raise NavaiConfigError(f"functions: {name or each} is not callable.")
        call = registrable(each)
        raw = name or name_of(call)
        export = Export(raw, f"Call exported function {raw}.", source_of(call), call)
        registry.add(export, Declaration(name=name))
    return registry.functions, tuple(registry.warnings)


def bind_local(function: RegisteredFunction, payload: dict[str, Any]) -> Callable[[], Any]:
    """Return the call of *function* to make for *payload*; what it returns is of JSON's own types.

    The call raises ResultError if JSON cannot hold the result.

    Raises:
        ArgumentsError: The payload does not fit.
    """
    target = function.target
    call = target.prepare(Payload(payload), FunctionContext() if target.takes_context else None)

    def run() -> Any:
        result = call()
        return _awaited(result) if inspect.isawaitable(result) else jsonable(result)

    return run


async def _awaited(result: Any) -> Any:
    return jsonable(await result)
