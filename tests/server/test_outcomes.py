"""What a response says about a function that may still run, may have acted, or never began."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from navai_client.testing import LiveServer
from tests.server.time_limits import NEVER_S, end_time_limits
from tests.serving import NO_TLS
from tests.waiting import PATIENCE_S, until, until_line

EXECUTE = "/navai/functions/execute"
_POOL = ThreadPoolExecutor(16)


def post(
    server: LiveServer | str, name: str, payload: Any = None, *, key: str | None = None, **headers: str
) -> httpx.Response:
    """Execute a function."""
    url = server if isinstance(server, str) else server.url
    if key is not None:
        headers["idempotency-key"] = key
    body = {"function_name": name, "payload": payload}
    given: Any = {"timeout": PATIENCE_S, "trust_env": False, "verify": NO_TLS}
    return httpx.post(url + EXECUTE, json=body, headers=headers, **given)


def posted(
    server: LiveServer | str, name: str, payload: Any = None, *, key: str | None = None
) -> "Future[Any]":
    """Execute a function in a thread."""
    return _POOL.submit(lambda: post(server, name, payload, key=key))


@contextlib.contextmanager
def serving(**settings: Any) -> Iterator[LiveServer]:
    with LiveServer(**settings) as server:
        yield server


def test_a_call_over_its_time_may_have_been_executed_and_its_late_result_is_kept_for_its_key() -> None:
    release, ran = threading.Event(), []
    with serving(function_timeout=NEVER_S) as server:

        @server.function
        def book(room: int) -> str:
            ran.append(room)
            release.wait(PATIENCE_S)
            return f"room {room}"

        first = posted(server, "book", {"room": 7}, key="k")
        until(lambda: ran == [7])
        end_time_limits(server._app)
        late = first.result(PATIENCE_S).json()
        assert late == {
            "ok": False,
            "function_name": "book",
            "error": "Function execution failed.",
            "details": "The function did not finish within 3600 seconds.",
            "may_have_executed": True,
        }
        copies = [posted(server, "book", {"room": 7}, key="k") for _ in range(3)]
        end_time_limits(server._app, callers=3)
        assert [copy.result(PATIENCE_S).json() for copy in copies] == [late] * 3  # it still runs
        other = posted(server, "book", {"room": 8})
        until(lambda: ran == [7, 8])
        end_time_limits(server._app)
        assert other.result(PATIENCE_S).json()["may_have_executed"] is True
        release.set()
        again = post(server, "book", {"room": 7}, key="k")
        assert again.json()["result"] == "room 7"
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["idempotency-key"] == "k"
    assert ran == [7, 8]


def test_a_late_failure_is_kept_for_its_key_too() -> None:
    begun, release = threading.Event(), threading.Event()
    with serving(function_timeout=NEVER_S) as server:

        @server.function
        def book() -> None:
            begun.set()
            release.wait(PATIENCE_S)
            raise LookupError("no room")

        first = posted(server, "book", key="k")
        assert begun.wait(PATIENCE_S)
        end_time_limits(server._app)
        assert first.result(PATIENCE_S).json()["may_have_executed"] is True
        release.set()
        assert post(server, "book", key="k").json() == {
            "ok": False,
            "function_name": "book",
            "error": "Function execution failed.",
            "details": "no room",
        }


def test_an_async_function_that_is_cancelled_at_its_limit_is_not_run_again_for_its_key() -> None:
    ran = []
    with serving(function_timeout=0.3) as server:

        @server.function
        async def book() -> None:
            ran.append(1)
            await asyncio.Event().wait()

        @server.function
        async def stubborn() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "cleaned up"
            return ""

        for _ in range(2):
            answer = post(server, "book", key="k").json()
            assert (answer["ok"], answer["may_have_executed"]) == (False, True)
        assert post(server, "stubborn", key="s").json()["result"] == "cleaned up"
    assert ran == [1]


def test_what_never_began_is_503_and_frees_its_key() -> None:
    release, begun, ran = threading.Event(), threading.Event(), []
    with serving(function_timeout=NEVER_S, threads_per_function=1) as server:

        @server.function
        def work(number: int) -> int:
            ran.append(number)
            begun.set()
            release.wait(PATIENCE_S)
            return number

        holding = posted(server, "work", {"number": 1})
        assert begun.wait(PATIENCE_S)
        waiting = posted(server, "work", {"number": 2}, key="k")  # for the thread
        end_time_limits(server._app, callers=2)
        assert holding.result(PATIENCE_S).json()["may_have_executed"] is True  # it keeps the thread
        for refused in (waiting.result(PATIENCE_S), post(server, "work", {"number": 2}, key="k")):
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert list(refused.json()) == ["error"]
        release.set()
        until(lambda: post(server, "work", {"number": 3}).status_code == 200)
        assert post(server, "work", {"number": 2}, key="k").json()["result"] == 2
    assert ran == [1, 3, 2]


def test_overload_is_said_at_once_and_what_is_refused_never_runs() -> None:
    release, ran = threading.Event(), []
    with serving(threads_per_function=2, threads=3, max_waiting_calls=2, function_timeout=None) as server:

        def work(number: int) -> int:
            ran.append(number)
            release.wait(PATIENCE_S)
            return number

        server.function(name="one")(work)
        server.function(name="other")(work)
        calls = [posted(server, name, {"number": n}) for n, name in enumerate(["one", "other"] * 6)]
        until(lambda: sum(call.done() for call in calls) == 7)  # three run, and two wait
        until(lambda: len(ran) == 3)  # each in its thread
        release.set()
        answers = [call.result() for call in calls]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 7
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    done = [answer.json()["result"] for answer in answers if answer.status_code == 200]
    assert sorted(done) == sorted(ran)


def test_a_result_that_cannot_be_given_came_from_a_function_that_acted() -> None:
    with serving() as server:
        server.function(name="acts")(lambda: {1, object()})
        server.function(name="takes")(lambda needed: needed)
        assert post(server, "acts").json()["may_have_executed"] is True
        assert "may_have_executed" not in post(server, "takes").json()


@pytest.mark.parametrize("name", ["waits", "blocks"])
def test_a_server_for_tests_cuts_calls_off_as_the_real_one_does(name: str) -> None:
    begun, release = threading.Event(), threading.Event()
    with serving() as server:

        @server.function
        async def waits() -> None:
            begun.set()
            await asyncio.Event().wait()

        @server.function
        def blocks() -> None:
            begun.set()
            release.wait(PATIENCE_S)

        call = posted(server, name)
        assert begun.wait(PATIENCE_S)
        server.close()
        release.set()
        answer = call.result(PATIENCE_S)
        assert (answer.status_code, answer.json()["may_have_executed"]) == (409, True)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A folder with functions that wait."""
    file = tmp_path / "src" / "ai" / "functions-modules" / "waiting.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import asyncio, pathlib, threading\n"
        "async def waits(mark: str) -> None:\n"
        "    pathlib.Path(mark).touch()\n"
        "    await asyncio.Event().wait()\n"
        "def blocks(mark: str) -> None:\n"
        "    pathlib.Path(mark).touch()\n"
        "    threading.Event().wait()\n"
        "def quick() -> int:\n"
        "    return 1\n"
    )
    return tmp_path


