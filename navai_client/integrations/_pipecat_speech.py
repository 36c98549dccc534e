"""The voice of a backend in Pipecat: apart from the tools, as it loads what a speech service needs."""

from collections.abc import AsyncGenerator
from typing import Any, final

from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from navai_client._redaction import Redactor
from navai_client.config import SpeechOptions
from navai_client.errors import NavaiError
from navai_client.integrations.speech import synthesize
from navai_client.integrations.toolset import Client


@final
class NavaiTTSService(TTSService):
    """The voice of a backend that speaks through ElevenLabs, for a pipeline. It belongs after the model.

    Pipecat cuts the text into sentences, and cancels the rest when the person interrupts. A sentence that
    cannot be synthesized is an ``ErrorFrame``, and the next one is spoken.

    Args:
        client: The backend's client. You close it yourself.
        voice: As for ``synthesize_speech``, without ``output_format``: it is PCM at the pipeline's rate.
        service: As for Pipecat's ``TTSService``.
    """

    def __init__(self, client: Client, *, voice: SpeechOptions | None = None, **service: Any) -> None:
        service.setdefault("settings", TTSSettings(model=None, voice=None, language=None))
        super().__init__(push_start_frame=True, push_stop_frames=True, **service)
        self._client = client
        self._voice = voice or {}

    def can_generate_metrics(self) -> bool:
        """Return True: characters and the time to the first sound are measured."""
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Yield the sound of *text*."""
        try:
            asked: SpeechOptions = {**self._voice, "output_format": f"pcm_{self.sample_rate}"}
            found = await synthesize(self._client, text, asked)
        except NavaiError as error:
            yield ErrorFrame(f"A sentence is not spoken: {Redactor().error(str(error))}")
            return
        if not found.mime_type.startswith("audio/pcm"):
            yield ErrorFrame(f"Pipecat needs PCM, and the backend sent {found.mime_type}.")
            return
        await self.start_tts_usage_metrics(text)
        await self.stop_ttfb_metrics()
        for start in range(0, len(found.audio), self.chunk_size):
            part = found.audio[start : start + self.chunk_size]
            yield TTSAudioRawFrame(part, self.sample_rate, 1, context_id=context_id)
