"""Pydantic AI calls a backend's functions over HTTP: its own scripted models, and a fake Realtime API."""

import asyncio
import json
from typing import Any

import pytest
from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, ToolDenied
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.realtime.openai import OpenAIRealtimeModel

from navai_client.integrations.pydantic_ai import NavaiToolset
from navai_client.integrations.tools import ToolCall
from navai_client.testing.realtime import Call, FakeRealtimeServer, Say
from tests.integrations.live_backend import loaded_toolset
from tests.integrations.loop import in_a_loop

pytestmark = pytest.mark.usefixtures("no_proxy")


class Script:
    """A model that makes the calls of *turns*, one list for each response, and then says that it is done."""

    def __init__(self, *turns: list[ToolCallPart]) -> None:
        self.turns = [*turns]
        self.offered: list[dict[str, Any]] = []
        self.model = FunctionModel(self.respond)

    def respond(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        """Play the next turn."""
        self.offered.append({tool.name: tool for tool in info.function_tools})
        return ModelResponse(parts=self.turns.pop(0) if self.turns else [TextPart("Done.")])


def wants(tool: str, call_id: str = "call_1", **arguments: Any) -> ToolCallPart:
    return ToolCallPart(tool, arguments, tool_call_id=call_id)


def results(messages: list[ModelMessage]) -> dict[str, Any]:
    """Return the result of each call, of which there is exactly one."""
    parts = [part for message in messages for part in message.parts if part.part_kind != "tool-call"]
    returns = [part for part in parts if isinstance(part, ToolReturnPart)]
    assert not [part for part in parts if part.part_kind == "retry-prompt"]
    assert len({part.tool_call_id for part in returns}) == len(returns)
    return {part.tool_call_id: part.content for part in returns}


@in_a_loop
async def test_the_calls_of_a_response_run_together_and_each_gives_one_result() -> None:
    script = Script(
        [
            *(wants("meet", f"m{guest}", guest=guest) for guest in range(10)),
            wants("get_weather", "w", location="Bogotá"),
            wants("break_down", "b"),
            wants("get_weather", "x", location=3),
            ToolCallPart("get_weather", '{"location": ', tool_call_id="i"),
            ToolCallPart("get_weather", "[1]", tool_call_id="l"),
        ],
        [ToolCallPart("get_weather", '{"location"', tool_call_id="i2")],
        [ToolCallPart("get_weather", "location", tool_call_id="i3")],
    )
    async with loaded_toolset() as (_, toolset):
        result = await Agent(script.model, toolsets=[NavaiToolset(toolset)]).run("Help.")
    assert result.output == "Done."
    found = results(result.all_messages())
    assert [found[f"m{guest}"]["result"] for guest in range(10)] == [*range(10)]
    assert found["w"]["result"] == {"location": "Bogotá", "temperature": 21}
    assert found["b"] == {"ok": False, "function_name": "break_down", "error": "Function execution failed."}
    assert all("Invalid arguments" in found[wrong]["error"] for wrong in ("x", "i", "l", "i2", "i3"))


@in_a_loop
async def test_the_model_gets_names_descriptions_and_parameters_also_after_a_refresh() -> None:
    script = Script([wants("get_weather", location="Oslo")])
    async with loaded_toolset() as (live, toolset):
        agent = Agent(script.model, toolsets=[NavaiToolset(toolset, id="shop")])
        await agent.run("Hello.")

        @live.backend.function
        def sing() -> str:
            """Sing."""
            return "la"

        assert (await toolset.refresh()).added == ("sing",)
        await agent.run("Sing.")
    weather = script.offered[0]["get_weather"]
    assert weather.description == "Get the current weather of a place."
    assert weather.parameters_json_schema["required"] == ["location"]
    assert script.offered[-1].keys() - script.offered[0].keys() == {"sing"}


@in_a_loop
async def test_the_test_model_of_pydantic_ai_calls_every_tool() -> None:
    async with loaded_toolset(only=["get_weather", "break_down"]) as (_, toolset):
        result = await Agent(TestModel(), toolsets=[NavaiToolset(toolset)]).run("Help.")
    assert {found["ok"] for found in results(result.all_messages()).values()} == {True, False}


@in_a_loop
async def test_ids_that_each_run_counts_anew_are_calls_of_their_own() -> None:
    async with loaded_toolset() as (live, toolset):
        for _ in range(2):
            script = Script([wants("get_weather", "0", location="Oslo")])
            await Agent(script.model, toolsets=[NavaiToolset(toolset)]).run("Oslo?")
        assert len(live.traces) == 2


class TestAFunctionThatNeedsApproval:
    """``Toolset.load(approval=[...])``."""

    @pytest.mark.parametrize("approved", [True, False])
    @in_a_loop
    async def test_ends_the_run_which_goes_on_when_somebody_has_decided(self, approved: bool) -> None:
        script = Script([wants("book_table", name="Ada")])
        async with loaded_toolset(approval=["book_table"]) as (live, toolset):
            live.release.set()
            agent = Agent(
                script.model, toolsets=[NavaiToolset(toolset)], output_type=[str, DeferredToolRequests]
            )
            asked = await agent.run("Book.")
            assert isinstance(asked.output, DeferredToolRequests)
            (call,) = asked.output.approvals
            assert (call.tool_name, call.args) == ("book_table", {"name": "Ada"})
            assert live.booked == []
            decision = True if approved else ToolDenied("Not today.")
            answers = DeferredToolResults(approvals={call.tool_call_id: decision})
            result = await agent.run(message_history=asked.all_messages(), deferred_tool_results=answers)
        found = results(result.all_messages())["call_1"]
        assert result.output == "Done."
        assert live.booked == (["Ada"] if approved else [])
        assert (found["result"] == "booked for Ada") if approved else (found == "Not today.")

    @in_a_loop
    async def test_is_left_to_the_application_that_wants_it(self) -> None:
        asked: list[str] = []

        def approve(call: ToolCall) -> bool:
            asked.append(call.function_name)
            return False

        script = Script([wants("book_table", name="Ada")])
        async with loaded_toolset(approval=["book_table"], approve=approve) as (live, toolset):
            result = await Agent(script.model, toolsets=[NavaiToolset(toolset)]).run("Book.")
            assert live.booked == []
        assert asked == ["book_table"]
        assert "did not approve" in results(result.all_messages())["call_1"]["error"]


@in_a_loop
async def test_a_run_that_is_cancelled_is_released_at_once_and_the_call_goes_on() -> None:
    script = Script([wants("book_table", name="Ada")])
    async with loaded_toolset() as (live, toolset):
        agent = Agent(script.model, toolsets=[NavaiToolset(toolset)])
        running = asyncio.create_task(agent.run("Book."))
        await live.waiting.wait()
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
        assert live.booked == []
        live.release.set()
        await toolset.close()
        assert live.booked == ["Ada"]


def realtime_model(api: FakeRealtimeServer) -> OpenAIRealtimeModel:
    provider = OpenAIProvider(base_url=api.url.removesuffix("/realtime"), api_key="ek_test")
    return OpenAIRealtimeModel("gpt-realtime", provider=provider)


@in_a_loop
async def test_a_realtime_session_calls_the_functions() -> None:
    script = [Call("get_weather", {"location": "Bogotá"}, "call_1"), Say("It is 21 degrees.")]
    async with loaded_toolset() as (_, toolset), FakeRealtimeServer(script, secrets=["ek_test"]) as api:
        model = realtime_model(api)
        agent = Agent(toolsets=[NavaiToolset(toolset)])
        async with agent.realtime(model).session() as session:
            await session.send("How is the weather?")
            await api.wait_async(60)
        (output,) = api.session.outputs["call_1"]
    assert json.loads(output)["result"] == {"location": "Bogotá", "temperature": 21}


@in_a_loop
async def test_a_realtime_session_asks_the_capability_that_decides() -> None:
    def decide(_: Any, requests: DeferredToolRequests) -> DeferredToolResults:
        return requests.build_results(approve_all=True)

    script = [Call("book_table", {"name": "Ada"}, "call_1"), Say("Booked.")]
    async with (
        loaded_toolset(approval=["book_table"]) as (live, toolset),
        FakeRealtimeServer(script, secrets=["ek_test"]) as api,
    ):
        live.release.set()
        model = realtime_model(api)
        agent = Agent(
            toolsets=[NavaiToolset(toolset)], capabilities=[HandleDeferredToolCalls(handler=decide)]
        )
        async with agent.realtime(model).session() as session:
            await session.send("Book.")
            await api.wait_async(60)
        assert live.booked == ["Ada"]
