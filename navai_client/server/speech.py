"""Speech: the call to ElevenLabs."""

from collections.abc import Mapping
from typing import Any

import attrs

from navai_client.server.fields import read_texts

__all__ = ["SpeechRequest"]


@attrs.frozen(kw_only=True)
class SpeechRequest:
    """What is to be spoken."""

    text: str = ""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "SpeechRequest":
        """Read the fields of a request's body."""
        return cls(**read_texts(record, text="text"))
