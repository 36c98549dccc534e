"""One builder per endpoint: an operation says how to ask, how to read the answer, what a failure means."""

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Generic, TypedDict, TypeVar, cast

from attrs import evolve, field, frozen

from navai_client.errors import (
    InvalidResponseError,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
)
from navai_client.models import ClientSecret, FunctionList, SpeechAudio
from navai_client.wire import _decode
from navai_client.wire._decode import trim
from navai_client.wire._encode import encode_json
from navai_client.wire._values import Endpoint, Request, Response

T = TypeVar("T")
_Fields = Mapping[str, tuple[str, type | tuple[type, ...]]]

CLIENT_SECRET_PATH: Final = "/navai/realtime/client-secret"  # noqa: S105 - a path
FUNCTIONS_LIST_PATH: Final = "/navai/functions"
FUNCTIONS_EXECUTE_PATH: Final = "/navai/functions/execute"
SPEECH_SYNTHESIZE_PATH: Final = "/navai/speech/synthesize"

_KEY: Final = re.compile(r"[!-~]{1,255}")
_ETAG: Final = re.compile(r'(?:W/)?"[!#-~]{0,1000}"')  # RFC 9110, section 8.8.3; what can be sent back


def normalize_path(path: str) -> str:
    """Return *path* with a leading slash."""
    return path if path.startswith("/") else f"/{path}"


def join_url(base_url: str, path: str) -> str:
    """Join *base_url*, without its trailing slashes, and *path*, with a leading one."""
    return base_url.rstrip("/") + normalize_path(path)


@frozen(kw_only=True)
class Paths:
    """Where the endpoints of a backend are, each with a leading slash."""

    client_secret: str = field(default=CLIENT_SECRET_PATH, converter=normalize_path)
    functions_list: str = field(default=FUNCTIONS_LIST_PATH, converter=normalize_path)
    functions_execute: str = field(default=FUNCTIONS_EXECUTE_PATH, converter=normalize_path)
    speech_synthesize: str = field(default=SPEECH_SYNTHESIZE_PATH, converter=normalize_path)


class SessionOptions(TypedDict, total=False):
    """What a caller may ask of the session that a client secret opens; the backend fills in the rest."""

    model: str | None
    voice: str | None
    instructions: str | None
    language: str | None
    voice_accent: str | None
    voice_tone: str | None
    api_key: str | None


class SpeechOptions(TypedDict, total=False):
    """What a caller may ask of a voice; the backend fills in the rest."""

    voice_id: str | None
    model_id: str | None
    output_format: str | None
    optimize_streaming_latency: int | None
    stability: float | None
    similarity_boost: float | None
    style: float | None
    use_speaker_boost: bool | None


# The name of each option on the wire, and the types that it may have.
_SESSION_FIELDS: _Fields = {
    "model": ("model", str),
    "voice": ("voice", str),
    "instructions": ("instructions", str),
    "language": ("language", str),
    "voice_accent": ("voiceAccent", str),
    "voice_tone": ("voiceTone", str),
    "api_key": ("apiKey", str),
}
_SPEECH_FIELDS: _Fields = {
    "voice_id": ("voiceId", str),
    "model_id": ("modelId", str),
    "output_format": ("outputFormat", str),
    "optimize_streaming_latency": ("optimizeStreamingLatency", (int, float)),
}
_VOICE_FIELDS: _Fields = {
    "stability": ("stability", (int, float)),
    "similarity_boost": ("similarityBoost", (int, float)),
    "style": ("style", (int, float)),
    "use_speaker_boost": ("useSpeakerBoost", bool),
}


