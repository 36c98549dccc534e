"""The arguments that a model writes, and the JSON Schemas that they are checked against.

A backend may send anything as ``parameters``. ``inlined`` makes an object schema without references of it, or
says why it cannot.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from navai_client._extras import needs_extra

with needs_extra("tools", "jsonschema", "docstring_parser", "pydantic"):
    import jsonschema
    from jsonschema import validators

    from navai_client.functions._schema import UnusableSchemaError, inline_refs

# The keys by which the contract passes arguments by position.
_BY_POSITION: Final = frozenset({"args", "arguments", "constructorArgs", "methodArgs", "value"})

_MAX_PROBLEMS: Final = 8  # reported to a model at once; it corrects a few at a time
_MAX_PROBLEM_CHARS: Final = 200  # jsonschema's messages quote the whole value

# Keywords that OpenAI refuses at the top level of a tool's parameters.
_NOT_AT_THE_TOP: Final = ("allOf", "anyOf", "enum", "not", "oneOf")

_TYPES: Final = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}


class InvalidJsonError(Exception):
    """Arguments that are not a JSON object; the message is for the model."""


def read_arguments(given: Mapping[str, Any] | str | bytes | None) -> dict[str, Any] | None:
    """Return the arguments *given* as a dict, or None for none.

    Args:
        given: An object, its JSON text (which may be empty), or None.

    Raises:
        InvalidJsonError: They are not an object, or incomplete JSON.
    """
    if isinstance(given, str | bytes | bytearray):
        given = _parsed(given)
    if given is None:
        return None
    if not isinstance(given, Mapping):
        kind = _TYPES.get(type(given), type(given).__name__)
        raise InvalidJsonError(f"an object is required, not {kind}")
    return dict(given)


def is_by_position(payload: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Return whether *payload* passes arguments by position, under a key that is not in *schema*."""
    return not _BY_POSITION.isdisjoint(payload.keys() - schema["properties"].keys())


def open_object() -> dict[str, Any]:
    """Return the schema of arguments about which nothing is known."""
    return {"type": "object", "properties": {}, "additionalProperties": True}


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of *schema* in which each ``$ref`` is replaced by its target.

    A recursive reference becomes an open schema at its second occurrence; so does one out of the schema.

    Raises:
        UnusableSchemaError: It is not a valid schema of an object, or too large.
    """
    try:
        whole: dict[str, Any] = inline_refs(schema)
        if whole.setdefault("type", "object") not in ("object", ["object"]):
            raise UnusableSchemaError("it does not describe an object")
        # Formats are not checked: a pattern may be in the regular expressions of another language.
        kind: Any = validators.validator_for(whole, default=jsonschema.Draft202012Validator)
        kind.check_schema(whole, format_checker=jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        raise UnusableSchemaError(_message(error)) from None
    except RecursionError:
        raise UnusableSchemaError("it is nested too deeply") from None
    whole["type"] = "object"
    if not isinstance(whole.get("properties"), dict):
        whole["properties"] = {}
    return whole


def presentable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* without what OpenAI refuses at the top level of a tool's parameters."""
    return {
        key: copy.deepcopy(value) for key, value in schema.items() if key not in (*_NOT_AT_THE_TOP, "$schema")
    }


def checker(schema: dict[str, Any]) -> Callable[[dict[str, Any]], list[str]]:
    """Return a function that lists how arguments violate *schema*, a result of ``inlined``."""
    validator = validators.validator_for(schema, default=jsonschema.Draft202012Validator)(schema)

    def problems(arguments: dict[str, Any]) -> list[str]:
        try:
            errors = sorted(validator.iter_errors(arguments), key=lambda each: each.json_path)
        except RecursionError:
            return ["the arguments are nested too deeply"]
        except re.error:  # a pattern of another language, which the backend can check
            return []
        found = [_message(error) for error in errors]
        more = len(found) - _MAX_PROBLEMS
        return [*found[:_MAX_PROBLEMS], f"and {more} more"] if more > 0 else found

    return problems


def _parsed(text: str | bytes | bytearray) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise InvalidJsonError("they are nested too deeply") from None
    except ValueError as error:
        raise InvalidJsonError(f"they are not JSON ({error})") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _message(error: jsonschema.ValidationError | jsonschema.SchemaError) -> str:
    path = ".".join(map(str, error.absolute_path))
    return (f"{path}: {error.message}" if path else error.message)[:_MAX_PROBLEM_CHARS]
