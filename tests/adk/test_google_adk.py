"""ADK's own runner, with a scripted model, calls a backend's functions over HTTP. Run by ``make adk``."""

import asyncio
import io
import re
import runpy
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pytest
from google.adk.agents import LiveRequestQueue, LlmAgent
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.models.base_llm_connection import BaseLlmConnection
from google.adk.runners import InMemoryRunner
from google.genai.types import Content, FunctionCall, FunctionResponse, Part
from pydantic import PrivateAttr

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations import _calls
from navai_client.integrations.google_adk import NavaiToolset
from navai_client.integrations.tools import ToolCall
from navai_client.integrations.toolset import Toolset, ToolsetOptions
from tests.integrations.clock import in_virtual_time
from tests.integrations.live_backend import LiveBackend, approving_backend, archive, live_backend
from tests.integrations.loop import in_a_loop
from tests.integrations.silence import LONG, Silence, offered
from tests.integrations.test_long_calls import watched

if TYPE_CHECKING:
    from google.adk.events import Event

ROOT = Path(__file__).parents[2]
CONFIRMATION = "adk_request_confirmation"


class Script(BaseLlm):
    """A model that makes the calls of its turns, one list for each response, and then is done."""

    _turns: list[list[FunctionCall]] = PrivateAttr()
    _offered: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, *turns: list[FunctionCall]) -> "Script":
        made = cls(model="scripted")
        made._turns = [*turns]
        return made

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """Play the next turn."""
        (tools,) = llm_request.config.tools
        self._offered.append({each.name: each for each in tools.function_declarations})
        parts = [Part(function_call=call) for call in self._turns.pop(0)] if self._turns else None
        yield LlmResponse(content=Content(role="model", parts=parts or [Part(text="Done.")]))


class Talk:
    """One conversation of an agent with a person."""

    def __init__(self, runner: InMemoryRunner, session: str) -> None:
        self._runner = runner
        self._session = session
        self.events: list[Event] = []

    async def say(self, part: str | Part) -> None:
        """Say something, and wait until the agent has nothing more to do."""
        message = Content(role="user", parts=[Part(text=part) if isinstance(part, str) else part])
        async for event in self._runner.run_async(
            user_id="ada", session_id=self._session, new_message=message
        ):
            self.events.append(event)

    def results(self, call_id: str) -> list[Any]:
        """Return what the model got for a call."""
        found = [each for event in self.events for each in event.get_function_responses()]
        return [each.response for each in found if each.id == call_id]

    def questions(self) -> list[FunctionCall]:
        """Return what the person was asked to confirm."""
        found = [each for event in self.events for each in event.get_function_calls()]
        return [each for each in found if each.name == CONFIRMATION]


@asynccontextmanager
async def talking(
    script: Script, **options: Unpack[ToolsetOptions]
) -> AsyncIterator[tuple[LiveBackend, Toolset, Talk]]:
    async with (
        live_backend() as live,
        AsyncNavaiBackendClient(live.url) as client,
        Toolset.load(client, **options) as toolset,
    ):
        agent = LlmAgent(name="waiter", model=script, tools=[NavaiToolset(toolset)])
        runner = InMemoryRunner(agent, app_name="shop")
        session = await runner.session_service.create_session(app_name="shop", user_id="ada")
        yield live, toolset, Talk(runner, session.id)
        await runner.close()


def wants(tool: str, call_id: str = "call_1", **arguments: Any) -> FunctionCall:
    return FunctionCall(id=call_id, name=tool, args=arguments)


@in_a_loop
async def test_the_calls_of_a_response_run_together_and_each_gives_one_result() -> None:
    calls = [
        *(wants("meet", f"m{guest}", guest=guest) for guest in range(10)),
        wants("get_weather", "w", location="Bogotá"),
        wants("break_down", "b"),
        wants("get_weather", "x", location=3),
    ]
    async with talking(Script.of(calls)) as (_, _, talk):
        await talk.say("Help.")
        found = {call.id: talk.results(str(call.id)) for call in calls}
    assert all(len(each) == 1 for each in found.values())
    assert [found[f"m{guest}"][0]["result"] for guest in range(10)] == [*range(10)]
    assert found["w"][0]["result"] == {"location": "Bogotá", "temperature": 21}
    assert found["b"] == [{"ok": False, "function_name": "break_down", "error": "Function execution failed."}]
    assert "Invalid arguments" in found["x"][0]["error"]


