"""From the command line to a payload: JSON, files, and ``key=value`` typed by the function's JSON Schema."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from navai_client.cli._output import counted
from navai_client.wire._decode import refuse_constant
from navai_client.wire._operations import BY_POSITION

_ENUM_VALUES_SHOWN = 6
_LIKE_A_TOKEN = re.compile(r"[A-Za-z0-9+/._~-]{20,}={1,2}")  # in base64, the rest of a header without quotes
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


def split_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Return the texts of *pairs* such as ``key=value`` and ``key:=json`` by ``key`` and ``key:``.

    Raises:
        click.UsageError: One is none of the two, or is given twice. The message shows no value.
    """
    given: dict[str, str] = {}
    surplus = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        key = name.removesuffix(":")
        if not equals or not key or _LIKE_A_TOKEN.fullmatch(pair):
            surplus.append(pair)
        elif given.keys() & {key, f"{key}:"}:
            raise click.UsageError(f"-p {key} is given twice; for a list, write {key}:='[...]'.")
        given[name] = text
    if surplus:
        many = f"{counted(len(surplus), 'argument')} too many (not shown): neither KEY=VALUE nor KEY:=JSON."
        raise click.UsageError(f"{many} {_hint(surplus[0])}")
    return given


def parse_pairs(
    pairs: Sequence[str], schema: Mapping[str, Any] | None, function: str = "The function"
) -> dict[str, Any]:
    """Return the payload that *pairs* such as ``key=value`` and ``key:=json`` make.

    Args:
        pairs: The pairs of the command line.
        schema: The JSON Schema of the payload, or None.
        function: The function's name, for messages.

    Raises:
        click.UsageError: If one cannot be read, or the schema refuses it, which ``key:=json`` does not ask,
            or requires others. The message shows keys and no value.
    """
    properties = properties_of(schema)
    is_closed = schema is not None and schema.get("additionalProperties") is False
    payload: dict[str, Any] = {}
    for name, text in split_pairs(pairs).items():
        key = name.removesuffix(":")
        if name != key:
            payload[key] = parse_json(text, f"-p {key}")
        elif is_closed and not (key in properties or key in BY_POSITION):
            close = get_close_matches(key, properties, n=1)
            hint = f"; did you mean {close[0]}?" if close else f". It has: {', '.join(properties) or 'none'}."
            raise click.UsageError(f"{function} has no parameter {key}{hint} {_all_the_same(key)}")
        else:
            payload[key] = _typed(key, text, properties.get(key))
    required = (schema or {}).get("required")
    named = required if isinstance(required, list) else []
    lacking = [name for name in named if isinstance(name, str) and name not in payload]
    if lacking and BY_POSITION.isdisjoint(payload):
        names = " and ".join(lacking)
        raise click.UsageError(f"{function} also needs {names}. --payload JSON is sent as it is.")
    return payload


def _hint(pair: str) -> str:
    if pair.lstrip().startswith(("{", "[")):
        return "A payload as JSON goes with --payload."
    return "Values with blanks need quotes, and there is no blank around =."


def _typed(key: str, text: str, schema: Any) -> Any:
    """Return *text* as a value of the type, and among the values, that *schema* asks for."""
    value = _read(key, text, _types_of(schema))
    allowed = _enum_of(schema) if isinstance(schema, Mapping) else []
    if allowed and value not in allowed:
        raise _refusal(key, _type_text(schema))
    return value


def _read(key: str, text: str, types: frozenset[str] | None) -> Any:
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
    raise _refusal(key, f"JSON of type {' or '.join(sorted(types))}")


def _refusal(key: str, wanted: str) -> click.UsageError:
    return click.UsageError(f"-p {key} must be {wanted}, says the function's schema. {_all_the_same(key)}")


def _all_the_same(key: str) -> str:
    return f"{key}:=JSON sends it all the same."


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=refuse_constant)


def properties_of(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the parameters in *schema*, each with a schema of its own."""
    properties = (schema or {}).get("properties")
    return properties if isinstance(properties, Mapping) else {}


def values_of(schema: Any) -> list[str]:
    """Return the values that *schema* lists, as KEY=VALUE takes them; none if it lists none."""
    if _types_of(schema) == frozenset({"boolean"}):
        return ["true", "false"]
    listed = _enum_of(schema) if isinstance(schema, Mapping) else []
    return [each if isinstance(each, str) else json.dumps(each) for each in listed]


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
