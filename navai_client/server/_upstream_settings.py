"""The settings for OpenAI and ElevenLabs: keys, and what client secrets and speech have by default."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import attrs

from navai_client.config import check_base_url
from navai_client.errors import NavaiConfigError
from navai_client.server._errors import BackendOptionsError
from navai_client.server._setting_fields import (
    FLAGS,
    FromEnvironment,
    count,
    documented,
    duration,
    finite_number,
    header_value,
    named,
    names_of,
    not_blank,
    seconds,
    secret,
    setting,
)
from navai_client.wire._decode import trim
from navai_client.wire._operations import CREATE_CLIENT_SECRET, SYNTHESIZE_SPEECH, Operation

MIN_TTL_S: Final = 10  # OpenAI's own limits for expires_after.seconds
MAX_TTL_S: Final = 7200
_SESSION_TYPES: Final = ("realtime", "transcription")


def whole(value: Any) -> Any:
    """Return a float without a fraction, such as 600.0, as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(text: str) -> Any:
    """Read a flag; anything else counts as absent, as it does for the Express backend."""
    return FLAGS.get(text.lower(), attrs.NOTHING)


def _is_true(text: str) -> bool:
    return text.lower() == "true"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "string": str,
    "number": finite_number,
    "boolean": _flag,
}


def _base_url(url: str) -> str:
    base, _, query = trim(url).partition("?")
    return base.rstrip("/") + (f"?{query}" if query else "")


def _check_base_url(_: object, attribute: "attrs.Attribute[str]", url: str) -> None:
    try:
        check_base_url(names_of(attribute), url, may_have_query=True)
    except NavaiConfigError as error:
        raise BackendOptionsError(str(error)) from None


def check_ttl(_: object, _attribute: object, ttl: Any) -> None:
    """Refuse seconds that OpenAI refuses: a validator of attrs, which each minting repeats, as in Express."""
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not MIN_TTL_S <= ttl <= MAX_TTL_S:
        raise BackendOptionsError(
            f"clientSecretTtlSeconds must be between {MIN_TTL_S} and {MAX_TTL_S}. Received: {ttl}"
        )


def _check_session(_: object, attribute: "attrs.Attribute[Any]", extra: Any) -> None:
    """Refuse what is no session, or has a setting of its own. Values are not shown: tools have tokens."""
    names = names_of(attribute)
    if not isinstance(extra, Mapping) or extra.get("type", "realtime") not in _SESSION_TYPES:
        raise BackendOptionsError(
            f'{names} must be an object of session fields, whose "type" is realtime or transcription.'
        )
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BackendOptionsError(f"{names} must be JSON: {error}") from None
    for path, own in (
        (("model",), "OPENAI_REALTIME_MODEL (default_model=)"),
        (("instructions",), "OPENAI_REALTIME_INSTRUCTIONS (default_instructions=)"),
        (("audio", "output", "voice"), "OPENAI_REALTIME_VOICE (default_voice=)"),
    ):
        found: Any = extra
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is not None:
            raise BackendOptionsError(f"{names} cannot set {'.'.join(path)}: set {own}.")


def _default_of(operation: Operation[Any], name: str, **given: Any) -> Any:
    """Declare the backend's default for the field *name* of the requests of *operation*."""
    (field,) = (field for field in operation.fields if field.name == name)
    parse = _PARSERS[field.type]
    if "default" not in given and field.type == "string":
        given["converter"] = not_blank
    return setting(field.doc, env=field.environment, parse=parse, option=None, **given)


@documented
@attrs.frozen(kw_only=True, field_transformer=named)
class VoiceSettings(FromEnvironment):
    """How an ElevenLabs voice speaks. ElevenLabs chooses values that are None."""

    stability: float | None = _default_of(SYNTHESIZE_SPEECH, "stability")
    similarity_boost: float | None = _default_of(SYNTHESIZE_SPEECH, "similarity_boost")
    style: float | None = _default_of(SYNTHESIZE_SPEECH, "style")
    use_speaker_boost: bool | None = _default_of(SYNTHESIZE_SPEECH, "use_speaker_boost")


