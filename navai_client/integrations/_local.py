"""Python functions of this process as tools: their names, their schemas, and how arguments reach them.

Names are made as the JavaScript agent makes them of its own functions, and a payload is bound as a Navai
backend binds it: ``args``, ``value``, names, or the payload as a whole.
"""

import functools
import inspect
import re
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, get_args, get_origin

from attrs import field, frozen

from navai_client._extras import needs_extra
from navai_client.errors import NavaiConfigError

with needs_extra("tools", "docstring_parser", "pydantic"):
    import docstring_parser
    import pydantic
    from pydantic.errors import PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema
    from pydantic.warnings import ArbitraryTypeWarning

__all__ = ["InvalidArgumentsError", "LocalFunction", "local_functions"]

_Kind = inspect.Parameter
_NAMED: Final = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY)
_CAMEL: Final = re.compile(r"([a-z0-9])([A-Z])")
_OTHERS: Final = re.compile(r"[^a-zA-Z0-9]+")
_CONFIG: Final = pydantic.ConfigDict(arbitrary_types_allowed=True)
_UNUSABLE: Final = (PydanticUserError, ArbitraryTypeWarning)


class InvalidArgumentsError(Exception):
    """Arguments that do not fit a function; its arguments are what is wrong, one text each."""


class _Schema(GenerateJsonSchema):
    """Without titles, which repeat names, and quiet about defaults that JSON cannot hold."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as its base has it

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - none is
        """Set none."""
        return False


@frozen
class LocalFunction:
    """One Python function, ready to be offered and called.

    Attributes:
        name: The name that it is offered by.
        description: Its docstring's first paragraph.
        source: ``module#qualified name``.
        parameters: The JSON Schema of its arguments.
        is_async: Whether calling it gives an awaitable.
    """

    name: str
    description: str
    source: str
    parameters: dict[str, Any] = field(repr=False)
    is_async: bool
    _call: Callable[..., Any] = field(repr=False)
    _signature: "_Signature" = field(repr=False)

    def bind(self, payload: dict[str, Any]) -> Callable[[], Any]:
        """Return the call to make for *payload*, its values checked and converted by the type hints.

        Raises:
            InvalidArgumentsError: They do not fit.
        """
        positional, named = self._signature.bind(payload)
        return functools.partial(self._call, *positional, **named)


def local_functions(
    given: Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]],
) -> tuple[tuple[LocalFunction, ...], tuple[str, ...]]:
    """Return the functions *given*, by their own names or those of a mapping, and the warnings about names.

    Raises:
        NavaiConfigError: If one is not callable.
    """
    pairs = given.items() if isinstance(given, Mapping) else ((_name_of(each), each) for each in given)
    found: dict[str, LocalFunction] = {}
    told: list[str] = []
    for raw, call in pairs:
        if not callable(call):
            raise NavaiConfigError(f"functions: {raw} is not callable.")
        wanted = _normalized(raw)
        name = _free(wanted or "fn", found)
        if name != wanted:
            told.append(f'[navai] Renamed duplicated function "{raw}" to "{name}".')
        found[name] = _described(name, raw, call)
    return tuple(found.values()), tuple(told)


def _name_of(call: Any) -> str:
    while isinstance(call, functools.partial):
        call = call.func
    return getattr(call, "__name__", None) or type(call).__name__


def _normalized(raw: str) -> str:
    return _OTHERS.sub("_", _CAMEL.sub(r"\1_\2", raw)).strip("_").lower()


def _free(wanted: str, taken: Mapping[str, Any]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _described(name: str, raw: str, call: Callable[..., Any]) -> LocalFunction:
    inner: Any = call
    while isinstance(inner, functools.partial):
        inner = inner.func
    said = docstring_parser.parse(inspect.getdoc(inner) or "")
    description = " ".join((said.description or "").partition("\n\n")[0].split())
    signature = _Signature(call, {each.arg_name: each.description or "" for each in said.params})
    where = getattr(inner, "__module__", None) or type(inner).__module__
    return LocalFunction(
        name,
        description or f"Call exported function {raw}.",
        f"{where}#{getattr(inner, '__qualname__', type(inner).__qualname__)}",
        signature.schema(),
        _is_async(inner),
        call,
        signature,
    )


def _is_async(call: Any) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)


class _Signature:
    """The parameters of one function, as a model of Pydantic that checks and converts their values."""

    def __init__(self, call: Callable[..., Any], said: Mapping[str, str]) -> None:
        hints = _hints(call)
        parameters = list(inspect.signature(call).parameters.values())
        self._parameters = [each for each in parameters if each.kind in _NAMED]
        self._names = {each.name for each in self._parameters}  # and, where there are more, "args"
        self._positional = [each.name for each in self._parameters if each.kind is not _Kind.KEYWORD_ONLY]
        rest = next((each for each in parameters if each.kind is _Kind.VAR_POSITIONAL), None)
        self._takes_more = rest is not None
        self._names |= {"args"} if rest is not None else set()
        self._takes_others = any(each.kind is _Kind.VAR_KEYWORD for each in parameters)
        # Fields are called p0, p1, ...: a parameter may have a name that a model of Pydantic needs itself.
        fields: dict[str, Any] = {
            f"p{index}": (_usable(hints.get(each.name, Any)), _field(each, said.get(each.name)))
            for index, each in enumerate(self._parameters)
        }
        if rest is not None:
            fields["rest"] = (_list_of(_usable(hints.get(rest.name, Any))), pydantic.Field([], alias="args"))
        self._model: type[pydantic.BaseModel] = pydantic.create_model(
            "Arguments", __config__=_CONFIG, **fields
        )

    def schema(self) -> dict[str, Any]:
        described = self._model.model_json_schema(schema_generator=_Schema)
        described.pop("title", None)
        described.setdefault("properties", {})
        described["additionalProperties"] = self._takes_others
        return described

    def bind(self, payload: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        filled, others = self._filled(payload)
        positional: list[Any] = []
        named: dict[str, Any] = dict(others)
        for index, each in enumerate(self._parameters):
            value = getattr(filled, f"p{index}")
            if each.kind is _Kind.KEYWORD_ONLY:
                named[each.name] = value
            else:
                positional.append(value)
        return [*positional, *getattr(filled, "rest", ())], named

    def _filled(self, payload: dict[str, Any]) -> tuple[pydantic.BaseModel, dict[str, Any]]:
        """Return the values of the parameters, and those of ``**``."""
        if not (len(payload) > 1 and payload.keys() <= self._names):
            for name in ("args", "arguments"):
                if isinstance(payload.get(name), list) and payload[name]:
                    return self._validated(self._in_order(payload[name]))
            if "value" in payload:
                return self._validated(self._in_order([payload["value"]]))
        try:
            return self._validated(payload)
        except InvalidArgumentsError:
            if payload.keys() <= self._names or not self._positional:
                raise
            with suppress(InvalidArgumentsError):  # what is wrong with the names tells a model more
                return self._validated(self._in_order([payload]))
            raise

    def _validated(self, given: dict[str, Any]) -> tuple[pydantic.BaseModel, dict[str, Any]]:
        others = {name: value for name, value in given.items() if name not in self._names}
        problems = (
            [] if self._takes_others else [f"{name}: Extra inputs are not permitted" for name in others]
        )
        try:
            filled = self._model.model_validate(given)
        except pydantic.ValidationError as error:
            problems = [*map(_problem, error.errors(include_url=False)), *problems]
            raise InvalidArgumentsError(*problems) from None
        if problems:
            raise InvalidArgumentsError(*problems)
        return filled, others

    def _in_order(self, values: list[Any]) -> dict[str, Any]:
        filled = dict(zip(self._positional, values, strict=False))
        if self._takes_more and len(values) > len(self._positional):
            filled["args"] = values[len(self._positional) :]
        return filled


def _hints(call: Any) -> dict[str, Any]:
    while isinstance(call, functools.partial):
        call = call.func
    described = call if inspect.isroutine(call) or inspect.isclass(call) else type(call).__call__
    try:
        return typing.get_type_hints(described, include_extras=True)
    except (NameError, TypeError):  # a hint that is there for type checkers alone
        return {}


def _usable(hint: Any) -> Any:
    """Return *hint* if Pydantic can check it and describe it, else Any."""
    if get_origin(hint) is Annotated:
        text = next((each for each in get_args(hint)[1:] if isinstance(each, str)), None)
        if text is not None:
            hint = Annotated[hint, pydantic.Field(description=text)]
    for config in (_CONFIG, None):  # a configuration is refused where a type brings its own
        with warnings.catch_warnings(), suppress(*_UNUSABLE):
            warnings.simplefilter("error", ArbitraryTypeWarning)
            pydantic.TypeAdapter(hint, config=config).json_schema(schema_generator=_Schema)
            return hint
    return Any


def _field(parameter: inspect.Parameter, said: str | None) -> Any:
    more: dict[str, Any] = {"alias": parameter.name}
    if said:
        more["description"] = " ".join(said.split())
    if parameter.default is _Kind.empty:
        return pydantic.Field(**more)
    if parameter.default is None or isinstance(parameter.default, bool | int | float | str):
        return pydantic.Field(parameter.default, **more)
    return pydantic.Field(default_factory=lambda: parameter.default, **more)  # itself, not a copy


def _list_of(hint: Any) -> Any:
    return list[hint]


def _problem(error: Any) -> str:
    place = ".".join(map(str, error["loc"])) or "arguments"
    return f"{place}: {error['msg']}"
