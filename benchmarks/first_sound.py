"""The time from the first word of a model to the first sound of an agent whose backend speaks.

The session returns text: a word every 20 ms. A backend over HTTP has it synthesized by a stand-in for
ElevenLabs, which takes 0.15 s and a twentieth of the time that the speech lasts. Both ways of speaking take
turns: sentence by sentence, with a ``Speaker``; and the whole text when it is complete, as the published
JavaScript client does.
"""

import asyncio
import re
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from navai_client import AsyncNavaiBackendClient, SpeechAudio
from navai_client.integrations.speech import Speaker
from navai_client.server import NavaiBackend
from navai_client.testing.realtime import FakeElevenLabs
from tests.serving import serving_app

WORD = 0.02  # seconds: 65 tokens in a second
TEXTS = {
    "one sentence": "It is sunny in Bogotá, at twenty-one degrees.",
    "four sentences": "It is sunny in Bogotá. The temperature is twenty-one degrees, and it will rise until "
    "the afternoon. In the evening there may be some rain. Shall I look for a table on a terrace?",
}
TEXTS["sixteen sentences"] = " ".join([TEXTS["four sentences"]] * 4)
ROUNDS = 9


def takes(text: str) -> float:
    """Return the seconds that a synthesis takes."""
    return 0.15 + len(FakeElevenLabs.sound(text)) / 48_000 / 20


def events(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the events of a text."""
    where = {"response_id": name, "item_id": name, "content_index": 0}
    for word in re.findall(r"\s*\S+", text):
        yield {"type": "response.output_text.delta", **where, "delta": word}
    yield {"type": "response.output_text.done", **where, "text": text}


async def first_sound(client: AsyncNavaiBackendClient, text: str, name: str, *, whole: bool) -> float:
    """Return the milliseconds from the first word to the first sound."""
    sounded = asyncio.Event()

    async def play(_: SpeechAudio) -> None:
        sounded.set()

    async with Speaker(client, play) as speaker:
        began = time.perf_counter()
        for event in events(text, name):
            if not whole:
                speaker.receive(event)
            elif "text" in event:
                await client.synthesize_speech(event["text"])
                sounded.set()
            if sounded.is_set():
                break
            await asyncio.sleep(WORD)
        await sounded.wait()
        return 1000 * (time.perf_counter() - began)


async def measure(client: AsyncNavaiBackendClient, text: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of both ways, in pairs."""
    sentences, whole = [], []
    for number in range(rounds):
        sentences.append(await first_sound(client, text, f"r{number}", whole=False))
        whole.append(await first_sound(client, text, f"r{number}", whole=True))
    return sentences, whole


async def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    with FakeElevenLabs(takes=takes) as voices:
        env = {"OPENAI_API_KEY": "sk-none", **voices.env}
        with serving_app(NavaiBackend(env=env, discover=False)) as url:
            async with AsyncNavaiBackendClient(url) as client:
                await client.warmup()
                print("| a text of | by sentence, ms | the whole text, ms | ratio, median of pairs |")
                print("| --- | --- | --- | --- |")
                for name, text in TEXTS.items():
                    both = await measure(client, text, rounds)
                    ratio = statistics.median(one / other for one, other in zip(*both, strict=True))
                    cells = " | ".join(_cell(each) for each in both)
                    print(f"| {name} | {cells} | {ratio:.2f} |")


def _cell(taken: list[float]) -> str:
    return f"{statistics.median(taken):.0f} ({min(taken):.0f}-{max(taken):.0f})"


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
