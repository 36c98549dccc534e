"""Type hints: resolved one by one, and converted to a form that Pydantic can check.

A name that cannot be resolved costs the check of its own parameter only. attrs classes, data classes and
TypedDicts are checked by their fields; instances are made by calling the class, so that converters,
validators and an ``__init__`` of its own run as they do in Python. msgspec structs are left to msgspec.
"""

import collections.abc
import contextlib
import dataclasses
import enum
import functools
import inspect
import json
import keyword
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, get_args, get_origin

import attrs
import pydantic
import typing_extensions
from pydantic.fields import FieldInfo
from pydantic_core import core_schema, to_jsonable_python

from navai_client._redaction import message_of
from navai_client.functions._context import FunctionContext
from navai_client.functions._results import ResultError, jsonable
from navai_client.functions._schema import ArgumentsSchema
from navai_client.functions._tool_schemas import inline_refs

_Kind = inspect.Parameter
_NAMED: Final = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY)
_CONTEXT_NAME: Final = re.compile(rf"\b{FunctionContext.__name__}\b")
_UNPACKS: Final = (typing.Unpack, typing_extensions.Unpack)
_SELVES: Final = (typing.Self, typing_extensions.Self)
_ALIASES: Final = (
    typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType)
)  # fmt: skip
_QUALIFIERS: Final = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)
# Pydantic checks the items of these while the function reads them, too late to refuse the argument.
_LAZY: Final = (
    collections.abc.Iterable, collections.abc.Iterator, collections.abc.Collection, collections.abc.Generator
)  # fmt: skip
_META: Final = (
    "gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "title", "description",
    "examples",
)  # fmt: skip
_MAX_WRAPPERS: Final = 100  # some objects have every attribute, or wrap themselves
# Python 3.14 evaluates annotations when they are read; only this format leaves out what has no value.
_FORMAT: Final[Any] = {"annotation_format": 3} if sys.version_info >= (3, 14) else {}


class UnresolvedHintError(Exception):
    """A hint has a name that does not exist at run time; the message says which."""


def parameters_of(call: Any) -> list[inspect.Parameter]:
    """Return the parameters of *call* without those that ``functools.partial`` has filled by keyword.

    Raises:
        ValueError: It has no signature, as some builtins.
    """
    bound = bound_keywords(call)
    return [each for each in inspect.signature(call, **_FORMAT).parameters.values() if each.name not in bound]


def has_signature(call: Any) -> bool:
    try:
        inspect.signature(call, **_FORMAT)
    except (ValueError, TypeError):
        return False
    return True


def bound_keywords(call: Any) -> frozenset[str]:
    """Return the names of the arguments that ``functools.partial`` has filled by keyword."""
    names: set[str] = set()
    while isinstance(call, functools.partial):
        names |= call.keywords.keys()
        call = call.func
    return frozenset(names)


def unwrapped(call: Any) -> Any:
    """Return the function or class behind partials, bound methods, decorators and callable objects."""
    for _ in range(_MAX_WRAPPERS):
        if isinstance(call, functools.partial):
            call = call.func
        elif isinstance(call, types.MethodType):
            call = call.__func__
        elif hasattr(call, "__wrapped__"):
            call = call.__wrapped__
        elif isinstance(call, type) or inspect.isroutine(call):
            break
        else:
            call = type(call).__call__
    return call


