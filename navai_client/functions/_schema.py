"""JSON Schemas of arguments, and their descriptions in docstrings."""

import inspect
import json
import types
from collections.abc import Callable
from typing import Any

import docstring_parser
from pydantic.json_schema import GenerateJsonSchema

from navai_client._redaction import Redactor, is_private
from navai_client.functions._tool_schemas import LIST, MAP, ONE


class ArgumentsSchema(GenerateJsonSchema):
    """Pydantic's schemas without generated titles, and without anything that Pydantic does not check."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as its base has it

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the same for all
        """Leave out titles that only repeat a name."""
        return False

    def set_schema(self, schema: Any) -> dict[str, Any]:
        return self._without_unique(super().set_schema(schema))

    def frozenset_schema(self, schema: Any) -> dict[str, Any]:
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
        if key in MAP and isinstance(value, dict):
            found[key] = {
                each: without_secrets(inner, redactor, each if key == "properties" else name, warn)
                for each, inner in value.items()
            }
        elif key in LIST and isinstance(value, list):
            found[key] = [without_secrets(each, redactor, name, warn) for each in value]
        elif key in ONE:
            found[key] = without_secrets(value, redactor, name, warn)
    return found
