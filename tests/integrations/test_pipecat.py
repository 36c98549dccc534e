"""Pipecat's own pipeline, with a scripted model, calls the functions of a real backend over HTTP."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Unpack

import pytest
from pipecat.frames.frames import Frame, InterruptionFrame, LLMSetToolsFrame, TTSSpeakFrame
from pipecat.services.llm_service import FunctionCallParams

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.pipecat import function_schemas, tools_schema
from navai_client.integrations.tools import ToolCall
from navai_client.integrations.toolset import Toolset, ToolsetOptions
from tests.integrations.live_backend import LiveBackend, live_backend
from tests.integrations.loop import in_a_loop
from tests.integrations.scripted_pipecat import ScriptedLLM, Wanted, conversation, wants
from tests.waiting import pass_time


@asynccontextmanager
async def served(**options: Unpack[ToolsetOptions]) -> AsyncIterator[tuple[LiveBackend, Toolset]]:
    async with (
        live_backend() as live,
        AsyncNavaiBackendClient(live.url) as client,
        await Toolset.load(client, **options) as toolset,
    ):
        yield live, toolset


def results(messages: list[dict[str, Any]], call_id: str = "call_1") -> list[Any]:
    """Return the results of a call in the conversation, in both of Pipecat's forms."""
    results = []
    for message in messages:
        if message["role"] not in ("tool", "developer"):
            continue
        content = message["content"]
        said = json.loads(content) if content.startswith("{") else content
        if not isinstance(said, dict) or said.get("type") != "async_tool":
            results.append((message["tool_call_id"], said))
        elif said["status"] == "finished":
            results.append((said["tool_call_id"], json.loads(said["result"])))
    return [result for whose, result in results if whose == call_id]


