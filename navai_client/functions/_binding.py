"""What a function takes: its parameters and their types, and how a payload becomes arguments.

The rules of binding are the contract's: ``args`` or ``arguments``, then ``value``, then names, then the
payload as a whole. Nothing here calls the function.
"""

import functools
import inspect
import logging
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeGuard

import attrs
import msgspec

from navai_client.functions._context import FunctionContext
from navai_client.functions._foreign import convert_foreign

_log = logging.getLogger("navai_client.server")

_Kind = inspect.Parameter
_NAMED: Final = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY)
_POSITIONAL: Final = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
_RESERVED: Final = frozenset({"args", "arguments", "value"})
_PLACE: Final = " - at `$."
_CHARACTERS_OF_A_NAME: Final = 100


class ArgumentsError(Exception):
    """A payload does not fit the function; the message says which parameter and why."""


@attrs.frozen
class Parameter:
    """One parameter that a caller can fill.

    Attributes:
        name: Its name in the function's definition.
        kind: As :mod:`inspect` has it.
        type: Its type hint with what ``Annotated`` adds, or ``Any`` when it has none that can be checked.
        default: Its default, or :data:`inspect.Parameter.empty`.
    """

    name: str
    kind: Any
    type: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether a call without it cannot be made."""
        return self.default is _Kind.empty and self.kind in _NAMED


class Signature:
    """The parameters of one callable, read once, and the way from a payload to its arguments."""

    def __init__(self, call: Callable[..., Any], *, is_method: bool = False) -> None:
        """Read *call*; of a method the first parameter is left out."""
        every = _parameters(call)
        every = every[1:] if is_method else every
        self._context = next((each for each in every if _is_context(each)), None)
        self._every = every
        self.parameters: tuple[Parameter, ...] = tuple(each for each in every if each is not self._context)
        self._by_name = {each.name: each for each in self.parameters if each.kind in _NAMED}
        self._positional = [each for each in self.parameters if each.kind in _POSITIONAL]
        self._required = [each.name for each in self.parameters if each.required]
        self._rest = next((each for each in self.parameters if each.kind is _Kind.VAR_POSITIONAL), None)
        self._others = next((each for each in self.parameters if each.kind is _Kind.VAR_KEYWORD), None)
        self._simple = (
            self._context is None
            and self._rest is None
            and self._others is None
            and all(each.kind is _Kind.POSITIONAL_OR_KEYWORD for each in self.parameters)
        )
        self._checked = [each for each in self.parameters if each.type is not Any]
        self._converted = [(each.name, f"p{index}") for index, each in enumerate(self._checked)]
        self._struct = _checking_struct(self._checked) if self._checked else None

    @property
    def takes_context(self) -> bool:
        """Whether a parameter gets the function context."""
        return self._context is not None

    def bind(self, payload: Any, context: FunctionContext | None) -> tuple[list[Any], dict[str, Any]]:
        """Turn *payload* into positional and keyword arguments, converted and checked.

        Raises:
            ArgumentsError: They do not fit.
        """
        if isinstance(payload, dict):
            values = self._values(payload)
        else:
            # Express takes an array for a record, and what is no record for an empty one.
            values = self._in_order([payload] if isinstance(payload, list) and payload else [])
        return self._assemble(values, context)

    def bind_positional(
        self, values: list[Any], context: FunctionContext | None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Take *values* in the order of the parameters, whatever is in them.

        Raises:
            ArgumentsError: They do not fit.
        """
        return self._assemble(self._in_order(values), context)

    def _values(self, payload: dict[str, Any]) -> dict[str, Any]:
        all_named = payload.keys() <= self._by_name.keys()
        # A function whose own parameters are called "value" or "args", among others that are given too, is
        # meant by name: read the other way, what the caller said of the others would be lost.
        if not _RESERVED.isdisjoint(payload) and not (len(payload) > 1 and all_named):
            given = _in_reserved(payload)
            if given is not None:
                return self._in_order(given)
        if all_named or self._others is not None:
            return self._named(payload)
        return self._in_order([payload])

    def _named(self, payload: dict[str, Any]) -> dict[str, Any]:
        if self._others is None:
            return payload.copy()
        values = {name: value for name, value in payload.items() if name in self._by_name}
        others = {name: value for name, value in payload.items() if name not in self._by_name}
        if self._context is not None:
            others.pop(self._context.name, None)
        values[self._others.name] = others
        return values

    def _in_order(self, given: list[Any]) -> dict[str, Any]:
        values = {each.name: value for each, value in zip(self._positional, given, strict=False)}
        if self._rest is not None and len(given) > len(self._positional):
            values[self._rest.name] = given[len(self._positional) :]
        return values

    def _assemble(
        self, values: dict[str, Any], context: FunctionContext | None
    ) -> tuple[list[Any], dict[str, Any]]:
        for name in self._required:
            if name not in values:
                raise ArgumentsError(f'Missing argument "{name}".')
        if self._struct is not None:
            self._convert(values)
        if self._simple:
            return [], values
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for each in self._every:
            if each is self._context:
                value = context
            elif each.kind is _Kind.VAR_POSITIONAL:
                positional.extend(values.get(each.name, ()))
                continue
            elif each.kind is _Kind.VAR_KEYWORD:
                keywords.update(values.get(each.name, {}))
                continue
            else:
                value = values.get(each.name, each.default)
            if each.kind in _POSITIONAL:
                positional.append(value)
            else:
                keywords[each.name] = value
        return positional, keywords

    def _convert(self, values: dict[str, Any]) -> None:
        try:
            converted = msgspec.convert(values, self._struct, dec_hook=convert_foreign)
        except msgspec.ValidationError as error:
            raise ArgumentsError(_explain(error, values, self._by_name)) from None
        except RecursionError:
            raise ArgumentsError("The arguments are nested too deeply.") from None
        for name, field in self._converted:
            if name in values:
                values[name] = getattr(converted, field)


