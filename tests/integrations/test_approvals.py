"""Calls that wait for approval at the backend: what a model is told, then and when a person has decided."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.integrations import _calls
from navai_client.integrations.tools import ToolCall, ToolOutcome
from navai_client.integrations.toolset import Toolset
from tests.integrations.live_backend import LiveBackend, approving_backend
from tests.integrations.loop import in_a_loop

DO_NOT_REPEAT = "The call waits for the approval of a person. It was not executed. Do not repeat it"


class Told:
    """A ``decided`` hook that can be awaited."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[tuple[ToolCall, ToolOutcome]] = asyncio.Queue()

    def __call__(self, call: ToolCall, outcome: ToolOutcome) -> None:
        self._told.put_nowait((call, outcome))

    async def outcome(self) -> ToolOutcome:
        call, outcome = await self._told.get()
        assert call.call_id == outcome.call_id
        return outcome

    @property
    def is_empty(self) -> bool:
        return self._told.empty()


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[LiveBackend, Toolset]]:
    async with (
        approving_backend() as live,
        AsyncNavaiBackendClient(live.url, env={}) as client,
        Toolset.load(client, **options) as toolset,
    ):
        yield live, toolset


@pytest.mark.usefixtures("asked_often")
class TestTheBundledServer:
    """It tells what came of a call to whoever asks with its key."""

    @in_a_loop
    async def test_the_call_waits_and_its_outcome_is_told_once_it_was_approved(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        told = Told()
        async with served(decided=told) as (live, toolset):
            waits = await toolset.call("refund", {"order": "o-1"}, call_id="call_1")
            assert waits.as_dict() == {
                "ok": False,
                "function_name": "refund",
                "error": f"{DO_NOT_REPEAT}: you are told what comes of it.",
                "pending": True,
            }
            assert (waits.error_type, waits.may_have_executed, waits.decision_follows) == (
                "pending",
                False,
                True,
            )
            assert [record.message for record in caplog.records if record.name == "navai_client"] == [
                f"refund: {waits.error}"
            ]
            assert waits.approval_id == await live.decide("approve")
            outcome = await told.outcome()
        assert (outcome.ok, outcome.result, outcome.pending) == (True, "refunded o-1", False)
        assert live.refunded == ["o-1"]

    @in_a_loop
    async def test_a_rejected_call_is_told_as_rejected(self) -> None:
        told = Told()
        async with served() as (live, toolset):
            await toolset.call("refund", {"order": "o-1"}, decided=told)
            await live.decide("reject", reason="Too much.")
            outcome = await told.outcome()
        said = "A person rejected the call: Too much. It was not executed."
        assert (outcome.ok, outcome.error, outcome.pending) == (False, said, False)
        assert live.refunded == []

    @in_a_loop
    async def test_a_function_that_fails_is_told_as_failed(self) -> None:
        told = Told()
        async with served() as (live, toolset):
            live.backend.function(live.break_down, name="break_down_later", approval=True)
            await toolset.refresh()
            await toolset.call("break_down_later", {}, decided=told)
            await live.decide("approve")
            outcome = await told.outcome()
        assert (outcome.error, outcome.error_type) == ("Function execution failed.", "failed")

    @in_a_loop
    async def test_the_application_and_the_conversation_are_both_told(self) -> None:
        application, conversation = Told(), Told()
        async with served(decided=application) as (live, toolset):
            await toolset.call("refund", {"order": "o-1"}, decided=conversation)
            await live.decide("approve")
            assert await application.outcome() == await conversation.outcome()

    @in_a_loop
    async def test_a_hook_that_fails_is_logged_and_keeps_nobody_else_from_being_told(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("no such conversation")

        told = Told()
        async with served(decided=fail) as (live, toolset):
            await toolset.call("refund", {"order": "o-1"}, decided=told)
            await live.decide("approve")
            assert (await told.outcome()).ok
        assert "The decided hook failed for refund" in caplog.text

    @in_a_loop
    async def test_a_client_without_a_loop_is_followed_as_well(self) -> None:
        told = Told()
        async with approving_backend() as live:
            client = NavaiBackendClient(live.url, env={})
            async with Toolset.load(client, decided=told) as toolset:
                await toolset.call("refund", {"order": "o-1"})
                await live.decide("approve")
                assert (await told.outcome()).result == "refunded o-1"
            client.close()

    @in_a_loop
    async def test_a_caller_that_comes_back_asks_nobody_again(self) -> None:
        async with served(before=lambda _: asyncio.sleep(0)) as (live, toolset):
            told = Told()
            leaving = asyncio.create_task(
                toolset.call("refund", {"order": "o-1"}, call_id="call_1", decided=told)
            )
            while not any(  # noqa: ASYNC110 - nothing tells of the step
                run.begun for run in toolset._backend.calls._running.values()
            ):
                await asyncio.sleep(0)  # it has begun before its response can arrive
            leaving.cancel()
            again = await toolset.call("refund", {"order": "o-1"}, call_id="call_1")
            assert again.pending
            assert again.approval_id == await live.decide("approve")


@in_a_loop
async def test_without_anybody_to_tell_nothing_is_asked() -> None:
    async with served() as (live, toolset):
        waits = await toolset.call("refund", {"order": "o-1"})
        assert waits.error == f"{DO_NOT_REPEAT}. What comes of it is not known here."
        assert not waits.decision_follows
        assert not toolset._backend.calls._asking
        assert await live.decide("approve") == waits.approval_id


@in_a_loop
async def test_it_ends_with_the_toolset() -> None:
    told = Told()
    async with served(decided=told) as (live, toolset):
        await toolset.call("refund", {"order": "o-1"})
        await toolset.close()
        assert not toolset._backend.calls._asking
        await live.decide("approve")
    assert told.is_empty


class Scripted:
    """A backend whose executions respond with the next of *responses*, and which keeps their keys."""

    def __init__(self, *responses: httpx.Response | Exception) -> None:
        self._responses = [*responses]
        self.keys: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"items": [{"name": "refund"}], "warnings": []})
        key = request.headers["idempotency-key"]
        self.keys.append(key)
        response = self._responses.pop(0)
        if isinstance(response, Exception):
            raise response
        response.headers["idempotency-key"] = key
        return response


