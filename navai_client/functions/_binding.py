"""From a payload to arguments: one Pydantic model for each function, whose JSON Schema is what it checks.

The order is the contract's ("Functions, arguments"): ``args`` or ``arguments``, then ``value``, then names,
then the payload as a whole, if it is valid as the first argument. Checks are strict in JSON's terms: a number
is not a string or a boolean, 2.0 is an integer, and what JSON has no type for (dates, UUIDs) is a string.

The model is a TypedDict: an argument that is left out stays out, and Python fills in the default.
"""

import asyncio
import contextlib
import difflib
import functools
import inspect
import json
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard, get_args

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, SchemaError

from navai_client._redaction import message_of
from navai_client._validation import walk
from navai_client.errors import NavaiConfigError
from navai_client.functions._context import FunctionContext
from navai_client.functions._declaration import name_of, without_partial
from navai_client.functions._hints import (
    Hints,
    UnresolvedHintError,
    bound_keywords,
    fits,
    has_signature,
    is_record,
    is_required,
    parameters_of,
    typed_dict,
    unqualified,
    unwrapped,
)
from navai_client.functions._results import MAX_LEVELS, jsonable
from navai_client.functions._schema import ArgumentsSchema, parameter_descriptions
from navai_client.functions._tool_schemas import inline_refs