@documented
@attrs.frozen(kw_only=True, field_transformer=named)
class BackendOptions(FromEnvironment):
    """The settings for client secrets and speech. No repr shows a key.

    The fields from ``default_model`` to ``default_voice_tone``, and from ``elevenlabs_voice_id`` on, are used
    where a request does not say otherwise. OpenAI and ElevenLabs choose values that are None.
    """

    openai_api_key: str | None = secret(
        "The backend's own key; it takes precedence over one in a request.", env="OPENAI_API_KEY"
    )
    openai_base_url: str = setting(
        "The base URL of OpenAI's API; a query is added to each request, as Azure needs it.",
        default="https://api.openai.com/v1",
        env="OPENAI_BASE_URL",
        option=None,
        converter=_base_url,
        validator=_check_base_url,
    )
    openai_organization: str | None = header_value(
        "The organization that requests are counted for.", env="OPENAI_ORG_ID"
    )
    openai_project: str | None = header_value(
        "The project that requests are counted for.", env="OPENAI_PROJECT_ID"
    )
    default_model: str = _default_of(CREATE_CLIENT_SECRET, "model", default="gpt-realtime-2.1")
    default_voice: str = _default_of(CREATE_CLIENT_SECRET, "voice", default="marin")
    default_instructions: str = _default_of(
        CREATE_CLIENT_SECRET, "instructions", default="You are a helpful assistant."
    )
    default_language: str | None = _default_of(CREATE_CLIENT_SECRET, "language")
    default_voice_accent: str | None = _default_of(CREATE_CLIENT_SECRET, "voice_accent")
    default_voice_tone: str | None = _default_of(CREATE_CLIENT_SECRET, "voice_tone")
    session_extra: Mapping[str, Any] = setting(
        "More fields of the sessions, with the names of OpenAI's API: turn detection, transcription, tools "
        "of MCP servers and so on. Requests cannot set them. In the environment, a JSON object.",
        default={},
        env="NAVAI_SESSION_EXTRA",
        option=None,
        parse=_json,
        validator=_check_session,
        repr=False,
        hash=False,
    )
    client_secret_ttl_seconds: int = setting(
        "Seconds that a client secret is valid, from 10 to 7200.",
        default=600,
        env="OPENAI_REALTIME_CLIENT_SECRET_TTL",
        option=None,
        parse=seconds,
        converter=whole,
        validator=check_ttl,
    )
    allow_api_key_from_request: bool = setting(
        "Whether a request's apiKey is used if the backend has no key. In the environment, only true allows "
        "it. If the variable is not set, it is allowed if OPENAI_API_KEY is not set either.",
        default=False,
        env="NAVAI_ALLOW_FRONTEND_API_KEY",
        option=None,
        parse=_is_true,
    )
    tts_provider: Literal["openai", "elevenlabs"] = setting(
        "The provider of speech: openai (the session itself) or elevenlabs.",
        default="openai",
        env="NAVAI_TTS_PROVIDER",
        option=None,
        parse=str.lower,
    )
    elevenlabs_api_key: str | None = secret(
        "The key for ElevenLabs; required if ElevenLabs speaks.", env="ELEVENLABS_API_KEY"
    )
    elevenlabs_base_url: str = setting(
        "The base URL of ElevenLabs' API.",
        default="https://api.elevenlabs.io",
        env="ELEVENLABS_BASE_URL",
        option=None,
        converter=_base_url,
        validator=_check_base_url,
    )
    elevenlabs_voice_id: str | None = _default_of(SYNTHESIZE_SPEECH, "voice_id")
    elevenlabs_model_id: str | None = _default_of(SYNTHESIZE_SPEECH, "model_id")
    elevenlabs_output_format: str = _default_of(SYNTHESIZE_SPEECH, "output_format", default="mp3_44100_128")
    elevenlabs_optimize_streaming_latency: float | None = _default_of(
        SYNTHESIZE_SPEECH, "optimize_streaming_latency"
    )
    elevenlabs_voice_settings: VoiceSettings = setting(  # noqa: RUF009 - frozen
        "How the voice speaks.", default=VoiceSettings(), env=None, option=None
    )
    timeout: float = duration(
        "Seconds that a call to OpenAI or ElevenLabs may take.",
        default=30.0,
        env="NAVAI_UPSTREAM_TIMEOUT",
        option="--upstream-timeout",
    )
    max_upstream_calls: int = count(
        "The number of calls to OpenAI and ElevenLabs at a time, if RLIMIT_NOFILE allows them. More calls "
        "wait for up to 5 seconds, then get status 503.",
        default=64,
    )

    def __attrs_post_init__(self) -> None:
        if self.tts_provider not in ("openai", "elevenlabs"):
            raise BackendOptionsError(
                f'NAVAI_TTS_PROVIDER must be "openai" or "elevenlabs". Received: {self.tts_provider}'
            )
        if self.tts_provider == "elevenlabs":
            if self.elevenlabs_api_key is None:
                raise BackendOptionsError("ElevenLabs needs a key: set ELEVENLABS_API_KEY.")
            if self.elevenlabs_voice_id is None:
                raise BackendOptionsError("ElevenLabs needs a voice: set ELEVENLABS_VOICE_ID.")
            if "output_modalities" in self.session_extra:
                raise BackendOptionsError(
                    "NAVAI_SESSION_EXTRA (session_extra=) cannot set output_modalities: where ElevenLabs "
                    "speaks, sessions return text."
                )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys, and the tokens of MCP servers, which must not leave the backend."""
        keys = (self.openai_api_key, self.elevenlabs_api_key, *_tokens_in(self.session_extra))
        return tuple(key for key in keys if key)

    @classmethod
    def _completed(cls, found: dict[str, Any], env: Mapping[str, str | None]) -> dict[str, Any]:
        derived = {
            "elevenlabs_voice_settings": VoiceSettings.from_env(env),
            "allow_api_key_from_request": not not_blank(found.get("openai_api_key")),
        }
        return {**derived, **found}


def _tokens_in(session: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the tools of *session* send to MCP servers."""
    tools = session.get("tools")
    for tool in tools if isinstance(tools, list | tuple) else ():
        if isinstance(tool, Mapping):
            headers = tool.get("headers")
            sent = headers.values() if isinstance(headers, Mapping) else ()
            yield from (each for each in (tool.get("authorization"), *sent) if isinstance(each, str))