def waits(approval_id: str = "a-1") -> httpx.Response:
    body = {"ok": False, "pending_approval": True, "approval": {"id": approval_id}}
    return httpx.Response(202, json=body)


async def told_by(backend: Scripted) -> ToolOutcome:
    told = Told()
    client = AsyncNavaiBackendClient("http://a.example", env={}, transport=backend, max_retries=0)
    async with client, Toolset.load(client, decided=told) as toolset:
        assert (await toolset.call("refund", {"order": "o-1"})).decision_follows
        return await told.outcome()


@pytest.mark.usefixtures("asked_often")
class TestAsking:
    """When the same call is sent again, and when not."""

    @in_a_loop
    async def test_is_repeated_with_the_same_key_after_failures_that_pass(self) -> None:
        backend = Scripted(
            waits(),
            httpx.Response(503),
            httpx.ConnectError("down"),
            httpx.ReadError("lost"),
            waits(),
            httpx.Response(200, json={"ok": True, "result": 1}),
        )
        outcome = await told_by(backend)
        assert (outcome.ok, outcome.result) == (True, 1)
        assert len(backend.keys) == 6
        assert len(set(backend.keys)) == 1

    @in_a_loop
    async def test_ends_with_a_refusal(self) -> None:
        outcome = await told_by(Scripted(waits(), httpx.Response(401)))
        assert (outcome.error, outcome.pending) == ("Function execution failed.", False)

    @in_a_loop
    async def test_ends_where_the_backend_has_forgotten_the_call(self) -> None:
        outcome = await told_by(Scripted(waits(), waits("a-2")))
        assert outcome.error == f"{DO_NOT_REPEAT}. What comes of it is not known here."
        assert (outcome.pending, outcome.approval_id, outcome.decision_follows) == (True, "a-2", False)

    @in_a_loop
    async def test_ends_after_an_hour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_calls, "_DECIDED_WITHIN", 0.0)
        backend = Scripted(waits(), waits())
        outcome = await told_by(backend)
        assert (outcome.pending, outcome.approval_id, outcome.decision_follows) == (True, "a-1", False)
        assert len(backend.keys) == 2

    @in_a_loop
    async def test_is_for_a_limited_number_of_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_calls, "_MOST_QUESTIONS", 0)
        async with served(decided=Told()) as (_, toolset):
            outcome = await toolset.call("refund", {"order": "o-1"})
        assert (outcome.pending, outcome.decision_follows) == (True, False)


def test_what_a_model_reads_is_json() -> None:
    outcome = ToolOutcome(ok=False, function_name="f", error="E", error_type="pending", pending=True)
    assert json.loads(outcome.to_json()) == {
        "ok": False,
        "function_name": "f",
        "error": "E",
        "pending": True,
    }