def is_filled_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether *value* is a list with something in it."""
    return isinstance(value, list) and bool(value)


def _in_reserved(payload: dict[str, Any]) -> list[Any] | None:
    for name in ("args", "arguments"):
        given = payload.get(name)
        if is_filled_list(given):
            return given
        if given is not None:
            break
    return [payload["value"]] if "value" in payload else None


def _explain(
    error: msgspec.ValidationError, values: Mapping[str, Any], by_name: Mapping[str, Parameter]
) -> str:
    message, _, place = str(error).removesuffix("`").rpartition(_PLACE)
    text = f'Argument "{place[:_CHARACTERS_OF_A_NAME]}": {message}.'
    whole = values.get(place)
    strange = sorted(set(whole) - set(by_name)) if isinstance(whole, dict) and len(values) == 1 else []
    if strange:
        named = ", ".join(f'"{name[:_CHARACTERS_OF_A_NAME]}"' for name in strange[:5])
        text += f" (The payload was taken as one argument, because the function has no parameter {named}.)"
    return text


def _is_context(parameter: Parameter) -> bool:
    if parameter.kind not in _NAMED:
        return False
    if parameter.name == "context":
        return True
    return parameter.type is FunctionContext or FunctionContext in typing.get_args(parameter.type)


def _parameters(call: Callable[..., Any]) -> tuple[Parameter, ...]:
    try:
        found = inspect.signature(call).parameters.values()
    except (ValueError, TypeError):
        # Some builtins have no signature: they take what comes, in order.
        return (Parameter("args", _Kind.VAR_POSITIONAL, Any, _Kind.empty),)
    hints = _type_hints(call)
    return tuple(
        Parameter(each.name, each.kind, _checkable(call, each.name, hints.get(each.name, Any)), each.default)
        for each in found
    )


def _type_hints(call: Any) -> dict[str, Any]:
    while isinstance(call, functools.partial):
        call = call.func
    if not isinstance(call, types.FunctionType | types.MethodType | types.BuiltinFunctionType | type):
        call = inspect.unwrap(call) if hasattr(call, "__wrapped__") else type(call).__call__
    try:
        return typing.get_type_hints(call, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        # One hint that cannot be resolved (a name imported for type checkers only) takes the others' help.
        return {
            name: hint
            for name, hint in getattr(call, "__annotations__", {}).items()
            if not isinstance(hint, str)
        }


def _checkable(call: Any, name: str, hint: Any) -> Any:
    """Return *hint* when values can be checked against it, else ``Any``."""
    if hint is Any or isinstance(hint, str) or _mentions_context(hint):
        return hint if not isinstance(hint, str) else Any
    try:
        msgspec.json.Decoder(hint, dec_hook=convert_foreign)
    except (TypeError, ValueError, NameError, AttributeError, RecursionError) as error:
        where = getattr(call, "__qualname__", type(call).__qualname__)
        _log.warning("%s: no checks for parameter %r: %s", where, name, error)
        return Any
    return hint


def _mentions_context(hint: Any) -> bool:
    return hint is FunctionContext or FunctionContext in typing.get_args(hint)


def _checking_struct(parameters: Iterable[Parameter]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for index, each in enumerate(parameters):
        hint: Any = each.type
        if each.kind is _Kind.VAR_POSITIONAL:
            hint = types.GenericAlias(list, (hint,))
        elif each.kind is _Kind.VAR_KEYWORD:
            hint = types.GenericAlias(dict, (str, hint))
        names[f"p{index}"] = each.name
        fields.append((f"p{index}", hint | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct("Arguments", fields, rename=names)
