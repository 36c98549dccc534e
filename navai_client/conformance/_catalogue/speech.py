"""What is asked of the synthesis of speech, where a backend has it."""

import binascii
from typing import Final

from navai_client.conformance._outcome import Answer, kind_of
from navai_client.conformance._requirement import Evidence, Requirement, Unseen
from navai_client.conformance._rules import is_text, refused, status

_ABSENT: Final = (404, 405, 501)


def _refuses_blank_text(answer: Answer, evidence: Evidence) -> str | Unseen | None:
    if answer.status in _ABSENT:
        return Unseen("the backend does not speak")
    return refused(400)(answer, evidence)


def _is_audio(answer: Answer, _: Evidence) -> str | None:
    if answer.record.get("provider") != "elevenlabs":
        return f"provider is {kind_of(answer.record.get('provider'))}"
    for key in ("mimeType", "audioBase64"):
        if not is_text(value := answer.record.get(key)) or not value:
            return f"{key} is {kind_of(value)}" if key in answer.record else f"no {key}"
    return None


def _is_base64(answer: Answer, _: Evidence) -> str | None:
    try:
        audio = binascii.a2b_base64(answer.record["audioBase64"], strict_mode=True)
    except ValueError as error:  # binascii.Error is one
        return f"audioBase64 is no base64: {error}"
    return None if audio else "no audio"


SPEECH: Final = (
    Requirement(
        id="SPEECH-01",
        group="speech",
        severity="should",
        sentence="A text that is blank is answered with 400 and a JSON error.",
        change='Answer 400 and {"error": "text is required."} before asking ElevenLabs; or leave the '
        "route out.",
        source="the reference server",
        relates=("server.elevenlabs", "server.statuses"),
        probes=("speak nothing",),
        rule=_refuses_blank_text,
    ),
    Requirement(
        id="SPEECH-02",
        group="speech",
        severity="must",
        sentence="A text is spoken: a status of 200 to 299.",
        change="Let ElevenLabs speak it. 400 says that the backend is not set up to speak.",
        source="web client and Express, published",
        relates=("speech.request", "server.elevenlabs"),
        acts="speak",
        probes=("speak",),
        rule=status(),
    ),
    Requirement(
        id="SPEECH-03",
        group="speech",
        severity="must",
        sentence="The answer has the provider elevenlabs, a mimeType and audioBase64, which are texts.",
        change='Answer {"provider": "elevenlabs", "mimeType": "audio/mpeg", "audioBase64": "..."}.',
        source="web client and Express, published",
        relates=("speech.result", "speech.invalid"),
        needs=("SPEECH-02",),
        acts="speak",
        probes=("speak",),
        rule=_is_audio,
    ),
    Requirement(
        id="SPEECH-04",
        group="speech",
        severity="must",
        sentence="audioBase64 is base64 of some audio.",
        change="Encode the bytes of the audio as standard base64, with padding and without line breaks.",
        source="web client and Express, published",
        relates=("speech.result",),
        needs=("SPEECH-03",),
        acts="speak",
        probes=("speak",),
        rule=_is_base64,
    ),
)