class Hints:
    """The hints of one callable or class.

    Attributes:
        warnings: The hints that could not be resolved.
    """

    def __init__(self, call: Any, variables: Mapping[Any, Any] = {}) -> None:
        self._inner = unwrapped(call)
        owner = getattr(call, "__self__", call)
        self._owner = owner if isinstance(owner, type) else type(owner)  # the class of "Self"
        self._variables = variables
        self._adapted: dict[Any, Any] = {}
        self.warnings: list[str] = []

    @functools.cached_property
    def _namespaces(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return _namespaces(self._inner)

    def of(self, parameter: inspect.Parameter) -> Any:
        """Return the hint of *parameter*, or ``Any`` when it has none.

        Raises:
            UnresolvedHintError: It cannot be resolved.
        """
        if parameter.annotation is _Kind.empty:
            return Any
        return _substituted(_resolved(parameter.annotation, *self._namespaces), self._variables)

    def is_context(self, parameter: inspect.Parameter) -> bool:
        """Return whether *parameter* gets the function context: by its hint, else by its name."""
        if parameter.kind not in _NAMED:
            return False
        try:
            hint = self.of(parameter)
        except UnresolvedHintError:
            # FunctionContext itself may be imported for type checkers only.
            return _CONTEXT_NAME.search(str(parameter.annotation)) is not None
        if hint is Any or hint is object:
            return parameter.name == "context"
        return hint is FunctionContext or FunctionContext in get_args(hint)

    def unpacked(self, parameters: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter]:
        """Yield *parameters*, with one for each key instead of ``**names: Unpack[...]``."""
        for each in parameters:
            hint: Any = None
            if each.kind is _Kind.VAR_KEYWORD:
                with contextlib.suppress(UnresolvedHintError):
                    hint = self.of(each)
            if get_origin(hint) not in _UNPACKS:
                yield each
                continue
            (names,) = get_args(hint)
            for name, annotation in _annotations(names).items():
                default = _Kind.empty if name in names.__required_keys__ else attrs.NOTHING
                yield _Kind(name, _Kind.KEYWORD_ONLY, annotation=annotation, default=default)

    def field(self, parameter: inspect.Parameter, description: str | None = None) -> Any:
        """Return the field of a TypedDict that checks values of *parameter*."""
        try:
            hint: Any = self.adapted(self.of(parameter))
        # The boundary to the owner's types, which may raise any exception when they are inspected.
        except Exception as error:  # noqa: BLE001
            self.warnings.append(f'parameter "{parameter.name}" is not checked: {message_of(error)}')
            hint = Any
        if parameter.kind is _Kind.VAR_POSITIONAL and get_origin(hint) in _UNPACKS:
            return typing_extensions.NotRequired[get_args(hint)[0]]
        if parameter.kind is _Kind.VAR_POSITIONAL:
            return typing_extensions.NotRequired[types.GenericAlias(list, hint)]
        if parameter.kind is _Kind.VAR_KEYWORD:
            return typing_extensions.NotRequired[types.GenericAlias(dict, (str, hint))]
        markers = [each for each in get_args(hint)[1:] if isinstance(each, FieldInfo)]
        default = parameter.default
        if isinstance(default, FieldInfo):
            markers.append(default)
            hint = Annotated[hint, default]
        elif default is not _Kind.empty:
            hint = _with_default(hint, default)
        if description and not any(each.description for each in markers):
            hint = Annotated[hint, pydantic.Field(description=description)]
        if is_required(parameter) and all(each.is_required() for each in markers):
            return typing_extensions.Required[hint]
        return typing_extensions.NotRequired[hint]

    def adapted(self, hint: Any) -> Any:  # noqa: C901, PLR0911, PLR0912 - one for each kind
        """Return *hint* with the parts that Pydantic cannot check replaced by equivalent ones that it can."""
        origin, arguments = get_origin(hint), get_args(hint)
        if isinstance(hint, typing.ParamSpecArgs | typing.ParamSpecKwargs):
            raise UnresolvedHintError("its type is that of another function")
        if hint in _SELVES:
            return self.adapted(self._owner)
        if hint is typing.LiteralString:
            return str
        if origin is Annotated:
            inner = self.adapted(arguments[0])
            metadata = [_metadata(each) for each in arguments[1:] if not _is_base64(each)]
            return Annotated[inner, *metadata] if metadata else inner
        if origin is typing.Literal:
            return _exact(hint, arguments, arguments)
        if isinstance(origin or hint, _ALIASES):
            return self._alias(hint, origin or hint, arguments)
        if hasattr(hint, "__supertype__"):  # a NewType
            return self.adapted(hint.__supertype__)
        if origin in (typing.Union, types.UnionType):
            members = [self.adapted(each) for each in arguments]
            usable = [each for each in members if _is_known(each)]
            if all(each is types.NoneType for each in usable):
                usable = members  # Pydantic says what is wrong
            return typing.Union[tuple(usable)]  # noqa: UP007 - known at run time only
        if hint in _LAZY or origin in _LAZY:
            return list[self.adapted(arguments[0]) if arguments else Any]  # type: ignore[misc]
        if origin in (*_QUALIFIERS, *_UNPACKS):
            return origin[self.adapted(arguments[0])]
        cls = origin or hint
        if isinstance(cls, type) and not hasattr(cls, "__get_pydantic_core_schema__"):
            if cls.__dict__.get("__is_pydantic_dataclass__") is None and is_record(cls):
                return self._record(hint, cls, arguments)
            if issubclass(cls, enum.Enum):
                return _exact(cls, [each.value for each in cls], list(cls))
        if arguments and origin is not collections.abc.Callable:
            changed = tuple(map(self.adapted, arguments))
            return hint if changed == arguments else origin[changed]
        return hint

    def _alias(self, hint: Any, alias: Any, arguments: Sequence[Any]) -> Any:
        if hint not in self._adapted:
            self._adapted[hint] = hint  # within itself, and if a name is not there, Pydantic reads it
            with contextlib.suppress(UnresolvedHintError):
                value = _resolved(alias.__value__, *self._namespaces)
                variables = dict(zip(alias.__type_params__, arguments, strict=False))
                self._adapted[hint] = self.adapted(_substituted(value, variables))
        return self._adapted[hint]

    def _record(self, hint: Any, cls: Any, arguments: Sequence[Any]) -> Any:
        if hint in self._adapted:  # a class may be recursive
            return self._adapted[hint]
        if (msgspec := sys.modules.get("msgspec")) is not None and issubclass(cls, msgspec.Struct):
            return Annotated[Any, _StructSchema(hint)]
        fields = typed_dict(cls.__name__, {}, extra="ignore")
        is_dict = typing_extensions.is_typeddict(cls)
        in_order: list[str] = []
        self._adapted[hint] = (
            fields
            if is_dict
            else Annotated[fields, pydantic.AfterValidator(functools.partial(_made, cls, in_order))]
        )
        hints = Hints(cls, dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False)))
        hints._owner, hints._adapted, hints.warnings = hint, self._adapted, self.warnings
        found: dict[str, Any] = {}
        if is_dict:
            fields.__pydantic_config__ = {
                **fields.__pydantic_config__,
                **getattr(cls, "__pydantic_config__", {}),
            }
            for name, annotation in _annotations(cls).items():
                parameter = _Kind(_identifier(name), _Kind.KEYWORD_ONLY, annotation=annotation)
                field = hints.field(parameter)
                qualifier = get_origin(get_args(field)[0])
                # None for an annotation that is not a string: its qualifier is in __required_keys__.
                if qualifier not in (typing_extensions.Required, typing_extensions.NotRequired):
                    is_required = name in cls.__required_keys__
                    qualifier = typing_extensions.Required if is_required else typing_extensions.NotRequired
                found[name] = qualifier[unqualified(field)]
        else:
            for parameter in parameters_of(cls):
                if parameter.kind is _Kind.POSITIONAL_ONLY:
                    in_order.append(parameter.name)
                if parameter.kind in _NAMED:
                    found[parameter.name] = hints.field(parameter)
                elif parameter.kind is _Kind.VAR_KEYWORD:
                    fields.__pydantic_config__["extra"] = "allow"
        fields.__annotations__ = found
        # The docstring of a data class without one is its signature.
        fields.__doc__ = None if (cls.__doc__ or "").startswith(f"{cls.__name__}(") else cls.__doc__
        return self._adapted[hint]