class TestACall:
    """What the model gets."""

    @in_a_loop
    async def test_runs_the_function_and_gives_its_result(self) -> None:
        async with served() as (_, toolset):
            llm = ScriptedLLM([wants("get_weather", location="Bogotá")], "It is warm.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("How is the weather?")
                await talk.asked()
                (result,) = results(await talk.asked())
        assert result == {
            "ok": True,
            "function_name": "get_weather",
            "source": "tests.integrations.live_backend#get_weather",
            "result": {"location": "Bogotá", "temperature": 21},
        }

    @pytest.mark.parametrize(
        ("wanted", "said"),
        [
            (wants("break_down"), "failed"),
            (wants("get_weather"), "location"),
            (wants("get_weather", location=7), "location"),
        ],
    )
    @in_a_loop
    async def test_that_fails_returns_a_result_that_a_model_can_read(self, wanted: Wanted, said: str) -> None:
        async with served() as (_, toolset):
            llm = ScriptedLLM([wanted], "I am sorry.", "Still here.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Do it.")
                await talk.asked()
                (result,) = results(await talk.asked())
                await talk.say("Are you there?")
                await talk.asked()
        assert result["ok"] is False
        assert said in json.dumps(result)

    @in_a_loop
    async def test_of_an_unknown_tool_has_one_result_too(self) -> None:
        async with served() as (_, toolset):
            llm = ScriptedLLM([wants("nowhere")], "I am sorry.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Do it.")
                await talk.asked()
                (result,) = results(await talk.asked())
        assert "nowhere" in result

    @pytest.mark.parametrize("read_only", [[], ["book_table"]])
    @in_a_loop
    async def test_that_exceeds_its_limit_says_that_it_may_have_run(self, read_only: list[str]) -> None:
        options: Any = {"timeouts": {"book_table": 10.0}, "slow_after": None, "read_only": read_only}
        async with served(**options) as (live, toolset):
            llm = ScriptedLLM([wants("book_table", name="Ada")], "I do not know.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Book a table.")
                await talk.asked()
                await live.waiting.wait()
                pass_time(11)
                (result,) = results(await talk.asked())
                live.release.set()
        assert result["ok"] is False
        assert result["may_have_executed"] is True

    @in_a_loop
    async def test_runs_concurrently_with_nine_others(self) -> None:
        async with served() as (_, toolset):
            llm = ScriptedLLM(
                [wants("meet", f"call_{guest}", guest=guest) for guest in range(10)], "All are here."
            )
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Who is here?")
                await talk.asked()
                messages = await talk.asked()
        for guest in range(10):
            (result,) = results(messages, f"call_{guest}")
            assert result["result"] == guest

    @in_a_loop
    async def test_with_an_empty_result_says_so(self) -> None:
        def nothing() -> None: ...

        def empty() -> list[int]:
            return []

        async with served(functions=[nothing, empty]) as (_, toolset):
            llm = ScriptedLLM([wants("nothing", "call_1"), wants("empty", "call_2")], "Nothing.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Do it.")
                await talk.asked()
                messages = await talk.asked()
        assert [results(messages, call)[0]["result"] for call in ("call_1", "call_2")] == [None, []]

    @in_a_loop
    async def test_with_a_result_that_json_cannot_express_ends_too(self) -> None:
        def odd() -> object:
            return {"when": dt.date(2026, 1, 2), "how": float("nan"), "what": {1, 2}, "raw": b"\xff"}

        async with served(functions=[odd]) as (_, toolset):
            llm = ScriptedLLM([wants("odd")], "Odd.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Do it.")
                await talk.asked()
                (result,) = results(await talk.asked())
        assert result["result"] == {"when": "2026-01-02", "how": None, "what": [1, 2], "raw": "/w=="}

    @in_a_loop
    async def test_can_be_made_without_a_pipeline(self) -> None:
        given: list[Any] = []

        async def callback(result: Any, **_: Any) -> None:
            given.append(result)

        async with served() as (_, toolset):
            handlers = {schema.name: schema.handler for schema in function_schemas(toolset)}
            nothing: Any = None
            params = FunctionCallParams(
                "get_weather", "call_1", {"location": "Lima"}, nothing, nothing, nothing, callback
            )
            handler = handlers["get_weather"]
            assert handler is not None
            await handler(params)
        (result,) = given
        assert result["result"] == {"location": "Lima", "temperature": 21}


class TestAnApproval:
    """The person in the conversation is asked before anything is sent."""

    @pytest.mark.parametrize(("approved", "said"), [(True, "booked for Ada"), (False, "did not approve")])
    @in_a_loop
    async def test_is_asked_for_in_the_conversation(self, approved: bool, said: str) -> None:
        async with served(approval=["book_table"]) as (live, toolset):
            answer = [wants("answer_approval", "call_2", call_id="call_1", approved=approved)]
            llm = ScriptedLLM([wants("book_table", name="Ada")], "Shall I?", answer, "Thank you.", "Done.")
            live.release.set()
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Book a table.")
                await talk.asked()
                assert "The function book_table with the arguments" in str(await talk.asked())
                assert live.booked == []
                await talk.say("Well...")
                messages = await talk.asked()
                while not results(messages):
                    messages = await talk.asked()
        (result,) = results(messages)
        assert said in json.dumps(result)
        assert live.booked == (["Ada"] if approved else [])

    @in_a_loop
    async def test_cannot_be_given_by_the_model_before_the_person_spoke(self) -> None:
        async with served(approval=["book_table"]) as (live, toolset):
            answer = [wants("answer_approval", "call_2", call_id="call_1", approved=True)]
            llm = ScriptedLLM([wants("book_table", name="Ada")], answer, "Shall I?", "Hm.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Book a table.")
                messages: list[dict[str, Any]] = []
                while not results(messages, "call_2"):
                    messages = await talk.asked()
            (result,) = results(messages, "call_2")
        assert result["error"] == "The person has not answered yet: ask, and wait for the answer."
        assert live.booked == []

    @in_a_loop
    async def test_is_given_to_a_call_that_waits_for_it_alone(self) -> None:
        async with served(approval=["book_table"]) as (live, toolset):
            answer = [wants("answer_approval", "call_2", call_id="call_9", approved=True)]
            llm = ScriptedLLM(answer, "Which one?")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Yes.")
                messages: list[dict[str, Any]] = []
                while not results(messages, "call_2"):
                    messages = await talk.asked()
            (result,) = results(messages, "call_2")
        assert result["error"] == "No call with this call_id waits for approval."
        assert live.booked == []

    @in_a_loop
    async def test_is_left_to_the_application_that_wants_it(self) -> None:
        asked: list[str] = []

        def approve(call: ToolCall) -> bool:
            asked.append(call.function_name)
            return False

        async with served(approval=["book_table"], approve=approve) as (_, toolset):
            llm = ScriptedLLM([wants("book_table", name="Ada")], "No.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Book a table.")
                await talk.asked()
                (result,) = results(await talk.asked())
        assert "answer_approval" not in llm.offered[0]
        assert asked == ["book_table"]
        assert "did not approve" in result["error"]


@pytest.mark.usefixtures("asked_often")
@in_a_loop
async def test_the_model_is_told_what_came_of_a_call_that_waited_for_approval() -> None:
    async with served() as (live, toolset):
        live.offer_refund()
        await toolset.refresh()
        llm = ScriptedLLM([wants("refund", order="o-1")], "It waits.", "It was refunded.", "Yes.")
        async with conversation(llm, tools_schema(toolset)) as talk:
            await talk.say("Refund it.")
            messages = await talk.asked()
            while not results(messages):
                messages = await talk.asked()
            assert results(messages)[0]["pending"] is True
            await live.decide("approve")
            while "What came of the call of refund" not in str(messages[-1]):
                messages = await talk.asked()
    assert messages[-1]["role"] == "developer"
    assert "refunded o-1" in messages[-1]["content"]


class TestAnInterruption:
    """A person speaks while a tool runs."""

    @in_a_loop
    async def test_loses_neither_the_call_nor_its_result(self) -> None:
        async with served() as (live, toolset):
            llm = ScriptedLLM([wants("book_table", name="Ada")], "Wait, please.", "Booked.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Book a table.")
                await live.waiting.wait()
                await talk.asked()
                await talk.send(InterruptionFrame())
                await talk.say("And hurry.")
                assert results(await talk.asked()) == []
                live.release.set()
                (result,) = results(await talk.asked())
        assert live.booked == ["Ada"]
        assert result["result"] == "booked for Ada"

    @pytest.mark.parametrize("declared", [True, False], ids=["declared", "named"])
    @in_a_loop
    async def test_cancels_a_read_only_call_and_the_model_learns_it_once(self, declared: bool) -> None:
        async with served(read_only=[] if declared else ["book_table"]) as (live, toolset):
            if declared:
                live.backend.function(live.book_table, name="look_for_table", effect="read")
                await toolset.refresh()
            llm = ScriptedLLM(
                [wants("look_for_table" if declared else "book_table", name="Ada")],
                "Never mind.",
                "Still here.",
            )
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Book a table.")
                await live.waiting.wait()
                await talk.asked()
                await talk.send(InterruptionFrame())
                await talk.say("Stop.")
                assert results(await talk.asked()) == ["CANCELLED"]
                live.release.set()
                await talk.say("Are you there?")
                assert results(await talk.asked()) == ["CANCELLED"]

    @in_a_loop
    async def test_that_ends_the_pipeline_lets_running_calls_finish(self) -> None:
        async with served() as (live, toolset):
            llm = ScriptedLLM([wants("book_table", name="Ada")])
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Book a table.")
                await live.waiting.wait()
            assert not live.booked
            live.release.set()
            await toolset.close()
            assert live.booked == ["Ada"]


@in_a_loop
async def test_the_person_is_told_once_that_calls_take_long() -> None:
    said: list[str] = []

    class Speaking(ScriptedLLM):
        async def push_frame(self, frame: Frame, *args: Any, **kwargs: Any) -> None:
            if isinstance(frame, TTSSpeakFrame):
                said.append(frame.text)
                live.release.set()
            await super().push_frame(frame, *args, **kwargs)

    async with served() as (live, toolset):
        live.backend.function(
            live.book_table, name="reserve", say_while_waiting="I am asking.", typical_seconds=9
        )
        await toolset.refresh()
        llm = Speaking(
            [wants("reserve", f"call_{name}", name=name) for name in ("Ada", "Bea")], "", "Reserved."
        )
        async with conversation(llm, tools_schema(toolset)) as talk:
            await talk.say("Reserve two tables.")
            await live.done.wait()
            await talk.asked()
    assert said == ["I am asking."]


class TestTheTools:
    """What Pipecat and the model get."""

    @in_a_loop
    async def test_keep_their_names_descriptions_and_parameters(self) -> None:
        async with served() as (_, toolset):
            (weather,) = [each for each in function_schemas(toolset) if each.name == "get_weather"]
        assert weather.to_default_dict() == {
            "name": "get_weather",
            "description": "Get the current weather of a place.",
            "parameters": {
                "type": "object",
                "properties": {"location": {"type": "string", "description": "City or region."}},
                "required": ["location"],
            },
        }

    @in_a_loop
    async def test_without_parameters_are_described_as_such(self) -> None:
        def anything(**payload: object) -> int:
            return len(payload)

        async with served(functions=[anything]) as (_, toolset):
            (schema,) = [each for each in function_schemas(toolset) if each.name == "anything"]
        assert schema.to_default_dict()["parameters"] == {"type": "object", "properties": {}, "required": []}

    @in_a_loop
    async def test_have_a_longer_limit_in_pipecat_than_in_the_toolset(self) -> None:
        async with served(timeouts={"meet": None}, timeout=3, read_only=["get_weather"]) as (_, toolset):
            llm = ScriptedLLM("Hello.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Hello")
                await talk.asked()
                known = {name: llm._functions[name] for name in ("meet", "get_weather", "book_table")}
        assert [known[name].timeout_secs for name in known] == [None, 5.0, 5.0]
        assert [known[name].cancel_on_interruption for name in known] == [False, True, False]

    @in_a_loop
    async def test_that_are_new_are_offered_during_a_conversation(self) -> None:
        async with served() as (live, toolset):
            llm = ScriptedLLM("Hello.", [wants("sing")], "La.")
            async with conversation(llm, tools_schema(toolset)) as talk:
                await talk.say("Hello")
                await talk.asked()

                @live.backend.function
                def sing() -> str:
                    """Sing."""
                    return "la"

                assert (await toolset.refresh()).added == ("sing",)
                await talk.send(LLMSetToolsFrame(tools=tools_schema(toolset)))
                await talk.say("Sing")
                await talk.asked()
                (result,) = results(await talk.asked())
        assert result["result"] == "la"
        first, second, _ = llm.offered
        assert second - first == {"sing"}


def test_a_missing_extra_is_one_line() -> None:
    code = (
        "import sys\n"
        "sys.modules['pipecat'] = None\n"
        "try: import navai_client.integrations.pipecat\n"
        "except ImportError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "pipecat is not installed; run: pip install 'navai-client[pipecat]'\n"


def test_no_service_of_pipecat_is_loaded_for_the_schemas() -> None:
    code = (
        "import sys, navai_client.integrations.pipecat\nprint('pipecat.services.llm_service' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"
