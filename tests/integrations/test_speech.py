"""Speech of a session that returns text: which texts, in which pieces, in order, until interrupted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agents.realtime import RealtimeRunner
from hypothesis import given, strategies
from openai.types.realtime import ResponseTextDeltaEvent
from websockets.asyncio.client import connect

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient, SpeechAudio
from navai_client.integrations.openai_agents import (
    build_navai_agent,
    read_backend_session,
    realtime_model_config,
    speak_event,
)
from navai_client.integrations.realtime import RealtimeToolRunner
from navai_client.integrations.speech import Sentences, Speaker
from navai_client.integrations.toolset import Toolset
from navai_client.testing.realtime import (
    Action,
    BargeIn,
    Call,
    FakeElevenLabs,
    FakeRealtimeServer,
    Say,
    Until,
)
from tests.integrations.loop import in_a_loop
from tests.integrations.shop import Shop, served

LONG = "word " * 200


def pieces(*texts: str) -> list[str]:
    sentences = Sentences()
    found = [piece for text in texts for piece in sentences.feed(text)]
    return [piece.strip() for piece in (*found, *sentences.end()) if piece.strip()]


class TestSentences:
    """``Sentences`` alone."""

    @pytest.mark.parametrize(
        "text",
        [
            "It is sunny.|Bring a hat!|Shall I go on?|Yes",
            "Dr. Who and Mrs. Smith met J. R. Miller vs. nobody.|They left.",
            "It costs 3.5 or 1.000,50 euros.|In version 2.0.1, e.g. on Unix, it is free.",
            "So do I.|He came at 5 p.m. and left the U.S. Army.",
            "Well... it depends.|Hmm...|Perhaps.|And… then nothing.",
            'He asked: "Really?" she said.|"Yes."|(No!)|**Sure.**|End',
            "Am 3. Mai kommt Hr. Müller, z. B. mit dem Zug, ca. 5 km.|Gut.",
            "¡Hola!|¿Qué tal?|El Sr. García vive en EE.UU. desde 1990.|Bien.",
            "1. Open it.|2. Close it.|See No. 5 and p. 700.|No.|I said no.|Never.",
            "今日は晴れです。|明日は雨？|そう…ですか！|「はい。」|終わり",  # noqa: RUF001
            "你好！|今天3.5度……很冷。|好",  # noqa: RUF001
            "你好!|你好",
            "네.|그래요.|좋아요",
            "नमस्ते।|आप कैसे हैं?|ठीक",
            "كيف حالك؟|بخير",
            "A list:|- one|- two",
            "See https://shop.example/a.b?c=d!e for more.|Or write to a.b@shop.example.|Bye",
            "Yahoo! is a name.|Who?!|Me.",
        ],
    )
    def test_a_text_is_cut_where_a_sentence_ends(self, text: str) -> None:
        wanted = text.split("|")
        joint = "" if any("぀" <= each <= "鿿" for each in text) else " "
        whole = "\n".join(wanted) if text.startswith("A list") else joint.join(wanted)
        assert pieces(whole) == wanted
        assert pieces(*whole) == wanted  # letter by letter

    def test_a_sentence_is_complete_with_the_first_letter_of_the_next(self) -> None:
        sentences = Sentences()
        assert sentences.feed("It is sunny") == []
        assert sentences.feed(". ") == []  # it could be "sunny. in the sense of"
        assert sentences.feed("B") == ["It is sunny."]
        assert sentences.end() == [" B"]

    def test_what_has_no_end_is_cut_between_clauses_else_words_else_anywhere(self) -> None:
        clause, rest = pieces("word " * 50 + "word, " + "word " * 100)[:2]
        assert clause.endswith("word,")
        assert 200 < len(clause) <= 300
        assert rest.endswith("word")
        assert set(map(len, pieces("ก" * 900))) == {300}
        assert "".join(pieces("あ" * 250 + "、" + "い" * 250)[:1]).endswith("、")
        assert max(map(len, pieces(*LONG))) <= 300
        assert len(pieces(f"{LONG.strip()}. End")) == len(pieces(LONG.strip())) + 1

    @given(strategies.lists(strategies.text(alphabet=' \n.!?…。」"a1BéДあ가')))
    def test_nothing_is_lost_however_a_text_arrives(self, parts: list[str]) -> None:
        sentences = Sentences()
        found = [piece for part in parts for piece in sentences.feed(part)] + sentences.end()
        assert "".join(found) == "".join(parts)
        assert found == [*sentences.feed("".join(parts)), *sentences.end()]


class Ear:
    """A sink that records what it heard, and can be made to take its time."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.began: asyncio.Queue[bytes] = asyncio.Queue()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.stopped = 0

    async def __call__(self, audio: SpeechAudio) -> None:
        self.began.put_nowait(audio.audio)
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        self.heard.append(audio.audio)


