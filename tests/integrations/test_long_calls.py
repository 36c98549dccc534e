"""What is told while a call takes long, how it is cancelled, and that the function learns of that."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.integrations import toolset as toolset_module
from navai_client.integrations._hooks import awaited
from navai_client.integrations.tools import ToolCall, ToolProgress
from navai_client.integrations.toolset import Toolset
from navai_client.server import FunctionContext, function
from navai_client.testing import FakeBackend
from tests.integrations.clock import in_virtual_time
from tests.integrations.live_backend import live_backend
from tests.integrations.loop import in_a_loop
from tests.waiting import pass_time

KINDS: Any = [AsyncNavaiBackendClient, NavaiBackendClient]


@function(name="make_report")
async def make_report(context: FunctionContext) -> str:
    """Make a report, in a minute."""
    await asyncio.sleep(5)
    for month in ("January", "February", "March"):
        context.progress(f"Looking at {month}")
        await asyncio.sleep(0.5)
    await asyncio.sleep(53.5)
    return "done"


async def count_stock() -> str:
    """Count the stock, in a minute, without a word."""
    await asyncio.sleep(60)
    return "done"


def client() -> AsyncNavaiBackendClient:
    return AsyncNavaiBackendClient("https://navai.test", transport=FakeBackend().async_transport)


class Heard:
    """What is heard of a call, with the seconds since its begin."""

    def __init__(self) -> None:
        self.begun = asyncio.get_running_loop().time()
        self.all: list[tuple[float, Any]] = []

    def __call__(self, what: Any) -> None:
        if isinstance(what, ToolProgress):
            assert what.seconds == pytest.approx(self.now)
            what = (what.message, what.aloud)
        self.all.append((self.now, what))

    @property
    def now(self) -> float:
        return round(asyncio.get_running_loop().time() - self.begun, 2)


class TestReports:
    """What a function reports goes to the hooks, in order."""

    @in_virtual_time
    async def test_of_an_async_function_are_heard_at_once(self) -> None:
        reported: list[tuple[str, str]] = []

        def progress(call: ToolCall, text: str) -> None:
            reported.append((call.call_id, text))

        async with (
            client() as backend,
            Toolset.load(backend, functions=[make_report], progress=progress, timeout=90) as toolset,
        ):
            heard = Heard()
            outcome = await toolset.call("make_report", call_id="c1", on_progress=heard)
        assert outcome.result == "done"
        assert heard.all == [
            (5.0, "Looking at January"),
            (5.5, "Looking at February"),
            (6.0, "Looking at March"),
        ]
        assert reported == [("c1", text) for _, text in heard.all]

    @in_virtual_time
    async def test_wait_for_a_hook_that_takes_long(self) -> None:
        heard = Heard()

        async def on_progress(text: str) -> None:
            await asyncio.sleep(0.6)
            heard(text)

        async with (
            client() as backend,
            Toolset.load(backend, functions=[make_report], timeout=None) as toolset,
        ):
            await toolset.call("make_report", on_progress=on_progress)
        assert heard.all == [
            (5.6, "Looking at January"),
            (6.2, "Looking at February"),
            (6.8, "Looking at March"),
        ]

    @in_a_loop
    async def test_of_a_function_in_a_thread_are_heard_while_it_runs(self) -> None:
        may_end = threading.Event()

        def search(context: FunctionContext) -> str:
            context.progress("half way")
            return "found" if may_end.wait(60) else "nobody listened"

        async def on_progress(text: str) -> None:
            assert text == "half way"
            may_end.set()

        async with client() as backend, Toolset.load(backend, functions=[search]) as toolset:
            outcome = await toolset.call("search", on_progress=on_progress)
        assert outcome.result == "found"

    @pytest.mark.parametrize("kind", KINDS)
    @in_a_loop
    async def test_of_a_function_of_the_backend_are_heard_while_it_runs(self, kind: Any) -> None:
        may_end, reported = asyncio.Event(), asyncio.Event()

        async def search(context: FunctionContext) -> str:
            context.progress("half way")
            await reported.wait()
            context.progress("nearly there")
            await may_end.wait()
            return "found"

        async def tell(progress: ToolProgress) -> None:
            if progress.message is not None:
                {"half way": reported, "nearly there": may_end}[progress.message].set()

        async with live_backend() as live:
            live.backend.function(search)
            backend = kind(live.url, env={})
            async with Toolset.load(backend, slow_after=0.01) as toolset:
                outcome = await toolset.call("search", tell=tell)
            await awaited(backend.close())
        assert outcome.result == "found"

    @pytest.mark.parametrize("leaves", [True, False])
    @in_virtual_time
    async def test_go_to_a_caller_that_comes_back_if_nobody_else_waits(self, leaves: bool) -> None:
        first, second = Heard(), Heard()
        async with client() as backend, Toolset.load(backend, functions=[make_report], timeout=90) as tools:
            call = partial(tools.call, "make_report", call_id="c1")
            calling = asyncio.create_task(call(on_progress=first, tell=first))
            await asyncio.sleep(5.2)
            if leaves:
                await leave(calling)
            await call(on_progress=second, tell=second)
        assert ((6.0, "Looking at March") in first.all) is not leaves
        assert ((6.0, "Looking at March") in second.all) is leaves
        assert any(isinstance(what, tuple) for _, what in second.all) is leaves  # that it still runs

    @pytest.mark.parametrize("listens", ["tell", "on_progress", "progress", "say", None])
    @in_a_loop
    async def test_are_asked_of_the_backend_only_for_somebody(self, listens: str | None) -> None:
        asked: list[str] = []

        def respond(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                item = {"name": "search", "metadata": {"say_while_waiting": "I am searching."}}
                return httpx.Response(200, json={"items": [item]})
            asked.append(request.headers["Accept"])
            return httpx.Response(200, json={"ok": True, "result": "found"})

        options: Any = {"progress": lambda *_: None} if listens == "progress" else {}
        given: Any = {} if listens in {"progress", None} else {listens: lambda _: None}
        async with (
            AsyncNavaiBackendClient("https://navai.test", transport=respond) as backend,
            Toolset.load(backend, **options) as toolset,
        ):
            assert (await toolset.call("search", **given)).ok
        assert ("text/event-stream" in asked[0]) == (listens not in {"say", None})

    @in_a_loop
    async def test_without_a_listener_cost_nothing_and_show_no_secret(self) -> None:
        heard: list[str] = []

        async def search(context: FunctionContext) -> str:
            context.progress("the key is sk-proj-abcdefghijklmnopqrstuvwx " + 1000 * "x")
            return "found"

        async with client() as backend, Toolset.load(backend, functions=[search]) as toolset:
            assert (await toolset.call("search")).ok
            assert (await toolset.call("search", on_progress=heard.append)).ok
        (text,) = heard
        assert "abcdefghij" not in text
        assert len(text) <= 500

    @in_a_loop
    async def test_without_end_fill_no_memory_and_a_hook_that_fails_changes_nothing(self) -> None:
        heard: list[str] = []

        async def search(context: FunctionContext) -> str:
            for number in range(10_000):
                context.progress(str(number))
            await asyncio.sleep(0)
            return "found"

        def on_progress(text: str) -> None:
            heard.append(text)
            raise RuntimeError("of the hook")

        async with client() as backend, Toolset.load(backend, functions=[search]) as toolset:
            assert (await toolset.call("search", on_progress=on_progress)).ok
        assert heard == [str(number) for number in range(9_968, 10_000)]


class TestWhatTheModelIsTold:
    """It knows after two seconds, and is not talked to without end."""

    @in_virtual_time
    async def test_of_a_silent_function_that_it_still_runs(self) -> None:
        async with (
            client() as backend,
            Toolset.load(backend, functions=[count_stock], timeout=None) as toolset,
        ):
            heard = Heard()
            await toolset.call("count_stock", tell=heard)
        assert heard.all == [(2, (None, False)), (12, (None, False)), (32, (None, False))]

    @in_virtual_time
    async def test_of_a_function_that_reports_the_newest_report(self) -> None:
        async with (
            client() as backend,
            Toolset.load(backend, functions=[make_report], timeout=None) as toolset,
        ):
            heard = Heard()
            await toolset.call("make_report", tell=heard)
        assert heard.all == [
            (2, (None, False)),
            (5, ("Looking at January", True)),
            (7, ("Looking at March", False)),  # not two in two seconds, nor aloud twice in ten
            (17, ("Looking at March", False)),
            (37, ("Looking at March", False)),
        ]

    @in_virtual_time
    async def test_of_a_function_that_declares_it_the_person_hears_that_from_time_to_time(self) -> None:
        declared = function(say_while_waiting="I am counting.")(count_stock)
        async with client() as backend, Toolset.load(backend, functions=[declared], timeout=None) as toolset:
            heard = Heard()
            await toolset.call("count_stock", tell=heard, say=heard)
        told = ("I am counting.", True)
        assert heard.all == [(2, "I am counting."), (12, told), (32, told)]

    @in_virtual_time
    async def test_of_two_calls_of_a_conversation_the_person_hears_one(self) -> None:
        declared = function(say_while_waiting="I am counting.", typical_seconds=60)(count_stock)
        async with client() as backend, Toolset.load(backend, functions=[declared], timeout=None) as toolset:
            heard = Heard()
            calls = [toolset.call("count_stock", call_id=str(n), tell=heard, say=heard) for n in range(2)]
            await asyncio.gather(*calls)
        aloud = [at for at, what in heard.all if isinstance(what, str) or what[1]]
        assert aloud == [0, 10, 30]
        assert [at for at, _ in heard.all] == [0, 10, 10, 30, 30]

    @pytest.mark.parametrize("seconds", [None, 0.5])
    @in_virtual_time
    async def test_is_nothing_where_nobody_wants_it_or_the_call_is_quick(self, seconds: float | None) -> None:
        async def quick() -> str:
            await asyncio.sleep(seconds or 60)
            return "done"

        options: Any = {"slow_after": None if seconds is None else 2.0, "timeout": None}
        async with client() as backend, Toolset.load(backend, functions=[quick], **options) as toolset:
            heard = Heard()
            await toolset.call("quick", tell=heard)
        assert heard.all == []

    def test_is_in_words(self) -> None:
        call = ToolCall(
            call_id="c1", tool_name="f", function_name="f", arguments={}, source="navai", kind="local"
        )
        assert ToolProgress(call=call, seconds=2.04).as_text() == (
            "f is still running, for 2 seconds. If the person asks, tell them. "
            "Do not call it again meanwhile."
        )
        assert ToolProgress(call=call, seconds=12, message="Looking at March", aloud=True).as_text() == (
            'f is still running, for 12 seconds. It says: "Looking at March" '
            "Tell the person, in a few words. Do not call it again meanwhile."
        )


class Watched:
    """Functions that take until they are cancelled, or may end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ran = 0

    async def look(self) -> str:
        """Look for long."""
        self.ran += 1
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "seen"

    def look_in_thread(self, context: FunctionContext) -> str:
        """Look for long, in a thread."""
        self.loop.call_soon_threadsafe(self.begun.set)
        assert context.cancelled.wait(60)
        self.loop.call_soon_threadsafe(self.cancelled.set)
        return "seen"


