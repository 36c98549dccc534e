"""A fake of ElevenLabs' speech synthesis, for a backend that speaks: ``POST /v1/text-to-speech/{voice}``."""

import json
import math
import re
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Collection
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, final
from urllib.parse import parse_qs, urlsplit

from navai_client.testing.realtime._minting import LocalServer, RequestHandler

_PATH: Final = "/v1/text-to-speech/"
_FORMAT: Final = re.compile(r"pcm_(\d{4,5})")
_LONGEST_WAIT: Final = 30.0  # seconds
_SECONDS_PER_CHARACTER: Final = 0.06  # as people speak: 150 words in a minute
_VOLUME: Final = 8000  # of 32,767


@final
class FakeElevenLabs:
    """ElevenLabs on this machine: each text has its own tone, as long as it takes to say it.

    ::

        with FakeElevenLabs() as voices:
            backend = NavaiBackend(env={"OPENAI_API_KEY": "sk-test", **voices.env}, discover=False)

    It listens from its construction on, in threads, and makes only PCM.

    Args:
        refuse: Texts for which it responds with 500.
        takes: Returns the seconds that it takes to synthesize a text; none by default.

    Attributes:
        texts: The texts that were requested, in this order.
        answering: Clear it to hold the responses back, and set it to send them.
    """

    def __init__(
        self, *, refuse: Collection[str] = (), takes: Callable[[str], float] = lambda _: 0.0
    ) -> None:
        self.texts: list[str] = []
        self.answering: threading.Event = threading.Event()
        self.answering.set()
        self._refuse = refuse
        self._takes = takes
        self._changed = threading.Condition()
        self._server = LocalServer(partial(_Handler, self))

    @property
    def env(self) -> dict[str, str]:
        """The environment of a backend that speaks through it, in PCM at 24 kHz."""
        return {
            "NAVAI_TTS_PROVIDER": "elevenlabs",
            "ELEVENLABS_API_KEY": "xi-fake",
            "ELEVENLABS_VOICE_ID": "fake",
            "ELEVENLABS_BASE_URL": self._server.url,
            "ELEVENLABS_OUTPUT_FORMAT": "pcm_24000",
        }

    @staticmethod
    def sound(text: str, rate: int = 24_000) -> bytes:
        """Return *text* as it sounds: 16-bit mono PCM.

        Args:
            text: The text.
            rate: Samples in a second.
        """
        pitch = 200 + zlib.crc32(text.encode()) % 400  # Hz
        samples = range(round(len(text) * _SECONDS_PER_CHARACTER * rate))
        return array("h", (round(_VOLUME * math.sin(math.tau * pitch * n / rate)) for n in samples)).tobytes()

    def wait_for(self, count: int, timeout: float = _LONGEST_WAIT) -> None:
        """Wait until *count* texts were requested.

        Raises:
            TimeoutError: They were not requested within *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.texts) >= count, timeout):
                raise TimeoutError(f"{len(self.texts)} of {count} texts were requested: {self.texts}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening. Leaving the context does this."""
        self.answering.set()
        self._server.close()

    def _synthesize(self, path: str, query: str, asked: Any) -> tuple[int, str, bytes]:
        text = asked.get("text") if isinstance(asked, dict) else None
        found = _FORMAT.fullmatch(parse_qs(query).get("output_format", [""])[0])
        if not path.startswith(_PATH) or not isinstance(text, str) or found is None:
            reason = f"It needs POST {_PATH}{{voice}}?output_format=pcm_24000 and a text."
            return 422, "application/json", json.dumps({"detail": reason}).encode()
        with self._changed:
            self.texts.append(text)
            self._changed.notify_all()
        time.sleep(self._takes(text))
        self.answering.wait(_LONGEST_WAIT)
        if text in self._refuse:
            return 500, "application/json", b'{"detail": "It cannot say that."}'
        return 200, "audio/pcm", self.sound(text, int(found[1]))


class _Handler(RequestHandler):
    def __init__(self, voices: FakeElevenLabs, *connection: Any) -> None:
        self._voices = voices
        super().__init__(*connection)

    def do_POST(self) -> None:  # noqa: N802 - the base class's name
        url = urlsplit(self.path)
        try:
            asked = json.loads(self.body())
        except ValueError:
            asked = None
        self.respond(*self._voices._synthesize(url.path, url.query, asked))  # noqa: SLF001 - of this file
