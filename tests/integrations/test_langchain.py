"""LangChain's agents, with a scripted model, call the functions of a real backend over HTTP."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from navai_client.integrations.langchain import function_tools
from navai_client.integrations.tools import ToolCall
from navai_client.integrations.toolset import Toolset
from tests.integrations.live_backend import loaded_toolset
from tests.integrations.loop import in_a_loop

THREAD: RunnableConfig = {"configurable": {"thread_id": 7}}


class Script(FakeMessagesListChatModel):
    """LangChain's fake model, which takes tools."""

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[Any, AIMessage]:
        """Take the tools, as a real model does."""
        assert [convert_to_openai_tool(tool) for tool in tools]
        return self


def agent(toolset: Toolset, *turns: list[Any], **options: Any) -> Any:
    """Return an agent whose model makes the calls of *turns*, and then says that it is done."""
    answers = [AIMessage("", tool_calls=turn) for turn in turns]
    return create_agent(Script(responses=[*answers, AIMessage("Done.")]), function_tools(toolset), **options)


def wants(tool: str, call_id: str = "call_1", **arguments: Any) -> dict[str, Any]:
    return {"name": tool, "args": arguments, "id": call_id, "type": "tool_call"}


def results(state: dict[str, Any]) -> dict[str, Any]:
    """Return the result of each call, of which there is exactly one, at the end of a run."""
    assert state["messages"][-1].content == "Done."
    found = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert len({message.tool_call_id for message in found}) == len(found)
    return {message.tool_call_id: json.loads(str(message.content)) for message in found}


ASK = {"messages": [{"role": "user", "content": "Help."}]}


@in_a_loop
async def test_the_calls_of_a_response_run_together_and_each_gives_one_result() -> None:
    def echo(config: str, run_manager: str, callbacks: str) -> str:
        return config + run_manager + callbacks

    calls = [
        *(wants("meet", f"m{guest}", guest=guest) for guest in range(10)),
        wants("get_weather", "w", location="Bogotá"),
        wants("break_down", "b"),
        wants("get_weather", "x", location=3, self=4),
        wants("echo", "e", config="a", run_manager="b", callbacks="c"),
    ]
    async with loaded_toolset(functions=[echo]) as (_, toolset):
        found = results(await agent(toolset, calls).ainvoke(ASK))
    assert [found[f"m{guest}"]["result"] for guest in range(10)] == [*range(10)]
    assert found["w"]["result"] == {"location": "Bogotá", "temperature": 21}
    assert found["b"] == {"ok": False, "function_name": "break_down", "error": "Function execution failed."}
    assert "Invalid arguments" in found["x"]["error"]
    assert found["e"]["result"] == "abc"


@in_a_loop
async def test_the_model_gets_names_descriptions_and_parameters() -> None:
    def anything(**payload: object) -> int:
        return len(payload)

    async with loaded_toolset(functions=[anything]) as (_, toolset):
        tools = {tool.name: convert_to_openai_tool(tool)["function"] for tool in function_tools(toolset)}
        assert [tool.args for tool in function_tools(toolset) if tool.name == "anything"] == [{}]
    assert tools["get_weather"] == {
        "name": "get_weather",
        "description": "Get the current weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "description": "City or region."}},
            "required": ["location"],
            "additionalProperties": False,
        },
    }
    assert tools["anything"]["parameters"]["type"] == "object"


@in_a_loop
async def test_ids_that_each_run_counts_anew_are_calls_of_their_own() -> None:
    async with loaded_toolset() as (live, toolset):
        calls = [wants("get_weather", "0", location="Oslo")]
        for config in (THREAD, THREAD, None):
            results(await agent(toolset, calls).ainvoke(ASK, config))
        assert len(live.traces) == 3


class TestAFunctionThatNeedsApproval:
    """``Toolset.load(approval=[...])``."""

    @pytest.mark.parametrize("approved", [True, False])
    @in_a_loop
    async def test_interrupts_the_graph_until_somebody_has_decided(self, approved: bool) -> None:
        calls = [wants("book_table", name="Ada"), wants("get_weather", "w", location="Oslo")]
        async with loaded_toolset(approval=["book_table"]) as (live, toolset):
            live.release.set()
            graph = agent(toolset, calls, checkpointer=InMemorySaver())
            asked = await graph.ainvoke(ASK, THREAD)
            (question,) = asked["__interrupt__"]
            assert question.value == {
                "type": "tool_approval",
                "tool_call_id": "call_1",
                "name": "book_table",
                "args": {"name": "Ada"},
                "description": "Book a table.",
            }
            assert live.booked == []
            answer = {"type": "approve"} if approved else {"type": "reject", "message": "Not today."}
            found = results(await graph.ainvoke(Command(resume=answer), THREAD))
        assert live.booked == (["Ada"] if approved else [])
        assert found["call_1"]["ok"] is approved
        assert len(live.traces) == 1  # what ran before the question does not run again

    @in_a_loop
    async def test_is_left_to_the_application_that_wants_it(self) -> None:
        asked: list[str] = []

        def approve(call: ToolCall) -> bool:
            asked.append(call.function_name)
            return False

        async with loaded_toolset(approval=["book_table"], approve=approve) as (live, toolset):
            found = results(await agent(toolset, [wants("book_table", name="Ada")]).ainvoke(ASK))
            assert live.booked == []
        assert asked == ["book_table"]
        assert "did not approve" in found["call_1"]["error"]

    @in_a_loop
    async def test_is_refused_outside_of_a_graph_where_nobody_can_be_asked(self) -> None:
        async with loaded_toolset(approval=["book_table"]) as (live, toolset):
            book = next(tool for tool in function_tools(toolset) if tool.name == "book_table")
            message = await book.ainvoke(wants("book_table", "call_9", name="Ada"))
            assert live.booked == []
        assert message.tool_call_id == "call_9"
        assert "nobody could be asked" in message.content


@in_a_loop
async def test_a_graph_that_goes_on_after_a_cancellation_gets_the_result_of_the_first_call() -> None:
    async with loaded_toolset() as (live, toolset):
        graph = agent(toolset, [wants("book_table", name="Ada")], checkpointer=InMemorySaver())
        running = asyncio.create_task(graph.ainvoke(ASK, THREAD))
        await live.waiting.wait()
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
        assert live.booked == []
        live.release.set()
        found = results(await graph.ainvoke(None, THREAD))
        assert live.booked == ["Ada"]
    assert found["call_1"]["result"] == "booked for Ada"


@in_a_loop
async def test_a_synchronous_call_says_what_to_use() -> None:
    async with loaded_toolset() as (_, toolset):
        weather = next(tool for tool in function_tools(toolset) if tool.name == "get_weather")
        with pytest.raises(NotImplementedError, match="use ainvoke"):
            weather.invoke({"location": "Oslo"})
        assert json.loads(await weather.ainvoke({"location": "Oslo"}))["ok"] is True