@asynccontextmanager
async def watched(
    kind: Any = AsyncNavaiBackendClient, **declared: Any
) -> AsyncIterator[tuple[Watched, Toolset]]:
    """Serve the functions of a ``Watched``, and offer them from this process, as ``local_...``."""
    functions = Watched()
    declared = {"timeout": 600, **declared}  # what is cancelled has not met its limit
    async with live_backend() as live:
        live.backend.function(functions.look, **declared)
        live.backend.function(functions.look_in_thread, **declared)

        async def local_look() -> str:
            return await functions.look()

        def local_look_in_thread(context: FunctionContext) -> str:
            return functions.look_in_thread(context)

        here = [function(**declared)(each) for each in (local_look, local_look_in_thread)]
        async with AsyncExitStack() as stack:
            made = kind(live.url, env={})
            backend = made if kind is NavaiBackendClient else await stack.enter_async_context(made)
            toolset = await stack.enter_async_context(Toolset.load(backend, functions=here))
            yield functions, toolset
            functions.may_end.set()
            await toolset.close()
        if kind is NavaiBackendClient:
            made.close()


async def leave(calling: "asyncio.Task[Any]") -> None:
    """Be cancelled, as the caller of a call."""
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


NAMES = ["look", "look_in_thread", "local_look", "local_look_in_thread"]