_Kind = inspect.Parameter
_POSITIONAL: Final = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
_RESERVED: Final = frozenset({"args", "arguments", "value"})
_OTHERS: Final = "**"  # the field of the model that holds the keyword arguments without a parameter
_MAX_PROBLEMS: Final = 8  # reported at once: a model corrects a few at a time
_MAX_PROBLEM_CHARS: Final = 200
_MAX_NAME_CHARS: Final = 100
# The boundary to the owner's validators: whatever they raise is an error of the argument, and ends one call.
_OWNERS_ERRORS: Final = (Exception, SystemExit, asyncio.CancelledError, GeneratorExit)
# Pydantic's errors for types that JSON writes as strings or arrays: then a validator passed the value on.
_MADE_OF: Final[Mapping[type, frozenset[str]]] = {
    str: frozenset({"bytes_type", "date_type", "datetime_type", "time_type", "time_delta_type", "uuid_type"}),
    list: frozenset({"deque_type", "frozen_set_type", "set_type", "tuple_type"}),
}
_UNDEFINED: Final = frozenset({"class-not-fully-defined", "undefined-annotation"})
_JSON_TYPES: Final[Mapping[type, frozenset[str]]] = {
    dict: frozenset({"object"}),
    list: frozenset({"array"}),
    str: frozenset({"string"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    types.NoneType: frozenset({"null"}),
}


def no_parameter(name: str, free: Iterable[str], show: Callable[[str], str]) -> str:
    """Return that there is no parameter *name*, and which of those that are *free* may be meant."""
    close = difflib.get_close_matches(name, list(free), 1)
    return f"no parameter {show(name)}" + (f"; did you mean {show(close[0])}?" if close else "")


class ArgumentsError(Exception):
    """A payload does not fit the function.

    Attributes:
        problems: The problems, one text for each argument.
    """

    def __init__(self, *problems: str) -> None:
        shown = [each[:_MAX_PROBLEM_CHARS] for each in problems[:_MAX_PROBLEMS]]
        if len(problems) > _MAX_PROBLEMS:
            shown.append(f"and {len(problems) - _MAX_PROBLEMS} more")
        super().__init__(invalid_arguments("; ".join(shown)))
        self.problems: tuple[str, ...] = tuple(shown)


def invalid_arguments(problems: str) -> str:
    """Return the sentence that reports the problems of arguments."""
    return f"Invalid arguments: {problems}" + ("" if problems.endswith(("?", ".")) else ".")


class Payload(NamedTuple):
    """A payload as it was sent.

    Attributes:
        value: The parsed value.
        text: The JSON itself, if known: checking it loses nothing.
    """

    value: Any
    text: bytes | None = None


class Binding:
    """The parameters of one callable.

    Attributes:
        schema: The JSON Schema (2020-12) of the arguments, without references.
        warnings: The parameters that are not checked, or cannot be given.
        obstacle: Why no JSON payload can call it, or None.
    """

    def __init__(self, call: Callable[..., Any], *, is_method: bool = False) -> None:
        """Read the signature of *call*, without the first parameter of a method.

        Raises:
            NavaiConfigError: A default is not a value of its parameter's type.
        """
        self._hints = Hints(call)
        self._bound = bound_keywords(call)
        try:
            self._every = parameters_of(call)[is_method:]
        except (ValueError, TypeError):
            # Some builtins have no signature: they take any arguments, by position.
            self._every = [_Kind("args", _Kind.VAR_POSITIONAL)]
            if has_signature(unwrapped(call)):
                raise NavaiConfigError(
                    f"The arguments that functools.partial has bound do not fit {name_of(call)}."
                ) from None
        self._contexts = {each.name for each in self._every if self._hints.is_context(each)}
        own = [each for each in self._every if each.name not in self._contexts]
        if not is_record(unwrapped(call)):  # whose defaults may be placeholders for factories
            self._check_defaults(own)
        self._every = list(self._hints.unpacked(self._every))
        own = [each for each in self._every if each.name not in self._contexts]
        named = {each.name for each in own if each.kind not in (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD)}
        self._rest = "args" if "args" not in named else "*args"
        self.obstacle: str | None = None
        self.warnings: list[str] = []
        self._checks = any(map(self._is_checked, own))
        descriptions = parameter_descriptions(unwrapped(call))
        fields = {
            self._field_name(each): self._hints.field(each, descriptions.get(each.name)) for each in own
        }
        self._withhold_private(fields, own)
        self._build(fields, own)
        self._fill_tables(own)

    @property
    def takes_context(self) -> bool:
        """Whether a parameter gets the function context."""
        return bool(self._contexts)

    def bind(self, payload: Payload, context: FunctionContext | None) -> tuple[Sequence[Any], dict[str, Any]]:
        """Turn *payload* into positional and keyword arguments, converted and checked.

        Raises:
            ArgumentsError: The payload does not fit.
        """
        value, text = payload
        if isinstance(value, dict):
            # The common case: a payload of parameter names that have no other meaning in the contract.
            named = self._is_simply_named and value.keys() <= self._names.keys()
            values = self._checked(value, text) if named else self._values(value, text)
        else:
            # As in Express: an array is one argument, and a value that is neither array nor object is none.
            values = self._checked(self._in_order([value] if _is_filled_list(value) else []))
        return self._assembled(values, context)

    def bind_positional(
        self, values: list[Any], context: FunctionContext | None
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """Bind *values* in the order of the parameters.

        Raises:
            ArgumentsError: They do not fit.
        """
        return self._assembled(self._checked(self._in_order(values)), context)

    def in_order(self) -> tuple[dict[str, Any], list[str]]:
        """Return the schema of a list of the arguments, and the required ones that cannot be in it."""
        properties = self._model_schema["properties"]
        required = [name in self._required for name in self._positional]
        described = {
            "type": "array",
            "prefixItems": [properties[name] for name in self._positional],
            "minItems": sum(required),
        }
        return described, [name for name in self._required if name not in self._positional]

    def _check_defaults(self, own: Iterable[inspect.Parameter]) -> None:
        for each in own:
            try:
                hint = self._hints.of(each)
            except UnresolvedHintError:
                hint = Any
            default = each.default.default if isinstance(each.default, FieldInfo) else each.default
            for marker in (default, *get_args(hint)[1:]):
                if any(kind.__name__ == "Depends" for kind in type(marker).__mro__):  # of FastAPI
                    raise NavaiConfigError(
                        f'Parameter "{each.name}" is filled by {type(marker).__name__}(...), which only its '
                        "own framework resolves. Give it a default of its type, or remove the parameter."
                    )
            is_given = default is not _Kind.empty and default is not PydanticUndefined
            if is_given and not fits(default, hint):
                raise NavaiConfigError(
                    f'The default of parameter "{each.name}" has the type {type(default).__name__}, which '
                    "is not that of the parameter. Give it a default of its type, or remove the parameter."
                )

    def _is_checked(self, parameter: inspect.Parameter) -> bool:
        try:
            hint = self._hints.of(parameter)
        except UnresolvedHintError:
            return False
        return hint is not Any or isinstance(parameter.default, FieldInfo)

    def _withhold_private(self, fields: dict[str, Any], own: Iterable[inspect.Parameter]) -> None:
        """Remove the parameters that Python reads as internal, unless an alias gives them a public name."""
        for each in own:
            name = each.name
            if name.startswith("_") and name in fields and _accepted(name, fields[name]) == [name]:
                del fields[name]
                self._bound |= {name}
                if is_required(each) and self.obstacle is None:
                    self.obstacle = f'parameter "{name}" cannot be given: its name begins with an underscore'

    def _field_name(self, parameter: inspect.Parameter) -> str:
        if parameter.kind is _Kind.VAR_POSITIONAL:
            return self._rest
        return _OTHERS if parameter.kind is _Kind.VAR_KEYWORD else parameter.name

    def _build(self, fields: dict[str, Any], own: Iterable[inspect.Parameter]) -> None:
        try:
            adapter, schema = _built(fields)
        # The boundary to the owner's types: describing them may raise any exception.
        except Exception:  # noqa: BLE001
            kept = {
                name: self._usable(each, fields[name]) for each in own if (name := self._field_name(each))
            }
            fields = {name: field for name, field in kept.items() if field is not None}
            adapter, schema = _built(fields)
        self.warnings[:0] = self._hints.warnings
        self._fields = fields
        self._validate: Callable[..., dict[str, Any]] = adapter.validator.validate_json
        self._model_schema = schema

    def _usable(self, parameter: inspect.Parameter, field: Any) -> Any:
        """Return *field*, or one that checks nothing, or None if no JSON value can be given for it."""
        try:
            _built({"field": field})
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, NameError) or getattr(error, "code", None) in _UNDEFINED:
                self.warnings.append(f'parameter "{parameter.name}" is not checked: its type is not complete')
                return self._hints.field(parameter.replace(annotation=Any))
            self.warnings.append(f'parameter "{parameter.name}" cannot be given: {_reason(error, parameter)}')
            if is_required(parameter) and self.obstacle is None:
                self.obstacle = self.warnings[-1]
            return None
        return field

    def _fill_tables(self, own: Iterable[inspect.Parameter]) -> None:
        if len(self._model_schema["properties"]) < len(self._fields):
            raise NavaiConfigError("Two parameters have the same name, by an alias.")
        published = dict(zip(self._fields, self._model_schema["properties"], strict=True))
        names = {name: _accepted(name, field) for name, field in self._fields.items()}
        self._takes_others = names.pop(_OTHERS, None) is not None
        if self._rest != "args":
            names.pop(self._rest, None)
        self._takes_rest = self._rest in self._fields
        self._names = {accepted: name for name, every in names.items() for accepted in every}
        self._positional = [
            published[each.name] for each in own if each.kind in _POSITIONAL and each.name in published
        ]
        self._required = self._model_schema.get("required", [])
        self._required_names = frozenset(self._required)
        self._known_names = self._names.keys() | (self._fields.keys() & {self._rest, _OTHERS})
        self._is_simply_named = not self._takes_others and _RESERVED.isdisjoint(self._names)
        self._simple = not self._contexts and all(
            each.kind is _Kind.POSITIONAL_OR_KEYWORD for each in self._every
        )
        properties = self._model_schema["properties"]
        shown = {name: properties[name] for name in properties if name not in (_OTHERS, "*args")}
        others = properties[_OTHERS].get("additionalProperties", True) if self._takes_others else False
        self.schema: dict[str, Any] = {"type": "object", "properties": shown}
        if self._required:
            self.schema["required"] = self._required
        self.schema["additionalProperties"] = others

    def _values(self, payload: dict[str, Any], text: bytes | None) -> dict[str, Any]:
        # An empty list of arguments without other keys is the payload as a whole, as in Express.
        all_named = payload.keys() <= self._names.keys() and not (
            self._takes_rest and payload.keys() == {self._rest}
        )
        # A function with parameters called "value" or "args" is called by name if other arguments are given,
        # too, which would otherwise be lost.
        if not _RESERVED.isdisjoint(payload) and not (len(payload) > 1 and all_named):
            given = self._in_reserved(payload)
            if given is not None:
                try:
                    return self._checked(self._in_order(given))
                except ArgumentsError:
                    if not all_named:  # else {"args": [1]} is perhaps the value of a parameter called "args"
                        raise
        if self._takes_others:
            return self._checked(self._with_others(payload))
        if all_named:
            return self._checked(payload, text)
        if self._positional or self._takes_rest:
            try:
                return self._checked(self._in_order([payload]))
            except ArgumentsError:
                pass  # probably not meant as a whole: errors about names help the caller more
        return self._checked(payload)

    def _in_reserved(self, payload: dict[str, Any]) -> list[Any] | None:
        if self._takes_others and not (self._positional or self._takes_rest):
            return None  # every key is the name of an argument
        for name in ("args", "arguments"):
            given = payload.get(name)
            if _is_filled_list(given):
                return given
            if given is not None:
                break
        return [payload["value"]] if "value" in payload and "value" not in self._names else None

    def _with_others(self, payload: dict[str, Any]) -> dict[str, Any]:
        values = {name: value for name, value in payload.items() if name in self._names}
        known = self._names.keys() | self._contexts
        others = {name: value for name, value in payload.items() if name not in known}
        if refused := [f"no parameter {name}" for name in others if name in self._bound]:
            raise ArgumentsError(*refused)
        return {**values, _OTHERS: others}

    def _in_order(self, given: list[Any]) -> dict[str, Any]:
        # As in Express: arguments beyond the last parameter are ignored.
        values = dict(zip(self._positional, given, strict=False))
        if self._takes_rest and len(given) > len(self._positional):
            values[self._rest] = given[len(self._positional) :]
        return values

    def _checked(self, given: dict[str, Any], text: bytes | None = None) -> dict[str, Any]:
        if not self._checks:
            if not self._required_names <= given.keys() <= self._known_names:
                raise ArgumentsError(*self._missing(given), *self._unknown(given))
            return given.copy()
        try:
            return self._validate(_encoded(given) if text is None else text, strict=True)
        except ArgumentsError:
            raise
        except _OWNERS_ERRORS as error:
            return self._read_again(given, error)

    def _read_again(self, given: dict[str, Any], error: BaseException) -> dict[str, Any]:
        """Accept what is valid in JSON but not in Pydantic's strict mode; else report the problem.

        Strict mode refuses 2.0 as an ``int``. It also no longer treats as JSON what a validator of the owner
        passes on, and then makes no date from a string.
        """
        details: Sequence[Any] = ()
        if isinstance(error, pydantic.ValidationError):
            try:
                whole = whole_numbers(given)
            except RecursionError:
                raise ArgumentsError("the payload is nested too deeply") from None
            try:
                return self._validate(_encoded(whole), strict=True)
            except pydantic.ValidationError as second:
                details = second.errors(include_url=False)
                if any(_is_made(each, whole) for each in details) and _conforms(whole, self._model_schema):
                    with contextlib.suppress(*_OWNERS_ERRORS):
                        return self._validate(_encoded(whole))
            except _OWNERS_ERRORS as second:
                error = second
        problems = [self._problem(each, given) for each in details] or [
            *self._culprits(given),
            *self._missing(given),
        ]
        raise ArgumentsError(*(problems or [message_of(error)])) from error

    def _problem(self, detail: Any, given: dict[str, Any]) -> str:
        place: tuple[Any, ...] = detail["loc"]
        if detail["type"] == "json_invalid" and not place:
            return _unreadable(given)
        if len(place) == 1 and detail["type"] == "missing":
            return f"missing argument {place[0]}"
        if len(place) == 1 and detail["type"] == "extra_forbidden":
            return next(self._unknown({str(place[0]): None}, given))
        said = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return f"{_path(detail, given)}: {said}"

    def _culprits(self, given: dict[str, Any]) -> Iterator[str]:
        """Return the argument whose validator raised an error that is not a validation error."""
        for name, value in given.items():
            try:
                self._validate(_encoded({name: value}), strict=True)
            except pydantic.ValidationError as error:
                own = (each for each in error.errors(include_url=False) if each["loc"][:1] == (name,))
                yield from (self._problem(each, given) for each in own)
            except _OWNERS_ERRORS as error:
                yield f"{name}: {message_of(error)}"

    def _missing(self, given: Mapping[str, Any]) -> Iterator[str]:
        return (f"missing argument {name}" for name in self._required if name not in given)

    def _unknown(self, given: Mapping[str, Any], beside: Mapping[str, Any] = {}) -> Iterator[str]:
        for name in given:
            if name in self._known_names:
                continue
            free = [each for each in self._names if each not in given and each not in beside]
            yield no_parameter(name, free, lambda each: each[:_MAX_NAME_CHARS] or '""')

    def _assembled(
        self, values: dict[str, Any], context: FunctionContext | None
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        if self._simple:
            return (), values
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for each in self._every:
            if each.kind is _Kind.VAR_POSITIONAL:
                positional.extend(values.get(self._rest, ()))
            elif each.kind is _Kind.VAR_KEYWORD:
                keywords.update(values.get(_OTHERS, {}))
            else:
                value = context if each.name in self._contexts else values.get(each.name, each.default)
                if each.kind in _POSITIONAL:
                    positional.append(value)
                elif each.name in values or each.name in self._contexts:
                    keywords[each.name] = value
        return positional, keywords


_Bound = tuple[Sequence[Any], Mapping[str, Any]]


class Target:
    """How a registered function is called: as a function, a bound method or another callable.

    Attributes:
        binding: What it takes.
        is_async: Whether a call returns an awaitable, and does not block.
        takes_context: Whether it gets the function context, which may otherwise be None.
        warnings: The arguments that are not checked, or cannot be given.
        obstacle: Why no JSON payload can call it, or None.
    """

    def __init__(self, call: Callable[..., Any], *, is_method: bool = False) -> None:
        self._call = call
        self.is_async: bool = is_async(call)
        self.binding: Binding = Binding(call, is_method=is_method)
        self.takes_context: bool = self.binding.takes_context
        self.warnings: list[str] = self.binding.warnings
        self.obstacle: str | None = self.binding.obstacle

    @property
    def is_importable(self) -> bool:
        """Whether other processes can import what is called: it is not defined inside a function."""
        return "<" not in getattr(without_partial(self._call), "__qualname__", "")

    def prepare(self, payload: Payload, context: FunctionContext | None) -> Callable[[], Any]:
        """Bind *payload* and return the call; raise :class:`ArgumentsError` when it does not fit."""
        positional, keywords = self.binding.bind(payload, context)
        return functools.partial(self._call, *positional, **keywords)


class MethodTarget(Target):
    """A method of a class: each call makes an instance first, as the Express backend does."""

    def __init__(self, cls: type, method: str) -> None:
        super().__init__(getattr(cls, method), is_method=True)
        self._class = cls
        self._method = method
        self._constructor = Binding(cls)
        # A constructor may block: then even an asynchronous method is started in a thread.
        self.is_async = self.is_async and _has_no_constructor(cls)
        self.takes_context = self.takes_context or self._constructor.takes_context
        self.warnings = [*self._constructor.warnings, *self.warnings]
        self.obstacle = self.obstacle or self._constructor.obstacle
        in_order, others = self._constructor.in_order()
        if others:
            self.obstacle = f'parameter "{others[0]}" of the constructor cannot be given by position'
        if in_order["prefixItems"]:
            self.binding.schema["properties"]["constructorArgs"] = in_order
        if in_order["minItems"]:
            required = self.binding.schema.get("required", [])
            self.binding.schema["required"] = [*required, "constructorArgs"]

    def prepare(self, payload: Payload, context: FunctionContext | None) -> Callable[[], Any]:
        """Bind ``constructorArgs`` to the class, ``methodArgs`` or the rest of *payload* to the method."""
        record = payload.value if isinstance(payload.value, dict) else {}
        given = record.get("constructorArgs")
        made = self._constructor.bind_positional(given if _is_filled_list(given) else [], context)
        given = record.get("methodArgs")
        if _is_filled_list(given):
            called = self.binding.bind_positional(given, context)
        elif record.keys() & {"constructorArgs", "methodArgs"}:
            rest = {
                key: value for key, value in record.items() if key not in ("constructorArgs", "methodArgs")
            }
            called = self.binding.bind(Payload(rest), context)
        else:
            called = self.binding.bind(payload, context)

        return functools.partial(_call_method, self._class, self._method, made, called)


def _call_method(cls: type, method: str, made: _Bound, called: _Bound) -> Any:
    return getattr(cls(*made[0], **made[1]), method)(*called[0], **called[1])


def is_async(call: Any) -> bool:
    call = without_partial(call)
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def _has_no_constructor(cls: type) -> bool:
    return all(base is object or "__init__" not in vars(base) for base in cls.__mro__)


def _built(fields: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pydantic, about names that only models must not have
        adapter: Any = pydantic.TypeAdapter(typed_dict("Arguments", fields, extra="forbid"))
        # The owner may have added anything to it.
        schema = jsonable(inline_refs(adapter.json_schema(schema_generator=ArgumentsSchema)))
        return adapter, {"properties": {}, **schema}


def _reason(error: Exception, parameter: inspect.Parameter) -> str:
    """Return why no JSON value can be given for *parameter*."""
    if isinstance(
        error, pydantic.PydanticSchemaGenerationError | pydantic.errors.PydanticInvalidForJsonSchema
    ):
        hint = parameter.annotation
        return f"{hint if isinstance(hint, str) else inspect.formatannotation(hint)} has no form in JSON"
    lines = message_of(error).strip().split("\n")
    return (
        lines[-1].strip().removeprefix("SchemaError: ")
        if isinstance(error, SchemaError)
        else lines[0].partition(". ")[0]
    )


def _accepted(name: str, field: Any) -> list[str]:
    """Return the keys of a payload that fill a field."""
    alias = FieldInfo.from_annotation(unqualified(field)).validation_alias
    if isinstance(alias, pydantic.AliasPath):
        return [str(alias.path[0])]
    if isinstance(alias, pydantic.AliasChoices):
        return [str(path[0]) for path in alias.convert_to_aliases()]
    return [alias or name]


def _is_filled_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value)


def _unreadable(payload: Any) -> str:
    """Return why Pydantic's parser refuses a *payload* that is JSON."""
    try:
        json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "the payload has half of a surrogate pair, which is not text"
    return "the payload is nested too deeply"


def _encoded(value: Any) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except RecursionError:
        raise ArgumentsError("the payload is nested too deeply") from None
    except (TypeError, ValueError) as error:  # a Python value as payload, which no request has
        raise ArgumentsError(f"the payload is not JSON: {error}") from None


def whole_numbers(value: Any, levels: int = MAX_LEVELS) -> Any:
    """Return a JSON *value* in which a number without a fraction is an ``int``: in JSON 2.0 is 2.

    Raises:
        RecursionError: It has more than *levels* levels.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, dict | list):
        return value
    if not levels:
        raise RecursionError
    if isinstance(value, dict):
        return {key: whole_numbers(each, levels - 1) for key, each in value.items()}
    return [whole_numbers(each, levels - 1) for each in value]


def _is_made(detail: Any, given: Any) -> bool:
    """Return whether a value of the wrong type comes from a validator and not from the payload."""
    kind, made = detail["type"], detail["input"]
    if kind == "is_instance_of" or kind in _MADE_OF.get(type(made), ()):
        return True
    _, sent = walk(detail, given)
    return bool(kind.endswith("_type")) and (type(made) is not type(sent) or made != sent)


def _conforms(value: Any, schema: Any) -> bool:  # noqa: PLR0911 - one for each keyword
    """Return whether *value* has one of the JSON types in *schema*; Pydantic checks the rest."""
    if not isinstance(schema, Mapping):
        return True
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and _JSON_TYPES.get(type(value), frozenset()).isdisjoint(kinds):
        return False
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if not any(each == value and isinstance(each, bool) == isinstance(value, bool) for each in allowed):
        return False
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices and not any(_conforms(value, each) for each in choices):
        return False
    if isinstance(value, dict):
        known = schema.get("properties", {})
        other = schema.get("additionalProperties")
        return all(_conforms(each, known.get(name, other)) for name, each in value.items())
    if isinstance(value, list):
        first = schema.get("prefixItems", ())
        rest = (schema.get("items"),) * (len(value) - len(first))
        return all(map(_conforms, value, (*first, *rest)))
    return True


def _path(detail: Any, value: Any) -> str:
    names = [str(each)[:_MAX_NAME_CHARS] for each in walk(detail, value)[0] if each != _OTHERS]
    return ".".join(names) or "arguments"
