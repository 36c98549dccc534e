"""Speech: who speaks, and the call to ElevenLabs."""

import base64
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from navai_client._redaction import Redactor
from navai_client.server._errors import RequestFieldError, UpstreamError
from navai_client.server._fields import read_flag, read_number, read_record, read_texts
from navai_client.server._settings import BackendOptions, VoiceSettings
from navai_client.server._upstream import Upstream
from navai_client.wire._decode import trim


@attrs.frozen(kw_only=True)
class SpeechRequest:
    """What is to be spoken, and how; what is None is the backend's to choose.

    Attributes:
        text: What is spoken.
        voice_id: The voice.
        model_id: The model.
        output_format: The audio format, as ElevenLabs names it.
        optimize_streaming_latency: How much quality is given for speed, 0 to 4.
        voice_settings: How the voice speaks; they replace the backend's as a whole.
    """

    text: str = ""
    voice_id: str | None = None
    model_id: str | None = None
    output_format: str | None = None
    optimize_streaming_latency: float | None = None
    voice_settings: VoiceSettings | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "SpeechRequest":
        """Read the fields of a request's body; those it does not know are ignored.

        Raises:
            RequestFieldError: A field has the wrong type.
        """
        settings = read_record(record, "voiceSettings")
        return cls(
            **read_texts(
                record, text="text", voice_id="voiceId", model_id="modelId", output_format="outputFormat"
            ),
            optimize_streaming_latency=read_number(record, "optimizeStreamingLatency"),
            voice_settings=None
            if settings is None
            else VoiceSettings(
                stability=read_number(settings, "stability"),
                similarity_boost=read_number(settings, "similarityBoost"),
                style=read_number(settings, "style"),
                use_speaker_boost=read_flag(settings, "useSpeakerBoost"),
            ),
        )


async def synthesize_speech(
    options: BackendOptions,
    request: SpeechRequest | Mapping[str, Any],
    *,
    upstream: Upstream | None = None,
) -> dict[str, Any]:
    """Let ElevenLabs speak.

    Args:
        options: The backend's key, voice and defaults.
        request: What is to be spoken, as a value or as the JSON object that clients send.
        upstream: The HTTP client to use; without one, one is made for this call.

    Returns:
        ``provider``, ``mimeType`` and ``audioBase64``.

    Raises:
        RequestFieldError: A field of the request is missing or wrong, or ElevenLabs does not speak here.
        UpstreamError: ElevenLabs refused, did not answer, or gave no audio.
    """
    if options.tts_provider != "elevenlabs":
        raise RequestFieldError(
            'Speech synthesis is only available when NAVAI_TTS_PROVIDER is set to "elevenlabs".'
        )
    wanted = request if isinstance(request, SpeechRequest) else SpeechRequest.from_json(request)
    text = trim(wanted.text)
    if not text:
        raise RequestFieldError("text is required.")
    if upstream is None:
        async with Upstream() as own:
            return await _speak(options, wanted, text, own)
    return await _speak(options, wanted, text, upstream)


async def _speak(
    options: BackendOptions, request: SpeechRequest, text: str, upstream: Upstream
) -> dict[str, Any]:
    key = options.elevenlabs_api_key or ""
    voice = trim(request.voice_id or "") or options.elevenlabs_voice_id or ""
    model = trim(request.model_id or "") or options.elevenlabs_model_id
    audio_format = trim(request.output_format or "") or options.elevenlabs_output_format
    latency = request.optimize_streaming_latency
    if latency is None:
        latency = options.elevenlabs_optimize_streaming_latency
    query = {"output_format": audio_format}
    if latency is not None:
        query["optimize_streaming_latency"] = str(math.floor(latency + 0.5))
    body: dict[str, Any] = {"text": text}
    if model:
        body["model_id"] = model
    settings = _settings(request.voice_settings or options.elevenlabs_voice_settings)
    if settings:
        body["voice_settings"] = settings
    answer = await upstream.post(
        "ElevenLabs",
        f"{options.elevenlabs_base_url}/v1/text-to-speech/{quote(voice.encode(errors='replace'), safe='')}",
        body,
        headers={"xi-api-key": key, "accept": _media_type(audio_format)},
        seconds=options.timeout,
        query=query,
    )
    if not answer.ok:
        passed_on = 400 <= answer.status <= 499  # noqa: PLR2004 - the client errors of HTTP
        shown = Redactor(options.secrets).text(answer.text)
        raise UpstreamError(
            f"ElevenLabs synthesize failed ({answer.status}): {shown}",
            status_code=answer.status if passed_on else 502,
            retry_after=answer.headers.get("retry-after") if passed_on else None,
        )
    if not answer.body:
        raise UpstreamError("ElevenLabs gave an answer without audio.")
    return {
        "provider": "elevenlabs",
        "mimeType": trim(answer.headers.get("content-type", "")) or _media_type(audio_format),
        "audioBase64": base64.b64encode(answer.body).decode(),
    }


def _settings(settings: VoiceSettings) -> dict[str, Any]:
    return {name: value for name, value in attrs.asdict(settings).items() if value is not None}


def _media_type(audio_format: str) -> str:
    for start, media_type in (("pcm", "audio/pcm"), ("wav", "audio/wav"), ("ulaw", "audio/basic")):
        if audio_format.lower().startswith(start):
            return media_type
    return "audio/mpeg"
