"""Waiting for work on another thread, no longer than allowed."""

import contextvars
import sys
import threading

import pytest

from navai_client.transports._threads import run_within


def test_the_result_of_the_work_is_returned_in_the_callers_context() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    assert run_within(5, variable.get) == 7
    assert run_within(None, variable.get) == 7


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(SystemExit):
        run_within(5, lambda: sys.exit(3))


def test_work_that_takes_too_long_is_left_and_its_thread_ends_with_it() -> None:
    release, threads = threading.Event(), []

    def work() -> None:
        threads.append(threading.current_thread())
        release.wait()

    with pytest.raises(TimeoutError):
        run_within(0.01, work)
    release.set()
    threads[0].join()


def test_work_is_waited_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("navai_client.transports._threads._LONGEST_WAIT", 0.001)
    assert run_within(None, lambda: threading.Event().wait(0.01)) is False