@frozen(eq=False)
class Operation(Generic[T]):
    """One call of one endpoint, before it is made.

    Attributes:
        name: What logs call it.
        request: What to send.
        decode: Reads the answer, or raises what it means.
        secrets: Texts that no error may show.
        replay_safe: Whether it may be sent again when the first may have arrived.
        recover: Makes a value of an error, where the operation does not raise.
        recall: Gives the value from memory, if the time it is given allows.
        remember: Keeps a value that was read from a response, with the time.
        function_name: The function that is executed, if one is.
        payload: What the function is given.
    """

    name: str
    request: Request
    decode: Callable[[Response], T] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    replay_safe: bool = False
    recover: Callable[[NavaiError], T] | None = field(default=None, repr=False)
    recall: Callable[[float], T | None] | None = field(default=None, repr=False)
    remember: Callable[[T, Response, float], None] | None = field(default=None, repr=False)
    function_name: str | None = None
    payload: Any = field(default=None, repr=False)


@frozen
class KnownFunctions:
    """A function list, and how to ask whether it still holds.

    Attributes:
        functions: The list.
        etag: The ``ETag`` that it came with, or None.
        seen_at: When it last held, on a clock that never goes back.
    """

    functions: FunctionList = field(repr=False)
    etag: str | None
    seen_at: float


class FunctionListCache:
    """The last good function list. Replaced as a whole, so that threads may share it."""

    def __init__(self) -> None:
        self.known: KnownFunctions | None = None

    def recall(self, now: float, max_age: float) -> FunctionList | None:
        """Return the list if it held less than *max_age* seconds ago."""
        known = self.known
        return known.functions if known is not None and now - known.seen_at < max_age else None

    def remember(self, functions: FunctionList, etag: str | None, now: float) -> None:
        """Keep *functions*."""
        self.known = KnownFunctions(functions, etag, now)


class Operations:
    """The operations of one backend. Whatever its requests share is made once, here.

    Args:
        base_url: Where the backend is.
        paths: Where its endpoints are.
        headers: What to send with every request.
        secrets: Texts that no error may show, should the backend repeat them.
        new_key: Gives idempotency keys, another each time.
    """

    def __init__(
        self,
        base_url: str,
        paths: Paths,
        headers: tuple[tuple[str, str], ...] = (),
        secrets: tuple[str, ...] = (),
        *,
        new_key: Callable[[], str],
    ) -> None:
        self._secrets = secrets
        self._new_key = new_key
        self._functions = FunctionListCache()
        json_body = (*headers, ("Content-Type", "application/json"))
        self._json_headers = json_body
        self._client_secret = Endpoint("POST", join_url(base_url, paths.client_secret))
        self._functions_execute = Endpoint("POST", join_url(base_url, paths.functions_execute))
        self._speech_synthesize = Endpoint("POST", join_url(base_url, paths.speech_synthesize))
        self._list_functions = Operation(
            "list_functions",
            Request(Endpoint("GET", join_url(base_url, paths.functions_list)), headers),
            partial(_decode.function_list, secrets=secrets),
            secrets=secrets,
            replay_safe=True,
            recover=_list_of_nothing,
            remember=self._remember,
        )

    def create_client_secret(self, session: SessionOptions) -> Operation[ClientSecret]:
        """Ask for a client secret. Empties *session*, so that no caller's frame goes on holding its key."""
        problem = _problem(session, _SESSION_FIELDS)
        body = {} if problem else _renamed(session, _SESSION_FIELDS)
        cast("dict[str, Any]", session).clear()
        if problem:
            raise problem
        api_key = trim(body.get("apiKey", ""))
        secrets = (*self._secrets, api_key) if api_key else self._secrets
        return Operation(
            "create_client_secret",
            Request(self._client_secret, self._json_headers, encode_json(body, name="the session options")),
            _decode.client_secret,
            secrets=secrets,
            replay_safe=True,
        )

    def list_functions(self, max_age: float | None) -> Operation[FunctionList]:
        """Ask which functions there are, unless the last good answer is younger than *max_age* seconds."""
        if max_age is None:
            return self._list_functions
        if isinstance(max_age, bool) or not isinstance(max_age, int | float) or not max_age >= 0:
            raise NavaiConfigError(f"max_age (seconds) must be a number, 0 or more; it is {max_age!r}.")
        known = self._functions.known
        etag = None if known is None else known.etag
        return evolve(
            self._list_functions,
            request=evolve(
                self._list_functions.request, call_headers=() if etag is None else (("If-None-Match", etag),)
            ),
            decode=partial(
                _decode.function_list,
                known=None if known is None or etag is None else known.functions,
                secrets=self._secrets,
            ),
            recall=partial(self._functions.recall, max_age=max_age),
        )

    def _remember(self, functions: FunctionList, response: Response, now: float) -> None:
        etag = response.headers.get("etag")
        known = self._functions.known
        if known is not None and functions is known.functions:  # a 304 need not repeat its ETag
            etag = etag or known.etag
        self._functions.remember(functions, etag if etag and _ETAG.fullmatch(etag) else None, now)

    def execute_function(
        self, function_name: str, payload: Any, idempotency_key: str | None
    ) -> Operation[Any]:
        """Run a function."""
        key = self._new_key() if idempotency_key is None else idempotency_key
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise NavaiPayloadError(
                f"idempotency_key must be 1 to 255 printable ASCII characters without blanks; it is {key!r}."
            )
        if not isinstance(function_name, str) or not trim(function_name):
            raise NavaiPayloadError(
                f"function_name must be a string that is not blank; it is {function_name!r}."
            )
        content = b'{"function_name":%b,"payload":%b}' % (
            encode_json(function_name, name="function_name"),
            encode_json(payload, name="payload"),
        )
        return Operation(
            "execute_function",
            Request(self._functions_execute, self._json_headers, content, (("Idempotency-Key", key),)),
            partial(_decode.function_result, function_name),
            secrets=self._secrets,
            function_name=function_name,
            payload=payload,
        )

    def synthesize_speech(self, text: str, voice: SpeechOptions) -> Operation[SpeechAudio]:
        """Turn *text* into sound."""
        if not isinstance(text, str) or not trim(text):
            raise NavaiPayloadError("text must be a string that is not blank.")
        fields = {**_SPEECH_FIELDS, **_VOICE_FIELDS}
        if problem := _problem(voice, fields):
            raise problem
        body = {"text": text, **_renamed(voice, fields)}
        settings = {name: body.pop(name) for name, _ in _VOICE_FIELDS.values() if name in body}
        if settings:
            body["voiceSettings"] = settings
        return Operation(
            "synthesize_speech",
            Request(
                self._speech_synthesize, self._json_headers, encode_json(body, name="the speech options")
            ),
            _decode.speech_audio,
            secrets=self._secrets,
        )


