"""Running calls: callers that leave, timeouts, threads, and the shutdown of the server."""

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from navai_client.functions._binding import Payload
from navai_client.server import FunctionContext, NavaiBackend
from navai_client.server._calls import Failure
from navai_client.server._execution import SHUT_DOWN
from navai_client.server._http import BackendRequest
from tests.server.time_limits import NEVER_S, end_time_limits
from tests.waiting import PATIENCE_S, pass_time, until, until_async

EXECUTE = "/navai/functions/execute"
REQUEST = BackendRequest("POST", EXECUTE, {})


def call(backend: NavaiBackend, name: str, **headers: str) -> "asyncio.Task[Any]":
    """Start a request that executes a function."""
    given = {b"content-type": b"application/json"}
    given |= {key.encode(): value.encode() for key, value in headers.items()}
    request = BackendRequest("POST", EXECUTE, given)
    return asyncio.create_task(backend.router.respond(request, b'{"function_name":"%s"}' % name.encode()))


class Never(Awaitable[None]):
    """Is not to be awaited."""

    def __await__(self) -> Any:
        raise AssertionError


async def left(calling: "asyncio.Task[Any]") -> None:
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


def test_a_call_with_a_key_that_could_not_begin_is_replayed_too() -> None:
    backend = NavaiBackend(env={}, discover=False)
    backend.function(name="work")(lambda needed: needed)

    async def scenario() -> list[Any]:
        return [await call(backend, "work", **{"idempotency-key": "k"}) for _ in range(2)]

    first, again = asyncio.run(scenario())
    assert first.body == again.body
    assert b"missing argument needed" in first.body
    assert (b"idempotent-replayed", b"true") in again.headers


def test_the_shutdown_of_the_server_ends_all_calls() -> None:
    backend = NavaiBackend(env={}, discover=False, function_timeout=None)
    seen: list[Any] = []

    all_wait = asyncio.Event()

    @backend.function
    def work(context: FunctionContext) -> None:
        seen.append("begun")
        seen.append(context.cancelled.wait(PATIENCE_S))

    @backend.function
    async def wait() -> None:
        seen.append("waits")
        if seen.count("waits") == 2:
            all_wait.set()
        await asyncio.Event().wait()

    async def scenario() -> None:
        keyed = {"idempotency-key": "k"}
        calls = [call(backend, "work"), call(backend, "wait"), call(backend, "wait", **keyed)]
        await all_wait.wait()
        until(lambda: "begun" in seen)  # in its thread
        await backend.aclose()
        for each in calls:
            answer = await each
            assert (answer.status, b'"may_have_executed":true' in answer.body) == (409, True)

    asyncio.run(scenario())
    until(lambda: True in seen)


def test_a_call_that_is_cancelled_before_it_began_has_ended() -> None:
    backend = NavaiBackend(env={}, discover=False)
    ran: list[int] = []

    @backend.function
    async def work() -> None:
        ran.append(1)

    async def scenario() -> None:
        (function,) = backend.functions().functions
        running, _ = await backend.invoker.begin(function, Payload(None), REQUEST)
        backend.invoker.stop(running, SHUT_DOWN)
        assert await running.wait() == Failure(
            "The server is too busy: the function was not begun. Try again.", 503
        )

    asyncio.run(scenario())
    assert ran == []


def test_the_task_factory_of_a_host_makes_the_tasks_of_functions() -> None:
    backend = NavaiBackend(env={}, discover=False)
    makers: list[asyncio.Task[Any]] = []

    @backend.function
    async def work() -> bool:
        return asyncio.current_task() in makers

    def make(loop: asyncio.AbstractEventLoop, coro: Any, **given: Any) -> "asyncio.Task[Any]":
        makers.append(asyncio.Task(coro, loop=loop, **given))
        return makers[-1]

    async def scenario() -> Any:
        asyncio.get_running_loop().set_task_factory(make)
        return await call(backend, "work")

    assert b'"result":true' in asyncio.run(scenario()).body


def test_a_result_after_the_timeout_is_dropped() -> None:
    backend = NavaiBackend(env={}, discover=False)
    returned = threading.Event()

    @backend.function
    def work() -> str:
        returned.set()
        return "late"

    async def scenario() -> None:
        (function,) = backend.functions().functions
        running, _ = await backend.invoker.begin(function, Payload(None), REQUEST)
        until(lambda: returned.is_set() and not backend.invoker._threads.running)
        backend.invoker.stop(running, SHUT_DOWN)  # what it returned waits for this loop already
        await asyncio.sleep(0)
        assert await running.wait() == SHUT_DOWN

    asyncio.run(scenario())