class TestWithdrawing:
    """A call whose caller has gone is cancelled if it only reads."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", NAMES)
    @in_a_loop
    async def test_the_function_of_a_read_learns_it(self, name: str, kind: Any) -> None:
        async with watched(kind, effect="read") as (functions, toolset):
            calling = asyncio.create_task(toolset.call(name, call_id="c1"))
            await functions.begun.wait()
            await leave(calling)
            await functions.cancelled.wait()

    @pytest.mark.parametrize("declared", [{}, {"effect": "write"}], ids=["nothing declared", "write"])
    @pytest.mark.parametrize("name", ["look", "local_look"])
    @in_a_loop
    async def test_any_other_runs_to_its_end(self, name: str, declared: Any) -> None:
        async with watched(**declared) as (functions, toolset):
            calling = asyncio.create_task(toolset.call(name, call_id="c1"))
            await functions.begun.wait()
            await leave(calling)
            again = asyncio.create_task(toolset.call(name, call_id="c1"))
            await asyncio.sleep(0)
            functions.may_end.set()
            assert (await again).result == "seen"
        assert functions.ran == 1
        assert not functions.cancelled.is_set()

    @in_a_loop
    async def test_a_caller_that_comes_back_lets_it_run_anew(self) -> None:
        async with watched(effect="read") as (functions, toolset):
            calling = asyncio.create_task(toolset.call("look", call_id="c1"))
            await functions.begun.wait()
            await leave(calling)
            await functions.cancelled.wait()
            functions.may_end.set()
            assert (await toolset.call("look", call_id="c1")).result == "seen"
        assert functions.ran == 2

    @in_a_loop
    async def test_one_that_ends_just_then_has_its_result(self) -> None:
        ended: asyncio.Queue[Any] = asyncio.Queue()

        @function(effect="read")
        async def look() -> str:
            asyncio.get_running_loop().call_soon(calling.cancel)
            return "seen"

        async with (
            client() as backend,
            Toolset.load(backend, functions=[look], after=lambda _, outcome: ended.put(outcome)) as toolset,
        ):
            calling = asyncio.create_task(toolset.call("look"))
            assert (await ended.get()).result == "seen"
            assert calling.cancelled()

    @in_a_loop
    async def test_it_goes_on_while_another_caller_waits(self) -> None:
        async with watched(effect="read") as (functions, toolset):
            calls = [asyncio.create_task(toolset.call("look", call_id="c1")) for _ in range(2)]
            await functions.begun.wait()
            await leave(calls[0])
            functions.may_end.set()
            assert (await calls[1]).result == "seen"
        assert functions.ran == 1

    @pytest.mark.parametrize("name", NAMES)
    @in_a_loop
    async def test_closing_withdraws_what_takes_too_long(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(toolset_module, "_GRACE", 0.01)
        async with watched(effect="read") as (functions, toolset):
            calling = asyncio.create_task(toolset.call(name))
            await functions.begun.wait()
            await toolset.close()
            await functions.cancelled.wait()
            outcome = await calling
        assert (outcome.error_type, outcome.may_have_executed) == ("cancelled", True)

    @in_a_loop
    async def test_closing_leaves_a_write_to_the_backend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(toolset_module, "_GRACE", 0.01)
        async with watched(effect="write") as (functions, toolset):
            calling = asyncio.create_task(toolset.call("look"))
            await functions.begun.wait()
            await toolset.close()
            assert (await calling).may_have_executed
            assert not functions.cancelled.is_set()

    @in_a_loop
    async def test_a_function_whose_time_is_over_learns_it(self) -> None:
        async with watched() as (functions, toolset):
            calling = asyncio.create_task(toolset.call("local_look_in_thread", timeout=10))
            await functions.begun.wait()
            pass_time(11)
            outcome = await calling
            await functions.cancelled.wait()
        assert outcome.error_type == "timeout"


class TestCancelling:
    """On purpose, any call can be cancelled."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("effect", ["read", "write"])
    @pytest.mark.parametrize("name", NAMES)
    @in_a_loop
    async def test_the_function_learns_it_and_the_outcome_says_that_it_may_have_run(
        self, name: str, effect: str, kind: Any
    ) -> None:
        async with watched(kind, effect=effect) as (functions, toolset):
            session = object()
            calling = asyncio.create_task(toolset.call(name, call_id="c1", session=session))
            await functions.begun.wait()
            assert await toolset.cancel("c1") is None
            assert await toolset.cancel("c2", session=session) is None
            outcome = await toolset.cancel("c1", session=session)
            await functions.cancelled.wait()
            assert outcome == await calling
            assert await toolset.cancel("c1", session=session) is None
        assert outcome is not None
        assert (outcome.error_type, outcome.may_have_executed) == ("cancelled", True)
        assert outcome.error == (
            "The call was cancelled. It may have been executed: do not repeat it before you have checked."
        )

    @in_a_loop
    async def test_a_call_that_has_not_begun_does_not_run(self) -> None:
        asked = asyncio.Event()

        async def approve(_: ToolCall) -> bool:
            asked.set()
            await asyncio.Event().wait()
            return True

        async with watched(effect="dangerous") as (functions, toolset):
            calling = asyncio.create_task(toolset.call("look", call_id="c1", approve=approve))
            await asked.wait()
            outcome = await toolset.cancel("c1")
            assert outcome == await calling
        assert outcome is not None
        assert outcome.error == "The call was cancelled. It was not executed."
        assert functions.ran == 0

    @pytest.mark.parametrize(
        ("status", "body", "expected", "requests"),
        [
            (200, {"ok": True, "cancelled": True}, ("cancelled", False), 1),
            (200, {"ok": True, "cancelled": False}, (None, False), 1),
            (
                404,
                {"error": "Not found."},
                ("cancelled", True),
                2,
            ),  # it has no such path, or no such call yet
            (403, {"error": "Forbidden."}, ("cancelled", True), 1),
            (None, None, ("cancelled", True), 1),
        ],
    )
    @in_a_loop
    async def test_the_backend_says_whether_it_may_have_run(
        self, status: int | None, body: Any, expected: tuple[str | None, bool], requests: int
    ) -> None:
        begun, may_end = asyncio.Event(), asyncio.Event()
        asked: list[str] = []

        async def respond(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/cancel"):
                asked.append(request.headers["Idempotency-Key"])
                if body == {"ok": True, "cancelled": False}:
                    may_end.set()
                if status is None:
                    raise httpx.ReadError("lost")
                return httpx.Response(status, json=body)
            if request.method == "GET":
                return httpx.Response(200, json={"items": [{"name": "look"}]})
            begun.set()
            await may_end.wait()
            return httpx.Response(200, json={"ok": True, "result": "seen"})

        transport = httpx.MockTransport(respond)
        async with (
            AsyncNavaiBackendClient("https://navai.test", transport=transport, max_retries=0) as backend,
            Toolset.load(backend) as toolset,
        ):
            calling = asyncio.create_task(toolset.call("look", call_id="c1"))
            await begun.wait()
            outcome = await toolset.cancel("c1")
            assert outcome == await calling
            may_end.set()
        assert outcome is not None
        assert (outcome.error_type, outcome.may_have_executed) == expected
        assert outcome.ok == (expected[0] is None)
        assert len(asked) == requests