def _problem(options: Mapping[str, Any], fields: _Fields) -> Exception | None:
    """Return what is wrong with *options*, not raised: no frame of a traceback holds them then."""
    for option, value in options.items():
        if option not in fields:
            return TypeError(f"unexpected keyword argument {option!r}; there are {', '.join(fields)}")
        _, types = fields[option]
        if value is None:
            continue
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            expected = "a string" if types is str else "a bool" if types is bool else "a number"
            return NavaiPayloadError(f"{option} must be {expected}; it is a {type(value).__name__}.")
        if isinstance(value, float) and not math.isfinite(value):
            return NavaiPayloadError(f"{option} must be a finite number; it is {value}.")
    return None


def _renamed(options: Mapping[str, Any], fields: _Fields) -> dict[str, Any]:
    """Return the *options* that are given, under the names that they have on the wire."""
    return {fields[option][0]: value for option, value in options.items() if value is not None}


def _list_of_nothing(error: NavaiError) -> FunctionList:
    """Make the failure to list functions a warning, with the texts of the JavaScript clients."""
    if isinstance(error, NavaiHTTPError):
        warning = f"[navai] Failed to load backend functions ({error.status_code})."
    elif isinstance(error, InvalidResponseError) and str(error) == _decode.UNREADABLE_FUNCTION_LIST:
        warning = str(error)
    else:
        warning = f"[navai] Failed to load backend functions: {error}"
    # Without the frames that it went through: the list may be kept, and they hold the whole exchange.
    return FunctionList(warnings=(warning,), error=error.with_traceback(None))
