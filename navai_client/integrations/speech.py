"""Speech for agents whose session returns text: a backend that speaks through ElevenLabs.

``Speaker`` turns texts into sound, sentence by sentence: it synthesizes the first one while the model still
writes the second, and the next ones while the first is played. The published JavaScript client speaks each
text when it is complete. Both speak each text once, and fall silent when the person speaks.
"""

import asyncio
import itertools
import logging
import re
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, Self, TypeVar, Unpack, final

from navai_client._abandoned import BackgroundTasks
from navai_client._redaction import Redactor
from navai_client._threads import run_in_thread
from navai_client.client import NavaiBackendClient
from navai_client.config import SpeechOptions
from navai_client.errors import NavaiError
from navai_client.integrations._results import nested
from navai_client.integrations.realtime import Event, parsed
from navai_client.integrations.toolset import Client
from navai_client.models import SpeechAudio

__all__ = ["Sentences", "Speaker"]

T = TypeVar("T")

_log: Final = logging.getLogger("navai_client")
_MAX_SEEN: Final = 1000  # texts and responses remembered, because a server reports the same text three times
_SILENCING: Final = (
    "input_audio_buffer.speech_started",
    "conversation.item.input_audio_transcription.started",  # in the published JavaScript client, too
)

_LONGEST: Final = 300  # characters of a piece; 20 seconds of speech
# Unicode's Sentence_Terminal of scripts that are written without a space after it, or end with nothing else.
_FULL_STOPS: Final = "。！？｡؟۔।॥။።፧։។᠃᠉"  # noqa: RUF001
_ENDS: Final = re.compile(rf"[.!?…{_FULL_STOPS}]+[\"'”’»›)\]}}」』）】〉》*_]*|\n")  # noqa: RUF001
_LAST_WORD: Final = re.compile(r"[^\s(\[\"'“„«¿¡]*$")
_CLAUSES: Final = re.compile(r"[,;:—–]\s|[，、；：]")  # noqa: RUF001
_SPACES: Final = re.compile(r"\s")
# A piece that ends too late costs a moment; one that ends too early loses its melody.
_ABBREVIATIONS: Final = frozenset(
    "dr mr mrs ms prof rev gen capt jr st mt vs approx dept "  # noqa: SIM905 - English; as a list, it has forty lines
    "sr sra srta dra dña ud uds lic ing avda pág "  # Spanish
    "hr fr bzw ca ggf inkl evtl sog str "  # German
    "mme mlle mgr dott sig av".split()  # French, Italian, Portuguese
)
_BEFORE_NUMBERS: Final = frozenset("no nr nº núm num n art fig p pp vol tel ext apt kap abs".split())  # noqa: SIM905
_ORDINAL_DIGITS: Final = 2  # "am 3. Mai", "1. Open the door."
_SHORT_PART: Final = 2  # letters between the points of "e.g.", "p.m.", "z.B.", "EE.UU."


@final
class Sentences:
    """Cuts a text into sentences while it arrives.

    A sentence ends at a new line, or at a full stop before a space or a letter of a script without spaces. It
    does not end after an abbreviation, an initial or an ordinal, in a number, or before a small letter, as
    after most ellipses. Text without such an end is cut after 300 characters, between clauses.
    """

    def __init__(self) -> None:
        self._text = ""

    def feed(self, text: str) -> list[str]:
        """Add *text* and return the sentences that are complete, with their white space."""
        self._text += text
        return self._taken(final=False)

    def end(self) -> list[str]:
        """Return the rest, and begin a new text."""
        rest = self._taken(final=True)
        self._text = ""
        return rest

    def _taken(self, *, final: bool) -> list[str]:
        ends = [0, *_cuts(self._text, final=final)]
        pieces = [self._text[start:end] for start, end in itertools.pairwise(ends)]
        self._text = self._text[ends[-1] :]
        return pieces


def _cuts(text: str, *, final: bool) -> Iterator[int]:
    """Yield where to cut *text*, as far as that can be decided before more of it arrives."""
    start = 0
    while start < len(text):
        end = _sentence_end(text, start, final=final)
        if (len(text) if end is None else end) - start > _LONGEST:
            end = start + _clause_end(text[start : start + _LONGEST])
        if end is None:
            return
        yield end
        start = end


def _sentence_end(text: str, start: int, *, final: bool) -> int | None:
    """Return where the sentence that begins at *start* ends; None if that is not known yet."""
    # Where a longer one ends does not matter.
    for found in _ENDS.finditer(text, start, start + 2 * _LONGEST):
        after = text[found.end() : found.end() + _LONGEST].lstrip()
        if not after and not final:
            return None
        if _is_end(text[start : found.start()], found[0], text[found.end() : found.end() + 1], after):
            return found.end()
    return len(text) if final else None


