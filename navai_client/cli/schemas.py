"""Reading a function's JSON Schema: which values a parameter takes, and how to say that to people."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["admitted_types", "properties_of", "signature"]

_LONGEST_ENUM = 6


def properties_of(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the parameters that *schema* names, each with a schema of its own."""
    properties = (schema or {}).get("properties")
    return properties if isinstance(properties, Mapping) else {}


def admitted_types(schema: Any) -> frozenset[str] | None:
    """Return the JSON types that *schema* lets through, or None when it does not say."""
    if not isinstance(schema, Mapping):
        return None
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset({named})
    if isinstance(named, list):
        return frozenset(each for each in named if isinstance(each, str))
    values = _values(schema)
    if values:
        return frozenset(map(type_of, values))
    parts = [admitted_types(each) for each in _alternatives(schema)]
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if known and len(known) == len(parts) else None


def _values(schema: Mapping[str, Any]) -> list[Any]:
    """Return the only values that *schema* lets through, or none when it does not name them."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else []


def _alternatives(schema: Mapping[str, Any]) -> list[Any]:
    found = [schema[word] for word in ("anyOf", "oneOf") if isinstance(schema.get(word), list)]
    return found[0] if found else []


def type_of(value: Any) -> str:
    """Return what JSON Schema calls the type of *value*."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float) and value.is_integer():
        return "integer"  # 1.0 is one, says JSON Schema
    names = {str: "string", int: "integer", float: "number", list: "array", type(None): "null"}
    return names.get(type(value), "object")


def signature(schema: Mapping[str, Any] | None) -> list[str]:
    """Return a text for each parameter: ``name: type``, or ``name?: type`` if it may be left out."""
    required = (schema or {}).get("required")
    needed = required if isinstance(required, list) else []
    return [
        f"{name}{'' if name in needed else '?'}: {_words(one)}" for name, one in properties_of(schema).items()
    ]


def _words(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if values := _values(schema):
        more = ["..."] if len(values) > _LONGEST_ENUM else []
        return "|".join([*map(_literal, values[:_LONGEST_ENUM]), *more])
    if parts := _alternatives(schema):
        return "|".join(dict.fromkeys(map(_words, parts)))
    if schema.get("type") == "array":
        return f"{_words(schema.get('items'))}[]"
    return "|".join(sorted(admitted_types(schema) or {"any"}))


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
