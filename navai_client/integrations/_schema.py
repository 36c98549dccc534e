"""JSON Schemas of arguments: made fit for a model's tool, and what arguments say against them.

A backend may send anything as ``parameters``. What comes out of here is an object's schema without a
reference in it, or a reason why there is none.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from navai_client.integrations._missing import needs_extra

with needs_extra("tools", "jsonschema"):
    import jsonschema
    from jsonschema import validators

__all__ = ["SchemaProblemError", "checker", "inlined", "open_object", "presentable"]

_MOST_NODES: Final = 5_000  # of one schema, with each reference in its place
_MOST_PROBLEMS: Final = 8  # that a model is told of at once
_LONGEST_PROBLEM: Final = 200  # characters

# Which keywords hold schemas, so that an "enum" or a property called "$ref" is left alone.
_ONE: Final = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_LIST: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_MAP: Final = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"})
_DROPPED: Final = frozenset(
    {
        "$anchor", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef",
        "$ref", "$vocabulary", "definitions", "id",
    }
)  # fmt: skip
# What OpenAI refuses at the top of a tool's parameters.
_NOT_AT_THE_TOP: Final = ("allOf", "anyOf", "enum", "not", "oneOf")


class SchemaProblemError(Exception):
    """A schema that cannot be used; the message says why."""


def open_object() -> dict[str, Any]:
    """Return the schema of arguments of which nothing is known."""
    return {"type": "object", "properties": {}, "additionalProperties": True}


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of *schema* with what each ``$ref`` points to in its place.

    A reference to what it stands in is left open there; so is one that leads out of the schema.

    Raises:
        SchemaProblemError: It is no valid schema of an object, or is too large.
    """
    try:
        whole: dict[str, Any] = _Inliner(schema).inline(schema, ())
        if whole.setdefault("type", "object") not in ("object", ["object"]):
            raise SchemaProblemError("it does not describe an object")
        # No formats: a pattern of another dialect of regular expressions is none of our business.
        kind: Any = validators.validator_for(whole, default=jsonschema.Draft202012Validator)
        kind.check_schema(whole, format_checker=jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        raise SchemaProblemError(_said(error)) from None
    except RecursionError:
        raise SchemaProblemError("it is nested too deep") from None
    whole["type"] = "object"
    if not isinstance(whole.get("properties"), dict):
        whole["properties"] = {}
    return whole


def presentable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* without what OpenAI refuses at the top of a tool's parameters."""
    return {
        key: copy.deepcopy(value) for key, value in schema.items() if key not in (*_NOT_AT_THE_TOP, "$schema")
    }


def checker(schema: dict[str, Any]) -> Callable[[dict[str, Any]], list[str]]:
    """Return a function that lists what arguments do wrong by *schema*, which ``inlined`` gave."""
    validator = validators.validator_for(schema, default=jsonschema.Draft202012Validator)(schema)

    def problems(arguments: dict[str, Any]) -> list[str]:
        try:
            errors = sorted(validator.iter_errors(arguments), key=lambda each: each.json_path)
        except RecursionError:
            return ["the arguments are nested too deep"]
        except re.error:  # a pattern of another dialect, which the backend can check
            return []
        found = [_said(error) for error in errors]
        more = len(found) - _MOST_PROBLEMS
        return [*found[:_MOST_PROBLEMS], f"and {more} more"] if more > 0 else found

    return problems


def _said(error: jsonschema.ValidationError | jsonschema.SchemaError) -> str:
    where = ".".join(map(str, error.absolute_path))
    return (f"{where}: {error.message}" if where else error.message)[:_LONGEST_PROBLEM]


class _Inliner:
    """Puts what references point to in their place, within one schema."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def inline(self, schema: Any, inside: tuple[str, ...]) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise SchemaProblemError("it is too large")
        if not isinstance(schema, Mapping):
            return copy.deepcopy(schema)  # true and false are schemas; others are found wrong afterwards
        own = {key: self._member(key, value, inside) for key, value in schema.items() if key not in _DROPPED}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return own
        target = None if reference in inside else self._find(reference)
        if not isinstance(target, Mapping):
            kind = self._find(reference)
            known = kind.get("type") if isinstance(kind, Mapping) else None
            return own if known is None else {"type": copy.deepcopy(known), **own}
        return {**self.inline(target, (*inside, reference)), **own}

    def _member(self, key: str, value: Any, inside: tuple[str, ...]) -> Any:
        if key in _MAP and isinstance(value, Mapping):
            return {name: self.inline(each, inside) for name, each in value.items()}
        if key in _LIST and isinstance(value, list):
            return [self.inline(each, inside) for each in value]
        if key in _ONE:
            return self.inline(value, inside)
        return copy.deepcopy(value)

    def _find(self, reference: str) -> Any:
        """Return what a reference within the schema points to, or None."""
        if reference == "#":
            return self._root
        if not reference.startswith("#/"):
            return None
        found: Any = self._root
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            else:
                return None
        return found
