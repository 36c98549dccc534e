"""The functions of a list that ``navai functions --save`` wrote, and what a test lets them do."""

import json
import os
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from navai_client.errors import NavaiConfigError
from navai_client.functions._binding import ArgumentsError, Payload, Target
from navai_client.functions._context import FunctionContext
from navai_client.functions._declaration import Declaration, module_of, name_of, registrable
from navai_client.functions._registry import FunctionRegistry, RegisteredFunction
from navai_client.functions._results import ToolError
from navai_client.functions._schema_check import checker, inlined
from navai_client.functions._tool_schemas import UnusableSchemaError
from navai_client.models import BackendFunction
from navai_client.testing._recording import lookup_name, shown

_ANYTHING: Final = {"type": "object", "additionalProperties": True}  # a JavaScript backend sends no schema


class SavedFunctions:
    """The functions of a file, and the calls that their schemas refuse or that the test says nothing about.

    Attributes:
        file: The file.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        """Read *file*.

        Raises:
            NavaiConfigError: It is not such a list, or has a schema that cannot be used.
            OSError: It cannot be read.
        """
        self.file: Path = Path(file)
        self._refused: list[str] = []
        self._unscripted: list[str] = []
        self._targets = {each.name: _SavedTarget(each, self) for each in self._read()}

    def _read(self) -> Iterator[BackendFunction]:
        try:
            for each in json.loads(self.file.read_bytes())["functions"]:
                yield BackendFunction(**each)
        except (ValueError, KeyError, TypeError):
            raise NavaiConfigError(
                f"{self.file} is not a list of functions: write it with `navai functions --save {self.file}`."
            ) from None

    def offer(self, registry: FunctionRegistry) -> None:
        """Add the functions to *registry*, as the list describes them."""
        for target in self._targets.values():
            registry.include(target.registered())

    def returns(self, function_name: str, result: Any) -> None:
        """Let a function return *result*, whatever the arguments are."""

        async def returned() -> Any:
            return result

        self._find(function_name).act(lambda _payload, _context: returned, is_async=True)

    def function(self, call: Any = None, /, *, name: str | None = None) -> Any:
        """Let a function do what *call* does, or each function of the same name what a method of it does."""

        def register(call: Any) -> Any:
            callable_ = registrable(call)
            given = FunctionRegistry()
            given.add_value(
                module_of(callable_), name or name_of(callable_), callable_, Declaration(name=name)
            )
            if given.warnings:
                raise NavaiConfigError(given.warnings[0])
            for each in given:
                target = each.target
                self._find(each.name).act(
                    target.prepare, is_async=target.is_async, takes_context=target.takes_context
                )
            return call

        return register if call is None else register(call)

    def refuse(self, function: BackendFunction, value: Any, error: ArgumentsError) -> None:
        """Record a call that the schema refuses."""
        schema = function.parameters or {}
        required = schema.get("required", ())
        taken = (f"{each}{' (required)' * (each in required)}" for each in schema.get("properties", {}))
        self._refused.append(
            f"{function.name}({shown(value)})\n"
            f"       came:     {'; '.join(error.problems)}\n"
            f"       expected: {', '.join(taken) or 'no parameters'}"
        )

    def miss(self, function: BackendFunction, value: Any) -> str:
        """Record a call of a function that the test says nothing about, and return what its caller gets."""
        self._unscripted.append(f"{function.name}({shown(value)})")
        return f"The test does not say what {function.name} does: returns({function.name!r}, ...) says it."

    def problems(self) -> str | None:
        """Return what is wrong with the calls that came, and what to do about it, or None."""
        lines = []
        if self._refused:
            lines += [f"Calls that the functions in {self.file.name} refuse:", *_numbered(self._refused)]
            lines.append(f"If the backend has changed: navai functions --save {self.file}")
        if self._unscripted:
            lines += ["Calls of functions that the test says nothing about:", *_numbered(self._unscripted)]
            lines.append("returns(name, result) says what one returns, @backend.function what it does.")
        if not lines:
            return None
        return "\n".join([*lines, "If a test makes such a call on purpose, set backend.strict = False."])

    def _find(self, function_name: str) -> "_SavedTarget":
        name = lookup_name(function_name)
        if (target := self._targets.get(name)) is None:
            alike = get_close_matches(name, self._targets, n=1)
            hint = f'did you mean "{alike[0]}"?' if alike else f"it has {', '.join(self._targets) or 'none'}."
            raise NavaiConfigError(f'{self.file.name} has no function "{name}"; {hint}')
        return target


class _SavedTarget(Target):
    """A saved function: its schema is checked, then what the test says happens."""

    def __init__(self, function: BackendFunction, calls: SavedFunctions) -> None:
        super().__init__(_nothing)
        self._function = function
        self._calls = calls
        self._parameters = dict(function.parameters or _ANYTHING)
        try:
            self._check = checker(inlined(self._parameters))
        except UnusableSchemaError as error:
            raise NavaiConfigError(
                f"{calls.file}: the schema of {function.name} is unusable: {error}."
            ) from None
        self._prepare: Callable[[Payload, FunctionContext | None], Callable[[], Any]] | None = None

    def registered(self) -> RegisteredFunction:
        saved = self._function
        declaration = Declaration(
            name=saved.name,
            description=saved.description,
            timeout=saved.timeout_seconds,
            approval=saved.approval,
            effect=saved.effect,
            typical_seconds=saved.typical_seconds,
            say_while_waiting=saved.say_while_waiting,
        )
        return RegisteredFunction(declaration, saved.source or "", self._parameters, self)

    def act(
        self,
        prepare: Callable[[Payload, FunctionContext | None], Callable[[], Any]],
        *,
        is_async: bool,
        takes_context: bool = False,
    ) -> None:
        """Do what *prepare* returns for a call that the schema accepts."""
        self._prepare, self.is_async, self.takes_context = prepare, is_async, takes_context

    def prepare(self, payload: Payload, context: FunctionContext | None) -> Callable[[], Any]:
        """Check *payload* by the saved schema, and return what the test says; see :class:`Target`."""
        value = payload.value
        try:
            if not isinstance(value, list):  # by position, which the schema does not describe
                self._check(value if isinstance(value, dict) else {})
        except ArgumentsError as error:
            self._calls.refuse(self._function, value, error)
            raise
        if self._prepare is None:
            return lambda: self._miss(payload)
        return self._prepare(payload, context)

    async def _miss(self, payload: Payload) -> None:
        raise ToolError(self._calls.miss(self._function, payload.value))


async def _nothing() -> None:
    """What a function does that the test says nothing about."""


def _numbered(calls: list[str]) -> Iterator[str]:
    """Return each of *calls* once: a call with a key is prepared twice."""
    return (f"  {number}. {call}" for number, call in enumerate(dict.fromkeys(calls), 1))
