"""The OpenAPI 3.1 description of the backend, made from the table of operations."""

from collections.abc import Mapping
from typing import Any, Final

from navai_client._version import __version__
from navai_client.server._approvals import APPROVALS_PATH, ONE_APPROVAL
from navai_client.server._settings import ServerSettings
from navai_client.wire._operations import CANCEL_EXECUTION, EXECUTE_FUNCTION, Field, Operation, json_object

_STRING: Final = {"type": "string"}
_PENDING: Final = json_object(
    *("ok", "pending_approval", "function_name", "approval"),
    ok={"const": False},
    pending_approval={"const": True},
    function_name=_STRING,
    approval=json_object(id=_STRING, status={"const": "pending"}),
    message=_STRING,
)
_DECISION: Final = json_object(
    "decision", decision={"enum": ["approve", "reject"]}, reason={"type": ["string", "null"]}
)
_DECIDED: Final = json_object(
    ok={"const": True},
    function_name=_STRING,
    approval=json_object(id=_STRING, status={"enum": ["approved", "rejected"]}),
)
_WAITING_CALL: Final = json_object(
    *("id", "status", "function_name", "payload"),
    id=_STRING,
    status={"const": "pending"},
    function_name=_STRING,
    payload={"description": "The payload, with secrets masked."},
    caller={"type": ["string", "null"]},
    request_id=_STRING,
    requested_at={"type": "number"},
    expires_at={"type": "number"},
)
_WAITING: Final = json_object(items={"type": "array", "items": _WAITING_CALL})
_APPROVAL: Final = {"name": "id", "in": "path", "required": True, "schema": _STRING}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
}
_ERROR: Final = json_object(error=_STRING)
_BODY_REFUSALS: Final = (400, 408, 413, 415)
_NOT_BLANK: Final = {"type": "string", "pattern": "[^\\s\ufeff]"}
_TYPES: Final[Mapping[str, dict[str, Any]]] = {
    "any": {},
    "string": {"type": ["string", "null"]},
    "number": {"type": ["number", "null"], "minimum": -1e9, "maximum": 1e9},
    "boolean": {"type": ["boolean", "null"]},
}


def describe(settings: ServerSettings, *, authenticated: bool = False) -> dict[str, Any]:
    """Return the OpenAPI description of a backend with these *settings*, open or *authenticated*."""
    description: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Navai backend", "version": __version__},
        "paths": {
            "/health": _probe("Whether the backend is up"),
            "/ready": _probe("Whether the backend should get requests", 503),
        },
    }
    for operation in settings.operations:
        description["paths"][settings.path_of(operation)] = {operation.method.lower(): _describe(operation)}
    if EXECUTE_FUNCTION in settings.operations:
        execute = description["paths"][settings.functions_execute_path]["post"]
        execute["responses"]["202"] = {"description": "Waits for approval", "content": _json(_PENDING)}
        description["paths"][settings.path_of(CANCEL_EXECUTION)] = {
            "post": {**_describe(CANCEL_EXECUTION), "parameters": [_KEY]}
        }
        description["paths"][APPROVALS_PATH] = {
            "get": {
                "summary": "List the calls that wait for approval",
                "responses": _responses(_WAITING, (401, 403)),
            }
        }
        description["paths"][ONE_APPROVAL] = {
            "post": {
                "summary": "Approve or reject a call that waits",
                "parameters": [_APPROVAL],
                "requestBody": {"required": True, "content": _json(_DECISION)},
                "responses": _responses(_DECIDED, (*_BODY_REFUSALS, 401, 403, 404, 409)),
            }
        }
    if authenticated:
        description["security"] = [{"token": []}]
        description["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
    return description


def _probe(summary: str, *refusals: int) -> dict[str, Any]:
    responses = _responses(json_object(ok={"const": True}), refusals)
    return {"get": {"summary": summary, "security": [], "responses": responses}}


def _describe(operation: Operation[Any]) -> dict[str, Any]:
    description: dict[str, Any] = {"summary": operation.summary}
    refusals = operation.refusals
    if operation.fields:
        schema = _request_schema(operation.fields)
        description["requestBody"] = {"required": "required" in schema, "content": _json(schema)}
        refusals = (*_BODY_REFUSALS, *refusals)
    description["responses"] = _responses(operation.response, refusals)
    if operation.cacheable:
        description["responses"]["304"] = {"description": "Not modified"}
    return description


def _request_schema(fields: tuple[Field, ...]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for field in fields:
        outer, _, name = field.wire_name.rpartition(".")
        place = schema
        if outer:
            place = schema["properties"].setdefault(outer, {"type": ["object", "null"], "properties": {}})
        shape = _NOT_BLANK if field.required else _TYPES[field.type]
        place["properties"][name] = {**shape, "description": field.doc}
    required = [field.wire_name for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def _responses(schema: Mapping[str, Any], refusals: tuple[int | str, ...] = ()) -> dict[str, Any]:
    refused = {"description": "Refused", "content": _json(_ERROR)}
    return {
        "200": {"description": "Done", "content": _json(schema)},
        **{str(status): refused for status in refusals},
    }


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
