"""The operations of a Navai backend, in one table.

Whatever depends on an operation's name, path, request fields or response reads ``OPERATIONS``: the clients,
the server's routes and OpenAPI description, the backends for tests, the conformance check, the command and
the tests.

To add an operation, add an entry and its path option here, its value type in ``models.py``, its reader in
``_decode.py``, its method in ``client.py``, its handler in ``server/_routes.py`` and its row in
``docs/contract.md``. ``tests/test_operations.py`` fails until all of these exist, and a test of its result.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar

from attrs import evolve, field, frozen

from navai_client._redaction import Redactor
from navai_client.errors import (
    InvalidResponseError,
    NavaiError,
    NavaiHTTPError,
)
from navai_client.models import Cancellation, ClientSecret, FunctionList, SpeechAudio
from navai_client.wire import _decode

T = TypeVar("T")


@frozen
class Field:
    """One member of an operation's JSON request.

    Attributes:
        name: The argument of the client's method.
        wire_name: The member's name in JSON; ``outer.inner`` is the member ``inner`` of the object ``outer``.
        doc: What it means, in a sentence.
        environment: The server's environment variable for its default, if there is one.
        type: Its type in JSON. None is left out of a request, unless the type is ``any``.
        required: Whether it must be given, and not blank.
        secret: Whether no error and no log may show it.
    """

    name: str
    wire_name: str
    doc: str
    environment: str | None = None
    type: Literal["string", "number", "boolean", "any"] = field(default="string", kw_only=True)
    required: bool = field(default=False, kw_only=True)
    secret: bool = field(default=False, kw_only=True)


@frozen(kw_only=True, slots=False)  # slots=False for cached_property
class Operation(Generic[T]):
    """One operation of a Navai backend.

    Attributes:
        name: The client's method, and what logs and tests call it.
        method: The HTTP method.
        path: Its default path.
        path_option: The argument of clients, server settings and the conformance check that sets its path.
        summary: What it does, as a phrase; for the OpenAPI description and the reference.
        read: Reads a response: returns a value, or raises what the response means.
        response: The JSON Schema of a successful response's body.
        refusals: The documented statuses of failures, beside those of any request with a body.
        fields: The members of its JSON request; a GET has none.
        extensions: Further members, which only upstream's WordPress plugin reads.
        repeatable: Whether it may be sent again when an earlier attempt may have arrived.
        keyed: Whether its requests carry an ``Idempotency-Key``, so that a backend runs it once.
        cacheable: Whether a response can be kept and revalidated by its ``ETag``.
        optional: Whether a backend may lack it.
        recover: Turns an error into a value, for an operation that does not raise.
        redact: Returns a value with its texts redacted, where it holds texts for people.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    path_option: str
    summary: str
    read: Callable[..., T] = field(repr=False)
    response: Mapping[str, Any] = field(repr=False, hash=False)
    refusals: tuple[int | str, ...] = ()
    fields: tuple[Field, ...] = field(default=(), repr=False)
    extensions: tuple[Field, ...] = field(default=(), repr=False)
    repeatable: bool = False
    keyed: bool = False
    cacheable: bool = False
    optional: bool = False
    recover: Callable[[NavaiError], T] | None = field(default=None, repr=False)
    redact: Callable[[T, Redactor], T] | None = field(default=None, repr=False)

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """Its fields by their names, those of extensions included."""
        return {each.name: each for each in (*self.fields, *self.extensions)}

    @cached_property
    def members(self) -> tuple[tuple[str, str, bytes], ...]:
        """For each field its name, the object that it is a member of (or ``""``), and its JSON key."""
        paths = [(each.name, *each.wire_name.rpartition(".")) for each in self.by_name.values()]
        return tuple((name, outer, b'"%b":' % inner.encode()) for name, outer, _, inner in paths)

    @cached_property
    def secret_fields(self) -> tuple[str, ...]:
        """The names of the fields that are secret."""
        return tuple(each.name for each in self.fields if each.secret)


