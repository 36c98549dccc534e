"""LiveKit's own session, with a scripted model, calls the functions of a real backend over HTTP."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, ConversationItemAddedEvent, llm
from livekit.agents.voice.run_result import FunctionCallOutputEvent, RunResult

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient, NavaiConfigError, NavaiStateError
from navai_client.integrations.livekit import NavaiToolset
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.toolset import Toolset
from tests.integrations.live_backend import LiveBackend, live_backend
from tests.integrations.loop import in_a_loop
from tests.integrations.scripted_livekit import ScriptedLLM, wants
from tests.waiting import pass_time


@asynccontextmanager
async def talking(model: ScriptedLLM, tools: NavaiToolset) -> AsyncIterator[AgentSession[None]]:
    """Run a session in which *model* has *tools*."""
    async with AgentSession[None](llm=model) as session:
        await session.start(Agent(instructions="Help.", tools=[tools]))
        yield session


@asynccontextmanager
async def served() -> AsyncIterator[tuple[LiveBackend, AsyncNavaiBackendClient]]:
    async with live_backend() as live, AsyncNavaiBackendClient(live.url) as client:
        yield live, client


class Entering(Agent):
    """An agent that signals when it starts."""

    def __init__(self, *, instructions: str) -> None:
        super().__init__(instructions=instructions)
        self.entered = asyncio.Event()

    async def on_enter(self) -> None:
        self.entered.set()


def outputs(result: RunResult[Any]) -> list[llm.FunctionCallOutput]:
    return [event.item for event in result.events if isinstance(event, FunctionCallOutputEvent)]


def last_said(session: AgentSession[Any]) -> str | None:
    message = session.history.items[-1]
    assert isinstance(message, llm.ChatMessage)
    return message.text_content


class TestAnApproval:
    """The person in the session is asked before anything is sent."""

    @pytest.mark.parametrize(("approved", "said"), [("true", "booked for Ada"), ("false", "did not approve")])
    @in_a_loop
    async def test_is_asked_for_in_the_conversation(self, approved: str, said: str) -> None:
        async with served() as (live, client):
            model = ScriptedLLM(
                [wants("book_table", arguments='{"name": "Ada"}')],
                "Shall I book a table for Ada?",
                [wants("decide", "call_2", f'{{"approved": {approved}}}')],
                "Done.",
            )
            live.release.set()
            async with talking(model, NavaiToolset(client, approval=["book_table"])) as session:
                await session.run(user_input="Book a table.")
                assert last_said(session) == "Shall I book a table for Ada?"
                assert live.booked == []
                result: RunResult[Any] = await session.run(user_input="Well...")
                assert last_said(session) == "Done."
            (output,) = [each for each in outputs(result) if each.name == "book_table"]
        assert said in output.output
        assert live.booked == (["Ada"] if approved == "true" else [])
        assert 'The function book_table with the arguments {"name":"Ada"}' in str(model.contexts[1])

    @in_a_loop
    async def test_is_not_asked_for_with_arguments_that_do_not_fit(self) -> None:
        async with served() as (live, client):
            model = ScriptedLLM([wants("book_table", arguments='{"name": 7}')], "I am sorry.")
            async with talking(model, NavaiToolset(client, approval=["book_table"])) as session:
                (output,) = outputs(await session.run(user_input="Book a table."))
        assert "Invalid arguments" in output.output
        assert live.booked == []

    @in_a_loop
    async def test_cannot_be_given_by_the_model_before_the_person_spoke(self) -> None:
        decide = [wants("decide", "call_2", '{"approved": true}')]
        async with served() as (live, client):
            book = [wants("book_table", arguments='{"name": "Ada"}')]
            model = ScriptedLLM(book, "Shall I?", decide, "Well?", decide, "Done.")
            live.release.set()
            async with talking(model, NavaiToolset(client, approval=["book_table"])) as session:
                await session.run(user_input="Book a table.")
                await session.generate_reply()
                assert live.booked == []
                assert "The person has not answered yet" in str(model.contexts[3])
                await session.run(user_input="Yes.")
        assert live.booked == ["Ada"]


@pytest.mark.usefixtures("asked_often")
@in_a_loop
async def test_the_model_is_told_what_came_of_a_call_that_waited_for_approval() -> None:
    async with served() as (live, client):
        live.offer_refund()
        refund = [wants("refund", arguments='{"order": "o-1"}')]
        model = ScriptedLLM(refund, "It waits.", "It was refunded.")
        async with talking(model, NavaiToolset(client)) as session:
            said = asyncio.Event()

            @session.on("conversation_item_added")
            def added(event: Any) -> None:
                if event.item.text_content == "It was refunded.":
                    said.set()

            (output,) = outputs(await session.run(user_input="Refund it."))
            assert json.loads(output.output)["pending"] is True
            await live.decide("approve")
            await said.wait()
    assert "What came of the call of refund" in str(model.contexts[-1])
    assert "refunded o-1" in str(model.contexts[-1])


class TestACall:
    """What the model gets."""

    @in_a_loop
    async def test_runs_the_function_and_gives_its_result_as_json(self) -> None:
        async with served() as (_, client):
            model = ScriptedLLM([wants("get_weather", arguments='{"location": "Bogotá"}')], "It is warm.")
            async with talking(model, NavaiToolset(client)) as session:
                (output,) = outputs(await session.run(user_input="How is the weather?"))
                assert last_said(session) == "It is warm."
        assert not output.is_error
        assert json.loads(output.output) == {
            "ok": True,
            "function_name": "get_weather",
            "source": "tests.integrations.live_backend#get_weather",
            "result": {"location": "Bogotá", "temperature": 21},
        }

    @pytest.mark.parametrize(
        ("name", "arguments", "said"),
        [
            ("break_down", "{}", "failed"),
            ("get_weather", "{}", "location"),
            ("get_weather", '{"location": 7}', "location"),
        ],
    )
    @in_a_loop
    async def test_that_fails_returns_an_error_that_a_model_can_read(
        self, name: str, arguments: str, said: str
    ) -> None:
        async with served() as (_, client):
            model = ScriptedLLM([wants(name, arguments=arguments)], "I am sorry.")
            async with talking(model, NavaiToolset(client)) as session:
                (output,) = outputs(await session.run(user_input="Do it."))
                assert last_said(session) == "I am sorry."
        assert output.is_error
        assert json.loads(output.output)["ok"] is False
        assert said in output.output

    @pytest.mark.parametrize(("name", "arguments"), [("nowhere", "{}"), ("get_weather", "{bad")])
    @in_a_loop
    async def test_that_livekit_itself_refuses_has_one_error_too(self, name: str, arguments: str) -> None:
        async with served() as (live, client):
            model = ScriptedLLM([wants(name, arguments=arguments)], "I am sorry.")
            async with talking(model, NavaiToolset(client)) as session:
                (output,) = outputs(await session.run(user_input="Do it."))
                assert last_said(session) == "I am sorry."
        assert output.is_error
        assert name in output.output
        assert not live.traces

    @in_a_loop
    async def test_that_exceeds_its_limit_returns_an_error_that_says_that_it_may_have_run(self) -> None:
        async with served() as (live, client):
            model = ScriptedLLM([wants("book_table", arguments='{"name": "Ada"}')], "I do not know.", "Yes?")
            tools = NavaiToolset(client, timeouts={"book_table": 10.0}, slow_after=None)
            async with talking(model, tools) as session:
                run: RunResult[Any] = session.run(user_input="Book.")
                await live.waiting.wait()
                pass_time(11)
                (output,) = outputs(await run)
                await session.run(user_input="Are you there?")
                assert last_said(session) == "Yes?"
                live.release.set()
        assert output.is_error
        assert json.loads(output.output)["may_have_executed"] is True

    @in_a_loop
    async def test_runs_concurrently_with_nine_others(self) -> None:
        async with served() as (_, client):
            calls = [wants("meet", f"call_{guest}", f'{{"guest": {guest}}}') for guest in range(10)]
            model = ScriptedLLM(calls, "All are here.")
            async with talking(model, NavaiToolset(client)) as session:
                results = outputs(await session.run(user_input="Who is here?"))
                assert last_said(session) == "All are here."
        assert sorted(json.loads(each.output)["result"] for each in results) == list(range(10))
        assert {each.call_id for each in results} == {f"call_{guest}" for guest in range(10)}

    @in_a_loop
    async def test_says_its_filler_once_for_all_calls_of_a_turn(self) -> None:
        async with served() as (live, client):
            calls = [wants("book_table", f"call_{name}", f'{{"name": "{name}"}}') for name in ("Ada", "Bea")]
            model = ScriptedLLM(calls, "Booked.")
            tools = NavaiToolset(client, filler="One moment.", filler_after=0.05)
            async with talking(model, tools) as session:
                fillers: list[str | None] = []

                @session.on("conversation_item_added")
                def on_item(event: ConversationItemAddedEvent) -> None:
                    if isinstance(event.item, llm.ChatMessage) and event.item.role == "assistant":
                        fillers.append(event.item.text_content)
                        live.release.set()

                await session.run(user_input="Book two tables.")
        assert fillers.count("One moment.") == 1
        assert sorted(live.booked) == ["Ada", "Bea"]

    @in_a_loop
    async def test_does_not_join_that_of_another_session_with_the_same_id(self) -> None:
        """Ten callers of one process, whose models count the ids of calls in the same way."""

        async def talk(toolset: Toolset) -> list[Any]:
            model = ScriptedLLM([wants("meet", "meet:0", '{"guest": 1}')], "You have met.")
            async with talking(model, NavaiToolset(toolset)) as session:
                return outputs(await session.run(user_input="Let us meet."))

        async with served() as (_, client), await Toolset.load(client) as toolset:
            results = await asyncio.gather(*(talk(toolset) for _ in range(10)))
        assert [json.loads(output.output)["result"] for (output,) in results] == [1] * 10

    @in_a_loop
    async def test_has_the_id_from_the_model_in_hooks(self) -> None:
        seen: list[str] = []
        async with served() as (_, client):
            model = ScriptedLLM([wants("get_weather", "call_42", '{"location": "Lima"}')], "Warm.")
            tools = NavaiToolset(client, after=lambda call, _: seen.append(call.call_id))
            async with talking(model, tools) as session:
                await session.run(user_input="Weather?")
        assert seen == ["call_42"]

    @in_a_loop
    async def test_that_takes_long_makes_the_agent_say_its_filler(self) -> None:
        async with served() as (live, client):
            model = ScriptedLLM([wants("book_table", arguments='{"name": "Ada"}')], "Booked.")
            tools = NavaiToolset(client, filler="One moment.", filler_after=0.05)
            async with talking(model, tools) as session:

                @session.on("conversation_item_added")
                def added(event: ConversationItemAddedEvent) -> None:
                    if isinstance(event.item, llm.ChatMessage) and event.item.text_content == "One moment.":
                        live.release.set()

                await session.run(user_input="Book a table.")
                said = [each.text_content for each in session.history.items if each.type == "message"]
        assert said == ["Book a table.", "One moment.", "Booked."]
        assert live.booked == ["Ada"]

    @in_a_loop
    async def test_that_takes_long_as_a_rule_makes_the_agent_say_at_once_what_is_declared(self) -> None:
        async with served() as (live, client):
            live.backend.function(
                live.book_table, name="reserve", say_while_waiting="I am asking.", typical_seconds=61
            )
            model = ScriptedLLM([wants("reserve", arguments='{"name": "Ada"}')], "Booked.")
            tools = NavaiToolset(client, filler="One moment.", filler_after=60)
            async with talking(model, tools) as session:

                @session.on("conversation_item_added")
                def added(event: ConversationItemAddedEvent) -> None:
                    if isinstance(event.item, llm.ChatMessage) and event.item.text_content == "I am asking.":
                        live.release.set()

                await session.run(user_input="Book a table.")
                said = [each.text_content for each in session.history.items if each.type == "message"]
        assert said == ["Book a table.", "I am asking.", "Booked."]

    @in_a_loop
    async def test_can_be_made_without_a_session(self) -> None:
        async with served() as (_, client):
            tools = await NavaiToolset(client).setup()
            wanted = wants("get_weather", arguments='{"location": "Lima"}')
            result = await llm.execute_function_call(wanted, llm.ToolContext([tools]))
            await tools.aclose()
        assert json.loads(result.fnc_call_out.output)["result"] == {"location": "Lima", "temperature": 21}


class TestAnInterruption:
    """A person speaks while a tool runs."""

    @in_a_loop
    async def test_loses_neither_the_call_nor_its_result(self) -> None:
        async with served() as (live, client):
            model = ScriptedLLM([wants("book_table", arguments='{"name": "Ada"}')], "Booked.", "Still here.")
            async with talking(model, NavaiToolset(client)) as session:
                run: RunResult[None] = session.run(user_input="Book a table.")
                await live.waiting.wait()
                interrupted = session.interrupt()  # LiveKit waits for the tool
                live.release.set()
                await interrupted
                await run
                assert live.booked == ["Ada"]
                await session.run(user_input="Did it work?")
                results = [item for item in model.contexts[-1] if item.type == "function_call_output"]
                assert [json.loads(each.output)["result"] for each in results] == ["booked for Ada"]

    @in_a_loop
    async def test_that_ends_the_session_lets_running_calls_finish(self) -> None:
        async with served() as (live, client):
            model = ScriptedLLM([wants("book_table", arguments='{"name": "Ada"}')], "Booked.")
            async with talking(model, NavaiToolset(client)) as session:
                session.run(user_input="Book a table.")
                await live.waiting.wait()
                asyncio.get_running_loop().call_later(0.1, live.release.set)
            assert live.booked == ["Ada"]


class TestTheTools:
    """What LiveKit and the model get."""

    @in_a_loop
    async def test_are_described_only_with_keys_that_providers_accept(self) -> None:
        async with served() as (_, client):
            tools = await NavaiToolset(client, generic_tool=False).setup()
            described = llm.ToolContext([tools]).parse_function_tools("openai", strict=False)
            (weather,) = [each["function"] for each in described if each["function"]["name"] == "get_weather"]
            await tools.aclose()
        assert weather == {
            "name": "get_weather",
            "description": "Get the current weather of a place.",
            "parameters": {
                "type": "object",
                "properties": {"location": {"type": "string", "description": "City or region."}},
                "required": ["location"],
                "additionalProperties": False,
            },
        }

    @in_a_loop
    async def test_that_are_new_are_offered_during_a_session(self) -> None:
        async with served() as (live, client):
            tools = NavaiToolset(client)
            model = ScriptedLLM("Hello.", [wants("sing")], "La.")
            async with AgentSession[None](llm=model) as session:
                agent = Agent(instructions="Help.", tools=[tools])
                await session.start(agent)
                await session.run(user_input="Hello")

                @live.backend.function
                def sing() -> str:
                    """Sing."""
                    return "la"

                changes = await tools.refresh(agent)
                assert changes.added == ("sing",)
                assert not await tools.refresh(agent)
                (output,) = outputs(await session.run(user_input="Sing"))
            assert json.loads(output.output)["result"] == "la"
            first, second, _ = model.offered
            assert set(second) - set(first) == {"sing"}
            assert second["get_weather"] is first["get_weather"]

    @in_a_loop
    async def test_can_belong_to_a_session_or_to_an_agent(self) -> None:
        async with served() as (_, client):
            tools = NavaiToolset(client)
            model = ScriptedLLM("First.", "Second.")
            async with AgentSession[None](llm=model, tools=[tools]) as session:
                await session.start(Agent(instructions="One."))
                await session.run(user_input="Hello")
                loaded = tools.toolset
                second = Entering(instructions="Two.")
                session.update_agent(second)
                await second.entered.wait()
                await session.run(user_input="Hello")
                assert tools.toolset is loaded
                assert last_said(session) == "Second."
        assert model.offered[0] == model.offered[1]
        assert "get_weather" in model.offered[0]

    @in_a_loop
    async def test_of_a_backend_that_is_down_are_missing_and_the_agent_runs(self) -> None:
        async with AsyncNavaiBackendClient("http://127.0.0.1:9", max_retries=0) as client:
            tools = NavaiToolset(client)
            model = ScriptedLLM("I can only talk.")
            async with talking(model, tools) as session:
                await session.run(user_input="Hello")
                assert last_said(session) == "I can only talk."
                (warning,) = tools.toolset.warnings
        assert warning.startswith("[navai] Failed to load backend functions")

    @in_a_loop
    async def test_do_not_exist_before_setup(self) -> None:
        async with served() as (_, client):
            tools = NavaiToolset(client)
            with pytest.raises(NavaiStateError, match="start of the agent"):
                _ = tools.toolset

    @in_a_loop
    async def test_include_navigation(self) -> None:
        opened: list[str] = []
        routes = iter([NavaiRoute(name="help", path="/help")])
        async with served() as (_, client):
            tools = NavaiToolset(client, routes=routes, navigate=opened.append)
            for _ in range(2):
                model = ScriptedLLM([wants("navigate_to", arguments='{"target": "help"}')], "There.")
                async with talking(model, tools) as session:
                    await session.run(user_input="I need help.")
        assert opened == ["/help", "/help"]

    @in_a_loop
    async def test_that_were_never_set_up_can_be_closed(self) -> None:
        await NavaiToolset().aclose()

    def test_with_invalid_options_are_refused_at_construction(self) -> None:
        with pytest.raises(NavaiConfigError, match="timeout"):
            NavaiToolset(timeout=-1)


class TestLifetime:
    """Which objects are closed."""

    @in_a_loop
    async def test_a_client_stays_open(self) -> None:
        async with served() as (_, client):
            async with talking(ScriptedLLM(), NavaiToolset(client)):
                pass
            assert await client.list_functions()

    @in_a_loop
    async def test_a_synchronous_client_works(self) -> None:
        async with live_backend() as live:
            with NavaiBackendClient(live.url) as client:
                model = ScriptedLLM([wants("get_weather", arguments='{"location": "Lima"}')], "Warm.")
                async with talking(model, NavaiToolset(client)) as session:
                    (output,) = outputs(await session.run(user_input="Weather?"))
        assert json.loads(output.output)["ok"] is True

    @in_a_loop
    async def test_a_client_from_a_callable_is_closed_and_made_again(self) -> None:
        made: list[AsyncNavaiBackendClient] = []
        async with live_backend() as live:

            def make() -> AsyncNavaiBackendClient:
                made.append(AsyncNavaiBackendClient(live.url))
                return made[-1]

            tools = NavaiToolset(make)
            for _ in range(2):
                model = ScriptedLLM("Hello.")
                async with talking(model, tools) as session:
                    await session.run(user_input="Hello")
                assert "get_weather" in model.offered[0]
        first, second = made
        assert first is not second
        assert [" closed" in repr(client) for client in made] == [True, True]

    @in_a_loop
    async def test_the_default_is_the_backend_of_the_environment(self) -> None:
        async with live_backend() as live:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("NAVAI_API_URL", live.url)
                tools = await NavaiToolset().setup()
            assert "get_weather" in {tool.id for tool in tools.tools if isinstance(tool, llm.Tool)}
            await tools.aclose()

    @in_a_loop
    async def test_a_loaded_toolset_stays_open_and_makes_the_instructions(self) -> None:
        async with served() as (_, client), await Toolset.load(client) as toolset:
            tools = NavaiToolset(toolset)
            model = ScriptedLLM("Hello.")
            async with AgentSession[None](llm=model) as session:
                await session.start(Agent(instructions=toolset.instructions("You are kind."), tools=[tools]))
                await session.run(user_input="Hello")
            assert (await toolset.call("get_weather", {"location": "Quito"})).ok
            with pytest.raises(NavaiConfigError, match="timeout"):
                NavaiToolset(toolset, timeout=3)
        (instructions, *_) = model.contexts[0]
        assert isinstance(instructions, llm.ChatMessage)
        assert "get_weather" in (instructions.text_content or "")


def test_a_missing_extra_is_one_line() -> None:
    code = (
        "import sys\n"
        "sys.modules['livekit'] = None\n"
        "try: import navai_client.integrations.livekit\n"
        "except ImportError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "livekit is not installed; run: pip install 'navai-client[livekit]'\n"