def sounds(*texts: str) -> list[bytes]:
    return [FakeElevenLabs.sound(text) for text in texts]


@asynccontextmanager
async def speaking(voices: FakeElevenLabs, **options: Any) -> AsyncIterator[tuple[Speaker, Ear]]:
    """A speaker on a real backend."""
    ear = Ear()
    with served(Shop(), **voices.env) as url:
        async with AsyncNavaiBackendClient(url) as client, Speaker(client, ear, **options) as speaker:
            yield speaker, ear


async def requested(voices: FakeElevenLabs, count: int) -> list[str]:
    await asyncio.to_thread(voices.wait_for, count)
    return voices.texts


def text_events(text: str, *, item: str = "i1", response: str = "r1", status: str = "completed") -> list[Any]:
    """All events of one text, with what the API sends beside it."""
    where = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    content = [{"type": "output_text", "text": text}]
    message = {"id": item, "type": "message", "role": "assistant", "status": status, "content": content}
    half = len(text) // 2
    return [
        {"type": "response.created", "response": {"id": response, "status": "in_progress"}},
        {"type": "response.output_text.delta", **where, "delta": text[:half]},
        {"type": "response.output_text.delta", **where, "delta": text[half:]},
        {"type": "response.output_text.done", **where, "text": text},
        {"type": "conversation.item.done", "previous_item_id": None, "item": message},
        {"type": "response.output_item.done", "response_id": response, "output_index": 0, "item": message},
        {"type": "response.done", "response": {"id": response, "status": status, "output": [message]}},
    ]


