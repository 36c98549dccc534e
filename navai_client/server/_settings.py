"""What a backend mints with: keys, defaults, and which environment variable sets what."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypedDict

import attrs

from navai_client.server._errors import BackendOptionsError
from navai_client.wire._decode import trim
from navai_client.wire._operations import (
    CREATE_CLIENT_SECRET,
    EXECUTE_FUNCTION,
    LIST_FUNCTIONS,
    SYNTHESIZE_SPEECH,
    normalize_path,
)

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
ELEVENLABS_BASE_URL: Final = "https://api.elevenlabs.io"
MIN_TTL_S: Final = 10
MAX_TTL_S: Final = 7200

_DIGITS: Final = 9
_SPOKEN: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _masked(value: str | None) -> str:
    return "None" if value is None else "'***'"


def _optional(value: str | None) -> str | None:
    return (trim(value) or None) if isinstance(value, str) else value


def _base_url(value: str) -> str:
    return trim(value).rstrip("/")


def _is_web_url(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not value.lower().startswith(("http://", "https://")):
        raise BackendOptionsError(f"{attribute.name} must be an http or https URL. Received: {value}")


def check_ttl(ttl: Any) -> None:
    """Refuse a time to live that OpenAI does not take.

    Raises:
        BackendOptionsError: It is not between 10 and 7200 seconds.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not MIN_TTL_S <= ttl <= MAX_TTL_S:
        raise BackendOptionsError(
            f"clientSecretTtlSeconds must be between {MIN_TTL_S} and {MAX_TTL_S}. Received: {ttl}"
        )


@attrs.frozen(kw_only=True)
class VoiceSettings:
    """How an ElevenLabs voice speaks; what is None is left to ElevenLabs.

    Attributes:
        stability: From 0 (lively) to 1 (even).
        similarity_boost: From 0 to 1, how close to the original voice.
        style: From 0 to 1, how much of the voice's style.
        use_speaker_boost: Whether likeness is boosted, at some cost in latency.
    """

    stability: float | None = None
    similarity_boost: float | None = None
    style: float | None = None
    use_speaker_boost: bool | None = None


