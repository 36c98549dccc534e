"""What the backend's answers become: frozen values. They hold what was said and do no I/O."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from attrs import field, frozen

from navai_client._redaction import mask
from navai_client.errors import NavaiError

__all__ = [
    "BackendFunction",
    "ClientSecret",
    "FunctionList",
    "SessionOptions",
    "SpeechAudio",
    "SpeechOptions",
]


@frozen(kw_only=True)
class ClientSecret:
    """A short-lived key with which an agent opens Realtime sessions.

    It may open several sessions until it expires; a session that runs goes on after that. Its repr and
    str show the value masked.

    Attributes:
        value: The secret itself, such as ``ek_...``.
        expires_at: When it expires, in seconds since the Unix epoch, or None if the backend did not say.
        speech_provider: Who speaks: ``openai`` (the Realtime session itself) or ``elevenlabs`` (call
            ``synthesize_speech`` with each text).
    """

    value: str = field(repr=mask)
    expires_at: float | None = None
    speech_provider: str = "openai"

    def expires_in(self, *, now: float | None = None) -> float:
        """Return the seconds until the secret expires: negative afterwards, infinite if it is not known.

        Args:
            now: Seconds since the Unix epoch; the system's clock by default.
        """
        if self.expires_at is None:
            return math.inf
        try:
            return self.expires_at - (time.time() if now is None else now)
        except OverflowError:  # a whole number that no float can hold
            return math.inf if self.expires_at > 0 else -math.inf

    def is_expired(self, *, leeway: float = 0.0, now: float | None = None) -> bool:
        """Return whether fewer than *leeway* seconds are left (with no leeway: none).

        Args:
            leeway: Seconds that must be left for the secret to count as good.
            now: Seconds since the Unix epoch; the system's clock by default.
        """
        return self.expires_in(now=now) <= leeway


@frozen(kw_only=True)
class BackendFunction:
    """One function that the backend offers.

    Attributes:
        name: The name to call it by.
        description: What it does, for the model, or None.
        source: Where the backend has it from, such as ``src/ai/functions-modules/weather.py#get_weather``.
        parameters: The JSON Schema of its payload, or None. Python backends send one; the JavaScript
            backend does not.
    """

    name: str
    description: str | None = None
    source: str | None = None
    parameters: Mapping[str, Any] | None = field(default=None, hash=False)


@frozen(kw_only=True)
class FunctionList:
    """The functions that a backend offers, and what was odd about them.

    It iterates over its functions, has a length, and answers ``"name" in functions``.

    Attributes:
        functions: In the order of the backend.
        warnings: What the backend warns of. When the backend could not be asked, the reason stands here and
            there are no functions.
        error: What ``list_functions`` would have raised, if it raised: why the backend could not be asked, or
            None when it could. Two lists that differ in nothing else are equal.
    """

    functions: tuple[BackendFunction, ...] = ()
    warnings: tuple[str, ...] = ()
    error: NavaiError | None = field(default=None, eq=False, repr=False)

    def __iter__(self) -> Iterator[BackendFunction]:
        return iter(self.functions)

    def __len__(self) -> int:
        return len(self.functions)

    def __contains__(self, name: object) -> bool:
        return any(name in (function, function.name) for function in self.functions)

    def get(self, name: str) -> BackendFunction | None:
        """Return the function called *name*, or None."""
        return next((function for function in self.functions if function.name == name), None)


@frozen(kw_only=True)
class SpeechAudio:
    """Spoken text.

    Attributes:
        audio: The sound, as bytes.
        mime_type: What kind of sound it is, such as ``audio/mpeg``.
        provider: Who spoke it: ``elevenlabs``.
    """

    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")
    mime_type: str
    provider: str = "elevenlabs"


class SessionOptions(TypedDict, total=False):
    """Keyword arguments of ``create_client_secret``. The backend fills in what is absent or None.

    Attributes:
        model: The realtime model.
        voice: The voice.
        instructions: The agent's instructions.
        language: The language of its replies.
        voice_accent: The accent that it speaks with.
        voice_tone: The tone that it speaks in.
        api_key: An OpenAI key, for backends that accept one from requests.
    """

    model: str | None
    voice: str | None
    instructions: str | None
    language: str | None
    voice_accent: str | None
    voice_tone: str | None
    api_key: str | None


class SpeechOptions(TypedDict, total=False):
    """Keyword arguments of ``synthesize_speech``. The backend fills in what is absent or None.

    Attributes:
        voice_id: The voice.
        model_id: The speech model.
        output_format: The audio format, such as ``mp3_44100_128``.
        optimize_streaming_latency: How much quality is traded for latency, from 0 to 4.
        stability: How even the voice is, from 0 (lively) to 1.
        similarity_boost: How close the voice is to the original, from 0 to 1.
        style: How much of the voice's style is used, from 0 to 1.
        use_speaker_boost: Whether likeness is boosted, at some cost in latency.
    """

    voice_id: str | None
    model_id: str | None
    output_format: str | None
    optimize_streaming_latency: int | None
    stability: float | None
    similarity_boost: float | None
    style: float | None
    use_speaker_boost: bool | None
