"""The backend's description of itself in OpenAPI 3.1."""

from typing import Any

from navai_client._version import __version__
from navai_client.server._settings import ServerSettings

_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_TEXT = {"type": ["string", "null"]}
_NUMBER = {"type": ["number", "null"], "minimum": -1e9, "maximum": 1e9}


def describe(settings: ServerSettings) -> dict[str, Any]:
    """Return the OpenAPI description of a backend with these *settings*."""
    paths: dict[str, Any] = {
        "/health": {
            "get": {
                "summary": "Whether the backend is up",
                "security": [],
                "responses": _answers(_object(ok={"const": True})),
            }
        },
        settings.client_secret_path: {
            "post": _operation("Mint a client secret", _SECRET, _SECRET_GIVEN, _MINTING)
        },
        settings.speech_synthesize_path: {
            "post": _operation("Synthesize speech", _SPEECH, _SPEECH_GIVEN, _MINTING)
        },
    }
    if settings.include_functions_routes:
        paths[settings.functions_list_path] = {
            "get": {
                "summary": "List the functions",
                "responses": {**_answers(_LIST, 401), "304": {"description": "Not modified"}},
            }
        }
        paths[settings.functions_execute_path] = {
            "post": _operation("Execute a function", _CALL, _OUTCOME, (401, 404, 422))
        }
    if settings.access_token is None:
        return {"openapi": "3.1.0", "info": _INFO, "paths": paths}
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "paths": paths,
        "security": [{"token": []}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required or properties)}


def _answers(schema: dict[str, Any], *statuses: int | str) -> dict[str, Any]:
    failed = {"description": "Refused", "content": {"application/json": {"schema": _ERROR}}}
    done = {"description": "Done", "content": {"application/json": {"schema": schema}}}
    return {"200": done, **{str(status): failed for status in statuses}}


def _operation(summary: str, body: Any, result: Any, statuses: tuple[int | str, ...]) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": _answers(result, 400, 408, 413, 415, *statuses),
    }


_INFO = {"title": "Navai backend", "version": __version__}
_MINTING = ("4XX", 502, 504)  # what OpenAI or ElevenLabs refuse is passed on with their status
_FILLED = {"type": "string", "pattern": "[^\\s\ufeff]"}
_SECRET = {
    "type": "object",
    "properties": dict.fromkeys(
        ("model", "voice", "instructions", "language", "voiceAccent", "voiceTone", "apiKey"), _TEXT
    ),
}
_SECRET_GIVEN = _object(
    "value",
    "speech",
    value={"type": "string"},
    expires_at={"type": "number"},
    speech=_object(provider={"enum": ["openai", "elevenlabs"]}),
)
_SPEECH = _object(
    "text",
    text=_FILLED,
    voiceId=_TEXT,
    modelId=_TEXT,
    outputFormat=_TEXT,
    optimizeStreamingLatency=_NUMBER,
    voiceSettings={
        "type": ["object", "null"],
        "properties": {
            "stability": _NUMBER,
            "similarityBoost": _NUMBER,
            "style": _NUMBER,
            "useSpeakerBoost": {"type": ["boolean", "null"]},
        },
    },
)
_SPEECH_GIVEN = _object(
    provider={"const": "elevenlabs"}, mimeType={"type": "string"}, audioBase64={"type": "string"}
)
_FUNCTION = _object(
    name={"type": "string"},
    description={"type": "string"},
    source={"type": "string"},
    parameters={"type": "object"},
)
_LIST = _object(
    items={"type": "array", "items": _FUNCTION}, warnings={"type": "array", "items": {"type": "string"}}
)
_CALL = _object("function_name", function_name=_FILLED, payload={})
_OUTCOME = {
    "oneOf": [
        _object(ok={"const": True}, function_name={"type": "string"}, source={"type": "string"}, result={}),
        _object(
            ok={"const": False},
            function_name={"type": "string"},
            error={"const": "Function execution failed."},
            details={"type": "string"},
        ),
    ]
}