@attrs.frozen(kw_only=True)
class BackendOptions:
    """What a backend mints with. Keys are shown by no repr.

    Attributes:
        openai_api_key: The backend's own key; it wins over one that a request brings.
        openai_base_url: Where OpenAI's API is.
        default_model: The realtime model of sessions whose request names none.
        default_voice: Their voice.
        default_instructions: Their instructions.
        default_language: The language that they always reply in.
        default_voice_accent: The accent that they speak with.
        default_voice_tone: The tone that they speak in.
        client_secret_ttl_seconds: How long a client secret lives, from 10 to 7200 seconds.
        allow_api_key_from_request: Whether a request's ``apiKey`` is used when there is no key of our own.
        tts_provider: Who speaks: ``openai`` (the session itself) or ``elevenlabs``.
        elevenlabs_api_key: The key for ElevenLabs; needed when it speaks.
        elevenlabs_base_url: Where ElevenLabs' API is.
        elevenlabs_voice_id: The voice of requests that name none; needed when ElevenLabs speaks.
        elevenlabs_model_id: Their model; None leaves it to ElevenLabs.
        elevenlabs_output_format: Their audio format, as ElevenLabs names it.
        elevenlabs_optimize_streaming_latency: How much quality is given for speed, 0 to 4.
        elevenlabs_voice_settings: How the voice speaks.
        timeout: Seconds that a whole call upstream may take.

    Raises:
        BackendOptionsError: Something in it cannot work; the message says what.
    """

    openai_api_key: str | None = attrs.field(default=None, converter=_optional, repr=_masked)
    openai_base_url: str = attrs.field(default=OPENAI_BASE_URL, converter=_base_url, validator=_is_web_url)
    default_model: str = "gpt-realtime"
    default_voice: str = "marin"
    default_instructions: str = "You are a helpful assistant."
    default_language: str | None = attrs.field(default=None, converter=_optional)
    default_voice_accent: str | None = attrs.field(default=None, converter=_optional)
    default_voice_tone: str | None = attrs.field(default=None, converter=_optional)
    client_secret_ttl_seconds: int = 600
    allow_api_key_from_request: bool = False
    tts_provider: Literal["openai", "elevenlabs"] = "openai"
    elevenlabs_api_key: str | None = attrs.field(default=None, converter=_optional, repr=_masked)
    elevenlabs_base_url: str = attrs.field(
        default=ELEVENLABS_BASE_URL, converter=_base_url, validator=_is_web_url
    )
    elevenlabs_voice_id: str | None = attrs.field(default=None, converter=_optional)
    elevenlabs_model_id: str | None = attrs.field(default=None, converter=_optional)
    elevenlabs_output_format: str = "mp3_44100_128"
    elevenlabs_optimize_streaming_latency: float | None = None
    elevenlabs_voice_settings: VoiceSettings = VoiceSettings()
    timeout: float = 30.0

    def __attrs_post_init__(self) -> None:
        check_ttl(self.client_secret_ttl_seconds)
        if not self.timeout > 0:
            raise BackendOptionsError(f"timeout must be greater than 0. Received: {self.timeout}")
        if self.tts_provider not in ("openai", "elevenlabs"):
            raise BackendOptionsError(
                f'NAVAI_TTS_PROVIDER must be "openai" or "elevenlabs". Received: {self.tts_provider}'
            )
        if self.tts_provider == "elevenlabs":
            if self.elevenlabs_api_key is None:
                raise BackendOptionsError("ElevenLabs needs a key: set ELEVENLABS_API_KEY.")
            if self.elevenlabs_voice_id is None:
                raise BackendOptionsError("ElevenLabs needs a voice: set ELEVENLABS_VOICE_ID.")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys in it, which nothing that leaves the backend may hold."""
        return tuple(key for key in (self.openai_api_key, self.elevenlabs_api_key) if key)

    @classmethod
    def from_env(cls, env: Mapping[str, str | None] | None = None, **given: Any) -> "BackendOptions":
        """Read options from *env*, by default the process's environment; what is *given* wins.

        Values are trimmed and an empty one counts as absent. ``NAVAI_ALLOW_FRONTEND_API_KEY`` set to anything
        but ``true`` denies keys from requests; not set, they are allowed when there is no ``OPENAI_API_KEY``.

        Raises:
            BackendOptionsError: A value cannot work.
        """
        read = _Environment(os.environ if env is None else env)
        own_key = given.get("openai_api_key", read.text("OPENAI_API_KEY"))
        allowed = read.text("NAVAI_ALLOW_FRONTEND_API_KEY")
        found: dict[str, Any] = {
            "openai_api_key": own_key,
            "openai_base_url": read.text("OPENAI_BASE_URL"),
            "default_model": read.text("OPENAI_REALTIME_MODEL"),
            "default_voice": read.text("OPENAI_REALTIME_VOICE"),
            "default_instructions": read.text("OPENAI_REALTIME_INSTRUCTIONS"),
            "default_language": read.text("OPENAI_REALTIME_LANGUAGE"),
            "default_voice_accent": read.text("OPENAI_REALTIME_VOICE_ACCENT"),
            "default_voice_tone": read.text("OPENAI_REALTIME_VOICE_TONE"),
            "client_secret_ttl_seconds": read.whole_number("OPENAI_REALTIME_CLIENT_SECRET_TTL"),
            "allow_api_key_from_request": not _optional(own_key)
            if allowed is None
            else allowed.lower() == "true",
            "tts_provider": (read.text("NAVAI_TTS_PROVIDER") or "openai").lower(),
            "elevenlabs_api_key": read.text("ELEVENLABS_API_KEY"),
            "elevenlabs_base_url": read.text("ELEVENLABS_BASE_URL"),
            "elevenlabs_voice_id": read.text("ELEVENLABS_VOICE_ID"),
            "elevenlabs_model_id": read.text("ELEVENLABS_MODEL_ID"),
            "elevenlabs_output_format": read.text("ELEVENLABS_OUTPUT_FORMAT"),
            "elevenlabs_optimize_streaming_latency": read.number("ELEVENLABS_OPTIMIZE_STREAMING_LATENCY"),
            "elevenlabs_voice_settings": VoiceSettings(
                stability=read.number("ELEVENLABS_STABILITY"),
                similarity_boost=read.number("ELEVENLABS_SIMILARITY_BOOST"),
                style=read.number("ELEVENLABS_STYLE"),
                use_speaker_boost=_SPOKEN.get((read.text("ELEVENLABS_USE_SPEAKER_BOOST") or "").lower()),
            ),
        }
        return cls(**{**{name: value for name, value in found.items() if value is not None}, **given})


class _Environment:
    """Reads trimmed values; an empty one is none."""

    def __init__(self, env: Mapping[str, str | None]) -> None:
        self._env = env

    def text(self, name: str) -> str | None:
        value = self._env.get(name)
        return trim(value) or None if isinstance(value, str) else None

    def number(self, name: str) -> float | None:
        """Return a finite number; like Express, take what is none for absent."""
        try:
            value = float(self.text(name) or "nan")
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def whole_number(self, name: str) -> Any:
        """Return a whole number, or the text as it is, for the one who checks it to refuse."""
        text = self.text(name)
        return (
            int(text)
            if text is not None and text.isascii() and text.isdigit() and len(text) <= _DIGITS
            else text
        )


MAX_BODY_BYTES: Final = 2**20
FUNCTION_TIMEOUT_S: Final = 30.0

_LOCAL_ORIGIN: Final = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.ASCII)


def _positive(_: object, attribute: "attrs.Attribute[Any]", value: float | None) -> None:
    if value is not None and not value > 0:
        raise BackendOptionsError(f"{attribute.name} must be greater than 0. Received: {value}")


@attrs.frozen(kw_only=True)
class ServerSettings:
    """The HTTP side of a backend.

    Attributes:
        client_secret_path: Where client secrets are minted; each path gets a leading slash when it has none.
        functions_list_path: Where the functions are listed.
        functions_execute_path: Where a function is executed.
        speech_synthesize_path: Where speech is synthesized.
        include_functions_routes: False leaves out the list and the execution of functions.
        function_timeout: Seconds that a call of a function may take; None means no limit.
        threads_per_function: How many synchronous calls of one function run at a time; further ones wait.
        max_body_bytes: The largest request body that is read.
        body_timeout: Seconds that a request's body may take to arrive.
        cors_origins: Origins that pages may call from, beside localhost; ``*`` for all.
        inspector: Whether a page to look at the backend with is served at ``/navai/``: for development.
        access_token: When set, every route but health, preflight and the inspector's page asks for it as a
            bearer token.
    """

    client_secret_path: str = attrs.field(default=CREATE_CLIENT_SECRET.path, converter=normalize_path)
    functions_list_path: str = attrs.field(default=LIST_FUNCTIONS.path, converter=normalize_path)
    functions_execute_path: str = attrs.field(default=EXECUTE_FUNCTION.path, converter=normalize_path)
    speech_synthesize_path: str = attrs.field(default=SYNTHESIZE_SPEECH.path, converter=normalize_path)
    include_functions_routes: bool = True
    function_timeout: float | None = attrs.field(default=FUNCTION_TIMEOUT_S, validator=_positive)
    threads_per_function: int = attrs.field(default=64, validator=_positive)
    max_body_bytes: int = attrs.field(default=MAX_BODY_BYTES, validator=_positive)
    body_timeout: float = attrs.field(default=30.0, validator=_positive)
    cors_origins: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    inspector: bool = False
    access_token: str | None = attrs.field(default=None, repr=False)

    def allows_origin(self, origin: str) -> bool:
        """Whether a page of *origin* may call this backend."""
        return (
            _LOCAL_ORIGIN.fullmatch(origin) is not None
            or "*" in self.cors_origins
            or origin.lower() in self.cors_origins
        )

    @staticmethod
    def from_env(env: Mapping[str, str | None]) -> dict[str, Any]:
        """Read what the environment sets.

        ``NAVAI_CORS_ORIGIN``, ``NAVAI_ACCESS_TOKEN`` and, when it is not blank, ``NAVAI_INSPECTOR``: ``true``
        in any case serves the inspector.
        """
        origins = (trim(each).rstrip("/").lower() for each in (env.get("NAVAI_CORS_ORIGIN") or "").split(","))
        token = trim(env.get("NAVAI_ACCESS_TOKEN") or "")
        found: dict[str, Any] = {
            "cors_origins": tuple(each for each in origins if each),
            "access_token": token or None,
        }
        inspector = trim(env.get("NAVAI_INSPECTOR") or "")
        if inspector:
            found["inspector"] = inspector.lower() == "true"
        return found


class SettingsKeywords(TypedDict, total=False):
    """The fields of :class:`ServerSettings`, as the keywords that a backend takes."""

    client_secret_path: str
    functions_list_path: str
    functions_execute_path: str
    speech_synthesize_path: str
    include_functions_routes: bool
    function_timeout: float | None
    threads_per_function: int
    max_body_bytes: int
    body_timeout: float
    cors_origins: Iterable[str]
    inspector: bool
    access_token: str | None
