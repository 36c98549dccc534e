"""JSON Schemas of arguments, and their descriptions in docstrings."""

import copy
import inspect
import json
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

import docstring_parser
from pydantic.json_schema import GenerateJsonSchema

from navai_client._redaction import Redactor, is_private

_MAX_NODES: Final = 5_000  # of one schema with its references inlined: hostile ones grow exponentially

# Keywords that hold schemas. Everything else, such as "enum" or a property called "$ref", is data.
_ONE: Final = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_LIST: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_MAP: Final = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"})
# "discriminator" is OpenAPI's; its mapping refers to definitions.
_DROPPED: Final = frozenset(
    {
        "$anchor", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef",
        "$ref", "$vocabulary", "definitions", "discriminator", "id",
    }
)  # fmt: skip


class UnusableSchemaError(Exception):
    """A schema that cannot be used; the message says why."""


class ArgumentsSchema(GenerateJsonSchema):
    """Pydantic's schemas without generated titles, and without anything that Pydantic does not check."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as its base has it

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the same for all
        """Leave out titles that only repeat a name."""
        return False

    def set_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a set, which accepts repeated items."""
        return self._without_unique(super().set_schema(schema))

    def frozenset_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a frozen set, which accepts repeated items."""
        return self._without_unique(super().frozenset_schema(schema))

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        """Refuse the keys that the pattern of the keys refuses."""
        described = super().dict_schema(schema)
        if "patternProperties" in described:
            described.setdefault("additionalProperties", False)
        return described

    def bytes_schema(self, schema: Any) -> dict[str, Any]:
        """Describe bytes in base64, without limits, which count bytes and not characters."""
        described = super().bytes_schema(schema)
        if described["format"] != "base64url":
            return described
        return {"type": "string", "contentEncoding": "base64"}

    def is_subclass_schema(self, schema: Any) -> dict[str, Any]:
        """Refuse a class, which has no JSON form."""
        return self.handle_invalid_for_json_schema(schema, "a class")

    @staticmethod
    def _without_unique(described: dict[str, Any]) -> dict[str, Any]:
        described.pop("uniqueItems", None)
        return described


def first_paragraph(inner: Any) -> str:
    """Return the first paragraph of the docstring of a function or class on one line, or an empty text."""
    text = "" if isinstance(inner, types.WrapperDescriptorType) else inspect.getdoc(inner) or ""
    return " ".join(text.strip().partition("\n\n")[0].split())


def parameter_descriptions(inner: Any) -> dict[str, str]:
    """Return the descriptions of the parameters in a docstring of Google's, NumPy's or Sphinx's style."""
    text = inspect.getdoc(inner)
    if not text or "\n" not in text:
        return {}
    found = docstring_parser.parse(text).params
    return {each.arg_name: " ".join(each.description.split()) for each in found if each.description}


def inline_refs(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of *schema* in which each ``$ref`` is replaced by its target.

    A recursive reference becomes an open schema at its second occurrence, and so does an external one.

    Raises:
        UnusableSchemaError: It is too large.
    """
    inlined: dict[str, Any] = _Inliner(schema).inline(schema, ())
    return inlined


def without_secrets(schema: Any, redactor: Redactor, name: str, warn: Callable[[str], None]) -> Any:
    """Return a *schema* without references and without defaults that are, or look like, secrets.

    Args:
        schema: A schema, which may be a boolean.
        redactor: Knows the secrets, and what they look like.
        name: The parameter that the schema describes, or an empty text.
        warn: Called with the parameter's name for each default that its author may not know to be a secret.
    """
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    default = found.get("default")
    members = [found, *(each for each in found.get("anyOf", ()) if isinstance(each, dict))]
    written = json.dumps(default).encode()
    if any(each.get("writeOnly") for each in members) or b"**********" in written:  # a Secret of Pydantic
        found.pop("default", None)
    elif default and (
        (is_private(name) and isinstance(default, str)) or redactor.content(written) != written
    ):
        del found["default"]
        warn(name)
    for key, value in found.items():
        if key in _MAP and isinstance(value, dict):
            found[key] = {
                each: without_secrets(inner, redactor, each if key == "properties" else name, warn)
                for each, inner in value.items()
            }
        elif key in _LIST and isinstance(value, list):
            found[key] = [without_secrets(each, redactor, name, warn) for each in value]
        elif key in _ONE:
            found[key] = without_secrets(value, redactor, name, warn)
    return found


class _Inliner:
    """Replaces the references within one schema by their targets."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def inline(self, schema: Any, inside: tuple[str, ...]) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise UnusableSchemaError("it is too large")
        if not isinstance(schema, Mapping):
            return copy.deepcopy(schema)  # true and false are schemas; check_schema refuses the others
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
        """Return the target of a reference within the schema, or None."""
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