@in_a_loop
async def test_the_model_gets_names_descriptions_and_parameters_also_after_a_refresh() -> None:
    script = Script.of()
    async with talking(script) as (live, toolset, talk):
        await talk.say("Hello.")

        @live.backend.function
        def sing() -> str:
            """Sing."""
            return "la"

        assert (await toolset.refresh()).added == ("sing",)
        await talk.say("Sing.")
    weather = script._offered[0]["get_weather"]
    assert weather.description == "Get the current weather of a place."
    assert weather.parameters_json_schema["required"] == ["location"]
    assert script._offered[1].keys() - script._offered[0].keys() == {"sing"}


class TestAFunctionThatNeedsApproval:
    """``Toolset.load(approval=[...])``."""

    @pytest.mark.parametrize("confirmed", [True, False])
    @in_a_loop
    async def test_runs_once_the_person_has_confirmed(self, confirmed: bool) -> None:
        script = Script.of([wants("book_table", name="Ada"), wants("get_weather", "w", location="Oslo")])
        async with talking(script, approval=["book_table"]) as (live, _, talk):
            live.release.set()
            await talk.say("Book.")
            (question,) = talk.questions()
            assert question.args is not None
            assert "book_table" in question.args["toolConfirmation"]["hint"]
            assert live.booked == []
            answer = FunctionResponse(id=question.id, name=CONFIRMATION, response={"confirmed": confirmed})
            await talk.say(Part(function_response=answer))
            assert live.booked == (["Ada"] if confirmed else [])
            assert len(live.traces) == 1  # what needs no approval does not run again
            result = talk.results("call_1")[-1]
        assert result["ok"] is confirmed
        assert confirmed or "did not approve" in result["error"]

    @in_a_loop
    async def test_is_left_to_the_application_that_wants_it(self) -> None:
        asked: list[str] = []

        def approve(call: ToolCall) -> bool:
            asked.append(call.function_name)
            return False

        script = Script.of([wants("book_table", name="Ada")])
        async with talking(script, approval=["book_table"], approve=approve) as (live, _, talk):
            await talk.say("Book.")
            assert live.booked == []
            assert talk.questions() == []
            (result,) = talk.results("call_1")
        assert asked == ["book_table"]
        assert "did not approve" in result["error"]


class Connection(BaseLlmConnection):
    """A live model that makes a call, and is done when the result is there and what it waits for was told."""

    def __init__(self, call: FunctionCall, tell: Callable[[str], object], waits_for: str = "") -> None:
        self.call = call
        self.tell = tell
        self.waits_for = waits_for
        self.sent: list[tuple[str, bool]] = []
        self.results: list[Any] = []
        self.changed = asyncio.Event()

    async def send_history(self, history: list[Content]) -> None:
        """Take the history."""

    async def send_content(self, content: Content) -> None:
        """Take a turn."""
        await self._send_content(content)

    async def _send_content(self, content: Content, *, partial: bool = False) -> None:
        (part,) = content.parts or []
        if part.function_response is not None:
            self.results.append(part.function_response.response)
        elif part.text != "Begin.":
            self.sent.append((str(part.text), partial))
            self.tell(str(part.text))
        self.changed.set()

    async def send_realtime(self, blob: Any) -> None:
        """Take sound."""

    async def receive(self) -> AsyncGenerator[LlmResponse, None]:
        """Play the turn."""
        yield LlmResponse(content=Content(role="model", parts=[Part(function_call=self.call)]))
        while not self.results or self.waits_for not in str(self.sent):
            self.changed.clear()
            await self.changed.wait()
        yield LlmResponse(content=Content(role="model", parts=[Part(text="Done.")]))

    async def close(self) -> None:
        """End."""


class LiveScript(Script):
    """A live model."""

    _connection: Any = PrivateAttr()

    @asynccontextmanager
    async def connect(self, llm_request: LlmRequest) -> AsyncIterator[Connection]:
        """Connect."""
        yield self._connection


async def live(toolset: Toolset, connection: Connection) -> None:
    """Run a live session until its model is done."""
    model = LiveScript(model="scripted")
    model._connection = connection
    agent = LlmAgent(name="waiter", model=model, tools=[NavaiToolset(toolset)])
    runner = InMemoryRunner(agent, app_name="shop")
    session = await runner.session_service.create_session(app_name="shop", user_id="ada")
    queue = LiveRequestQueue()
    queue.send_content(Content(role="user", parts=[Part(text="Begin.")]))
    async for event in runner.run_live(user_id="ada", session_id=session.id, live_request_queue=queue):
        if event.content and event.content.parts and event.content.parts[0].text == "Done.":
            queue.close()
            break
    await runner.close()