@contextlib.contextmanager
def server_process(base: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    command = [sys.executable, "-m", "navai_client.server", "--port", "0", "--base-dir", str(base), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_calls_that_the_grace_cuts_off_are_409_and_may_have_been_executed(module: Path, workers: str) -> None:
    options = ("--grace", "1", "--drain-delay", "0", "--workers", workers)
    with server_process(module, *options) as (process, url):
        marks = {name: module / name for name in ("waits", "blocks")}
        calls = [posted(url, name, {"mark": str(mark)}) for name, mark in marks.items()]
        until(lambda: all(mark.exists() for mark in marks.values()))
        process.send_signal(signal.SIGTERM)
        for call in calls:
            answer = call.result(PATIENCE_S)
            assert answer.status_code == 409
            assert answer.json()["may_have_executed"] is True
            assert isinstance(answer.json()["error"], str)
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)


def test_a_server_that_is_to_stop_goes_on_accepting_for_a_while(module: Path) -> None:
    with server_process(module, "--drain-delay", "60") as (process, url):
        assert post(url, "quick").json()["result"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        until_line(process.stderr, "are accepted for 60 seconds")
        assert post(url, "quick").json()["result"] == 1  # over a new connection
        assert httpx.get(f"{url}/ready", timeout=PATIENCE_S, trust_env=False).status_code == 503
        process.send_signal(signal.SIGTERM)  # the second one: without delay
        process.stderr.read()
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