class TestSpeaker:
    """Texts that are given to a ``Speaker``."""

    @in_a_loop
    async def test_sentences_are_played_in_order_whichever_is_synthesized_first(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices, ahead=3) as (speaker, ear):
                speaker.say("One. Two. Three. Four.")
                await speaker.join()
                assert ear.heard == sounds("One.", "Two.", "Three.", "Four.")
                await speaker.join()  # nothing is left

    @in_a_loop
    async def test_the_first_sentence_is_spoken_while_the_text_arrives(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                speaker.feed("One is he")
                speaker.feed("re. Tw")
                assert await ear.began.get() == FakeElevenLabs.sound("One is here.")
                speaker.feed("o")
                speaker.flush()
                await speaker.join()
                assert ear.heard == sounds("One is here.", "Two")

    @in_a_loop
    async def test_it_synthesizes_ahead_of_what_is_played_but_not_far(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices, ahead=2) as (speaker, ear):
                ear.may_end.clear()
                speaker.say("One. Two. Three. Four. Five.")
                await ear.began.get()
                assert sorted(await requested(voices, 3)) == ["One.", "Three.", "Two."]
                ear.may_end.set()
                await speaker.join()
                assert len(voices.texts) == 5

    @in_a_loop
    async def test_an_interruption_ends_the_sound_and_drops_what_is_left(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                ear.may_end.clear()
                speaker.say("One. Two. Three.")
                speaker.feed("Fo")
                await ear.began.get()
                speaker.interrupt()
                await speaker.join()
                speaker.say("Five.")
                ear.may_end.set()
                await speaker.join()
                assert (ear.heard, ear.stopped) == (sounds("Five."), 1)
                assert "Three." not in voices.texts

    @in_a_loop
    async def test_a_synthesis_that_began_is_abandoned_and_never_played(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                voices.answering.clear()
                speaker.say("One. Two.")
                await requested(voices, 2)
                speaker.interrupt()
                voices.answering.set()
                speaker.say("Three.")
                await speaker.join()
                assert ear.heard == sounds("Three.")

    @in_a_loop
    async def test_what_plays_on_although_it_is_cancelled_keeps_its_place_alone(self) -> None:
        with FakeElevenLabs() as voices:
            deaf = asyncio.Event()
            heard: list[bytes] = []

            async def play(audio: SpeechAudio) -> None:
                heard.append(audio.audio)
                if len(heard) == 1:
                    began.set()
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        await deaf.wait()

            began = asyncio.Event()
            with served(Shop(), **voices.env) as url:
                async with AsyncNavaiBackendClient(url) as client, Speaker(client, play) as speaker:
                    speaker.say("One. Two.")
                    await began.wait()
                    speaker.interrupt()
                    speaker.say("Three. Four.")
                    await requested(voices, 3)
                    assert heard == sounds("One.")
                    deaf.set()
                    await speaker.join()
                    assert heard == sounds("One.", "Three.", "Four.")

    @in_a_loop
    async def test_what_cannot_be_synthesized_or_played_is_logged_and_the_rest_goes_on(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Ear):
            async def __call__(self, audio: SpeechAudio) -> None:
                await super().__call__(audio)
                if len(self.heard) == 1:
                    raise OSError("the loudspeaker is gone")

        with FakeElevenLabs(refuse=["Two."]) as voices, served(Shop(), **voices.env) as url:
            async with AsyncNavaiBackendClient(url) as client, Speaker(client, Broken()) as speaker:
                speaker.say("One. Two. Three.")
                await speaker.join()
                assert sorted(await requested(voices, 3)) == ["One.", "Three.", "Two."]
        logged = [(each.levelno, each.getMessage()) for each in caplog.records if each.name == "navai_client"]
        assert (logging.ERROR, "A sentence could not be played") in logged
        (warning,) = (text for level, text in logged if level == logging.WARNING)
        assert warning.startswith("A sentence is not spoken: ")
        assert "500" in warning

    @in_a_loop
    async def test_what_waits_to_be_spoken_is_bounded(self, caplog: pytest.LogCaptureFixture) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices, max_pending=20) as (speaker, ear):
                ear.may_end.clear()
                speaker.say("One.")
                await ear.began.get()
                speaker.say("Two.")
                speaker.say("Three is kept. Four is too much. Five.")
                ear.may_end.set()
                await speaker.join()
                assert ear.heard == sounds("One.", "Two.", "Three is kept.")
        assert "20 characters wait to be spoken; what is beyond is dropped" in caplog.text

    @in_a_loop
    async def test_what_has_no_words_is_not_sent(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                speaker.say("---\n\n🙂 …\n* Hello *\n")
                await speaker.join()
                assert voices.texts == ["* Hello *"]
                assert ear.heard == sounds("* Hello *")

    @in_a_loop
    async def test_after_its_end_it_says_nothing(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                ear.may_end.clear()
                speaker.say("One. Two.")
                await ear.began.get()
                await speaker.close()
                speaker.say("Three.")
                await speaker.join()
                await speaker.close()
                assert (ear.heard, ear.stopped) == ([], 1)
                assert "Three." not in voices.texts

    @in_a_loop
    async def test_options_of_the_voice_are_sent_and_a_client_of_threads_will_do(self) -> None:
        ear = Ear()
        with (
            FakeElevenLabs() as voices,
            served(Shop(), **voices.env) as url,
            NavaiBackendClient(url) as client,
        ):
            async with Speaker(client, ear, output_format="pcm_8000") as speaker:
                speaker.say("One.")
                await speaker.join()
        assert ear.heard == [FakeElevenLabs.sound("One.", 8000)]

    def test_it_must_be_able_to_synthesize_something(self) -> None:
        with pytest.raises(ValueError, match="ahead must be at least 1; it is 0"):
            Speaker(NavaiBackendClient(), Ear(), ahead=0)


MESSAGE = {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Me."}]}
SPOKEN = {**MESSAGE, "content": [None, {"type": "output_audio", "transcript": "Heard already."}]}


class TestWhichTexts:
    """Events that are given to a ``Speaker``."""

    @in_a_loop
    async def test_a_text_is_spoken_once_although_four_events_report_it(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                for event in text_events("One. Two") * 2:
                    speaker.receive(event)
                for event in text_events("One. Two", item="i2", response="r2"):  # the same words, said again
                    speaker.receive(event)
                await speaker.join()
                assert ear.heard == sounds("One.", "Two", "One.", "Two")

    @pytest.mark.parametrize("first", [3, 5, 6])
    @in_a_loop
    async def test_any_event_that_has_the_whole_text_will_do(self, first: int) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                for event in text_events("One.")[first:]:
                    speaker.receive(event)
                await speaker.join()
                assert ear.heard == sounds("One.")

    @in_a_loop
    async def test_the_first_event_of_a_text_can_come_as_an_object_and_the_rest_be_cut_off(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                delta = {**text_events("One.")[2], "event_id": "e1", "delta": "On"}
                speaker.receive(ResponseTextDeltaEvent.model_validate(delta))
                speaker.receive(text_events("One. Two.")[-1])
                await speaker.join()
                assert ear.heard == sounds("One.", "Two.")

    @pytest.mark.parametrize(
        "event",
        [
            {"type": "response.output_audio_transcript.done", "item_id": "i", "transcript": "Heard already."},
            {"type": "response.output_text.done", "item_id": "i", "text": None},
            {"type": "response.output_item.done", "item": {"id": "f", "type": "function_call", "name": "x"}},
            {"type": "response.output_item.done", "item": "no item"},
            {"type": "response.output_item.done", "item": {**MESSAGE, "role": "user"}},
            {"type": "response.done", "response": {"id": "r", "output": [SPOKEN]}},
            {"type": "response.done", "response": {"id": "r", "output": None}},
            {"type": "response.output_text.delta", "item_id": "i", "delta": 7},
        ],
    )  # fmt: skip
    @in_a_loop
    async def test_other_events_say_nothing(self, event: Any) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, _):
                speaker.receive(event)
                await speaker.join()
                assert voices.texts == []

    @in_a_loop
    async def test_texts_without_ids_are_those_of_their_response(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                for _ in range(2):
                    speaker.receive({"type": "response.text.done", "response_id": "r1", "text": "One."})
                speaker.receive({"type": "response.text.done", "response_id": "r2", "text": "Two."})
                await speaker.join()
                assert ear.heard == sounds("One.", "Two.")

    @pytest.mark.parametrize(
        "silencing",
        [
            {"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "u1"},
            {"type": "conversation.item.input_audio_transcription.started"},
            {"type": "response.done", "response": {"id": "r1", "status": "cancelled"}},
        ],
    )
    @in_a_loop
    async def test_after_an_interruption_nothing_of_that_response_is_spoken(self, silencing: Any) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                began = text_events("One. Two.")
                for event in began[:3]:
                    speaker.receive(event)
                await ear.began.get()
                ear.may_end.clear()
                speaker.receive(silencing)
                late = text_events("Late.", item="i2")
                for event in (*began[3:], *late, {**late[3], "response_id": None, "item_id": "i1"}):
                    speaker.receive(event)
                ear.may_end.set()
                for event in text_events("New.", item="i3", response="r3"):
                    speaker.receive(event)
                await speaker.join()
                assert ear.heard[-1:] == sounds("New.")
                assert not {"Two.", "Late."} & set(voices.texts)

    @in_a_loop
    async def test_it_remembers_a_thousand_texts(self) -> None:
        with FakeElevenLabs() as voices:
            async with speaking(voices) as (speaker, ear):
                for number in range(1001):
                    speaker.receive({"type": "response.text.done", "item_id": f"i{number}", "text": "..."})
                speaker.receive({"type": "response.text.done", "item_id": "i1", "text": "Known."})
                speaker.receive({"type": "response.text.done", "item_id": "i0", "text": "Forgotten."})
                await speaker.join()
                assert ear.heard == sounds("Forgotten.")


@asynccontextmanager
async def raw_session(
    script: Any, voices: FakeElevenLabs
) -> AsyncIterator[tuple[FakeRealtimeServer, Ear, Speaker, Callable[[str], Any]]]:
    """A session over a WebSocket of one's own, with a backend that speaks through ElevenLabs."""
    ear = Ear()
    async with FakeRealtimeServer(script) as api:
        with served(Shop(), api.openai_base_url, **voices.env) as url:
            async with AsyncNavaiBackendClient(url) as client, Toolset.load(client) as toolset:
                secret = await client.create_client_secret()
                assert secret.speech_provider == "elevenlabs"
                headers = {"Authorization": f"Bearer {secret.value}"}
                async with (
                    connect(api.url, additional_headers=headers) as socket,
                    RealtimeToolRunner(toolset, socket.send) as runner,
                    Speaker(client, ear) as speaker,
                ):

                    async def listen() -> None:
                        async for message in socket:
                            await runner.receive(message)
                            speaker.receive(message)

                    listening = asyncio.create_task(listen())
                    await runner.offer()
                    yield api, ear, speaker, socket.send
                    await socket.close()
                    await listening


@pytest.mark.usefixtures("no_proxy")
class TestARealtimeSession:
    """A raw loop, with the fakes of both upstreams."""

    @in_a_loop
    async def test_it_is_heard_with_its_tools(self) -> None:
        script = [Call("get_weather", {"location": "Bogotá"}, "c1"), Say("It is sunny. Take a hat.")]
        with FakeElevenLabs() as voices:
            async with raw_session(script, voices) as (api, ear, speaker, send):
                await send('{"type": "response.create"}')
                await api.wait_async(60)
                await requested(voices, 2)
                await speaker.join()
                assert ear.heard == sounds("It is sunny.", "Take a hat.")
                assert api.session.config["output_modalities"] == ["text"]

    @in_a_loop
    async def test_the_person_interrupts(self) -> None:
        script = [[Say("One. Two. Three."), Until("never"), Say("Late.")], Say("Yes?")]
        with FakeElevenLabs() as voices:
            async with raw_session(script, voices) as (api, ear, speaker, send):
                ear.may_end.clear()
                await send('{"type": "response.create"}')
                await ear.began.get()
                await asyncio.to_thread(api.speak, "Wait.")
                assert await ear.began.get() == FakeElevenLabs.sound("Yes?")
                ear.may_end.set()
                await speaker.join()
                assert (ear.heard, ear.stopped) == (sounds("Yes?"), 1)
                assert not {"Three.", "Late."} & set(voices.texts)

    @in_a_loop
    async def test_an_interruption_in_the_script_ends_the_text(self) -> None:
        script = [[Say("One. Two. Three."), BargeIn("Wait.")], Say("Yes?")]
        with FakeElevenLabs() as voices:
            voices.answering.clear()
            async with raw_session(script, voices) as (api, ear, speaker, send):
                await send('{"type": "response.create"}')
                await api.wait_async(60)
                while voices.texts[-1:] != ["Yes?"]:
                    await requested(voices, len(voices.texts) + 1)
                voices.answering.set()
                await speaker.join()
                assert ear.heard == sounds("Yes?")


@pytest.mark.usefixtures("no_proxy")
class TestTheAgentsSDK:
    """A session of the OpenAI Agents SDK."""

    @in_a_loop
    async def test_is_heard_until_the_person_speaks(self) -> None:
        script: list[Action | list[Action]] = [
            Call("get_weather", {"location": "Bogotá"}, "c1"),
            [Say("It is sunny. Take a hat! Bye."), Until("never")],
            Say("Yes?"),
        ]
        ear = Ear()
        with FakeElevenLabs() as voices:
            async with FakeRealtimeServer(script) as api:
                with served(Shop(), api.openai_base_url, **voices.env) as url:
                    async with (
                        AsyncNavaiBackendClient(url) as client,
                        Toolset.load(client) as toolset,
                        Speaker(client, ear, output_format="pcm_24000") as speaker,
                    ):
                        found = await read_backend_session(client, url=api.url)
                        assert found.speech_provider == "elevenlabs"
                        config = realtime_model_config(client, found, url=api.url)
                        runner = RealtimeRunner(build_navai_agent(toolset), config={"tracing_disabled": True})
                        session = await runner.run(model_config=config)
                        async with session:

                            async def listen() -> None:
                                async for event in session:
                                    speak_event(speaker, event)

                            listening = asyncio.create_task(listen())
                            await session.send_message("How is the weather?")
                            assert await ear.began.get() == FakeElevenLabs.sound("It is sunny.")
                            ear.may_end.clear()
                            assert await ear.began.get() == FakeElevenLabs.sound("Take a hat!")
                            await asyncio.to_thread(api.speak, "Wait.")
                            assert await ear.began.get() == FakeElevenLabs.sound("Yes?")
                            ear.may_end.set()
                            await speaker.join()
                        await listening
        assert ear.heard == sounds("It is sunny.", "Yes?")
        assert ear.stopped == 1
