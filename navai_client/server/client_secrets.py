"""Client secrets: who may mint one, what the session is told, and the call to OpenAI."""

from collections.abc import Mapping
from typing import Any

import attrs

from navai_client.server.fields import read_texts

__all__ = ["ClientSecretRequest"]


@attrs.frozen(kw_only=True)
class ClientSecretRequest:
    """What a request for a client secret may set; what is None is the backend's to choose.

    Attributes:
        model: The realtime model.
        voice: The voice.
        instructions: The session's instructions.
        language: The language that is always replied in.
        voice_accent: The accent that is spoken with.
        voice_tone: The tone that is spoken in.
        api_key: A key of the caller's own; shown by no repr.
    """

    model: str | None = None
    voice: str | None = None
    instructions: str | None = None
    language: str | None = None
    voice_accent: str | None = None
    voice_tone: str | None = None
    api_key: str | None = attrs.field(default=None, repr=lambda key: "None" if key is None else "'***'")

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "ClientSecretRequest":
        """Read the fields of a request's body; those it does not know are ignored.

        Raises:
            RequestFieldError: A field is no text.
        """
        return cls(
            **read_texts(
                record,
                model="model",
                voice="voice",
                instructions="instructions",
                language="language",
                voice_accent="voiceAccent",
                voice_tone="voiceTone",
                api_key="apiKey",
            )
        )