def test_a_function_can_set_a_time_limit_for_its_own_task() -> None:
    backend = NavaiBackend(env={}, discover=False)

    @backend.function
    async def limited() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "its own limit"
        return "none"

    async def scenario() -> Any:
        return await call(backend, "limited")

    assert b"its own limit" in asyncio.run(scenario()).body


def test_each_call_has_its_own_time_limit_in_one_event_loop_after_another() -> None:
    backend = NavaiBackend(env={}, discover=False, function_timeout=NEVER_S)
    begun: list[int] = []

    async def wait() -> None:
        begun.append(1)
        await asyncio.Event().wait()

    async def scenario() -> None:
        others = len(begun)
        unlimited, longer, shorter = (call(backend, name) for name in ("wait", "longer", "shorter"))
        await until_async(lambda: len(begun) == others + 3)
        pass_time(100)
        assert b"did not finish within 100 seconds." in (await asyncio.wait_for(shorter, PATIENCE_S)).body
        assert not longer.done()
        pass_time(400)
        assert b"did not finish within 500 seconds." in (await asyncio.wait_for(longer, PATIENCE_S)).body
        await left(unlimited)

    backend.function(wait)
    backend.function(name="longer", timeout=500)(wait)
    backend.function(name="shorter", timeout=100)(wait)
    for _ in range(2):
        asyncio.run(scenario())


def test_what_goes_on_after_its_time_limit_ends_with_the_server() -> None:
    backend = NavaiBackend(env={}, discover=False, function_timeout=0.02)
    begun, release = threading.Semaphore(0), threading.Event()

    @backend.function
    def work() -> "Awaitable[None]":
        begun.release()
        release.wait(PATIENCE_S)
        return Never()

    async def begin(key: bytes) -> Any:
        (function,) = backend.functions().functions
        running, _ = await backend.invoker.begin(function, Payload(None), REQUEST, key=key)
        assert begun.acquire(timeout=PATIENCE_S)  # it blocks the loop, where the time limit would be noticed
        return running

    async def scenario() -> None:
        calls = [await begin(key) for key in (b"a", b"b")]
        answers = await asyncio.gather(*(call.wait() for call in calls))
        assert answers == [call.stopped for call in calls]
        assert [call.outcome for call in calls] == [None, None]  # they may still have one
        await backend.invoker.close()
        assert {call.outcome for call in calls} == {calls[0].stopped}
        backend.invoker.stop(calls[0], SHUT_DOWN)  # changes nothing
        late = await begin(b"c")
        late_answer = await late.wait()
        release.set()
        while late.outcome is None:  # noqa: ASYNC110 - a thread cannot set an event of the loop
            await asyncio.sleep(0)
        assert late.outcome == late_answer

    asyncio.run(scenario())


def test_a_function_whose_threads_are_all_taken_says_so(tmp_path: Path, execute: Any) -> None:
    backend = NavaiBackend(
        env={}, functions_base_dir=tmp_path, threads_per_function=1, function_timeout=NEVER_S
    )
    release = threading.Event()

    @backend.function
    def stuck() -> None:
        end_time_limits(backend)
        release.wait(PATIENCE_S)

    assert "did not finish" in execute(backend, "stuck")["details"]
    assert execute(backend, "stuck") == {
        "error": "The server is too busy: the function was not begun. Try again."
    }
    release.set()


def test_a_function_that_ignores_its_timeout_fails_in_time_and_is_stopped_at_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = NavaiBackend(env={}, discover=False, function_timeout=0.02)
    ended: list[str] = []

    @backend.function
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("stopped")

    async def scenario() -> None:
        request = BackendRequest("POST", EXECUTE, {b"content-type": b"application/json"})
        answer = await backend.router.respond(request, b'{"function_name":"stubborn"}')
        assert b"did not finish within 0.02 seconds" in answer.body
        assert ended == []
        await backend.aclose()

    asyncio.run(scenario())
    assert ended == ["stopped"]
    assert "still runs, although its time is over" in caplog.text