@pytest.mark.parametrize("name", LONG)
@in_virtual_time
async def test_a_live_session_has_no_silence_of_more_than_two_seconds(name: str) -> None:
    silence = Silence()
    connection = Connection(wants(name), lambda _: silence.ends())
    async with offered(silence) as toolset:
        await live(toolset, connection)
    assert silence.longest <= 2
    assert all(f"{name} is still running" in text for text, _ in connection.sent)
    assert any(not partial for _, partial in connection.sent) == (name != "count_stock")


@in_a_loop
async def test_the_model_of_a_live_session_hears_the_progress_of_a_function_of_the_backend() -> None:
    async with archive() as (functions, toolset):
        connection = Connection(wants("search"), functions.hear)
        await live(toolset, connection)
    assert [each["result"] for each in connection.results] == ["found"]


@in_a_loop
async def test_the_model_of_a_live_session_is_told_what_came_of_a_call_that_waited_for_approval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_calls, "_FIRST_QUESTION", 0.01)
    monkeypatch.setattr(_calls, "_LONGEST_DELAY", 0.01)
    told = "What came of the call of refund"
    connection = Connection(wants("refund", order="o-1"), lambda _: None, waits_for=told)
    async with (
        approving_backend() as backend,
        AsyncNavaiBackendClient(backend.url) as client,
        Toolset.load(client) as toolset,
    ):
        talking = asyncio.create_task(live(toolset, connection))
        while not connection.results:
            await connection.changed.wait()
            connection.changed.clear()
        await backend.decide("approve")
        await talking
    assert "you are told what comes of it" in connection.results[0]["error"]
    assert "refunded o-1" in connection.sent[-1][0]


@in_virtual_time
async def test_a_run_has_nothing_for_progress_but_the_hook() -> None:
    reports: list[str] = []
    async with offered(Silence(), progress=lambda _, report: reports.append(report)) as toolset:
        agent = LlmAgent(
            name="waiter", model=Script.of([wants("make_report")]), tools=[NavaiToolset(toolset)]
        )
        runner = InMemoryRunner(agent, app_name="shop")
        session = await runner.session_service.create_session(app_name="shop", user_id="ada")
        talk = Talk(runner, session.id)
        await talk.say("Begin.")
        await runner.close()
    assert reports[0] == "Looking at January"
    assert [each["result"] for each in talk.results("call_1")] == ["written"]


@in_a_loop
async def test_a_run_that_is_cancelled_is_released_at_once_and_the_call_goes_on() -> None:
    async with talking(Script.of([wants("book_table", name="Ada")])) as (live, toolset, talk):
        running = asyncio.create_task(talk.say("Book."))
        await live.waiting.wait()
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
        assert live.booked == []
        live.release.set()
        await toolset.close()
        assert live.booked == ["Ada"]


@in_a_loop
async def test_a_call_that_only_reads_is_cancelled_at_the_backend_with_its_run() -> None:
    async with watched(effect="read") as (functions, toolset):
        agent = LlmAgent(name="waiter", model=Script.of([wants("look")]), tools=[NavaiToolset(toolset)])
        runner = InMemoryRunner(agent, app_name="shop")
        session = await runner.session_service.create_session(app_name="shop", user_id="ada")
        running = asyncio.create_task(Talk(runner, session.id).say("Begin."))
        await functions.begun.wait()
        running.cancel()
        await functions.cancelled.wait()
        await asyncio.wait((running,))
        await runner.close()


@in_a_loop
async def test_the_example_prints_the_answer() -> None:
    script = Script.of([wants("get_weather", location="Bogotá")])
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as printed:
        async with live_backend() as live:
            patch.setenv("NAVAI_API_URL", live.url)
            patch.setattr("sys.stdout", printed)
            main = runpy.run_path(str(ROOT / "examples" / "15_google_adk_agent.py"))["main"]
            await main("How is the weather?", script)
            assert len(live.traces) == 1
        result, answer = printed.getvalue().splitlines()
        assert "'temperature': 21" in result
        assert answer == "Done."


def test_the_blocks_of_the_page_run() -> None:
    page = (ROOT / "docs" / "google-adk.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    asyncio.run(asyncio.wait_for(names["main"](), 60))  # no backend: the toolset is empty
    answer = names["answer"](FunctionCall(id="1", name=CONFIRMATION), confirmed=True)
    assert answer.parts[0].function_response.response == {"confirmed": True}
