"""Waiting for work on another thread, no longer than allowed."""

import contextvars
import sys
import threading
from collections.abc import Iterator

import pytest

from navai_client.transports import _threads
from navai_client.transports._threads import run_within


@pytest.fixture(autouse=True)
def workers_of_our_own() -> Iterator[None]:
    _threads._forget_workers()
    yield
    _threads._forget_workers()


def test_the_result_of_the_work_is_returned_in_the_callers_context() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    assert run_within(5, variable.get) == 7
    assert run_within(None, variable.get) == 7


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(SystemExit):
        run_within(5, lambda: sys.exit(3))


def test_work_that_takes_too_long_is_left_and_its_thread_is_used_again() -> None:
    release, threads = threading.Event(), []

    def work() -> None:
        threads.append(threading.current_thread())
        release.wait()

    with pytest.raises(TimeoutError):
        run_within(0.01, work)
    release.set()
    while not _threads._idle:
        threading.Event().wait(0.001)
    run_within(5, work)
    assert threads[0] is threads[1]


def test_a_thread_without_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads._Worker, "IDLE", 0.01)
    worker = run_within(5, threading.current_thread)
    worker.join()
    assert not _threads._idle


def test_a_thread_that_was_taken_the_moment_it_wanted_to_end_works_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_threads._Worker, "IDLE", 0.01)
    with _threads._lock:  # nobody can leave meanwhile
        pass
    first = run_within(5, threading.current_thread)
    assert isinstance(first, _threads._Worker)
    with _threads._lock:
        taken = first in _threads._idle and not _threads._idle.remove(first)  # type: ignore[func-returns-value]
        waited = threading.Event().wait(
            0.05
        )  # its wait for work ends; it may not leave while we hold the lock
    assert not waited
    if taken:
        job: _threads._Job[int] = _threads._Job(lambda: 5)
        first.give(job)
        assert job.done.acquire(timeout=5)
        assert job.result() == 5
    first.join()