def json_object(*required: str, **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these *properties*; all are required unless some are named."""
    return {"type": "object", "properties": properties, "required": list(required or properties)}


def _list_of_nothing(error: NavaiError) -> FunctionList:
    """Turn a failure to list functions into a warning, with the texts of the JavaScript clients."""
    if isinstance(error, NavaiHTTPError):
        warning = f"[navai] Failed to load backend functions ({error.status_code})."
    elif isinstance(error, InvalidResponseError) and str(error) == _decode.UNREADABLE_FUNCTION_LIST:
        warning = str(error)
    else:
        warning = f"[navai] Failed to load backend functions: {error}"
    warnings: tuple[str, ...] = (warning,)
    if isinstance(error, NavaiHTTPError) and error.headers.get("location"):
        warnings = (warning, f"[navai] {error}")  # what to do about a redirect
    elif isinstance(error, NavaiHTTPError) and error.code is not None:
        warnings = (warning, f"[navai] {error.code}: {error.error}")  # why WordPress refuses
    # Without its frames: the list may be kept, and the frames hold the whole exchange.
    return FunctionList(warnings=warnings, error=error.with_traceback(None))


def _redacted_list(functions: FunctionList, redactor: Redactor) -> FunctionList:
    if not functions.warnings:
        return functions
    warnings: Any = "[navai] The warnings of the backend are not shown: they are too long."
    if sum(map(len, functions.warnings)) <= _LONGEST_WARNINGS:
        warnings = _decode.redacted_value(list(functions.warnings), redactor)
    return evolve(functions, warnings=(warnings,) if isinstance(warnings, str) else tuple(warnings))


_SESSION_KEY: Final = Field("session_key", "session_key", "The conversation in the plugin's memory.")
_LONGEST_WARNINGS: Final = 2**20  # characters that are searched for secrets; most lists have a few lines
_STRING: Final = {"type": "string"}

CREATE_CLIENT_SECRET: Final[Operation[ClientSecret]] = Operation(
    name="create_client_secret",
    method="POST",
    path="/navai/realtime/client-secret",
    path_option="client_secret_path",
    summary="Mint a client secret",
    read=_decode.client_secret,
    response=json_object(
        "value",
        "speech",
        value=_STRING,
        expires_at={"type": "number"},
        speech=json_object(provider={"enum": ["openai", "elevenlabs"]}),
    ),
    refusals=("4XX", 502, 504),  # a refusal of OpenAI is passed on with its status
    repeatable=True,
    fields=(
        Field("model", "model", "The realtime model.", "OPENAI_REALTIME_MODEL"),
        Field("voice", "voice", "The voice.", "OPENAI_REALTIME_VOICE"),
        Field("instructions", "instructions", "The agent's instructions.", "OPENAI_REALTIME_INSTRUCTIONS"),
        Field("language", "language", "The language of its replies.", "OPENAI_REALTIME_LANGUAGE"),
        Field(
            "voice_accent", "voiceAccent", "The accent that it speaks with.", "OPENAI_REALTIME_VOICE_ACCENT"
        ),
        Field("voice_tone", "voiceTone", "The tone that it speaks in.", "OPENAI_REALTIME_VOICE_TONE"),
        Field("api_key", "apiKey", "An OpenAI key, for backends that accept one from requests.", secret=True),
    ),
    extensions=(_SESSION_KEY,),
)
LIST_FUNCTIONS: Final[Operation[FunctionList]] = Operation(
    name="list_functions",
    method="GET",
    path="/navai/functions",
    path_option="functions_list_path",
    summary="List the functions",
    read=_decode.function_list,
    response=json_object(
        items={
            "type": "array",
            "items": json_object(
                name=_STRING, description=_STRING, source=_STRING, parameters={"type": "object"}
            ),
        },
        warnings={"type": "array", "items": _STRING},
    ),
    refusals=(401,),
    repeatable=True,
    cacheable=True,
    recover=_list_of_nothing,
    redact=_redacted_list,
)
BY_POSITION: Final = frozenset({"args", "arguments", "constructorArgs", "methodArgs", "value"})
"""The keys of a payload by which the contract passes arguments by position."""

EXECUTE_FUNCTION: Final[Operation[Any]] = Operation(
    name="execute_function",
    method="POST",
    path="/navai/functions/execute",
    path_option="functions_execute_path",
    summary="Execute a function",
    read=_decode.function_result,
    response={
        "oneOf": [
            json_object(ok={"const": True}, function_name=_STRING, source=_STRING, result={}),
            json_object(
                *("ok", "function_name", "error", "details"),
                ok={"const": False},
                function_name=_STRING,
                error={"const": "Function execution failed."},
                details=_STRING,
                details_for_model={"const": True, "description": "The details were written for a model."},
                may_have_executed={"const": True},
            ),
        ]
    },
    refusals=(401, 404, 409, 422, 503),
    keyed=True,
    fields=(
        Field("function_name", "function_name", "The name of the function.", required=True),
        Field("payload", "payload", "The function's input, usually an object; null for none.", type="any"),
    ),
    extensions=(_SESSION_KEY, Field("agent_key", "agent_key", "The plugin's agent that it is for.")),
)
SYNTHESIZE_SPEECH: Final[Operation[SpeechAudio]] = Operation(
    name="synthesize_speech",
    method="POST",
    path="/navai/speech/synthesize",
    path_option="speech_synthesize_path",
    summary="Synthesize speech",
    read=_decode.speech_audio,
    optional=True,
    response=json_object(provider={"const": "elevenlabs"}, mimeType=_STRING, audioBase64=_STRING),
    refusals=("4XX", 502, 504),  # a refusal of ElevenLabs is passed on with its status
    fields=(
        Field("text", "text", "The text to speak.", required=True),
        Field("voice_id", "voiceId", "The voice.", "ELEVENLABS_VOICE_ID"),
        Field("model_id", "modelId", "The speech model.", "ELEVENLABS_MODEL_ID"),
        Field(
            "output_format",
            "outputFormat",
            "The audio format, such as mp3_44100_128.",
            "ELEVENLABS_OUTPUT_FORMAT",
        ),
        Field(
            "optimize_streaming_latency",
            "optimizeStreamingLatency",
            "How much quality is traded for latency, from 0 to 4.",
            "ELEVENLABS_OPTIMIZE_STREAMING_LATENCY",
            type="number",
        ),
        Field(
            "stability",
            "voiceSettings.stability",
            "How even the voice is, from 0 (lively) to 1.",
            "ELEVENLABS_STABILITY",
            type="number",
        ),
        Field(
            "similarity_boost",
            "voiceSettings.similarityBoost",
            "How close the voice is to the original, from 0 to 1.",
            "ELEVENLABS_SIMILARITY_BOOST",
            type="number",
        ),
        Field(
            "style",
            "voiceSettings.style",
            "How much of the voice's style is used, from 0 to 1.",
            "ELEVENLABS_STYLE",
            type="number",
        ),
        Field(
            "use_speaker_boost",
            "voiceSettings.useSpeakerBoost",
            "Whether likeness is boosted, at some cost in latency.",
            "ELEVENLABS_USE_SPEAKER_BOOST",
            type="boolean",
        ),
    ),
)

_CANCEL: Final = "/cancel"
CANCEL_EXECUTION: Final[Operation[Cancellation]] = Operation(
    name="cancel_execution",
    method="POST",
    path=EXECUTE_FUNCTION.path + _CANCEL,
    path_option=EXECUTE_FUNCTION.path_option,
    summary="Cancel a call by its Idempotency-Key",
    read=_decode.cancellation,
    response=json_object(
        "ok",
        "cancelled",
        ok={"const": True},
        cancelled={"type": "boolean", "description": "Whether the call had not ended before."},
        may_have_executed={"const": True, "description": "Its function has begun, and may have acted."},
    ),
    refusals=(400, 401, 404, 409, 503),
    repeatable=True,
)

OPERATIONS: Final[tuple[Operation[Any], ...]] = (
    CREATE_CLIENT_SECRET,
    LIST_FUNCTIONS,
    EXECUTE_FUNCTION,
    SYNTHESIZE_SPEECH,
)
# The last one is an extension of this package, without a path option. No other backend need know it.
WITH_EXTENSIONS: Final = (*OPERATIONS, CANCEL_EXECUTION)


class PathOptions(TypedDict, total=False):
    """The paths of the operations as keyword arguments."""

    client_secret_path: str
    functions_list_path: str
    functions_execute_path: str
    speech_synthesize_path: str


def normalize_path(path: str) -> str:
    """Return *path* with a leading slash."""
    return path if path.startswith("/") else f"/{path}"


def join_url(base_url: str, path: str) -> str:
    """Return the URL of *path* under *base_url*, with one slash between them."""
    return base_url.rstrip("/") + normalize_path(path)


def _path(operation: Operation[Any]) -> Any:
    doc = f"The path to {operation.summary[0].lower()}{operation.summary[1:]}."
    return field(default=operation.path, converter=normalize_path, metadata={"doc": doc})


@frozen(kw_only=True)
class Paths:
    """The paths of the operations, each with a leading slash."""

    client_secret_path: str = _path(CREATE_CLIENT_SECRET)
    functions_list_path: str = _path(LIST_FUNCTIONS)
    functions_execute_path: str = _path(EXECUTE_FUNCTION)
    speech_synthesize_path: str = _path(SYNTHESIZE_SPEECH)

    def path_of(self, operation: Operation[Any]) -> str:
        """Return the path of *operation*."""
        path: str = getattr(self, operation.path_option)
        return path + _CANCEL if operation is CANCEL_EXECUTION else path
