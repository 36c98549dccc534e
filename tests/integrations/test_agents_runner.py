"""``Agent`` and ``Runner`` of the OpenAI Agents SDK, with its scripted model and a backend over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Unpack

from agents import Agent, RunConfig, Runner
from agents.testing import ScriptedModel, assistant_message, function_call

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.openai_agents import function_tools
from navai_client.integrations.toolset import Toolset, ToolsetOptions
from tests.integrations.live_backend import LiveBackend, live_backend
from tests.integrations.loop import in_a_loop

CONFIG = RunConfig(tracing_disabled=True)


@asynccontextmanager
async def served(
    *script: Any, **options: Unpack[ToolsetOptions]
) -> AsyncIterator[tuple[LiveBackend, ScriptedModel, Agent[Any]]]:
    """Serve a backend, and an agent with its functions that does what *script* says."""
    async with (
        live_backend() as live,
        AsyncNavaiBackendClient(live.url) as client,
        Toolset.load(client, **options) as toolset,
    ):
        model = ScriptedModel([*script, [assistant_message("Done.")]])
        yield live, model, Agent(name="Waiter", model=model, tools=[*function_tools(toolset)])
        model.assert_complete()


def outputs(model: ScriptedModel) -> dict[str, Any]:
    """Return what the model got last for each call."""
    assert model.last_call is not None
    items = [item for item in model.last_call.input if item.get("type") == "function_call_output"]
    assert len({item["call_id"] for item in items}) == len(items)
    return {item["call_id"]: json.loads(item["output"]) for item in items}


@in_a_loop
async def test_the_calls_of_a_response_run_together_and_each_gives_one_result() -> None:
    script = [
        *(function_call("meet", {"guest": guest}, call_id=f"m{guest}") for guest in range(10)),
        function_call("get_weather", {"location": "Bogotá"}, call_id="w"),
        function_call("break_down", {}, call_id="b"),
        function_call("get_weather", '{"location": ', call_id="i"),
    ]
    async with served(script) as (_, model, agent):
        result = await Runner.run(agent, "Help.", run_config=CONFIG)
        assert result.final_output == "Done."
        found = outputs(model)
    assert [found[f"m{guest}"]["result"] for guest in range(10)] == [*range(10)]
    assert found["w"]["result"] == {"location": "Bogotá", "temperature": 21}
    assert found["b"] == {"ok": False, "function_name": "break_down", "error": "Function execution failed."}
    assert found["i"]["ok"] is False


@in_a_loop
async def test_ids_that_each_run_counts_anew_are_calls_of_their_own() -> None:
    wanted = [[function_call("get_weather", {"location": place}, call_id="0")] for place in ("Oslo", "Oslo")]
    async with served(wanted[0], [assistant_message("Warm.")], wanted[1]) as (live, _, agent):
        await Runner.run(agent, "Oslo?", run_config=CONFIG)
        await Runner.run(agent, "And now?", run_config=CONFIG)
        assert len(live.traces) == 2


@in_a_loop
async def test_a_function_that_needs_approval_interrupts_the_run_until_somebody_decided() -> None:
    async def book(decision: str) -> tuple[list[str], Any]:
        script = [function_call("book_table", {"name": "Ada"}, call_id="c")]
        async with served(script, approval=["book_table"]) as (live, model, agent):
            live.release.set()
            result = await Runner.run(agent, "Book.", run_config=CONFIG)
            (wanted,) = result.interruptions
            assert live.booked == []
            state = result.to_state()
            (state.approve if decision == "approve" else state.reject)(wanted)
            assert (await Runner.run(agent, state, run_config=CONFIG)).final_output == "Done."
            assert model.last_call is not None
            return live.booked, model.last_call.input[-1]["output"]

    booked, said = await book("approve")
    assert booked == ["Ada"]
    assert json.loads(said)["result"] == "booked for Ada"
    booked, said = await book("reject")
    assert booked == []
    assert "approved" in said


@in_a_loop
async def test_a_run_that_is_cancelled_is_released_at_once_and_the_call_goes_on() -> None:
    script = [function_call("book_table", {"name": "Ada"}, call_id="c")]
    async with live_backend() as live, AsyncNavaiBackendClient(live.url) as client:
        async with Toolset.load(client) as toolset:
            agent = Agent(name="Waiter", model=ScriptedModel([script]), tools=[*function_tools(toolset)])
            running = asyncio.create_task(Runner.run(agent, "Book.", run_config=CONFIG))
            await live.waiting.wait()
            running.cancel()
            await asyncio.wait((running,))
            assert running.cancelled()
            assert live.booked == []
            live.release.set()
        assert live.booked == ["Ada"]