def is_required(parameter: inspect.Parameter) -> bool:
    default = parameter.default
    return parameter.kind in _NAMED and (
        default.is_required() if isinstance(default, FieldInfo) else default is _Kind.empty
    )


def typed_dict(name: str, fields: Mapping[str, Any], extra: str) -> Any:
    """Return a TypedDict for Pydantic; *fields* say by qualifiers which of them are required."""
    make: Any = typing_extensions.TypedDict
    made = make(name, dict(fields), total=False)
    made.__pydantic_config__ = {
        "extra": extra,
        "val_json_bytes": "base64",
        "ser_json_bytes": "base64",
        "allow_inf_nan": False,
    }
    return made


def fits(default: Any, hint: Any) -> bool:
    """Return whether *default* is a value of the type *hint*; constraints do not count."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if type(default) is hint or default is None or hint is Any:
        return True
    config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    try:
        pydantic.TypeAdapter(list[hint], config=config).validate_python([default])
    except pydantic.ValidationError:
        return False
    except Exception:  # noqa: BLE001 - the boundary to the owner's types: what cannot be checked is taken as it is
        return True
    return True


def _is_known(hint: Any) -> bool:
    """Return whether Pydantic knows a JSON form for *hint*, which it does not for arbitrary classes."""
    try:
        pydantic.TypeAdapter(hint)
    except pydantic.PydanticSchemaGenerationError:
        return False
    except Exception:  # noqa: BLE001 - the boundary to the owner's types: they are reported when all is built
        return True
    return True


def is_record(cls: Any) -> bool:
    """Return whether *cls* is a class whose constructor takes its fields."""
    msgspec = sys.modules.get("msgspec")
    return isinstance(cls, type) and (
        attrs.has(cls)
        or dataclasses.is_dataclass(cls)
        or typing_extensions.is_typeddict(cls)
        or (msgspec is not None and issubclass(cls, msgspec.Struct))
    )


def _made(cls: Callable[..., Any], in_order: Iterable[str], values: dict[str, Any]) -> Any:
    """Make an instance; whatever its constructor raises is an error of the argument."""
    positional = [values.pop(name) for name in in_order if name in values]
    try:
        return cls(*positional, **values)
    except Exception as error:
        # The validators of attrs raise errors with more arguments than the message.
        several = len(error.args) > 1 and isinstance(error, TypeError | ValueError)
        raise ValueError(str(error.args[0]) if several else message_of(error)) from error


def _metadata(each: Any) -> Any:
    if isinstance(each, str):
        return pydantic.Field(description=each)
    msgspec = sys.modules.get("msgspec")
    if msgspec is not None and isinstance(each, msgspec.Meta):
        given = {name: getattr(each, name) for name in _META}
        return pydantic.Field(**{name: value for name, value in given.items() if value is not None})
    return each


def _exact(hint: Any, values: Iterable[Any], choices: Iterable[Any]) -> Any:
    """Distinguish 1 from true in a ``Literal`` or an enum of numbers, which Pydantic does not."""
    try:
        known = list(zip(map(to_jsonable_python, values), choices, strict=True))
    except ValueError:  # as for an enum of objects, which Pydantic refuses, too
        return hint
    if all(isinstance(value, str | types.NoneType) for value, _ in known) and not any(
        isinstance(choice, enum.Enum) for choice in get_args(hint)
    ):
        return hint

    def choose(given: Any) -> Any:
        for value, choice in known:
            if value == given and isinstance(value, bool) == isinstance(given, bool):
                return choice
        raise ValueError("Input should be " + " or ".join(json.dumps(value) for value, _ in known))

    return Annotated[hint, pydantic.BeforeValidator(choose)]


def _is_base64(metadata: Any) -> bool:
    """Return whether *metadata* decodes base64, which this package already does for all ``bytes``."""
    return isinstance(metadata, pydantic.EncodedBytes) and metadata.encoder is pydantic.Base64Encoder


def _with_default(hint: Any, default: Any) -> Any:
    if default is attrs.NOTHING:  # a factory makes one
        return hint
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if default is None and inner is not Any and types.NoneType not in get_args(inner):
        return hint  # x: str = None may be left out, and takes no null
    try:
        published = jsonable(default)
    except ResultError:
        return hint  # what JSON cannot hold stays between the function and Python
    return Annotated[hint, pydantic.Field(json_schema_extra={"default": published})]


def _identifier(name: str) -> str:
    """Return *name*, a key of a TypedDict, or another name for its parameter."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else "value"


