"""From the command line to a payload: JSON, files, and ``key=value`` typed by the function's JSON Schema."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from navai_client.wire._decode import refuse_constant

_ENUM_VALUES_SHOWN = 6
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", type(None): "null"}


def parse_json(text: str, option: str) -> Any:
    """Return the value of the JSON *text*.

    Raises:
        click.UsageError: If it is not JSON. The message says where, and shows nothing of the text.
    """
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, at line {error.lineno}, column {error.colno}"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise click.UsageError(f"{option} is not JSON: {reason}.")


def read_file(name: str, option: str) -> str:
    """Return the text of the file *name*, or of standard input for ``-``.

    Raises:
        click.UsageError: If it cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise click.UsageError(f"{option} {name}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{option} {name}: the content is not UTF-8.") from None


def parse_pairs(pairs: Sequence[str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the payload that *pairs* such as ``key=value`` and ``key:=json`` make.

    Args:
        pairs: The values of -p.
        schema: The JSON Schema of the payload, or None.

    Raises:
        click.UsageError: If one cannot be read. The message shows its key and no value.
    """
    payload: dict[str, Any] = {}
    properties = properties_of(schema)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        is_json = key.endswith(":")
        key = key.removesuffix(":")
        if not equals or not key:
            raise click.UsageError("-p takes KEY=VALUE or KEY:=JSON (the argument is not shown).")
        if key in payload:
            raise click.UsageError(f"-p {key} is given twice; for a list, write {key}:='[...]'.")
        payload[key] = parse_json(text, f"-p {key}") if is_json else _typed(key, text, properties.get(key))
    return payload


def _typed(key: str, text: str, schema: Any) -> Any:
    """Return *text* as a value of the type that *schema* asks for."""
    types = _types_of(schema)
    if types is not None and types <= {"string", "null"}:
        return text
    try:
        value = _loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        found = _type_of(value)
        if types is None or found in types or (found == "integer" and "number" in types):
            return value
    if types is None or "string" in types:
        return text
    wanted = " or ".join(sorted(types))
    raise click.UsageError(f"-p {key} must be JSON of type {wanted}, says the function's schema.")


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=refuse_constant)


def properties_of(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the parameters in *schema*, each with a schema of its own."""
    properties = (schema or {}).get("properties")
    return properties if isinstance(properties, Mapping) else {}


def parameters_of(schema: Mapping[str, Any] | None) -> list[str]:
    """Return a text for each parameter in *schema*: ``name: type``, or ``name?: type`` if it is optional."""
    required = (schema or {}).get("required")
    needed = required if isinstance(required, list) else []
    return [
        f"{name}{'' if name in needed else '?'}: {_type_text(one)}"
        for name, one in properties_of(schema).items()
    ]


def _types_of(schema: Any) -> frozenset[str] | None:
    """Return the JSON types that *schema* accepts, or None if it does not say."""
    if not isinstance(schema, Mapping):
        return None
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset({named})
    if isinstance(named, list):
        return frozenset(each for each in named if isinstance(each, str))
    if values := _enum_of(schema):
        return frozenset(map(_type_of, values))
    parts = [_types_of(each) for each in _alternatives_of(schema)]
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if known and len(known) == len(parts) else None


def _type_of(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return "integer"  # JSON Schema, Validation, section 6.1.1: 1.0 is an integer
    return _TYPES.get(type(value), "object")


def _enum_of(schema: Mapping[str, Any]) -> list[Any]:
    """Return the only values that *schema* accepts; none if it does not list them."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else []


def _alternatives_of(schema: Mapping[str, Any]) -> list[Any]:
    found = [schema[word] for word in ("anyOf", "oneOf") if isinstance(schema.get(word), list)]
    return found[0] if found else []


def _type_text(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if values := _enum_of(schema):
        more = ["..."] if len(values) > _ENUM_VALUES_SHOWN else []
        literals = [json.dumps(value, ensure_ascii=False) for value in values[:_ENUM_VALUES_SHOWN]]
        return "|".join([*literals, *more])
    if parts := _alternatives_of(schema):
        return "|".join(dict.fromkeys(map(_type_text, parts)))
    if schema.get("type") == "array":
        return f"{_type_text(schema.get('items'))}[]"
    return "|".join(sorted(_types_of(schema) or {"any"}))