def _is_end(before: str, mark: str, adjacent: str, after: str) -> bool:
    if mark == "\n" or any(each in _FULL_STOPS for each in mark):
        return True
    is_ellipsis = mark.startswith(("…", ".."))
    if unicodedata.east_asian_width(adjacent or " ") in "WF":
        return not is_ellipsis  # in Chinese and Japanese, that is a pause
    if not after:
        return True
    if not adjacent.isspace() or after[0].islower():
        return False
    return is_ellipsis or mark[0] != "." or not _keeps_point(before, after[0])


def _keeps_point(before: str, following: str) -> bool:
    """Return whether the point after *before* belongs to its last word."""
    found = _LAST_WORD.search(before)
    word = found[0].lower() if found else ""
    if word.isdigit():
        return len(word) <= _ORDINAL_DIGITS
    if word in _BEFORE_NUMBERS and following.isdigit():
        return True
    is_initial = len(word) == 1 and word.upper() != word and word != "i"  # "So do I."
    parts = word.split(".")
    is_short = len(parts) > 1 and all(len(part) <= _SHORT_PART and part.isalpha() for part in parts)
    return word in _ABBREVIATIONS or is_initial or is_short


def _clause_end(text: str) -> int:
    """Return where to cut *text*, which has no end: in its second half, after the last clause, else word."""
    for pattern in (_CLAUSES, _SPACES):
        found = [each.end() for each in pattern.finditer(text, len(text) // 2)]
        if found:
            return found[-1]
    return len(text)


@final
class Speaker:
    """Speaks texts in order, each once, until the person interrupts. It belongs to one session.

    ::

        secret = await client.create_client_secret()
        if secret.speech_provider == "elevenlabs":
            async with Speaker(client, play, output_format="pcm_24000") as speaker:
                async for message in socket:
                    speaker.receive(message)

    A sentence is logged and skipped if it cannot be synthesized or *play* fails.

    Args:
        client: The backend's client, sync or async. You close it yourself.
        play: Plays the sound of one sentence, and returns when the next one may begin. It is cancelled when
            the person interrupts: then it must fall silent.
        ahead: How many sentences are synthesized, or wait for their turn, while one is played.
        max_pending: How many characters may wait to be spoken, 35 minutes of speech by default. Text beyond
            that is not spoken, and the log says so.
        voice: As for ``synthesize_speech``. Without ``output_format``, the backend's applies, often MP3.

    Raises:
        ValueError: If *ahead* is less than 1.
    """

    def __init__(
        self,
        client: Client,
        play: Callable[[SpeechAudio], Awaitable[Any]],
        *,
        ahead: int = 1,
        max_pending: int = 32_000,
        **voice: Unpack[SpeechOptions],
    ) -> None:
        if ahead < 1:
            raise ValueError(f"ahead must be at least 1; it is {ahead}.")
        self._client = client
        self._play = play
        self._ahead = ahead
        self._max_pending = max_pending
        self._voice = voice
        self._texts = _Texts()
        self._said = Sentences()  # of feed()
        self._pending: deque[str] = deque()
        self._syntheses: deque[asyncio.Task[SpeechAudio]] = deque()
        self._playing: asyncio.Task[None] | None = None
        self._sounding = asyncio.Lock()  # held until an interrupted play() has fallen silent
        self._tasks = BackgroundTasks(_log)
        self._closed = False

    def receive(self, event: Event) -> None:
        """Process one event of a Realtime session: speak its texts, and fall silent when the person speaks.

        The deltas of a text, the event at its end, its item and its response contain the same text, which is
        spoken only once. After an interruption, nothing more of its response is spoken.

        Args:
            event: As for ``RealtimeTools.receive``. Events that do not concern speech are ignored.

        Raises:
            TypeError: It is none of these.
        """
        received = parsed(event)
        if received.get("type") in _SILENCING or nested(received, "response", "status") == "cancelled":
            self.interrupt()
        self._add(self._texts.receive(received))

    def say(self, text: str) -> None:
        """Speak *text*, which is complete, after what is being spoken."""
        sentences = Sentences()
        self._add((*sentences.feed(text), *sentences.end()))

    def feed(self, text: str) -> None:
        """Speak the next part of a text that arrives in parts, as far as its sentences are complete."""
        self._add(self._said.feed(text))

    def flush(self) -> None:
        """Speak the rest of what was fed: the text is complete."""
        self._add(self._said.end())

    def interrupt(self) -> None:
        """Stop speaking: cancel ``play``, and drop all text and audio that is left."""
        self._texts.drop()
        self._said.end()
        self._pending.clear()
        for task in self._syntheses:
            task.cancel()
            self._tasks.abandon(task)
        self._syntheses.clear()
        self._syntheses = deque()  # a new one, so that what plays the old one stops
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None

    async def join(self) -> None:
        """Wait until everything has been spoken."""
        while self._playing is not None:
            await asyncio.wait((self._playing,))

    async def close(self) -> None:
        """Stop speaking, and speak no more. You can call this more than once."""
        self._closed = True
        self.interrupt()
        await self._tasks.close(0)

    def _add(self, sentences: Iterable[str]) -> None:
        if self._closed:
            return
        room = self._max_pending - sum(map(len, self._pending))
        for sentence in map(str.strip, sentences):
            if not any(map(str.isalnum, sentence)):  # a line of dashes, or an emoji
                continue
            room -= len(sentence)
            if room < 0:
                _log.warning("%d characters wait to be spoken; what is beyond is dropped", self._max_pending)
                break
            self._pending.append(sentence)
        self._advance()

    def _advance(self) -> None:
        """Synthesize as many sentences as *ahead* allows, and get them played."""
        while self._pending and len(self._syntheses) < self._ahead:
            synthesis = synthesize(self._client, self._pending.popleft(), self._voice)
            self._syntheses.append(self._tasks.start(synthesis, "synthesize_speech"))
        if self._syntheses and self._playing is None:
            self._playing = self._tasks.start(self._play_all(self._syntheses), "speak")

    async def _play_all(self, syntheses: deque[asyncio.Task[SpeechAudio]]) -> None:
        async with self._sounding:
            while syntheses:
                synthesis = syntheses.popleft()
                self._advance()
                try:
                    await self._play(await self._tasks.result(synthesis, lambda: True))
                except NavaiError as error:
                    _log.warning("A sentence is not spoken: %s", Redactor().error(str(error)))
                except Exception:  # noqa: BLE001 - the boundary to play(), whose failure must not end the rest
                    _log.exception("A sentence could not be played")
        if syntheses is self._syntheses:  # it was not interrupted
            self._playing = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def synthesize(client: Client, text: str, voice: SpeechOptions) -> SpeechAudio:
    """Return *text* as sound. A sync client works in a thread."""
    if isinstance(client, NavaiBackendClient):
        return await run_in_thread(partial(client.synthesize_speech, text, **voice))
    return await client.synthesize_speech(text, **voice)


class _Text:
    """One text of a session, as far as it has arrived."""

    def __init__(self) -> None:
        self._sentences = Sentences()
        self._length = 0
        self.is_done = False

    def feed(self, delta: Any) -> list[str]:
        """Add *delta* and return the sentences that it completes."""
        if self.is_done:
            return []
        self._length += len(_string(delta))
        return self._sentences.feed(_string(delta))

    def end(self, whole: Any) -> list[str]:
        """Return the sentences of *whole* that were not returned yet."""
        if self.is_done:
            return []
        rest = self.feed(_string(whole)[self._length :])
        self.is_done = True
        return [*rest, *self._sentences.end()]


class _Texts:
    """The texts in the events of one session."""

    def __init__(self) -> None:
        self._texts: OrderedDict[tuple[str, int], _Text] = OrderedDict()
        self._wanted: OrderedDict[str, bool] = OrderedDict()  # by response: False after an interruption

    def receive(self, event: Any) -> list[str]:
        """Return the sentences that *event* completes."""
        response = _string(event.get("response_id") or nested(event, "response", "id"))
        if response and not _remembered(self._wanted, response, new=True):
            return []
        match event.get("type"):
            case "response.output_text.delta" | "response.text.delta":
                return self._text(event, response).feed(event.get("delta"))
            case "response.output_text.done" | "response.text.done":
                return self._text(event, response).end(event.get("text"))
            case "response.output_item.done":
                return self._item(event.get("item"), response)
            case "response.done":
                items = _list(nested(event, "response", "output"))
                return [sentence for item in items for sentence in self._item(item, response)]
        return []

    def drop(self) -> None:
        """Return nothing more of the texts and responses that began."""
        self._wanted.update(dict.fromkeys(self._wanted, False))
        for text in self._texts.values():
            text.is_done = True

    def _item(self, item: Any, response: str) -> list[str]:
        if nested(item, "type") != "message" or nested(item, "role") != "assistant":
            return []
        sentences = []
        for index, part in enumerate(_list(item.get("content"))):
            if nested(part, "type") in {"output_text", "text"}:
                text = self._text({"item_id": item.get("id"), "content_index": index}, response)
                sentences += text.end(part.get("text"))
        return sentences

    def _text(self, event: Any, response: str) -> _Text:
        index = event.get("content_index")
        key = _string(event.get("item_id")) or response, index if isinstance(index, int) else 0
        return _remembered(self._texts, key, _Text())


def _remembered(known: OrderedDict[Any, T], key: Any, new: T) -> T:
    """Return what *known* has for *key*. If it has nothing, add *new*, and forget the oldest of many."""
    value = known.setdefault(key, new)
    if len(known) > _MAX_SEEN:
        known.popitem(last=False)
    return value


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
