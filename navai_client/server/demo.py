"""What ``--demo`` serves: sample functions of a small shop, and client secrets that open nothing."""

import base64
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from navai_client.server.client_secrets import ClientSecretRequest
from navai_client.server.errors import RequestFieldError
from navai_client.server.speech import SpeechRequest
from navai_client.wire._decode import trim

__all__ = ["DemoServices"]

# A tenth of a second of silence: 8-bit mono at 8 kHz, as WAV.
_SILENCE: Final = (
    b"RIFF"
    + (836).to_bytes(4, "little")
    + b"WAVEfmt "
    + (16).to_bytes(4, "little")
    + bytes.fromhex("01000100401f0000401f000001000800")
    + b"data"
    + (800).to_bytes(4, "little")
    + b"\x80" * 800
)


class DemoServices:
    """Answers as OpenAI and ElevenLabs would, without asking them."""

    def __init__(self, ttl: int = 600) -> None:
        """Give secrets that expire after *ttl* seconds."""
        self._ttl = ttl

    async def create_client_secret(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Give a secret that begins with ``ek_demo_``."""
        ClientSecretRequest.from_json(request)
        return {
            "value": f"ek_demo_{secrets.token_hex(16)}",
            "expires_at": int(time.time()) + self._ttl,
            "speech": {"provider": "openai"},
        }

    async def synthesize_speech(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Give a moment of silence."""
        if not trim(SpeechRequest.from_json(request).text):
            raise RequestFieldError("text is required.")
        return {
            "provider": "elevenlabs",
            "mimeType": "audio/wav",
            "audioBase64": base64.b64encode(_SILENCE).decode(),
        }

    async def aclose(self) -> None:
        """Hold nothing."""
