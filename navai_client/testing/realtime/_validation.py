"""What the Realtime API refuses: messages that violate its published types or its further rules. Pure.

``client_messages.json`` is the JSON Schema of these types in the ``openai`` package; a test compares the two.
Codes and messages are like OpenAI's.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from attrs import frozen

from navai_client.functions._tool_schemas import TOOL_NAME

_NOT_AT_THE_TOP: Final = ("oneOf", "anyOf", "allOf", "enum", "not")
_TTL: Final = range(10, 7201)  # seconds
# The published types lack null. According to the reference, it turns the first two off; LiveKit sends it for
# the third.
_NULLABLE: Final = frozenset({"noise_reduction", "transcription", "instructions"})
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


@frozen
class Refusal:
    """Why a message is refused.

    Attributes:
        code: OpenAI's code, such as ``unknown_parameter``, or None where it has none.
        message: The reason.
        param: The path in the message.
    """

    code: str | None
    message: str
    param: str | None = None


def refusal_of_event(event: Mapping[str, Any], tools: Iterable[Mapping[str, Any]] = ()) -> Refusal | None:
    """Return why the API refuses *event* of a client in a session with *tools*, or None."""
    refusal = _check(event, _schema()["messages"]["event"], "")
    if refusal is not None:
        return refusal
    if event["type"] == "session.update":
        return _refusal_of_session({"tools": tools, **event["session"]}, "session")
    if event["type"] == "response.create":
        return _refusal_of_session({"tools": tools, **event.get("response", {})}, "response")
    return None


def refusal_of_client_secret(body: Any) -> Refusal | None:
    """Return why the API refuses *body*, a request for a client secret, or None."""
    refusal = _check(body, _schema()["messages"]["client_secret"], "")
    if refusal is not None:
        return refusal
    seconds = body.get("expires_after", {}).get("seconds", _TTL[0])
    if seconds not in _TTL:
        text = f"Invalid 'expires_after.seconds': {seconds} is not from {_TTL[0]} to {_TTL[-1]}."
        return Refusal("invalid_value", text, "expires_after.seconds")
    return _refusal_of_session(body.get("session", {}), "session")


@cache
def _schema() -> Any:
    text = files("navai_client.testing.realtime").joinpath("client_messages.json").read_text(encoding="utf-8")
    return json.loads(text)


def _refusal_of_session(session: Mapping[str, Any], path: str) -> Refusal | None:
    """Return what is wrong with *session* beyond its types, or None."""
    modalities = session.get("output_modalities", ["audio"])
    if len(modalities) != 1:
        text = f"Invalid modalities: {modalities}. Supported combinations are: ['text'] and ['audio']."
        return Refusal("invalid_value", text, f"{path}.output_modalities")
    names: set[str] = set()
    labels: set[str] = set()  # of MCP servers
    for number, tool in enumerate(session.get("tools", ())):
        if tool.get("type", "function") != "function":
            labels.add(tool["server_label"])
            continue
        where = f"{path}.tools[{number}]"
        name = tool.get("name", "")
        if not TOOL_NAME.fullmatch(name):
            text = f"Invalid '{where}.name': {name!r} does not match the pattern '^{TOOL_NAME.pattern}$'."
            return Refusal("invalid_value", text, f"{where}.name")
        if name in names:
            return Refusal("invalid_value", f"Duplicate tool name: {name!r}.", f"{where}.name")
        names.add(name)
        if not _is_plain_object(tool.get("parameters", {"type": "object"})):
            text = (
                f"Invalid schema for function {name!r}: schema must have type 'object' and not have "
                "'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
            )
            return Refusal("invalid_function_parameters", text, f"{where}.parameters")
    return _refusal_of_choice(session.get("tool_choice"), names, labels, path)


def _refusal_of_choice(choice: Any, names: set[str], labels: set[str], path: str) -> Refusal | None:
    """Return a refusal if *choice* names a tool that does not exist, worded as in OpenAI's Responses API."""
    if not isinstance(choice, Mapping):  # such as "auto"
        return None
    is_function = choice["type"] == "function"
    chosen = choice["name" if is_function else "server_label"]
    if chosen in (names if is_function else labels):
        return None
    text = f"Tool choice {chosen!r} not found in 'tools' parameter."
    return Refusal(None, text, f"{path}.tool_choice")


def _is_plain_object(schema: Any) -> bool:
    is_object = isinstance(schema, dict) and schema.get("type") == "object"
    return is_object and not any(key in schema for key in _NOT_AT_THE_TOP)


def _check(value: Any, schema: Mapping[str, Any], path: str) -> Refusal | None:
    schema = _resolved(schema)
    if "anyOf" in schema:
        return _check_any(value, [_resolved(each) for each in schema["anyOf"]], path)
    kind = schema.get("type")
    if kind is not None and not _is_of_type(value, kind):
        return _wrong_type([kind], value, path)
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and value not in allowed:
        return _wrong_value(allowed, value, path)
    if kind == "array":
        return _first(_check(each, schema["items"], f"{path}[{n}]") for n, each in enumerate(value))
    if kind == "object":
        return _check_object(value, schema, path)
    return None


def _check_object(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Refusal | None:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name in schema.get("required", ()):
        if name not in value:
            return _missing(_join(path, name))
    for name, member in value.items():
        where = _join(path, name)
        if name not in known and others is None:
            return Refusal("unknown_parameter", f"Unknown parameter: '{where}'.", where)
        if member is None and name in known and name in _NULLABLE:
            continue
        refusal = _check(member, known.get(name, others), where)
        if refusal is not None:
            return refusal
    return None


def _check_any(value: Any, branches: list[Mapping[str, Any]], path: str) -> Refusal | None:
    """Check *value* against the branches of its type; an object, only against those whose constants match."""
    fitting = [each for each in branches if "type" not in each or _is_of_type(value, each["type"])]
    if not fitting:
        return _wrong_type([each["type"] for each in branches], value, path)
    if isinstance(value, dict):
        for name in ("type", "role"):
            kinds = [each.get("properties", {}).get(name, {}).get("const") for each in fitting]
            chosen = [
                each for each, kind in zip(fitting, kinds, strict=True) if kind in (None, value.get(name))
            ]
            if not chosen:
                where = _join(path, name)
                return _wrong_value(kinds, value[name], where) if name in value else _missing(where)
            fitting = chosen
    refusals = [_check(value, each, path) for each in fitting]
    return None if None in refusals else refusals[0]


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else _schema()["$defs"][reference.rpartition("/")[2]]


def _is_of_type(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _wrong_type(kinds: Iterable[str], value: Any, path: str) -> Refusal:
    came = next(kind for kind in ("boolean", *_TYPES) if _is_of_type(value, kind))
    expected = " or ".join(dict.fromkeys(kinds))
    return Refusal("invalid_type", f"Invalid type for '{path}': expected {expected}, but got {came}.", path)


def _missing(path: str) -> Refusal:
    return Refusal("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def _wrong_value(allowed: Iterable[Any], value: Any, path: str) -> Refusal:
    supported = ", ".join(repr(each) for each in dict.fromkeys(allowed))
    return Refusal("invalid_value", f"Invalid value: {value!r}. Supported values are: {supported}.", path)


def _first(refusals: Iterable[Refusal | None]) -> Refusal | None:
    return next((each for each in refusals if each is not None), None)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
