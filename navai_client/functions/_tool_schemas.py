"""Tools as OpenAI's models read them: names, and JSON Schemas without references. No package is needed."""

import copy
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, Protocol, get_args

from navai_client.errors import NavaiConfigError

OpenAIAPI = Literal["realtime", "responses", "chat"]

_log: Final = logging.getLogger("navai_client")

LONGEST_TOOL_NAME: Final = 64
# OpenAI's rule for tools, which most hosts of MCP have, too.
TOOL_NAME: Final = re.compile(rf"[a-zA-Z0-9_-]{{1,{LONGEST_TOOL_NAME}}}")
UNDESCRIBED: Final = "Execute backend function."
PAYLOAD: Final = (
    "An object with the function's arguments, by name or as a list called args; for methods of a class "
    "methodArgs, and constructorArgs for the class. Null when there are none."
)
UNKNOWN_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {},
    "additionalProperties": True,
    "description": PAYLOAD,
}

_MAX_NODES: Final = 5_000  # of one schema with its references inlined: hostile ones grow exponentially

# Keywords that hold schemas. Everything else, such as "enum" or a property called "$ref", is data.
ONE: Final = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
LIST: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
MAP: Final = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"})
# "discriminator" is OpenAPI's; its mapping refers to definitions.
_DROPPED: Final = frozenset(
    {
        "$anchor", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef",
        "$ref", "$vocabulary", "definitions", "discriminator", "id",
    }
)  # fmt: skip
# Keywords that OpenAI refuses at the top level of a tool's parameters.
_NOT_AT_THE_TOP: Final = frozenset({"$schema", "allOf", "anyOf", "enum", "not", "oneOf"})


class UnusableSchemaError(Exception):
    """A schema that cannot be used; the message says why."""


def openai_tool(
    name: str, description: str, parameters: Mapping[str, Any], api: OpenAIAPI = "realtime"
) -> dict[str, Any]:
    """Return a tool in the form of one of OpenAI's APIs. The Realtime API knows no ``strict``."""
    function: dict[str, Any] = {"name": name, "description": description, "parameters": parameters}
    if api == "chat":
        return {"type": "function", "function": function}
    if api == "responses":
        function["strict"] = False  # the schemas are the backend's, and strict ones have no optional members
    return {"type": "function", **function}


class _Described(Protocol):
    """A function of a backend's list."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str | None: ...
    @property
    def parameters(self) -> Mapping[str, Any] | None: ...


def openai_tools(functions: Iterable[_Described], api: OpenAIAPI) -> list[dict[str, Any]]:
    """Return *functions* as tools for *api*; the log says what OpenAI would refuse.

    Raises:
        NavaiConfigError: There is no such API.
    """
    if api not in get_args(OpenAIAPI):
        raise NavaiConfigError(f"api must be realtime, responses or chat. Received: {api!r}")
    tools = []
    for each in functions:
        if TOOL_NAME.fullmatch(each.name):
            parameters = _offered(each.name, each.parameters)
            tools.append(openai_tool(each.name, each.description or UNDESCRIBED, parameters, api))
        else:
            _log.warning("%r is not offered as a tool: OpenAI refuses its name.", each.name)
    return tools


def _offered(name: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a schema that OpenAI accepts: *parameters*, or an open one in their place."""
    schema, problem = UNKNOWN_PARAMETERS, ""
    try:
        if parameters is not None:
            schema = object_schema(parameters)
        if not isinstance(schema["properties"], Mapping):
            schema, problem = UNKNOWN_PARAMETERS, "its properties are not an object"
    except UnusableSchemaError as error:
        problem = str(error)
    if problem:
        _log.warning("The parameters of %r are ignored: %s.", name, problem)
    return without_refused_keywords(schema)


def object_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of *schema*, without references, that says it describes an object.

    Raises:
        UnusableSchemaError: It describes something else, or is too large.
    """
    try:
        whole = inline_refs(schema)
    except RecursionError:
        raise UnusableSchemaError("it is nested too deeply") from None
    if whole.get("type", "object") not in ("object", ["object"]):
        raise UnusableSchemaError("it does not describe an object")
    whole["type"] = "object"
    whole.setdefault("properties", {})
    return whole


def inline_refs(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of *schema* in which each ``$ref`` is replaced by its target.

    A recursive reference becomes an open schema at its second occurrence, and so does an external one.

    Raises:
        UnusableSchemaError: It is too large.
    """
    inlined: dict[str, Any] = _Inliner(schema).inline(schema, ())
    return inlined


def without_refused_keywords(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of *schema* without what OpenAI refuses at the top level of a tool's parameters."""
    return {key: copy.deepcopy(value) for key, value in schema.items() if key not in _NOT_AT_THE_TOP}


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
        if key in MAP and isinstance(value, Mapping):
            return {name: self.inline(each, inside) for name, each in value.items()}
        if key in LIST and isinstance(value, list):
            return [self.inline(each, inside) for each in value]
        if key in ONE:
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
