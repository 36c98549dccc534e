"""Tool calls of a Realtime session without a framework: the protocol alone, and with real WebSockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.realtime import (
    FunctionCall,
    RealtimeStep,
    RealtimeToolRunner,
    RealtimeTools,
    session_update,
)
from navai_client.integrations.toolset import Toolset
from navai_client.server import NavaiBackend, ToolError
from navai_client.testing.realtime import Action, BargeIn, Call, FakeRealtimeServer, Raw, Say
from tests.integrations.live_backend import approving_backend, live_backend
from tests.integrations.loop import in_a_loop
from tests.integrations.shop import Shop, served


def created(response: str = "r1") -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response, "status": "in_progress"}}


def done(response: str = "r1", status: str = "completed") -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": response, "status": status}}


def called(call_id: str, response: str = "r1", /, **fields: Any) -> dict[str, Any]:
    item = {
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": "get_weather",
        "arguments": "{}",
    }
    return {"type": "response.output_item.done", "response_id": response, "item": {**item, **fields}}


class Played:
    """Feeds events and records the steps."""

    def __init__(self) -> None:
        self.tools = RealtimeTools()
        self.calls: list[FunctionCall] = []
        self.sent: list[dict[str, Any]] = []

    def __call__(self, *events: Any) -> "Played":
        for event in events:
            self._note(self.tools.receive(event))
        return self

    def answer(self, *call_ids: str) -> "Played":
        for call_id in call_ids:
            call = next(call for call in self.calls if call.call_id == call_id)
            self._note(self.tools.answer(call, f"result of {call_id}"))
        return self

    def answer_last(self) -> None:
        self._note(self.tools.answer(self.calls[-1], "result"))

    @property
    def kinds(self) -> list[str]:
        return [event.get("item", {}).get("call_id", event["type"]) for event in self.sent]

    def _note(self, step: RealtimeStep) -> None:
        self.calls += step.calls
        self.sent += step.send


@pytest.fixture
def play() -> Played:
    return Played()


class TestTelling:
    """A text for the model, such as what came of a call that waited for approval."""

    def test_an_idle_model_responds_at_once(self, play: Played) -> None:
        step = play.tools.tell("It was refunded.")
        item, create = step.send
        content = [{"type": "input_text", "text": "It was refunded."}]
        assert item == {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "system", "content": content},
        }
        assert create["type"] == "response.create"
        assert [event["type"] for event in play.tools.tell("And again.").send] == ["conversation.item.create"]

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (created(), done()),
            ({"type": "input_audio_buffer.speech_started"}, {"type": "input_audio_buffer.speech_stopped"}),
        ],
        ids=["another response", "the person speaks"],
    )
    def test_a_busy_one_reads_it_before_it_responds_next(self, play: Played, before: Any, after: Any) -> None:
        play({"type": "session.updated", "session": {"audio": {"input": {"turn_detection": None}}}}, before)
        assert [event["type"] for event in play.tools.tell("It was refunded.").send] == [
            "conversation.item.create"
        ]
        assert play(after).kinds == ["response.create"]


class TestSaying:
    """What the person is told while calls run."""

    def _say(self, play: Played) -> list[dict[str, Any]]:
        send = play.tools.say(play.calls[0], "I am looking.").send
        play.sent += send
        return [*send]

    def test_it_is_a_response_of_its_own_which_calls_nothing(self, play: Played) -> None:
        play(created(), called("c1"), done())
        (request,) = self._say(play)
        assert request["type"] == "response.create"
        assert request["response"].keys() == {"instructions", "tool_choice", "metadata"}
        assert request["response"]["instructions"].endswith(
            "in the language of the conversation: I am looking."
        )
        assert request["response"]["tool_choice"] == "none"

    def test_it_waits_while_the_model_speaks_and_the_output_is_read_afterwards(self, play: Played) -> None:
        play(created(), called("c1"), called("c2"))
        assert self._say(play) == []
        play(done())
        assert play.kinds == ["response.create"]
        filler = created("filler")
        filler["response"]["metadata"] = play.sent[0]["response"]["metadata"]
        play.answer("c1", "c2")
        assert play(filler).kinds == ["response.create", "c1", "c2"]
        assert play(done("filler")).kinds == ["response.create", "c1", "c2", "response.create"]
        assert "response" not in play.sent[-1]

    def test_it_is_not_said_once_the_calls_have_ended(self, play: Played) -> None:
        play(created(), called("c1"))
        self._say(play)
        play.answer("c1")(done())
        assert play.kinds == ["c1", "response.create"]
        assert "response" not in play.sent[-1]
        assert self._say(play) == []

    def test_one_that_is_refused_is_not_said_and_the_output_is_read(self, play: Played) -> None:
        play(created(), called("c1"), done())
        (request,) = self._say(play)
        play(
            {
                "type": "error",
                "error": {
                    "code": "conversation_already_has_active_response",
                    "event_id": request["event_id"],
                },
            }
        )
        assert play.answer("c1").kinds == ["response.create", "c1", "response.create"]


class TestWhichCallsAreRun:
    """Completed calls, each once."""

    def test_a_completed_call_is(self, play: Played) -> None:
        play(created(), called("c1", arguments='{"a": 1}'))
        (call,) = play.calls
        assert call == FunctionCall(call_id="c1", name="get_weather", arguments='{"a": 1}', response_id="r1")

    @pytest.mark.parametrize("status", ["incomplete", "in_progress", None])
    def test_one_that_is_not_completed_is_not(self, play: Played, status: str | None) -> None:
        assert not play(created(), called("c1", status=status), done(status="incomplete")).calls

    def test_arguments_alone_start_nothing(self, play: Played) -> None:
        event = {"type": "response.function_call_arguments.done", "call_id": "c1", "arguments": "{}"}
        assert not play(created(), event).calls

    def test_a_call_that_comes_again_is_not(self, play: Played) -> None:
        assert len(play(created(), called("c1"), called("c1"), done(), called("c1")).calls) == 1

    def test_a_later_response_may_use_an_id_again(self, play: Played) -> None:
        """Several models count the ids of calls anew in each turn."""
        for response in ("r1", "r2", ""):
            play(created(response), called("search:0", response), done(response))
            play.answer_last()
        assert play.kinds == ["search:0", "response.create"] * 3

    def test_calls_of_a_server_without_response_ids_differ_by_their_items(self, play: Played) -> None:
        assert (
            len(play(called("c1", "", id="i1"), called("c1", "", id="i1"), called("c1", "", id="i2")).calls)
            == 2
        )

    def test_a_limited_number_of_calls_is_remembered(self, play: Played) -> None:
        for number in range(1200):
            play(called("c", f"r{number}"))
        assert len(play(called("c", "r1199")).calls) == 1200
        assert len(play(called("c", "r0")).calls) == 1201

    @pytest.mark.parametrize(
        "fields",
        [{"call_id": None}, {"call_id": ""}, {"call_id": 7}, {"name": None}, {"type": "message"}],
        ids=str,
    )
    def test_one_without_an_id_or_a_name_is_not(self, play: Played, fields: dict[str, Any]) -> None:
        assert not play(created(), called("c1", **fields)).calls

    def test_arguments_that_are_not_a_string_are_empty(self, play: Played) -> None:
        assert play(created(), called("c1", arguments=None)).calls[0].arguments == ""

    @pytest.mark.parametrize(
        "event",
        ["{", b"\xff", "[" * 100_000, "null", "[]", {}, {"type": 7}, {"type": "response.output_item.done"}]
        + [{"type": kind, "response": 7} for kind in ("response.created", "response.done")]
        + [{"type": kind, "session": 7} for kind in ("session.created", "session.updated")]
        + [{"type": "error"}, {"type": "error", "error": {"event_id": "mine"}}],
        ids=lambda event: str(event)[:40],
    )
    def test_what_is_not_an_event_is_ignored(self, play: Played, event: Any) -> None:
        play(event)
        assert (play.calls, play.sent) == ([], [])
        assert play(json.dumps(created()), json.dumps(called("c1")).encode()).calls

    @pytest.mark.parametrize("event", [None, 7, [created()]], ids=str)
    def test_what_can_be_no_event_is_a_mistake_of_the_program(self, play: Played, event: Any) -> None:
        with pytest.raises(TypeError, match="A Realtime event is JSON text, a mapping or an object"):
            play(event)


class TestWhenAResponseIsRequested:
    """Once for each response with calls, when nothing else happens."""

    def test_once_when_all_calls_have_their_output(self, play: Played) -> None:
        play(created(), called("c1"), called("c2"), done()).answer("c2")
        assert play.kinds == ["c2"]
        play.answer("c1")
        assert play.kinds == ["c2", "c1", "response.create"]
        play.answer("c1")
        assert len(play.kinds) == 3

    def test_not_before_the_response_is_done(self, play: Played) -> None:
        play(created(), called("c1")).answer("c1")
        assert play.kinds == ["c1"]
        assert play(done()).kinds == ["c1", "response.create"]

    def test_not_before_the_turn_that_interrupted_the_response_is_over(self, play: Played) -> None:
        play(created(), called("c1"), done(status="cancelled")).answer("c1")
        assert play.kinds == ["c1"]
        assert play(created("r2"), done("r2")).kinds == ["c1"]  # which has read the output

    @pytest.mark.parametrize("detection", [{"type": "server_vad"}, None])
    def test_after_that_turn_if_it_did_not_read_the_output(self, play: Played, detection: Any) -> None:
        """The booking was made while the person spoke: somebody has to say so."""
        started, stopped = ({"type": f"input_audio_buffer.speech_{what}"} for what in ("started", "stopped"))
        session = {"type": "session.created", "session": {"audio": {"input": {"turn_detection": detection}}}}
        play(session, created(), called("c1"), started, done(status="cancelled"), stopped, created("r2"))
        assert play.answer("c1").kinds == ["c1"]
        assert play(done("r2")).kinds == ["c1", "response.create"]

    def test_after_an_interruption_to_which_nobody_responds(self, play: Played) -> None:
        started, stopped = ({"type": f"input_audio_buffer.speech_{what}"} for what in ("started", "stopped"))
        session = {"type": "session.created", "session": {"audio": {"input": {"turn_detection": None}}}}
        play(session, created(), called("c1"), started, done(status="cancelled")).answer("c1")
        assert play.kinds == ["c1"]
        assert play(stopped).kinds == ["c1", "response.create"]

    def test_not_while_another_response_is_active(self, play: Played) -> None:
        play(created(), called("c1"), done(), created("r2")).answer("c1")
        assert play.kinds == ["c1"]
        assert play(done("r2")).kinds == ["c1", "response.create"]

    def test_not_while_the_person_speaks_nor_after_if_the_server_responds(self, play: Played) -> None:
        started, stopped = ({"type": f"input_audio_buffer.speech_{what}"} for what in ("started", "stopped"))
        play(created(), called("c1"), done(), started).answer("c1")
        assert play(stopped, created("r2"), done("r2")).kinds == ["c1"]

    @pytest.mark.parametrize("detection", [None, {"type": "server_vad", "create_response": False}])
    def test_but_after_if_the_server_does_not(self, play: Played, detection: Any) -> None:
        started, stopped = ({"type": f"input_audio_buffer.speech_{what}"} for what in ("started", "stopped"))
        session = {"type": "session.created", "session": {"audio": {"input": {"turn_detection": detection}}}}
        play(session, created(), called("c1"), done(), started).answer("c1")
        assert play.kinds == ["c1"]
        assert play(stopped).kinds == ["c1", "response.create"]

    def test_not_twice_before_the_server_reacts(self, play: Played) -> None:
        play(created(), called("c1"), done(), created("r2"), called("c2", "r2"), done("r2"))
        assert play.answer("c1", "c2").kinds == ["c1", "response.create", "c2"]
        assert play(created("r3"), done("r3")).kinds == ["c1", "response.create", "c2"]

    def test_again_if_another_response_was_active(self, play: Played) -> None:
        play(created(), called("c1"), done()).answer("c1")
        error = {
            "code": "conversation_already_has_active_response",
            "event_id": play.sent[-1]["event_id"],
        }
        play({"type": "error", "error": error})
        assert play.kinds == ["c1", "response.create"]
        assert play(done("somebody's")).kinds == ["c1", "response.create", "response.create"]
        assert play.sent[-1]["event_id"] != play.sent[-2]["event_id"]

    def test_again_after_a_response_that_came_first(self, play: Played) -> None:
        play(created(), called("c1"), done()).answer("c1")
        error = {
            "code": "conversation_already_has_active_response",
            "event_id": play.sent[-1]["event_id"],
        }
        play(created("r2"), {"type": "error", "error": error})
        assert play(done("r2")).kinds == ["c1", "response.create", "response.create"]

    def test_not_again_after_another_error(self, play: Played) -> None:
        play(created(), called("c1"), done()).answer("c1")
        play({"type": "error", "error": {"code": "rate_limit", "event_id": play.sent[-1]["event_id"]}})
        play(created("r2"), called("c2", "r2"), done("r2")).answer("c2")
        assert play.kinds == ["c1", "response.create", "c2", "response.create"]

    def test_the_output_has_the_form_of_the_protocol(self, play: Played) -> None:
        play(created(), called("c1")).answer("c1")
        assert play.sent == [
            {
                "type": "conversation.item.create",
                "item": {"type": "function_call_output", "call_id": "c1", "output": "result of c1"},
            }
        ]


SCRIPT: list[list[Action] | Action] = [
    [Call("get_weather", {"location": "Bogotá"}, "call_1"), Call("fails", {}, "call_2"), Raw("{")],
    [Call("book", {"table": 7}, "call_3"), BargeIn("Are you there?")],
    Say("I am booking."),
    Say("The table is booked."),
]


@asynccontextmanager
async def spoken_to(api: FakeRealtimeServer, toolset: Toolset) -> AsyncIterator[None]:
    """Ask for a response in a session of *api* whose events a runner gets; play the script to its end."""
    async with (
        connect(api.url, additional_headers={"Authorization": "Bearer ek_1"}) as socket,
        RealtimeToolRunner(toolset, socket.send) as runner,
    ):

        async def listen() -> None:
            async for message in socket:
                await runner.receive(message)

        listening = asyncio.create_task(listen())
        await runner.offer()
        await socket.send('{"type": "response.create"}')
        yield
        await api.wait_async(60)
        await socket.close()
        await listening


@pytest.mark.usefixtures("no_proxy")
class TestOverAWebSocket:
    """From a backend to a session and back, with common libraries."""

    @in_a_loop
    async def test_with_the_websockets_library(self) -> None:
        shop = Shop()
        async with FakeRealtimeServer(SCRIPT) as api:
            with served(shop, api.openai_base_url, OPENAI_REALTIME_VOICE="cedar") as url:
                async with (
                    AsyncNavaiBackendClient(url) as client,
                    await Toolset.load(client) as toolset,
                ):
                    secret = await client.create_client_secret()
                    headers = {"Authorization": f"Bearer {secret.value}"}
                    async with (
                        connect(api.url, additional_headers=headers) as socket,
                        RealtimeToolRunner(toolset, socket.send) as runner,
                    ):

                        async def listen() -> None:
                            async for message in socket:
                                await runner.receive(message)
                                if api.session.said:
                                    shop.may_end.set()

                        listening = asyncio.create_task(listen())
                        await runner.offer()
                        await socket.send('{"type": "response.create"}')
                        assert await asyncio.to_thread(shop.entered.acquire, timeout=60)
                        await api.wait_async(60)
                        await socket.close()
                        await listening
            session = api.session
            assert {call_id: json.loads(text[0])["ok"] for call_id, text in session.outputs.items()} == {
                "call_1": True,
                "call_2": False,
                "call_3": True,
            }
            # One for the two parallel calls, one for the result that came during the interruption.
            assert len(session.sent("response.create")) == 3
            assert session.said == ["I am booking.", "The table is booked."]
            assert session.config["audio"]["output"]["voice"] == "cedar"
            assert sorted(shop.ran) == ["book", "fails", "get_weather"]

    @in_a_loop
    async def test_with_the_openai_package(self) -> None:
        shop = Shop()
        script = [Call("get_weather", {"location": "Bogotá"}, "call_1"), Say("Sunny.")]
        async with FakeRealtimeServer(script) as api:
            with served(shop, api.openai_base_url) as url:
                async with (
                    AsyncNavaiBackendClient(url) as client,
                    await Toolset.load(client) as toolset,
                    AsyncOpenAI(
                        api_key=client.client_secrets(), websocket_base_url=api.websocket_base_url
                    ) as openai,
                    openai.realtime.connect(model="gpt-realtime") as connection,
                ):
                    async with RealtimeToolRunner(toolset, connection.send, as_text=False) as runner:
                        await runner.offer(instructions="You know the weather.")
                        await connection.response.create()
                        async for event in connection:
                            await runner.receive(event)
                            if api.session.said:
                                break
                    assert api.session.instructions == "You know the weather."
                    assert api.session.model == "gpt-realtime"
                    assert json.loads(api.session.outputs["call_1"][0])["result"]["temperature"] == 21

    @pytest.mark.usefixtures("asked_often")
    @in_a_loop
    async def test_the_model_is_told_what_came_of_a_call_that_waited_for_approval(self) -> None:
        script = [Call("refund", {"order": "o-1"}, "call_1"), Say("It waits."), Say("It was refunded.")]
        async with (
            FakeRealtimeServer(script, secrets=["ek_1"]) as api,
            approving_backend() as live,
            AsyncNavaiBackendClient(live.url) as client,
            Toolset.load(client) as toolset,
            spoken_to(api, toolset),
        ):
            await api.wait_for_async("conversation.item.create", timeout=60)
            await live.decide("approve")
        _, told = api.session.sent("conversation.item.create")
        (content,) = told["item"]["content"]
        assert (told["item"]["role"], content["type"]) == ("system", "input_text")
        assert content["text"].startswith(
            'What came of the call of refund with the arguments {"order":"o-1"}'
        )
        assert '"result":"refunded o-1"' in content["text"]
        assert json.loads(api.session.outputs["call_1"][0])["pending"] is True
        assert api.session.said == ["It waits.", "It was refunded."]

    @pytest.mark.parametrize("local", [False, True], ids=["backend", "local"])
    @in_a_loop
    async def test_the_model_reads_what_was_written_for_it_about_a_failure(self, local: bool) -> None:
        def book(day: date) -> str:
            """Book a table."""
            if day == date(2030, 5, 17):
                raise ToolError(f"There is no table left on {day}. Bearer abcdef0123456789")
            raise ValueError("connection to db.internal refused")

        days = {"full": "2030-05-17", "wrong": "tomorrow", "broken": "2030-05-18"}
        calls: list[Action] = [Call("book", {"day": day}, name) for name, day in days.items()]
        backend = NavaiBackend(env={"NAVAI_EXPOSE_ERRORS": "false"}, discover=False)
        if not local:
            backend.function(book)
        async with (
            FakeRealtimeServer([calls, Say("We are full.")], secrets=["ek_1"]) as api,
            backend.lifespan(),
            AsyncNavaiBackendClient("http://shop", transport=httpx.ASGITransport(backend)) as client,
            Toolset.load(client, functions=[book] if local else []) as toolset,
            spoken_to(api, toolset),
        ):
            pass
        read = {name: json.loads(outputs[0])["error"] for name, outputs in api.session.outputs.items()}
        assert read["full"] == "There is no table left on 2030-05-17. Bearer ***"
        assert "day: Input should be a valid date" in read["wrong"]
        assert read["broken"] == "Function execution failed."

    @in_a_loop
    async def test_the_person_is_told_once_that_calls_take_long(self) -> None:
        calls = [Call("reserve", {"name": name}, f"call_{name}") for name in ("Ada", "Bea")]
        async with (
            FakeRealtimeServer([calls, Say("I am asking."), Say("Reserved.")], secrets=["ek_1"]) as api,
            live_backend() as live,
            AsyncNavaiBackendClient(live.url) as client,
        ):
            live.backend.function(
                live.book_table, name="reserve", say_while_waiting="I am asking.", typical_seconds=9
            )
            async with Toolset.load(client) as toolset, spoken_to(api, toolset):
                await api.wait_for_async("response.create", 2, timeout=60)
                live.release.set()
        _, told, answered = api.session.sent("response.create")
        assert told["response"]["instructions"].endswith("in the language of the conversation: I am asking.")
        assert "response" not in answered
        assert sorted(live.booked) == ["Ada", "Bea"]

    @in_a_loop
    async def test_the_person_is_told_at_once_where_nobody_speaks(self) -> None:
        sent: asyncio.Queue[Any] = asyncio.Queue()
        async with live_backend() as live, AsyncNavaiBackendClient(live.url) as client:
            live.backend.function(
                live.book_table, name="reserve", say_while_waiting="I am asking.", typical_seconds=9
            )
            async with (
                Toolset.load(client) as toolset,
                RealtimeToolRunner(toolset, sent.put, as_text=False) as runner,
            ):
                reserve = called("c1", name="reserve", arguments='{"name": "Ada"}')
                for event in (created(), reserve, done()):
                    await runner.receive(event)
                assert "I am asking." in (await sent.get())["response"]["instructions"]
                live.release.set()
                assert (await sent.get())["item"]["call_id"] == "c1"

    @in_a_loop
    async def test_a_connection_of_objects_is_not_taken_for_one_of_texts(self) -> None:
        """It would encode each event twice, and the server would refuse them."""
        shop = Shop()
        async with FakeRealtimeServer([]) as api:
            with served(shop, api.openai_base_url) as url:
                async with (
                    AsyncNavaiBackendClient(url) as client,
                    await Toolset.load(client) as toolset,
                    AsyncOpenAI(
                        api_key=client.client_secrets(), websocket_base_url=api.websocket_base_url
                    ) as openai,
                    openai.realtime.connect(model="gpt-realtime") as connection,
                    RealtimeToolRunner(toolset, connection.send) as runner,
                ):
                    with pytest.raises(TypeError, match="as_text=False"):
                        await runner.receive(await connection.recv())

    @in_a_loop
    async def test_the_end_releases_calls_and_a_closed_socket_is_ignored(self) -> None:
        shop = Shop()

        sending = asyncio.Event()

        async def send(_: str) -> None:
            sending.set()
            raise ConnectionError

        with served(shop) as url:
            async with AsyncNavaiBackendClient(url) as client, await Toolset.load(client) as toolset:
                async with RealtimeToolRunner(toolset, send) as runner:
                    await runner.receive(created())
                    await runner.receive(called("c1", arguments='{"location": "Rome"}'))
                    await runner.receive(called("c2", name="book", arguments='{"table": 7}'))
                    assert await asyncio.to_thread(shop.entered.acquire, timeout=60)
                    await sending.wait()
                shop.may_end.set()
        assert sorted(shop.ran) == ["book", "get_weather"]


def test_a_session_update_has_no_other_fields() -> None:
    assert session_update(()) == {"type": "session.update", "session": {"type": "realtime", "tools": []}}