def unqualified(field: Any) -> Any:
    while get_origin(field) in _QUALIFIERS:
        (field,) = get_args(field)
    return field


def _substituted(hint: Any, variables: Mapping[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return variables.get(hint, hint)
    wanted = getattr(hint, "__parameters__", ()) if variables else ()
    return hint[tuple(variables.get(each, Any) for each in wanted)] if wanted else hint


class _StructSchema:
    """A msgspec struct within a model of Pydantic: checked, made and described by msgspec."""

    def __init__(self, struct: Any) -> None:
        self._struct = struct

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(self._convert)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        import msgspec  # noqa: PLC0415 - only where it is used already

        described: dict[str, Any] = msgspec.json.schema(self._struct, schema_hook=_schema_of)
        return inline_refs(described)

    def _convert(self, value: Any) -> Any:
        import msgspec  # noqa: PLC0415 - only where it is used already

        config = (get_origin(self._struct) or self._struct).__struct_config__
        if config.tag is not None and isinstance(value, dict) and config.tag_field not in value:
            raise ValueError(f"Object missing required field `{config.tag_field}`")
        try:
            return msgspec.convert(value, self._struct, dec_hook=_validated)
        except Exception as error:
            raise ValueError(message_of(error)) from error


def _validated(kind: Any, value: Any) -> Any:
    try:
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"{each}: " for each in first["loc"])
        raise ValueError(place + first["msg"]) from None


def _schema_of(kind: Any) -> dict[str, Any]:
    return inline_refs(pydantic.TypeAdapter(kind).json_schema(schema_generator=ArgumentsSchema))


def _annotations(cls: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = typing_extensions.get_annotations(
        cls, format=typing_extensions.Format.FORWARDREF
    )
    return found


def _resolved(annotation: Any, global_names: dict[str, Any], local_names: dict[str, Any]) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"hint": annotation}
    try:
        hint = typing.get_type_hints(holder, global_names, local_names, include_extras=True)["hint"]
    # The boundary to the owner's annotations, which are executed.
    except Exception as error:  # noqa: BLE001
        raise UnresolvedHintError(message_of(error)) from None
    return _resolved(hint.type, global_names, local_names) if isinstance(hint, dataclasses.InitVar) else hint


def _namespaces(inner: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the global and the local names that annotations of *inner* may use."""
    names: dict[str, Any] = {}
    bases = reversed(inner.__mro__) if isinstance(inner, type) else ()
    for cls in bases:
        names |= vars(sys.modules.get(cls.__module__, types))
        names[cls.__name__] = cls
    names |= getattr(inner, "__globals__", {})
    outer, _, _ = getattr(inner, "__qualname__", "").rpartition(".<locals>.")
    frame = sys._getframe() if outer else None  # noqa: SLF001 - documented, and the way to names of a function
    while frame is not None:
        if frame.f_code.co_qualname == outer and frame.f_globals.get("__name__") == inner.__module__:
            return names, {**_closure(inner), **frame.f_locals}
        frame = frame.f_back
    return names, _closure(inner)


def _closure(inner: Any) -> dict[str, Any]:
    found = {each.__name__: each for each in getattr(inner, "__type_params__", ())}
    code = getattr(inner, "__code__", None)
    for name, cell in zip(
        getattr(code, "co_freevars", ()), getattr(inner, "__closure__", None) or (), strict=False
    ):
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            found[name] = cell.cell_contents
    return found
