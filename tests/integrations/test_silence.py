"""A function that takes a minute, in every framework: no silence of more than two seconds.

The sessions are scripted and on a clock of their own. Silence is what ``Silence`` measures.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from agents import Agent as RunnersAgent, RunConfig, Runner
from agents.realtime import (
    RealtimeAgent,
    RealtimeModelSendRawMessage,
    RealtimeModelSendToolOutput,
    RealtimeModelSendUserInput,
    RealtimeRunner,
)
from agents.realtime.model_events import RealtimeModelToolCallEvent
from agents.realtime.testing import RealtimeStep as Step, ScriptedRealtimeModel
from agents.testing import ScriptedModel, assistant_message, function_call
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from livekit.agents import Agent, AgentSession
from livekit.agents.voice.events import ToolCallUpdated
from pipecat.frames.frames import (
    Frame,
    FunctionCallResultFrame,
    InterruptionFrame,
    LLMMessagesAppendFrame,
    TTSSpeakFrame,
)
from pydantic_ai import Agent as PydanticAgent, RunContext
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from navai_client.integrations import langchain, openai_agents, pydantic_ai
from navai_client.integrations.livekit import NavaiToolset
from navai_client.integrations.pipecat import tools_schema
from navai_client.integrations.realtime import RealtimeToolRunner, RealtimeTools
from navai_client.integrations.tools import ToolCall, ToolProgress
from navai_client.integrations.toolset import Toolset
from navai_client.server import FunctionContext
from navai_client.testing.realtime import Call, FakeRealtimeServer, Say
from tests.integrations import scripted_livekit, scripted_pipecat
from tests.integrations.clock import in_virtual_time
from tests.integrations.live_backend import archive, loaded_toolset
from tests.integrations.loop import in_a_loop
from tests.integrations.silence import LONG, Silence, offered
from tests.integrations.test_langchain import Script as ChatScript
from tests.integrations.test_long_calls import Watched, watched
from tests.integrations.test_pydantic_ai import Script, realtime_model, results, wants

LONGEST = 2.0  # seconds


class ScriptedSession:
    """A Realtime session in memory, which responds to each request for a response with a text."""

    def __init__(self, silence: Silence) -> None:
        self.silence = silence
        self.runner: RealtimeToolRunner
        self.outputs: list[Any] = []
        self.spoken: list[str] = []
        self.done = asyncio.Event()

    async def send(self, event: dict[str, Any]) -> None:
        """Take an event of the client."""
        item = event.get("item", {})
        if item.get("type") == "message" or "response" in event:
            self.silence.ends()
        if item.get("type") == "function_call_output":
            self.outputs.append(json.loads(item["output"]))
        if event["type"] == "response.create":
            self.spoken.append(event.get("response", {}).get("instructions", "the result"))
            asyncio.get_running_loop().call_soon(asyncio.ensure_future, self.respond(event))

    async def respond(self, request: dict[str, Any]) -> None:
        """Respond to *request*, for a second."""
        response = {"id": f"r{len(self.spoken)}", "metadata": request.get("response", {}).get("metadata")}
        await self.runner.receive({"type": "response.created", "response": response})
        await asyncio.sleep(1)
        await self.runner.receive({"type": "response.done", "response": response})
        if "response" not in request:
            self.done.set()

    async def call(self, name: str) -> None:
        """Let the model call a tool, and wait until it has spoken its result."""
        response = {"id": "r0"}
        item = {"type": "function_call", "status": "completed", "name": name, "call_id": "c1", "id": "i1"}
        await self.runner.receive({"type": "response.created", "response": response})
        await self.runner.receive(
            {"type": "response.output_item.done", "response_id": "r0", "item": {**item, "arguments": "{}"}}
        )
        await self.runner.receive({"type": "response.done", "response": response})
        await self.done.wait()


@pytest.mark.parametrize("name", LONG)
@in_virtual_time
async def test_the_raw_loop(name: str) -> None:
    silence = Silence()
    session = ScriptedSession(silence)
    async with (
        offered(silence) as toolset,
        RealtimeToolRunner(toolset, session.send, as_text=False) as runner,
    ):
        session.runner = runner
        await session.call(name)
    assert session.outputs[0]["ok"]
    assert silence.longest <= LONGEST
    # The person hears what is declared or reported, and is not talked to without end.
    said = [text.rpartition(": ")[2] for text in session.spoken]
    assert (
        said
        == {
            "count_stock": ["the result"],
            "search_archive": ["I am searching.", "I am searching.", "I am searching.", "the result"],
            "make_report": ["Looking at January", "Looking at April", "Looking at May", "the result"],
        }[name]
    )


@pytest.mark.parametrize("speaks", ["nobody", "the person", "the model"])
def test_the_raw_loop_says_a_report_only_if_nobody_speaks(speaks: str) -> None:
    tools = RealtimeTools()
    item = {"type": "function_call", "status": "completed", "name": "f", "call_id": "c1", "id": "i1"}
    step = tools.receive({"type": "response.output_item.done", "response_id": "r0", "item": item})
    tools.receive({"type": "response.done", "response": {"id": "r0"}})
    if speaks == "the person":
        tools.receive({"type": "input_audio_buffer.speech_started"})
    elif speaks == "the model":
        tools.receive({"type": "response.created", "response": {"id": "r1"}})
    (call,) = step.calls
    heard = ToolCall(call_id="c1", tool_name="f", function_name="f", arguments={}, source="f", kind="local")
    progress = ToolProgress(call=heard, seconds=9, message="Looking at March", aloud=True)
    message, *requests = tools.note(call, progress).send
    assert message["item"]["content"] == [{"type": "input_text", "text": progress.as_text()}]
    assert [each["type"] for each in requests] == (["response.create"] if speaks == "nobody" else [])
    tools.receive({"type": "input_audio_buffer.speech_stopped"})
    assert tools.receive({"type": "response.done", "response": {"id": "r1"}}).send == ()
    tools.answer(call, "{}")
    assert tools.note(call, progress).send == ()  # it comes too late


@pytest.mark.parametrize("name", LONG)
@in_virtual_time
async def test_a_session_of_the_agents_sdk(name: str) -> None:
    silence, done = Silence(), asyncio.Event()

    def matches(event: Any) -> bool:
        if isinstance(event, RealtimeModelSendRawMessage):
            silence.ends()
        elif isinstance(event, RealtimeModelSendToolOutput):
            done.set()
        return True

    called = RealtimeModelToolCallEvent(name=name, call_id="c1", arguments="{}", id="i1")
    async with offered(silence) as toolset:
        model = ScriptedRealtimeModel(
            [Step(RealtimeModelSendUserInput, emit=[called]), *(Step(matches) for _ in range(50))]
        )
        agent = RealtimeAgent(name="nav", tools=[*openai_agents.function_tools(toolset)])
        runner = RealtimeRunner(agent, model=model, config={"tracing_disabled": True})
        session = await runner.run()
        openai_agents.tell_decisions(session)
        async with session:
            await session.send_message("Begin.")
            await done.wait()
    assert silence.longest <= LONGEST


@pytest.mark.parametrize("filler", [None, "One moment."])
@pytest.mark.parametrize("name", LONG)
@in_virtual_time
async def test_livekit(name: str, filler: str | None) -> None:
    silence, done = Silence(), asyncio.Event()
    async with offered(silence) as toolset:
        model = scripted_livekit.ScriptedLLM([scripted_livekit.wants(name)], *(["I see."] * 20))
        async with AgentSession[None](llm=model) as session:

            @session.on("tool_execution_updated")
            def updated(event: Any) -> None:
                if isinstance(event.update, ToolCallUpdated):
                    silence.ends()
                elif event.update.type == "tool_call_ended":
                    done.set()

            @session.on("speech_created")
            def spoken(event: Any) -> None:
                if event.source == "say":
                    silence.ends()

            await session.start(Agent(instructions="Help.", tools=[NavaiToolset(toolset, filler=filler)]))
            session.generate_reply(user_input="Begin.")
            await done.wait()
    assert silence.longest <= LONGEST


@pytest.mark.parametrize("read_only", [False, True], ids=["goes on", "is cancelled by interruptions"])
@pytest.mark.parametrize("name", LONG)
@in_virtual_time
async def test_pipecat(name: str, read_only: bool) -> None:
    silence, done = Silence(), asyncio.Event()

    class Watched(scripted_pipecat.ScriptedLLM):
        async def push_frame(self, frame: Frame, *args: Any, **kwargs: Any) -> None:
            if isinstance(frame, FunctionCallResultFrame):
                if frame.properties is None:
                    done.set()
                else:
                    silence.ends()
            elif isinstance(frame, LLMMessagesAppendFrame | TTSSpeakFrame):
                silence.ends()
            await super().push_frame(frame, *args, **kwargs)

    async with offered(silence, read_only=[name] if read_only else []) as toolset:
        llm = Watched([scripted_pipecat.wants(name)], *(["I see."] * 20))
        async with scripted_pipecat.conversation(llm, tools_schema(toolset)) as talk:
            await talk.say("Begin.")
            await done.wait()
    assert silence.longest <= LONGEST


@pytest.mark.parametrize("name", LONG)
@in_virtual_time
async def test_a_run_of_pydantic_ai(name: str) -> None:
    silence = Silence()
    heard: list[str | None] = []

    async def listen(_: RunContext[Any], events: Any) -> None:
        async for event in events:
            if isinstance(event, pydantic_ai.FunctionProgressEvent):
                assert (event.tool_name, event.tool_call_id) == (name, "call_1")
                heard.append(event.message)
                silence.ends()

    async def respond(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
        yield "Done." if len(messages) > 1 else {0: DeltaToolCall(name, "{}", tool_call_id="call_1")}

    async with offered(silence) as toolset:
        model = FunctionModel(stream_function=respond)
        agent = PydanticAgent(model, toolsets=[pydantic_ai.NavaiToolset(toolset)])
        await agent.run("Begin.", event_stream_handler=listen)
    assert silence.longest <= LONGEST
    assert heard


@pytest.mark.usefixtures("no_proxy")
@in_a_loop
async def test_a_realtime_session_of_pydantic_ai() -> None:
    """The message of a report is followed by a response, that of a call which still runs is not."""
    told, reported = asyncio.Event(), asyncio.Event()

    async def search(context: FunctionContext) -> str:
        await told.wait()
        context.progress("Looking at March")
        await reported.wait()
        return "found"

    script = [Call("search", {}, "call_1"), Say("I am at March."), Say("Found.")]
    async with (
        loaded_toolset(functions=[search], slow_after=0.01) as (_, toolset),
        FakeRealtimeServer(script, secrets=["ek_test"]) as api,
    ):
        agent = PydanticAgent(toolsets=[pydantic_ai.NavaiToolset(toolset)])
        async with agent.realtime(realtime_model(api)).session() as session:
            await session.send("Search.")
            await api.wait_for_async("conversation.item.create", 2, timeout=60)
            told.set()
            await api.wait_for_async("response.create", 2, timeout=60)
            reported.set()
            await api.wait_async(60)
        messages = [json.dumps(each) for each in api.session.sent("conversation.item.create")]
    assert re.search(r"search is still running, for \d+ seconds\. If the person asks", messages[1])
    assert "Looking at March" in messages[2]
    assert "found" in messages[3]


@pytest.mark.parametrize("name", LONG)
@in_virtual_time
async def test_langgraph(name: str) -> None:
    silence = Silence()
    call = {"name": name, "args": {}, "id": "call_1", "type": "tool_call"}
    answers: list[Any] = [AIMessage("", tool_calls=[call]), AIMessage("Done.")]
    async with offered(silence) as toolset:
        graph: Any = create_agent(ChatScript(responses=answers), langchain.function_tools(toolset))
        async for event in graph.astream({"messages": [("user", "Begin.")]}, stream_mode="custom"):
            assert (event["type"], event["name"], event["tool_call_id"]) == ("tool_progress", name, "call_1")
            silence.ends()
    assert silence.longest <= LONGEST


async def run_the_agents_sdk(toolset: Toolset, name: str, arguments: dict[str, Any]) -> Any:
    """Let a run of the SDK call *name*, and return its outcome."""
    model = ScriptedModel([[function_call(name, arguments, call_id="c1")], [assistant_message("Done.")]])
    agent = RunnersAgent(name="nav", model=model, tools=[*openai_agents.function_tools(toolset)])
    await Runner.run(agent, "Begin.", run_config=RunConfig(tracing_disabled=True))
    assert model.last_call is not None
    return json.loads(model.last_call.input[-1]["output"])


async def run_pydantic_ai(toolset: Toolset, name: str, arguments: dict[str, Any]) -> Any:
    """Let a run of Pydantic AI call *name*, and return its outcome."""
    agent = PydanticAgent(
        Script([wants(name, **arguments)]).model, toolsets=[pydantic_ai.NavaiToolset(toolset)]
    )
    result = await agent.run("Begin.")
    return results(result.all_messages())["call_1"]


async def run_langgraph(toolset: Toolset, name: str, arguments: dict[str, Any]) -> Any:
    """Let a graph call *name*, and return its outcome."""
    call = {"name": name, "args": arguments, "id": "call_1", "type": "tool_call"}
    answers: list[Any] = [AIMessage("", tool_calls=[call]), AIMessage("Done.")]
    graph: Any = create_agent(ChatScript(responses=answers), langchain.function_tools(toolset))
    state = await graph.ainvoke({"messages": [("user", "Begin.")]})
    return json.loads(state["messages"][-2].content)


class TestAFunctionOfABackend:
    """What it reports comes over HTTP, and ends the silence as what a function of this process reports."""

    @in_a_loop
    async def test_the_raw_loop(self) -> None:
        outputs: asyncio.Queue[str] = asyncio.Queue()

        async def send(event: dict[str, Any]) -> None:
            functions.hear(event)
            if event.get("item", {}).get("type") == "function_call_output":
                outputs.put_nowait(event["item"]["output"])

        item = {"type": "function_call", "status": "completed", "name": "search", "call_id": "c1"}
        item |= {"id": "i1", "arguments": "{}"}
        async with (
            archive() as (functions, toolset),
            RealtimeToolRunner(toolset, send, as_text=False) as runner,
        ):
            await runner.receive({"type": "response.created", "response": {"id": "r0"}})
            await runner.receive({"type": "response.output_item.done", "response_id": "r0", "item": item})
            await runner.receive({"type": "response.done", "response": {"id": "r0"}})
            assert json.loads(await outputs.get())["result"] == "found"

    @in_a_loop
    async def test_a_session_of_the_agents_sdk(self) -> None:
        ended = asyncio.Event()

        def matches(event: Any) -> bool:
            if isinstance(event, RealtimeModelSendRawMessage):
                functions.hear(event.message)
            elif isinstance(event, RealtimeModelSendToolOutput):
                assert json.loads(event.output)["result"] == "found"
                ended.set()
            return True

        called = RealtimeModelToolCallEvent(name="search", call_id="c1", arguments="{}", id="i1")
        steps = [Step(RealtimeModelSendUserInput, emit=[called]), *(Step(matches) for _ in range(50))]
        async with archive() as (functions, toolset):
            agent = RealtimeAgent(name="nav", tools=[*openai_agents.function_tools(toolset)])
            model = ScriptedRealtimeModel(steps)
            session = await RealtimeRunner(agent, model=model, config={"tracing_disabled": True}).run()
            openai_agents.tell_decisions(session)
            async with session:
                await session.send_message("Begin.")
                await ended.wait()

    @in_a_loop
    async def test_a_run_of_the_agents_sdk(self) -> None:
        def progress(_: ToolCall, report: str) -> None:
            functions.hear(report)

        async with archive(progress=progress) as (functions, toolset):
            assert (await run_the_agents_sdk(toolset, "search", {}))["result"] == "found"

    @in_a_loop
    async def test_livekit(self) -> None:
        ended = asyncio.Event()
        async with archive() as (functions, toolset):
            model = scripted_livekit.ScriptedLLM([scripted_livekit.wants("search")], *(["I see."] * 50))
            async with AgentSession[None](llm=model) as session:

                @session.on("tool_execution_updated")
                def updated(event: Any) -> None:
                    functions.hear(event.update)
                    if event.update.type == "tool_call_ended":
                        assert json.loads(event.update.message)["result"] == "found"
                        ended.set()

                await session.start(Agent(instructions="Help.", tools=[NavaiToolset(toolset)]))
                session.generate_reply(user_input="Begin.")
                await ended.wait()

    @pytest.mark.parametrize("read_only", [False, True], ids=["goes on", "is cancelled by interruptions"])
    @in_a_loop
    async def test_pipecat(self, read_only: bool) -> None:
        async with archive(read_only=["search"] if read_only else []) as (functions, toolset):
            llm = scripted_pipecat.ScriptedLLM([scripted_pipecat.wants("search")], *(["I see."] * 50))
            async with scripted_pipecat.conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Begin.")
                while "found" not in str(messages := await talk.asked()):
                    functions.hear(messages)

    @in_a_loop
    async def test_a_run_of_pydantic_ai(self) -> None:
        async def listen(_: RunContext[Any], events: Any) -> None:
            async for event in events:
                functions.hear(event)

        async def respond(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
            yield str(messages) if len(messages) > 1 else {0: DeltaToolCall("search", "{}", tool_call_id="c")}

        async with archive() as (functions, toolset):
            model = FunctionModel(stream_function=respond)
            agent = PydanticAgent(model, toolsets=[pydantic_ai.NavaiToolset(toolset)])
            result = await agent.run("Begin.", event_stream_handler=listen)
        assert "found" in result.output

    @pytest.mark.usefixtures("no_proxy")
    @in_a_loop
    async def test_a_realtime_session_of_pydantic_ai(self) -> None:
        script = [Call("search", {}, "call_1"), Say("I am at March."), Say("Found.")]
        async with (
            archive() as (functions, toolset),
            FakeRealtimeServer(script, secrets=["ek_test"], strict=False) as api,
        ):
            agent = PydanticAgent(toolsets=[pydantic_ai.NavaiToolset(toolset)])
            async with agent.realtime(realtime_model(api)).session() as session:
                await session.send("Search.")
                messages: list[Any] = []
                while "found" not in str(messages):
                    count = len(messages) + 1
                    messages = await api.wait_for_async("conversation.item.create", count, timeout=60)
                    functions.hear(messages)

    @in_a_loop
    async def test_langgraph(self) -> None:
        call = {"name": "search", "args": {}, "id": "call_1", "type": "tool_call"}
        answers: list[Any] = [AIMessage("", tool_calls=[call]), AIMessage("Done.")]
        async with archive() as (functions, toolset):
            graph: Any = create_agent(ChatScript(responses=answers), langchain.function_tools(toolset))
            asked = {"messages": [("user", "Begin.")]}
            async for kind, event in graph.astream(asked, stream_mode=["custom", "values"]):
                if kind == "custom":
                    functions.hear(event)
        assert json.loads(event["messages"][-2].content)["result"] == "found"


@pytest.mark.usefixtures("asked_often", "no_proxy")
class TestACallThatWaitsForApprovalAtTheBackend:
    """What came of it is told to the model of a session, and to the application of a run."""

    @pytest.mark.parametrize("run", [run_the_agents_sdk, run_pydantic_ai, run_langgraph])
    @in_a_loop
    async def test_in_a_run(self, run: Any) -> None:
        decided: asyncio.Queue[Any] = asyncio.Queue()
        async with loaded_toolset(decided=lambda _, outcome: decided.put_nowait(outcome)) as (live, toolset):
            live.offer_refund()
            await toolset.refresh()
            assert (await run(toolset, "refund", {"order": "o-1"}))["pending"] is True
            await live.decide("approve")
            assert (await decided.get()).result == "refunded o-1"

    @in_a_loop
    async def test_in_a_realtime_session_of_pydantic_ai(self) -> None:
        script = [Call("refund", {"order": "o-1"}, "call_1"), Say("It waits."), Say("It was refunded.")]
        async with loaded_toolset() as (live, toolset):
            live.offer_refund()
            await toolset.refresh()
            async with FakeRealtimeServer(script, secrets=["ek_test"]) as api:
                agent = PydanticAgent(toolsets=[pydantic_ai.NavaiToolset(toolset)])
                async with agent.realtime(realtime_model(api)).session() as session:
                    await session.send("Refund it.")
                    await api.wait_for_async("response.create", 2, timeout=60)
                    await live.decide("approve")
                    await api.wait_async(60)
        (output,) = api.session.outputs["call_1"]
        assert "you are told what comes of it" in json.loads(output)["error"]
        told = json.dumps(api.session.sent("conversation.item.create")[-1])
        assert "What came of the call of refund" in told
        assert "refunded o-1" in told


class TestACallThatNobodyWaitsFor:
    """It is cancelled at the backend if its function only reads, whoever leaves it."""

    @in_a_loop
    async def test_the_raw_loop_is_closed(self) -> None:
        async with watched(effect="read") as (functions, toolset):
            session = ScriptedSession(Silence())
            async with RealtimeToolRunner(toolset, session.send, as_text=False) as session.runner:
                calling = asyncio.create_task(session.call("look"))
                await functions.begun.wait()
            await functions.cancelled.wait()
            calling.cancel()
            await asyncio.wait((calling,))

    @in_a_loop
    async def test_a_session_of_the_agents_sdk_is_closed(self) -> None:
        called = RealtimeModelToolCallEvent(name="look", call_id="c1", arguments="{}", id="i1")
        model = ScriptedRealtimeModel([Step(RealtimeModelSendUserInput, emit=[called])])
        async with watched(effect="read") as (functions, toolset):
            agent = RealtimeAgent(name="nav", tools=[*openai_agents.function_tools(toolset)])
            runner = RealtimeRunner(agent, model=model, config={"tracing_disabled": True})
            async with await runner.run() as session:
                await session.send_message("Begin.")
                await functions.begun.wait()
            await functions.cancelled.wait()

    @in_a_loop
    async def test_a_run_of_the_agents_sdk_is_cancelled(self) -> None:
        async with watched(effect="read") as (functions, toolset):
            model = ScriptedModel([[function_call("look", {}, call_id="c1")]])
            agent = RunnersAgent(name="nav", model=model, tools=[*openai_agents.function_tools(toolset)])
            config = RunConfig(tracing_disabled=True)
            await self.leave(Runner.run(agent, "Begin.", run_config=config), functions)

    @pytest.mark.usefixtures("no_proxy")
    @in_a_loop
    async def test_a_realtime_session_of_pydantic_ai_is_closed(self) -> None:
        async with (
            watched(effect="read") as (functions, toolset),
            FakeRealtimeServer([Call("look")], secrets=["ek_test"], strict=False) as api,
        ):
            agent = PydanticAgent(toolsets=[pydantic_ai.NavaiToolset(toolset)])
            async with agent.realtime(realtime_model(api)).session() as session:
                await session.send("Begin.")
                await functions.begun.wait()
            await functions.cancelled.wait()

    @in_a_loop
    async def test_livekit_closes_its_session(self) -> None:
        async with watched(effect="read") as (functions, toolset):
            model = scripted_livekit.ScriptedLLM([scripted_livekit.wants("look")], "Done.")
            async with AgentSession[None](llm=model) as session:
                await session.start(Agent(instructions="Help.", tools=[NavaiToolset(toolset)]))
                session.generate_reply(user_input="Begin.")
                await functions.begun.wait()
                async with asyncio.timeout(10):  # half of the call's time, for which it would wait
                    await session.aclose()
            await functions.cancelled.wait()

    @in_a_loop
    async def test_the_model_of_livekit_cancels_it(self) -> None:
        functions = Watched()
        cancel = scripted_livekit.wants("lk_agents_cancel_task", "call_2", '{"call_id": "call_1"}')
        async with loaded_toolset(slow_after=0.01) as (live, toolset):
            live.backend.function(functions.look, effect="read")
            await toolset.refresh()
            model = scripted_livekit.ScriptedLLM([scripted_livekit.wants("look")], [cancel], "Never mind.")
            async with AgentSession[None](llm=model) as session:
                await session.start(Agent(instructions="Help.", tools=[NavaiToolset(toolset)]))
                await session.generate_reply(user_input="Begin.")  # until the model is told that it runs
                await session.generate_reply(user_input="Stop that.")
                await functions.cancelled.wait()
        assert "Task call_1 cancelled successfully." in str(model.contexts[-1])

    @pytest.mark.parametrize("declared", [{}, {"effect": "write"}, {"effect": "dangerous"}])
    @in_a_loop
    async def test_the_model_of_livekit_cancels_nothing_else(self, declared: Any) -> None:
        async with watched(**declared) as (_, toolset):
            model = scripted_livekit.ScriptedLLM("Hello.")
            async with AgentSession[None](llm=model) as session:
                await session.start(Agent(instructions="Help.", tools=[NavaiToolset(toolset)]))
                await session.generate_reply(user_input="Hello.")
        assert not any(name.startswith("lk_") for name in model.offered[0])

    @in_a_loop
    async def test_the_person_interrupts_pipecat(self) -> None:
        async with watched(effect="read") as (functions, toolset):
            llm = scripted_pipecat.ScriptedLLM([scripted_pipecat.wants("look")], "Never mind.")
            async with scripted_pipecat.conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Begin.")
                await functions.begun.wait()
                await talk.send(InterruptionFrame())
                await functions.cancelled.wait()

    @in_a_loop
    async def test_a_run_of_pydantic_ai_is_cancelled(self) -> None:
        async with watched(effect="read") as (functions, toolset):
            agent = PydanticAgent(Script([wants("look")]).model, toolsets=[pydantic_ai.NavaiToolset(toolset)])
            await self.leave(agent.run("Begin."), functions)

    @in_a_loop
    async def test_a_graph_is_cancelled(self) -> None:
        call = {"name": "look", "args": {}, "id": "call_1", "type": "tool_call"}
        answers: list[Any] = [AIMessage("", tool_calls=[call])]
        async with watched(effect="read") as (functions, toolset):
            graph: Any = create_agent(ChatScript(responses=answers), langchain.function_tools(toolset))
            await self.leave(graph.ainvoke({"messages": [("user", "Begin.")]}), functions)

    async def leave(self, work: Coroutine[Any, Any, Any], functions: Watched) -> None:
        """Cancel *work* once its call runs."""
        running = asyncio.create_task(work)
        await functions.begun.wait()
        running.cancel()
        await functions.cancelled.wait()
        await asyncio.wait((running,))
