"""Type hints and docstrings -> the description and the JSON Schema of a function's parameters."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, get_args, get_origin

import docstring_parser
import msgspec

from navai_client.functions._binding import Parameter, Signature
from navai_client.functions._foreign import describe_foreign

_REF: Final = "#/$defs/{name}"
_REF_START: Final = "#/$defs/"


def first_paragraph(call: Callable[..., Any]) -> str:
    """Return the first paragraph of the docstring of *call* on one line, or an empty text."""
    text = inspect.getdoc(call) or ""
    return " ".join(text.strip().partition("\n\n")[0].split())


def parameter_descriptions(call: Callable[..., Any]) -> dict[str, str]:
    """Read what the docstring of *call* (Google's, NumPy's or Sphinx's form) says of its parameters."""
    text = inspect.getdoc(call)
    if not text or "\n" not in text:
        return {}
    found = docstring_parser.parse(text).params
    return {each.arg_name: " ".join(each.description.split()) for each in found if each.description}


def parameters_schema(signature: Signature, descriptions: Mapping[str, str]) -> dict[str, Any]:
    """Describe *signature* as the JSON Schema (2020-12) of an object, with no reference left in it."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    others: Any = False
    for each in signature.parameters:
        one = _schema_of(each.type)
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            others = one or True
            continue
        if each.kind is inspect.Parameter.VAR_POSITIONAL:
            # Positional values travel as "args".
            properties["args"] = {"type": "array", "items": one}
            continue
        _describe(one, each, descriptions)
        properties[each.name] = one
        if each.required:
            required.append(each.name)
    if required:
        schema["required"] = required
    schema["additionalProperties"] = others
    return schema


def _describe(schema: dict[str, Any], parameter: Parameter, descriptions: Mapping[str, str]) -> None:
    said = _said_in_annotation(parameter.type) or descriptions.get(parameter.name)
    if said:
        schema.setdefault("description", said)
    if not parameter.required and "default" not in schema:
        try:
            schema["default"] = msgspec.to_builtins(parameter.default)
        except (TypeError, ValueError, RecursionError):
            return  # a default that JSON cannot hold stays between the function and Python


def _said_in_annotation(hint: Any) -> str | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((said for said in get_args(hint)[1:] if isinstance(said, str)), None)


def _schema_of(hint: Any) -> dict[str, Any]:
    if hint is Any:
        return {}
    try:
        (schema,), components = msgspec.json.schema_components(
            [hint], schema_hook=describe_foreign, ref_template=_REF
        )
    except (TypeError, ValueError, RecursionError):
        return {}
    inlined: dict[str, Any] = _inline(schema, components, ())
    return inlined


def _inline(value: Any, components: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    """Put each component in the place of its reference; one inside itself is left open there."""
    if isinstance(value, list):
        return [_inline(each, components, inside) for each in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REF_START):
        name = reference.removeprefix(_REF_START)
        rest = {key: each for key, each in value.items() if key != "$ref"}
        if name in inside or name not in components:
            return {"type": "object", **rest} if name in inside else rest
        return {**_inline(components[name], components, (*inside, name)), **rest}
    if "$defs" in value:
        components = {**components, **value["$defs"]}
    return {key: _inline(each, components, inside) for key, each in value.items() if key != "$defs"}
