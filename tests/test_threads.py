"""Blocking work in threads: slots, abandoned calls, time limits, and which threads stay."""

import asyncio
import contextvars
import os
import sys
import threading
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from navai_client._threads import CallThreads, NoThreadLeftError, on_this_loop, run_within
from tests.waiting import PATIENCE_S, until


def test_a_call_that_waits_can_be_abandoned() -> None:
    async def scenario() -> None:
        threads, release = CallThreads(per_function=1), threading.Event()
        first = asyncio.create_task(threads.run("f", lambda: release.wait(PATIENCE_S)))
        second = asyncio.create_task(threads.run("f", lambda: "second"))
        third = asyncio.create_task(threads.run("f", lambda: "third"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        assert await first is True
        assert await third == "third"
        assert threads.running == 0

    asyncio.run(scenario())


def test_the_slot_of_a_call_that_was_abandoned_goes_to_the_next() -> None:
    async def scenario() -> None:
        threads, release = CallThreads(per_function=1), threading.Event()
        first = asyncio.create_task(threads.run("f", lambda: release.wait(PATIENCE_S)))
        second = asyncio.create_task(threads.run("f", lambda: "second"))
        third = asyncio.create_task(threads.run("f", lambda: "third"))
        await asyncio.sleep(0)
        release.set()
        until(lambda: len(threads._functions["f"].waiting) <= 1)  # the second's turn has come
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await first is True
        assert await third == "third"
        assert threads.running == 0

    asyncio.run(scenario())


def test_a_call_that_returned_before_it_was_abandoned_holds_no_slot() -> None:
    async def scenario() -> None:
        threads, begun = CallThreads(per_function=1), asyncio.Event()
        loop = asyncio.get_running_loop()
        call = asyncio.create_task(threads.run("f", lambda: loop.call_soon_threadsafe(begun.set)))
        await begun.wait()
        until(lambda: not threads.running)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await threads.run("f", lambda: "next") == "next"

    asyncio.run(scenario())


def test_a_call_may_outlive_the_loop_that_began_it() -> None:
    threads, begun, release = CallThreads(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        release.wait(PATIENCE_S)

    async def scenario() -> None:
        calling = asyncio.create_task(threads.run("f", call))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    asyncio.run(scenario())
    release.set()
    until(lambda: not threads.running)


def test_a_thread_without_work_ends_and_one_with_work_is_used_again() -> None:
    async def scenario() -> set[Any]:
        threads = CallThreads(idle=0.2)
        return {await threads.run("f", threading.current_thread) for _ in range(50)}

    used = asyncio.run(scenario())
    assert len(used) < 50
    for thread in used:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_call_that_is_abandoned_before_a_thread_takes_it_is_never_made() -> None:
    class LateThreads(CallThreads):
        """Starts its threads on request."""

        def _start(self) -> None:
            self.start_now = super()._start

    async def scenario() -> None:
        threads, made = LateThreads(), []
        calling = asyncio.create_task(threads.run("f", lambda: made.append(1)))
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert threads.running == 1
        threads.start_now()
        until(lambda: not threads.running)
        assert made == []

    asyncio.run(scenario())


def test_quick_calls_share_threads_and_a_slow_one_delays_none() -> None:
    async def scenario() -> None:
        threads, release = CallThreads(per_function=200), threading.Event()
        slow = [asyncio.create_task(threads.run("slow", lambda: release.wait(PATIENCE_S))) for _ in range(3)]
        quick = [asyncio.create_task(threads.run(n % 7, lambda n=n: n)) for n in range(100)]  # type: ignore[misc]
        assert await asyncio.gather(*quick) == list(range(100))
        assert not any(each.done() for each in slow)
        release.set()
        assert await asyncio.gather(*slow) == [True] * 3

    asyncio.run(scenario())


def test_a_result_for_a_closed_loop_is_dropped() -> None:
    threads, release = CallThreads(), threading.Event()

    async def scenario() -> None:
        threads.submit("f", lambda: release.wait(PATIENCE_S), on_this_loop(print))

    asyncio.run(scenario())
    release.set()
    until(lambda: not threads.running)


def test_a_thread_about_to_end_takes_a_call_that_has_just_come() -> None:
    class Late(SimpleQueue[Any]):
        """Is empty once, although it is not."""

        def get(self, *given: Any, **more: Any) -> Any:
            if not said:
                said.append(1)
                raise Empty
            return super().get(*given, **more)

    said: list[int] = []

    async def scenario() -> None:
        threads = CallThreads()
        threads._queue = Late()
        assert await threads.run("f", lambda: "made") == "made"

    asyncio.run(scenario())
    assert said == [1]


def test_a_system_without_a_thread_left_delays_calls_and_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        threads = CallThreads()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            first = asyncio.create_task(threads.run("f", lambda: "first"))
            await asyncio.sleep(0)
        assert await threads.run("f", lambda: "second") == "second"
        assert await first == "first"

    asyncio.run(scenario())


def test_an_exception_is_raised_where_the_call_is_awaited_even_a_stop_iteration() -> None:
    async def scenario() -> None:
        threads = CallThreads()
        with pytest.raises(ZeroDivisionError):
            await threads.run("f", lambda: 1 / 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run("f", lambda: next(iter(())))

    asyncio.run(scenario())


def test_the_result_of_blocking_work_is_returned_in_the_callers_context() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    assert run_within(PATIENCE_S, variable.get) == 7
    assert run_within(None, variable.get) == 7


def test_what_blocking_work_raises_is_raised() -> None:
    with pytest.raises(SystemExit):
        run_within(PATIENCE_S, lambda: sys.exit(3))


def test_blocking_work_that_takes_too_long_is_abandoned_and_its_thread_is_used_again() -> None:
    release, used = threading.Event(), []

    def work() -> None:
        used.append(threading.current_thread())
        release.wait(PATIENCE_S)

    with pytest.raises(TimeoutError):
        run_within(1.0, work)  # in which it begins
    release.set()
    until(lambda: run_within(PATIENCE_S, threading.current_thread) is used[0])


def test_blocking_work_may_take_longer_than_one_wait() -> None:
    assert run_within(None, lambda: threading.Event().wait(0.6)) is False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_threads_of_its_own() -> None:
    assert run_within(PATIENCE_S, lambda: 1) == 1  # a thread waits for the next call, and is not in the child
    child = os.fork()
    if child == 0:
        try:
            os._exit(run_within(PATIENCE_S, lambda: 42))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_forgetting_the_parents_threads_makes_calls_in_others() -> None:
    threads = CallThreads()
    parents = run_within(PATIENCE_S, threading.current_thread, threads)
    threads.forget_parent()
    assert run_within(PATIENCE_S, threading.current_thread, threads) is not parents


def test_one_limit_holds_for_the_threads_of_all_functions_and_they_take_turns() -> None:
    async def scenario() -> None:
        threads, release, order = CallThreads(per_function=2, in_all=3), threading.Event(), []

        def hold() -> None:
            release.wait(PATIENCE_S)

        holding = [asyncio.create_task(threads.run(name, hold)) for name in ("f", "f", "g")]
        waiting = [
            asyncio.create_task(threads.run(name, lambda name=name: order.append(name)))  # type: ignore[misc]
            for name in ("f", "f", "h", "h", "g")
        ]
        await asyncio.sleep(0)
        assert threads.running == 3
        waiting[1].cancel()
        waiting[4].cancel()
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*holding)
        await asyncio.gather(waiting[0], *waiting[2:4])
        assert sorted(order) == ["f", "h", "h"]
        assert threads.running == 0

    asyncio.run(scenario())


def test_a_function_at_its_limit_is_passed_over_when_a_slot_becomes_free() -> None:
    async def scenario() -> None:
        threads = CallThreads(per_function=1, in_all=2)
        first, other = threading.Event(), threading.Event()
        full = asyncio.create_task(threads.run("f", lambda: first.wait(PATIENCE_S)))
        leaving = asyncio.create_task(threads.run("g", lambda: other.wait(PATIENCE_S)))
        await asyncio.sleep(0)
        waits = asyncio.create_task(threads.run("f", lambda: "f"))
        await asyncio.sleep(0)
        next_one = asyncio.create_task(threads.run("h", lambda: "h"))
        await asyncio.sleep(0)
        other.set()
        assert await leaving is True
        assert await next_one == "h"
        assert not waits.done()
        assert threads.running == 1
        first.set()
        assert (await full, await waits) == (True, "f")

    asyncio.run(scenario())


def test_a_call_is_refused_when_too_many_wait_or_all_slots_are_held_by_abandoned_ones() -> None:
    async def scenario() -> None:
        threads, release = CallThreads(per_function=5, in_all=1, waiting=1), threading.Event()
        stuck = asyncio.create_task(threads.run("f", lambda: release.wait(PATIENCE_S)))
        await asyncio.sleep(0)
        waits = asyncio.create_task(threads.run("g", lambda: "g"))
        await asyncio.sleep(0)
        with pytest.raises(NoThreadLeftError):
            await threads.run("h", lambda: "h")
        waits.cancel()
        stuck.cancel()
        await asyncio.sleep(0)
        with pytest.raises(NoThreadLeftError):
            await threads.run("h", lambda: "h")
        release.set()
        until(lambda: not threads.running)
        assert await threads.run("h", lambda: "h") == "h"

    asyncio.run(scenario())
