"""The OpenAI Agents SDK end to end: a backend over HTTP, its secret, a fake Realtime API, a real session."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from navai_client import (
    AsyncNavaiBackendClient,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiTransportError,
)
from navai_client.integrations.openai_agents import (
    BackendSession,
    Specialist,
    ToolRefresher,
    build_navai_agent,
    read_backend_session,
    realtime_model_config,
    tell_decisions,
)
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.toolset import Toolset
from navai_client.server import NavaiBackend
from navai_client.testing import FakeBackend
from navai_client.testing.realtime import BargeIn, Call, Disconnect, FakeRealtimeServer, Raw, Say
from tests.integrations.live_backend import approving_backend, live_backend
from tests.integrations.loop import in_a_loop
from tests.integrations.shop import Shop, served

pytestmark = pytest.mark.usefixtures("no_proxy")

BACKEND = {
    "OPENAI_REALTIME_MODEL": "gpt-realtime-2.1-of-the-backend",
    "OPENAI_REALTIME_VOICE": "cedar",
    "OPENAI_REALTIME_INSTRUCTIONS": "You are the voice of a shop.",
    "OPENAI_REALTIME_LANGUAGE": "Spanish",
}


class Stage:
    """The parts of a test: the API, the toolset, the session, and the events of the session."""

    def __init__(self, api: FakeRealtimeServer, toolset: Toolset, session: RealtimeSession) -> None:
        self.api = api
        self.toolset = toolset
        self.session = session
        self.events: list[Any] = []
        self.heard: Callable[[Any], None] = self.events.append

    async def listen(self) -> None:
        """Iterate as every application does; a failing tool would raise here."""
        async for event in self.session:
            self.heard(event)

    def output(self, call_id: str) -> dict[str, Any]:
        """Return the only result that the model got for a call."""
        (text,) = self.api.sessions[-1].outputs[call_id]
        output: dict[str, Any] = json.loads(text)
        return output


@asynccontextmanager
async def stage(
    script: list[Any],
    shop: Shop,
    *,
    specialists: list[Specialist] | None = None,
    sync: bool = False,
    strict: bool = True,
    **options: Any,
) -> AsyncIterator[Stage]:
    """Set up everything from the backend to a connected session whose events are read."""
    async with FakeRealtimeServer(script, strict=strict) as api:
        with served(shop, api.openai_base_url, **BACKEND) as url:
            client: Any = NavaiBackendClient(url) if sync else AsyncNavaiBackendClient(url)
            found = await read_backend_session(client, url=api.url)
            async with await Toolset.load(client, **options) as toolset:
                agent = build_navai_agent(
                    toolset, instructions=found.instructions, specialists=specialists or []
                )
                runner = RealtimeRunner(agent, config={"tracing_disabled": True})
                session = await runner.run(model_config=realtime_model_config(client, found, url=api.url))
                async with session:
                    ready = Stage(api, toolset, session)
                    listening = asyncio.create_task(ready.listen())
                    yield ready
                    await session.close()
                    await asyncio.wait_for(listening, 30)
            closing = client.close()
            if closing is not None:
                await closing


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@in_a_loop
async def test_a_tool_call_reaches_the_backends_function_and_its_result_the_model(sync: bool) -> None:
    shop = Shop()
    script = [Call("get_weather", {"location": "Bogotá"}, "call_w"), Say("It is 21 degrees.")]
    async with stage(script, shop, sync=sync) as on:
        await on.session.send_message("What is the weather in Bogotá?")
        await on.api.wait_async(60)

        assert on.output("call_w") == {
            "ok": True,
            "function_name": "get_weather",
            "source": "tests.integrations.shop#get_weather",
            "result": {"location": "Bogotá", "temperature": 21},
        }
        assert shop.ran == ["get_weather"]
        assert on.api.sessions[-1].said == ["It is 21 degrees."]
        assert [minted.api_key for minted in on.api.minted] == ["sk-of-the-backend"] * 2
        assert on.api.refused == []
    assert not [event for event in on.events if event.type == "error"]


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
@pytest.mark.usefixtures("asked_often")
@in_a_loop
async def test_the_model_learns_what_came_of_a_call_that_waited_for_approval(told: bool) -> None:
    script = [Call("refund", {"order": "o-1"}, "call_1"), Say("It waits.")]
    script += [Say("It was refunded.")] if told else []
    async with (
        FakeRealtimeServer(script, secrets=["ek_1"]) as api,
        approving_backend() as live,
        AsyncNavaiBackendClient(live.url) as client,
        Toolset.load(client) as toolset,
    ):
        runner = RealtimeRunner(build_navai_agent(toolset), config={"tracing_disabled": True})
        session = await runner.run(model_config={"api_key": "ek_1", "url": f"{api.url}?model=gpt-realtime"})
        if told:
            tell_decisions(session)
        async with session:
            listening = asyncio.create_task(Stage(api, toolset, session).listen())
            await session.send_message("Refund it.")
            await api.wait_for_async("conversation.item.create", 2, timeout=60)
            await live.decide("approve")
            await api.wait_async(60)
            await session.close()
            await asyncio.wait_for(listening, 30)
    output = json.loads(api.session.outputs["call_1"][0])
    assert output["pending"] is True
    assert ("you are told what comes of it" in output["error"]) == told
    last = json.dumps(api.session.sent("conversation.item.create")[-1])
    assert ("What came of the call of refund" in last) == ("refunded o-1" in last) == told


@in_a_loop
async def test_the_person_is_told_once_that_calls_take_long() -> None:
    calls = [Call("reserve", {"name": name}, f"call_{name}") for name in ("Ada", "Bea")]
    async with (
        FakeRealtimeServer([calls, Say("I am asking."), Say("Reserved.")], secrets=["ek_1"]) as api,
        live_backend() as live,
        AsyncNavaiBackendClient(live.url) as client,
    ):
        live.backend.function(
            live.book_table, name="reserve", say_while_waiting="I am asking.", typical_seconds=9
        )
        async with Toolset.load(client) as toolset:
            runner = RealtimeRunner(build_navai_agent(toolset), config={"tracing_disabled": True})
            session = await runner.run(
                model_config={"api_key": "ek_1", "url": f"{api.url}?model=gpt-realtime"}
            )
            tell_decisions(session)
            async with session:
                listening = asyncio.create_task(Stage(api, toolset, session).listen())
                await session.send_message("Reserve two tables.")
                await api.wait_for_async("response.create", 2, timeout=60)
                live.release.set()
                await api.wait_async(60)
                await session.close()
                await asyncio.wait_for(listening, 30)
    told = api.session.sent("response.create")[1]
    assert told["response"]["instructions"].endswith("in the language of the conversation: I am asking.")
    assert told["response"]["tool_choice"] == "none"
    assert sum("I am asking." in json.dumps(each) for each in api.session.sent("response.create")) == 1
    assert sorted(live.booked) == ["Ada", "Bea"]
    assert api.refused == []


@in_a_loop
async def test_the_backends_model_voice_and_instructions_are_kept() -> None:
    async with stage([], Shop()) as on:
        await on.api.wait_for_async("session.update", timeout=60)
        config = on.api.sessions[-1].config
        assert config["model"] == on.api.sessions[-1].model == "gpt-realtime-2.1-of-the-backend"
        assert config["audio"]["output"]["voice"] == "cedar"
        assert config["output_modalities"] == ["audio"]
        assert config["instructions"].startswith(
            "You are the voice of a shop.\nAlways reply in Spanish.\nAllowed app functions:\n- get_weather: "
        )
        assert on.api.sessions[-1].tool_names == [
            "get_weather",
            "fails",
            "book",
            "meet",
        ]


@pytest.mark.parametrize(("exposed", "opened"), [("true", 0), ("false", 1)])
@in_a_loop
async def test_a_session_that_the_backend_sends_need_not_be_opened(exposed: str, opened: int) -> None:
    async with FakeRealtimeServer([]) as api:
        with served(Shop(), api.openai_base_url, **BACKEND, NAVAI_EXPOSE_SESSION=exposed) as url:
            async with AsyncNavaiBackendClient(url) as client:
                found = await read_backend_session(client, url=api.url)
        assert len(api.sessions) == opened
    assert found == BackendSession(
        model="gpt-realtime-2.1-of-the-backend",
        voice="cedar",
        instructions="You are the voice of a shop.\nAlways reply in Spanish.",
    )


@pytest.mark.parametrize("exposed", ["true", "false"])
@in_a_loop
async def test_what_the_owner_configured_survives_the_defaults_of_the_sdk(exposed: str) -> None:
    owners = {
        "format": {"type": "audio/pcmu"},
        "transcription": {"model": "gpt-4o-transcribe", "language": "es"},
        "noise_reduction": {"type": "far_field"},
        "turn_detection": None,
    }
    extra = {
        "audio": {"input": owners, "output": {"format": {"type": "audio/pcma"}, "speed": 1.1}},
        "truncation": "disabled",
    }
    env = {**BACKEND, "NAVAI_SESSION_EXTRA": json.dumps(extra), "NAVAI_EXPOSE_SESSION": exposed}
    async with FakeRealtimeServer([Say("Hola.")]) as api:
        with served(Shop(), api.openai_base_url, **env) as url:
            async with AsyncNavaiBackendClient(url) as client:
                found = await read_backend_session(client, url=api.url)
                async with await Toolset.load(client) as toolset:
                    runner = RealtimeRunner(build_navai_agent(toolset), config={"tracing_disabled": True})
                    own: Any = {"speed": 0.9}
                    config = realtime_model_config(client, found, url=api.url, settings=own)
                    async with await runner.run(model_config=config) as session:
                        await session.send_message("Hola.")
                        await api.wait_async(60)
                        (update,) = api.sessions[-1].sent("session.update")
    audio = update["session"]["audio"]
    assert audio["input"] == owners
    assert audio["output"] == {"format": {"type": "audio/pcma"}, "speed": 0.9, "voice": "cedar"}
    assert api.sessions[-1].config["truncation"] == "disabled"


@in_a_loop
async def test_reading_a_session_logs_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    for name in [None, *logging.root.manager.loggerDict]:  # every logger, as a debugging user sets them
        caplog.set_level("DEBUG", name)
    async with FakeRealtimeServer([]) as api:
        with served(Shop(), api.openai_base_url, **BACKEND) as url:
            async with AsyncNavaiBackendClient(url) as client:
                await read_backend_session(client, url=api.url)
        (minted,) = api.minted
    assert caplog.records
    assert not [each for each in caplog.records if minted.value in each.getMessage()]


@pytest.mark.parametrize("exposed", ["true", "false"])
@in_a_loop
async def test_the_session_of_a_test_is_that_of_the_agent(exposed: str) -> None:
    shop = Shop()
    async with FakeRealtimeServer([Say("Hello.")]) as api:
        with served(shop, api.openai_base_url, **BACKEND, NAVAI_EXPOSE_SESSION=exposed) as url:
            async with AsyncNavaiBackendClient(url) as client, Toolset.load(client) as toolset:
                found = await read_backend_session(client, url=api.url)
                runner = RealtimeRunner(build_navai_agent(toolset), config={"tracing_disabled": True})
                config = realtime_model_config(client, found, url=api.url)
                async with await runner.run(model_config=config) as session:
                    await session.send_message("Hello.")
                    await api.wait_async(60)
                    assert api.session is api.sessions[-1]
                    assert api.session.said == ["Hello."]


@pytest.mark.parametrize("approved", [True, False])
@in_a_loop
async def test_a_function_that_needs_approval_waits_for_the_person(approved: bool) -> None:
    shop = Shop()
    shop.may_end.set()
    script = [Call("book", {"table": 7}, "call_book"), Say("Done.")]
    async with stage(script, shop, approval=["book"]) as on:
        asked = asyncio.Event()

        def hear(event: Any) -> None:
            if event.type == "tool_approval_required":
                on.events.append(event)
                asked.set()

        on.heard = hear
        await on.session.send_message("Book table 7.")
        await asked.wait()
        (event,) = on.events
        assert (event.tool.name, shop.ran) == ("book", [])
        answer = on.session.approve_tool_call if approved else on.session.reject_tool_call
        await answer(event.call_id)
        await on.api.wait_async(60)
        assert shop.ran == (["book"] if approved else [])


@in_a_loop
async def test_an_application_can_ask_for_approval_itself() -> None:
    shop = Shop()
    async with stage(
        [Call("book", {"table": 7}, "call_book"), Say("No.")],
        shop,
        approval=["book"],
        approve=lambda _: False,
    ) as on:
        await on.session.send_message("Book table 7.")
        await on.api.wait_async(60)
        assert on.output("call_book")["error"] == "The person did not approve the call. It was not executed."
    assert shop.ran == []


@in_a_loop
async def test_each_failed_call_returns_one_result_and_the_session_goes_on() -> None:
    shop = Shop()
    wrong = [
        Call("fails", {}, "call_fails"),
        Call("get_weather", '{"location": ', "call_cut_off"),
        Call("get_weather", {"place": "Bogotá"}, "call_misnamed"),
        Call("book", {"table": 4}, "call_slow"),
        Call("get_weather", {"location": "Lima"}, "call_never_finished", status="incomplete"),
    ]
    script = [wrong, Say("One moment.")]
    async with stage(script, shop, timeouts={"book": 0.05}) as on:
        await on.session.send_message("Do everything.")
        await on.api.wait_async(60)

        assert on.output("call_fails") == {
            "ok": False,
            "function_name": "fails",
            "error": "Function execution failed.",
        }
        assert "not JSON" in on.output("call_cut_off")["error"]
        misnamed = on.output("call_misnamed")["error"]
        assert 'missing "location"' in misnamed
        assert 'no parameter "place"' in misnamed
        assert "did not respond in time" in on.output("call_slow")["error"]
        assert "call_never_finished" not in on.api.sessions[-1].outputs

        said = len(on.api.sessions[-1].sent("conversation.item.create"))
        await on.session.send_message("Are you still there?")
        await on.api.wait_for_async("conversation.item.create", said + 1, timeout=60)
        await on.api.wait_async(60)
    assert not [event for event in on.events if event.type == "error"]


@in_a_loop
async def test_ten_parallel_calls_run_concurrently() -> None:
    shop = Shop(crowd=10)
    calls = [Call("meet", {"who": f"guest {number}"}, f"call_{number}") for number in range(10)]
    async with stage([calls], shop) as on:
        await on.session.send_message("Let them meet.")
        await on.api.wait_async(60)  # one after the other, they would wait for each other for ever
        for number in range(10):
            assert on.output(f"call_{number}")["result"] == f"guest {number} met the others"


@in_a_loop
async def test_an_interruption_loses_no_side_effect_and_no_result() -> None:
    shop = Shop()
    script = [[Call("book", {"table": 7}, "call_book"), BargeIn("Actually, wait!")], Say("Yes?")]
    async with stage(script, shop) as on:
        await on.session.send_message("Book table 7.")
        assert await asyncio.to_thread(shop.entered.acquire, timeout=60)
        await on.session.interrupt()
        assert shop.ran == []
        shop.may_end.set()
        await on.api.wait_async(60)
        assert shop.ran == ["book"]
        assert on.output("call_book")["result"] == "table 7 is yours"


@in_a_loop
async def test_a_call_that_runs_when_the_session_ends_can_finish() -> None:
    shop = Shop()
    outcomes: list[Any] = []
    async with stage(
        [Call("book", {"table": 7}, "call_book")],
        shop,
        strict=False,  # the session is gone before the result
        after=lambda _, outcome: outcomes.append(outcome),
    ) as on:
        await on.session.send_message("Book table 7.")
        assert await asyncio.to_thread(shop.entered.acquire, timeout=60)
        await on.session.close()
        assert outcomes == []
        shop.may_end.set()
    assert shop.ran == ["book"]
    assert [outcome.result for outcome in outcomes] == ["table 7 is yours"]


@in_a_loop
async def test_a_specialist_takes_over_with_its_own_functions_and_hands_back() -> None:
    shop = Shop()

    def suggest_dish(guests: int) -> str:
        """Suggest a dish."""
        return f"soup for {guests}"

    food = Specialist(
        name="Food", description="Knows the menu.", functions=[suggest_dish], only=["get_weather"]
    )
    script = [
        Call("transfer_to_food", {}, "call_over"),
        Call("suggest_dish", {"guests": 3}, "call_dish"),
        Call("transfer_to_navai_voice_agent", {}, "call_back"),
        Say("Soup it is."),
    ]
    async with stage(script, shop, specialists=[food]) as on:
        await on.api.wait_for_async("session.update", timeout=60)
        main = on.api.sessions[-1]
        assert "- Food: Knows the menu." in main.instructions.splitlines()
        assert "transfer_to_food" in main.tool_names
        await on.session.send_message("What shall we eat?")
        await on.api.wait_async(60)
        assert on.output("call_dish")["result"] == "soup for 3"
        as_specialist, back = [each["session"] for each in main.sent("session.update")[1:]]
        assert as_specialist["instructions"].startswith(
            "You are the Food specialist agent for this web app.\nAlways reply in Spanish.\nAllowed app"
        )
        assert "execute_app_function" not in as_specialist["instructions"]
        assert as_specialist["tools"][0]["parameters"]["required"] == ["guests"]
        assert [tool["name"] for tool in as_specialist["tools"]] == [
            "suggest_dish",
            "get_weather",
            "transfer_to_navai_voice_agent",
        ]
        assert as_specialist["audio"]["output"]["voice"] == back["audio"]["output"]["voice"] == "cedar"
        assert "get_weather" in [tool["name"] for tool in back["tools"]]


@pytest.mark.parametrize("names", [("Fast Food", "fast-food"), ("Food", "FOOD"), ("Weather report",)])
@in_a_loop
async def test_two_tools_of_one_name_are_refused_where_the_agents_are_made(names: tuple[str, ...]) -> None:
    async def transfer_to_weather_report() -> str:
        return "it is warm"

    async with (
        AsyncNavaiBackendClient("https://navai.test", transport=FakeBackend().async_transport) as client,
        Toolset.load(client, functions=[transfer_to_weather_report]) as toolset,
    ):
        with pytest.raises(NavaiConfigError, match=f"specialist {names[-1]} are one tool"):
            build_navai_agent(toolset, specialists=[Specialist(name=name) for name in names])


@in_a_loop
async def test_new_tools_are_offered_after_a_refresh() -> None:
    shop = Shop()
    went: list[str] = []
    routes = [NavaiRoute(name="menu", path="/menu")]
    async with FakeRealtimeServer([Call("navigate_to", {"target": "the menu"}, "call_go")]) as api:
        with served(shop, api.openai_base_url, **BACKEND) as url:
            async with AsyncNavaiBackendClient("http://127.0.0.1:9", max_retries=0) as nowhere:
                toolset = await Toolset.load(nowhere, routes=routes, navigate=went.append)
                assert [tool.name for tool in toolset.tools] == ["navigate_to"]
                assert toolset.warnings[0].startswith("[navai] Failed to load backend functions: ")
            async with AsyncNavaiBackendClient(url) as client:
                found = await read_backend_session(client, url=api.url)
                async with await Toolset.load(
                    client, only=["get_weather"], routes=routes, navigate=went.append
                ) as tools:
                    runner = RealtimeRunner(build_navai_agent(tools), config={"tracing_disabled": True})
                    config = realtime_model_config(client, found, url=api.url, settings={"voice": "marin"})
                    async with await runner.run(model_config=config) as session:
                        assert not await tools.refresh()
                        await session.update_agent(build_navai_agent(tools, name="Again"))
                        await session.send_message("Show me the menu.")
                        await api.wait_async(60)
                        assert went == ["/menu"]
                        assert len(api.sessions[-1].sent("session.update")) == 2
                        assert api.sessions[-1].config["audio"]["output"]["voice"] == "marin"


class Growing(Shop):
    """A shop whose backend gets another function during the session."""

    def offer(self, backend: NavaiBackend) -> None:
        super().offer(backend)
        self.backend = backend

    def grow(self) -> None:
        @self.backend.function
        def give_refund(order: int) -> None:
            """Give the money back."""


def tools_of(update: dict[str, Any]) -> list[str]:
    return [tool["name"] for tool in update["session"]["tools"]]


@in_a_loop
async def test_new_tools_reach_the_specialist_that_is_active() -> None:
    shop = Growing()
    food = Specialist(name="Food")
    async with stage(
        [Call("transfer_to_food", {}, "call_over"), Say("Hello.")], shop, specialists=[food]
    ) as on:

        def build() -> RealtimeAgent[Any]:
            return build_navai_agent(on.toolset, specialists=[food])

        on.heard = ToolRefresher(on.toolset, on.session, build, every=0).receive
        await on.session.send_message("I am hungry.")
        await on.api.wait_async(60)
        shop.grow()
        await on.session.send_message("Anything new?")
        start, over, new, *_ = await on.api.wait_for_async("session.update", 3, timeout=60)
    assert "transfer_to_food" in tools_of(start)
    assert "give_refund" not in tools_of(over)
    assert tools_of(new)[-2:] == ["give_refund", "transfer_to_navai_voice_agent"]
    assert new["session"]["instructions"].startswith("You are the Food specialist agent")
    assert "- give_refund: Give the money back." in new["session"]["instructions"]


@in_a_loop
async def test_a_refresh_asks_the_backend_once_in_a_while_and_not_for_each_event() -> None:
    asked: list[str] = []
    async with stage([Say("One."), Say("Two.")], Shop()) as on:
        ask = on.toolset.refresh

        async def refresh() -> Any:
            asked.append("refresh")
            return await ask()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Toolset, "refresh", lambda _: refresh())
            build = lambda: build_navai_agent(on.toolset)  # noqa: E731
            often, seldom = (ToolRefresher(on.toolset, on.session, build, every=each) for each in (0, 3600))

            def hear(event: Any) -> None:
                on.events.append(event)
                seldom.receive(event)

            on.heard = hear
            await on.session.send_message("Go on.")
            await on.api.wait_for_async("response.create", timeout=60)
            await on.session.send_message("Go on.")
            await on.api.wait_async(60)
            assert asked == []
            often.receive(on.events[-1])
            await asyncio.gather(*(each for each in asyncio.all_tasks() if each.get_name() == "refresh"))
    assert len(on.events) > 10
    assert asked == ["refresh"]


@in_a_loop
async def test_each_connection_has_a_new_secret_also_a_reconnection() -> None:
    async with FakeRealtimeServer([Disconnect(), Call("get_weather", {"location": "Rome"}, "call_w")]) as api:
        with served(Shop(), api.openai_base_url, **BACKEND) as url:
            async with AsyncNavaiBackendClient(url) as client, await Toolset.load(client) as toolset:
                found = await read_backend_session(client, url=api.url)
                config = realtime_model_config(client, found, url=api.url)
                runner = RealtimeRunner(build_navai_agent(toolset), config={"tracing_disabled": True})
                async with await runner.run(model_config=config) as first:
                    await first.send_message("Hello?")
                    with pytest.raises(ConnectionClosedError):
                        _ = [event async for event in first]
                assert len(api.minted) == 2
                async with await runner.run(model_config=config) as second:
                    await second.send_message("The weather?")
                    await api.wait_async(60)
                assert len(api.minted) == 3
                assert "ek_fake" not in repr(config)


@in_a_loop
async def test_invalid_events_are_ignored() -> None:
    odd = [Raw({"type": "response.output_item.done"}), Raw({"type": "no.such.event"})]
    async with stage([[*odd, Call("get_weather", {"location": "Rome"}, "call_w")]], Shop()) as on:
        await on.session.send_message("The weather?")
        await on.api.wait_async(60)
        assert on.output("call_w")["ok"] is True


class TestReadingTheBackendsSession:
    """A session is opened, read and closed; failures are errors of the client."""

    @in_a_loop
    async def test_returns_model_voice_and_instructions(self) -> None:
        async with FakeRealtimeServer() as api:
            with served(Shop(), api.openai_base_url, **BACKEND) as url:
                async with AsyncNavaiBackendClient(url) as client:
                    found = await read_backend_session(client, url=api.url, model="another", voice="marin")
        assert found == BackendSession(
            model="another",
            voice="marin",
            instructions="You are the voice of a shop.\nAlways reply in Spanish.",
        )

    @in_a_loop
    async def test_with_another_speech_provider_the_session_stays_text(self) -> None:
        async with FakeRealtimeServer() as api:
            elevenlabs = {
                "NAVAI_TTS_PROVIDER": "elevenlabs",
                "ELEVENLABS_API_KEY": "x",
                "ELEVENLABS_VOICE_ID": "v",
            }
            with served(Shop(), api.openai_base_url, **BACKEND, **elevenlabs) as url:
                async with AsyncNavaiBackendClient(url) as client:
                    found = await read_backend_session(client, url=api.url)
                    config = realtime_model_config(client, found, url=api.url)
        assert (found.output_modalities, found.speech_provider) == (("text",), "elevenlabs")
        assert config["initial_model_settings"]["output_modalities"] == ["text"]

    @in_a_loop
    async def test_a_refused_secret_is_an_http_error(self) -> None:
        async with FakeRealtimeServer() as minting, FakeRealtimeServer() as refusing:
            with served(Shop(), minting.openai_base_url) as url:
                async with AsyncNavaiBackendClient(url) as client:
                    with pytest.raises(NavaiHTTPError, match=r"HTTP 401 .*accept") as refused:
                        await read_backend_session(client, url=refusing.url)
                    assert refused.value.status_code == 401
                    with pytest.raises(NavaiTransportError, match=r"127\.0\.0\.1:9 could not be read: .*9"):
                        await read_backend_session(client, url="ws://127.0.0.1:9/v1/realtime")

    @pytest.mark.parametrize("event", ["{", "7", '{"session": 7}', '{"session": {}}', None])
    @in_a_loop
    async def test_an_unusable_session_is_an_error(
        self, event: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("navai_client.integrations.openai_agents._SESSION_TIMEOUT", 10 if event else 0.2)

        async def greet(connection: ServerConnection) -> None:
            if event is not None:
                await connection.send(event)
            await connection.wait_closed()

        async with FakeRealtimeServer() as minting, serve(greet, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            with served(Shop(), minting.openai_base_url) as url:
                async with AsyncNavaiBackendClient(url) as client:
                    with pytest.raises(NavaiError):
                        await read_backend_session(client, url=f"ws://127.0.0.1:{port}")

    @in_a_loop
    async def test_known_values_need_no_session(self) -> None:
        client = AsyncNavaiBackendClient("http://127.0.0.1:9")
        config = realtime_model_config(client, BackendSession(model="gpt-realtime-2.1"))
        assert "url" not in config
        assert config["initial_model_settings"] == {
            "model_name": "gpt-realtime-2.1",
            "output_modalities": ["audio"],
        }
        await client.close()


@in_a_loop
async def test_a_backend_that_mints_nothing_fails_the_connection_with_its_reason() -> None:
    with served(Shop(), OPENAI_API_KEY="") as url:
        async with AsyncNavaiBackendClient(url) as client, await Toolset.load(client) as toolset:
            config = realtime_model_config(client, BackendSession(model="m"), url="ws://127.0.0.1:9")
            session = await RealtimeRunner(build_navai_agent(toolset)).run(model_config=config)
            with pytest.raises(NavaiHTTPError, match="Missing API key"):
                await session.enter()


@pytest.mark.parametrize(("direct_tools", "tool"), [(True, "dish"), (False, "execute_app_function")])
def test_a_specialist_may_stay_and_have_one_tool_for_everything(direct_tools: bool, tool: str) -> None:
    def dish() -> str:
        """Suggest a dish."""
        return "soup"

    async def agent() -> RealtimeAgent[Any]:
        async with AsyncNavaiBackendClient("http://127.0.0.1:9", max_retries=0) as client:
            toolset = await Toolset.load(client)
            food = Specialist(
                name="Food",
                functions=[dish],
                direct_tools=direct_tools,
                instructions="You cook.",
                hands_back=False,
            )
            return build_navai_agent(toolset, specialists=[food])

    (specialist,) = asyncio.run(agent()).handoffs
    assert isinstance(specialist, RealtimeAgent)
    assert specialist.handoff_description == "Delegate specialist work to Food."
    assert [each.name for each in specialist.tools] == [tool]
    assert "dish" in str(specialist.tools[0])
    assert specialist.handoffs == []
    assert str(specialist.instructions).splitlines()[:3] == [
        "You cook.",
        "Allowed app functions:",
        "- dish: Suggest a dish.",
    ]
