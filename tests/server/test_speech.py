"""Speech, against a stub of ElevenLabs behind the upstream's one method."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from navai_client import SpeechAudio
from navai_client.server import (
    BackendError,
    BackendOptions,
    BackendOptionsError,
    NavaiBackend,
    Upstream,
    synthesize_speech,
)
from navai_client.wire._values import Response

ENV = {
    "NAVAI_TTS_PROVIDER": "ElevenLabs",
    "ELEVENLABS_API_KEY": "xi-key-of-ours",
    "ELEVENLABS_VOICE_ID": "a/b",
    "ELEVENLABS_STABILITY": "0.5",
    "ELEVENLABS_STYLE": "much",
    "ELEVENLABS_USE_SPEAKER_BOOST": "Yes",
    "ELEVENLABS_OPTIMIZE_STREAMING_LATENCY": "2.5",
}


class Stub(Upstream):
    """Returns one response, and records the request."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response
        self.sent: Any = None

    async def post(self, name: str, url: str, body: object, **given: Any) -> Response:
        """Record the request and return the response."""
        self.sent = (url, body, given)
        return self.response


def speak(stub: Stub, request: dict[str, Any], **env: str) -> SpeechAudio:
    options = BackendOptions.from_env({**ENV, **env})
    return asyncio.run(synthesize_speech(options, request, upstream=stub))


def test_speech_is_requested_with_the_options() -> None:
    stub = Stub(Response(200, {}, b"abc"))
    given = speak(stub, {"text": " hi ", "outputFormat": "pcm_16000"}, ELEVENLABS_MODEL_ID="m")
    assert given == SpeechAudio(audio=b"abc", mime_type="audio/pcm")
    url, body, more = stub.sent
    query = "output_format=pcm_16000&optimize_streaming_latency=3"
    assert url == f"https://api.elevenlabs.io/v1/text-to-speech/a%2Fb?{query}"
    settings = {"stability": 0.5, "use_speaker_boost": True}
    assert body == {"text": "hi", "model_id": "m", "voice_settings": settings}
    assert more["headers"] == (("xi-api-key", "xi-key-of-ours"), ("Accept", "audio/pcm"))


def test_the_request_takes_precedence_over_the_options() -> None:
    stub = Stub(Response(200, {"content-type": "audio/mp4"}, b"abc"))
    wanted = {"text": "hi", "voiceId": "v", "modelId": "n", "optimizeStreamingLatency": 1}
    assert speak(stub, {**wanted, "voiceSettings": {"style": 1}}).mime_type == "audio/mp4"
    assert "/v?" in stub.sent[0]
    assert stub.sent[1] == {"text": "hi", "model_id": "n", "voice_settings": {"style": 1}}


@pytest.mark.parametrize(
    ("answer", "request_", "status", "text"),
    [
        (Response(401, {}, b"bad xi-key-of-ours"), {"text": "x"}, 401, "ElevenLabs synthesize failed (401): bad ***"),  # noqa: E501
        (Response(503, {}, b""), {"text": "x"}, 502, "ElevenLabs synthesize failed (503): "),
        (Response(200, {}, b""), {"text": "x"}, 502, "The response of ElevenLabs has no audio."),
        (Response(200, {}, b"a"), {"text": " "}, 400, "text is required."),
        (Response(200, {}, b"a"), {"text": 1}, 400, "text must be a string."),
        (Response(200, {}, b"a"), {"text": "x", "voiceSettings": {"style": True}}, 400, "style must be a number."),  # noqa: E501
        (Response(200, {}, b"a"), {"text": "x", "optimizeStreamingLatency": 10**400}, 400,
         "optimizeStreamingLatency is too large."),
    ],
)  # fmt: skip
def test_a_refused_request_says_why(answer: Any, request_: Any, status: Any, text: str) -> None:
    with pytest.raises(BackendError) as caught:
        speak(Stub(answer), request_)
    assert (caught.value.status_code, str(caught.value)) == (status, text)


@pytest.mark.parametrize(
    "env",
    [
        {"NAVAI_TTS_PROVIDER": "other"},
        {"NAVAI_TTS_PROVIDER": "elevenlabs"},
        {"NAVAI_TTS_PROVIDER": "elevenlabs", "ELEVENLABS_API_KEY": "k"},
        {"OPENAI_BASE_URL": "ftp://x"},
    ],
)
def test_options_that_cannot_work_are_refused_at_start(env: dict[str, str]) -> None:
    with pytest.raises(BackendOptionsError):
        BackendOptions.from_env(env)


def test_a_field_that_is_not_a_boolean_is_named(tmp_path: Path, ask: Any) -> None:
    demo = NavaiBackend(env={}, functions_base_dir=tmp_path, demo=True)
    body = {"text": "x", "voiceSettings": {"useSpeakerBoost": 1}}
    answer = ask(demo, "POST", "/navai/speech/synthesize", json=body)
    assert answer.json() == {"error": "useSpeakerBoost must be true or false."}
