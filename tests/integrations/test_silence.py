"""A function that takes a minute, in every framework: no silence of more than two seconds.

The sessions are scripted and on a clock of their own. Silence is what ``Silence`` measures.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from agents.realtime import (
    RealtimeAgent,
    RealtimeModelSendRawMessage,
    RealtimeModelSendToolOutput,
    RealtimeModelSendUserInput,
    RealtimeRunner,
)
from agents.realtime.model_events import RealtimeModelToolCallEvent
from agents.realtime.testing import RealtimeStep as Step, ScriptedRealtimeModel
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
from navai_client.server import FunctionContext
from navai_client.testing.realtime import Call, FakeRealtimeServer, Say
from tests.integrations import scripted_livekit, scripted_pipecat
from tests.integrations.clock import in_virtual_time
from tests.integrations.live_backend import loaded_toolset
from tests.integrations.loop import in_a_loop
from tests.integrations.silence import LONG, Silence, offered
from tests.integrations.test_langchain import Script as ChatScript
from tests.integrations.test_long_calls import Watched, watched
from tests.integrations.test_pydantic_ai import Script, realtime_model, wants

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
            await api.wait_for_async("conversation.item.create", 2)
            told.set()
            await api.wait_for_async("response.create", 2)
            reported.set()
            await api.wait_async()
        messages = [json.dumps(each) for each in api.session.sent("conversation.item.create")]
    assert "search is still running, for 0 seconds. If the person asks" in messages[1]
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
    async def test_livekit_closes_its_session(self) -> None:
        async with watched(effect="read") as (functions, toolset):
            model = scripted_livekit.ScriptedLLM([scripted_livekit.wants("look")], "Done.")
            async with AgentSession[None](llm=model) as session:
                await session.start(Agent(instructions="Help.", tools=[NavaiToolset(toolset)]))
                session.generate_reply(user_input="Begin.")
                await functions.begun.wait()
            await functions.cancelled.wait()

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
