"""Checks the arguments that a model writes against a backend's JSON Schema.

``_binding.py`` checks those of functions in this process, by their type hints. A backend may send anything as
``parameters``: ``inlined`` makes an object schema without references of it, or says why it cannot.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from navai_client._extras import needs_extra
from navai_client.functions._tool_schemas import UnusableSchemaError, object_schema
from navai_client.wire._decode import parse_finite, refuse_constant
from navai_client.wire._operations import BY_POSITION

with needs_extra("tools", "jsonschema", "docstring_parser", "pydantic"):
    import jsonschema
    from jsonschema import validators

    from navai_client.functions._binding import ArgumentsError, no_parameter

_MAX_MESSAGE_CHARS: Final = 200
_MAX_SHOWN_CHARS: Final = 80  # of a value, or of the rule that it breaks

_TYPES: Final = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}


def read_arguments(given: Mapping[str, Any] | str | bytes | None) -> dict[str, Any] | None:
    """Return the arguments *given* as a dict, or None for none.

    Args:
        given: An object, its JSON text (which may be empty), or None.

    Raises:
        ArgumentsError: They are not an object, or incomplete JSON.
    """
    if isinstance(given, str | bytes | bytearray):
        given = _parsed(given)
    if given is None:
        return None
    if not isinstance(given, Mapping):
        kind = _TYPES.get(type(given), type(given).__name__)
        raise ArgumentsError(f"an object is required, not {kind}")
    return dict(given)


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of *schema* in which each ``$ref`` is replaced by its target.

    A recursive reference becomes an open schema at its second occurrence, and so does an external one.

    Raises:
        UnusableSchemaError: It is not a valid schema of an object, or too large.
    """
    whole = object_schema(schema)
    try:
        # Formats are not checked: a pattern may be in the regular expressions of another language.
        kind: Any = validators.validator_for(whole, default=jsonschema.Draft202012Validator)
        kind.check_schema(whole, format_checker=jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        raise UnusableSchemaError(_message(error)[:_MAX_MESSAGE_CHARS]) from None
    except RecursionError:
        raise UnusableSchemaError("it is nested too deeply") from None
    return whole


def checker(schema: dict[str, Any], *, by_name: bool = False) -> Callable[[dict[str, Any]], None]:
    """Return a function that raises ArgumentsError if arguments violate *schema*, a result of ``inlined``.

    Args:
        schema: The schema.
        by_name: Whether all arguments go by name. Otherwise arguments by position, which *schema* does not
            describe, pass: those under a key of the contract that is not one of its properties.
    """
    validator = _validator(schema)
    positional = frozenset() if by_name else BY_POSITION - schema["properties"].keys()

    def check(arguments: dict[str, Any]) -> None:
        if not positional.isdisjoint(arguments):
            return
        try:
            errors = sorted(validator.iter_errors(arguments), key=lambda each: each.json_path)
            problems = dict.fromkeys(map(_message, errors))
        except RecursionError:
            raise ArgumentsError("the arguments are nested too deeply") from None
        except re.error:  # a pattern of another language, which the backend can check
            return
        if problems:
            raise ArgumentsError(*problems)

    return check


def without_optional_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return *value* without members that are null, optional, and not null according to *schema*.

    Many models write null for an argument that they leave out.
    """
    if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        return [without_optional_nulls(each, items) for each in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    kept = {}
    for name, each in value.items():
        own = properties.get(name)
        if not isinstance(own, Mapping):
            kept[name] = each
        elif each is not None or name in schema.get("required", ()) or _validator(own).is_valid(None):
            kept[name] = without_optional_nulls(each, own)
    return kept


def _validator(schema: Mapping[str, Any]) -> Any:
    return validators.validator_for(schema, default=jsonschema.Draft202012Validator)(schema)


def _parsed(text: str | bytes | bytearray) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=refuse_constant, parse_float=parse_finite)
    except RecursionError:
        raise ArgumentsError("they are nested too deeply") from None
    except ValueError as error:
        raise ArgumentsError(f"they are not JSON ({error})") from None


def _message(error: jsonschema.ValidationError | jsonschema.SchemaError) -> str:
    """Return what is wrong in the words of JSON and JSON Schema: jsonschema quotes values as Python does."""
    path = ".".join(map(str, error.absolute_path))
    value: Any = error.instance
    rule: Any = error.validator_value
    schema: Any = error.schema
    if error.validator == "required":
        text = f"missing {', '.join(json.dumps(name) for name in rule if name not in value)}"
    elif error.validator == "additionalProperties" and rule is False:
        known = schema.get("properties", {})
        free = [name for name in known if name not in value]
        text = "; ".join(no_parameter(name, free, json.dumps) for name in value if name not in known)
    else:
        shown = _cut(f"{json.dumps(error.validator)}: {json.dumps(rule)}")
        text = f"{_cut(json.dumps(value, ensure_ascii=False, default=str))} does not satisfy {shown}"
    return f"{path}: {text}" if path else text


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"
