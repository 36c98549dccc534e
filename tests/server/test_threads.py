"""Threads of synchronous functions: who waits, who gives up, and what is left."""

import asyncio
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from navai_client.server._threads import CallThreads
from tests.server.running import run


def until(condition: Callable[[], bool]) -> None:
    """Block, the event loop too, until *condition* holds."""
    pause = threading.Event()
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.001)


def test_a_call_that_waits_can_give_up_its_turn() -> None:
    async def scenario() -> None:
        threads, release = CallThreads(per_function=1), threading.Event()
        first = asyncio.create_task(run(threads, "f", lambda: release.wait(5)))
        second = asyncio.create_task(run(threads, "f", lambda: "second"))
        third = asyncio.create_task(run(threads, "f", lambda: "third"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        assert await first is True
        assert await third == "third"
        assert threads.running == 0

    asyncio.run(scenario())


def test_a_turn_that_came_too_late_goes_to_the_next() -> None:
    async def scenario() -> None:
        threads, release = CallThreads(per_function=1), threading.Event()
        first = asyncio.create_task(run(threads, "f", lambda: release.wait(5)))
        second = asyncio.create_task(run(threads, "f", lambda: "second"))
        third = asyncio.create_task(run(threads, "f", lambda: "third"))
        await asyncio.sleep(0)
        release.set()
        until(lambda: len(threads._lanes["f"].waiting) <= 1)  # the second's turn has come
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await first is True
        assert await third == "third"
        assert threads.running == 0

    asyncio.run(scenario())


def test_a_call_that_returned_before_it_was_given_up_holds_no_thread() -> None:
    async def scenario() -> None:
        threads, begun = CallThreads(per_function=1), asyncio.Event()
        loop = asyncio.get_running_loop()
        call = asyncio.create_task(run(threads, "f", lambda: loop.call_soon_threadsafe(begun.set)))
        await begun.wait()
        until(lambda: not threads.running)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await run(threads, "f", lambda: "next") == "next"

    asyncio.run(scenario())


def test_a_call_may_outlive_the_loop_that_began_it() -> None:
    threads, begun, release = CallThreads(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        release.wait(5)

    async def scenario() -> None:
        calling = asyncio.create_task(run(threads, "f", call))
        await asyncio.to_thread(begun.wait, 5)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    asyncio.run(scenario())
    release.set()
    until(lambda: not threads.running)


def test_a_thread_without_work_ends_and_one_with_work_is_used_again() -> None:
    async def scenario() -> set[Any]:
        threads = CallThreads(idle=0.2)
        return {await run(threads, "f", threading.current_thread) for _ in range(50)}

    used = asyncio.run(scenario())
    assert len(used) < 50
    for thread in used:
        thread.join(5)
        assert not thread.is_alive()


def test_a_call_that_is_given_up_before_a_thread_takes_it_is_never_made() -> None:
    class LateThreads(CallThreads):
        """Starts its threads when it is told to."""

        def _start(self) -> None:
            self.start_now = super()._start

    async def scenario() -> None:
        threads, made = LateThreads(), []
        calling = asyncio.create_task(run(threads, "f", lambda: made.append(1)))
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert threads.running == 1
        threads.start_now()
        until(lambda: not threads.running)
        assert made == []

    asyncio.run(scenario())


def test_quick_calls_that_come_together_need_few_threads_and_a_slow_one_holds_up_none() -> None:
    async def scenario() -> None:
        threads, release = CallThreads(per_function=200), threading.Event()
        slow = [asyncio.create_task(run(threads, "slow", lambda: release.wait(20))) for _ in range(3)]
        quick = [asyncio.create_task(run(threads, n % 7, lambda n=n: n)) for n in range(100)]  # type: ignore[misc]
        assert await asyncio.gather(*quick) == list(range(100))
        assert not any(each.done() for each in slow)
        release.set()
        assert await asyncio.gather(*slow) == [True] * 3

    asyncio.run(scenario())


def test_a_result_that_nobody_is_left_to_hear_is_dropped() -> None:
    threads, release = CallThreads(), threading.Event()

    async def scenario() -> None:
        threads.submit("f", lambda: release.wait(5), print)

    asyncio.run(scenario())
    release.set()
    until(lambda: not threads.running)


def test_a_thread_that_was_about_to_end_takes_the_call_that_has_just_come() -> None:
    class Late(SimpleQueue[Any]):
        """Says once that there is nothing, although there is."""

        def get(self, *given: Any, **more: Any) -> Any:
            if not said:
                said.append(1)
                raise Empty
            return super().get(*given, **more)

    said: list[int] = []

    async def scenario() -> None:
        threads = CallThreads()
        threads._queue = Late()
        assert await run(threads, "f", lambda: "made") == "made"

    asyncio.run(scenario())
    assert said == [1]


def test_a_system_without_a_thread_to_spare_delays_calls_and_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        threads = CallThreads()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            first = asyncio.create_task(run(threads, "f", lambda: "first"))
            await asyncio.sleep(0)
        assert await run(threads, "f", lambda: "second") == "second"
        assert await first == "first"

    asyncio.run(scenario())
