"""Functions in other processes: those that a module starts, and those of the server."""

import asyncio
import contextlib
import functools
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import psutil
import pytest

from navai_client import NavaiConfigError
from navai_client.server import NavaiBackend, ToolError, discover_function_modules, load_functions
from navai_client.server._processes import (
    ProcessEndedError,
    Processes,
    RaisedElsewhereError,
    Work,
    _CallInProcess,
    answer,
)
from navai_client.testing import LiveServer
from tests.server.raw import is_alive
from tests.server.test_disconnects import CANCEL, execute
from tests.server.test_outcomes import post, posted, server_process
from tests.waiting import PATIENCE_S, until


@contextlib.contextmanager
def serving_module(base: Path, source: str, *options: str) -> Iterator[str]:
    """Serve one module of functions, by a process of its own."""
    file = base / "src" / "ai" / "functions-modules" / "v1.2" / "work.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    with server_process(base, *options) as (process, url):
        yield url
        process.terminate()
        assert process.stderr is not None
        process.stderr.read()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_module_can_use_a_process_pool_of_its_own(tmp_path: Path, method: str) -> None:
    source = (
        "import multiprocessing, os\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from ._beside import Answer, work\n"
        "def compute(n: int) -> list[int]:\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    with ProcessPoolExecutor(1, mp_context=context) as pool:\n"
        "        answer = pool.submit(work, Answer(n)).result()\n"
        "    return [answer.value, answer.pid != os.getpid()]\n"
    )
    beside = tmp_path / "src" / "ai" / "functions-modules" / "v1.2" / "_beside.py"
    beside.parent.mkdir(parents=True)
    beside.write_text(
        "import dataclasses, os\n"
        "@dataclasses.dataclass\n"
        "class Answer:\n"
        "    value: int\n"
        "    pid: int = 0\n"
        "def work(given: Answer) -> Answer:\n"
        "    return Answer(2 * given.value, os.getpid())\n"
    )
    with serving_module(tmp_path, source) as url:
        assert post(url, "compute", {"n": 21}).json()["result"] == [42, True]


def load(base: Path) -> Any:
    return load_functions(discover_function_modules(base, "src").modules)


def test_a_module_may_stand_beside_a_folder_of_its_name(tmp_path: Path, write: Any) -> None:
    write("src/orders.py", "from .names import NAME\ndef place() -> str: return NAME")
    write("src/names.py", "NAME = 'Oslo'")
    write("src/orders/refund.py", "from ..names import NAME\ndef refund() -> str: return NAME")
    assert load(tmp_path).names == ["place", "refund"]


def test_a_module_imports_nothing_that_is_missing_or_outside(tmp_path: Path, write: Any) -> None:
    base = tmp_path / "base"
    write("outside.py", "NAME = 1")
    write("base/src/a.py", "from .linked import NAME\ndef a() -> int: return NAME")
    write("base/src/b.py", "from .missing import NAME\ndef b() -> int: return NAME")
    (base / "src" / "linked.py").symlink_to(tmp_path / "outside.py")
    assert load(base).warnings == [
        "[navai] Failed to load src/a.py: linked.py is a link to a place outside the base directory",
        "[navai] Failed to load src/b.py: No module named 'src.missing'",
    ]


def test_two_trees_of_one_directory_are_apart(tmp_path: Path, write: Any) -> None:
    write("src/a.py", "def a() -> int: return 1")
    first, second = load(tmp_path), load(tmp_path)
    modules = {registry.find("a").target.prepare.__self__._call.__module__ for registry in (first, second)}
    assert len(modules) == 2


def test_an_error_does_not_show_where_a_module_is(
    tmp_path: Path, backend: Any, execute: Any, write: Any
) -> None:
    write(
        "src/ai/functions-modules/a.py",
        "class Box: ...\ndef fails() -> None: raise LookupError(Box().__module__, Box)",
    )
    details = execute(backend, "fails")["details"]
    assert "src.ai.functions-modules.a" in details
    assert tmp_path.name.encode().hex() not in details
    assert "_loaded" not in details


WORK = """
import asyncio, os, pathlib, re, signal, threading
from typing import Annotated, Any
import pydantic
from navai_client.server import FunctionContext, ToolError, function

in_process = function(runs_in="process")

@in_process
def pid() -> int:
    return os.getpid()

@in_process
async def pid_async() -> int:
    await asyncio.sleep(0)
    return os.getpid()

@in_process
def ends(status: int) -> None:
    os._exit(status)

@in_process
def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@in_process
def raises() -> None:
    raise LookupError("no room")

@in_process
def refuses() -> None:
    raise ToolError("no key " + "sk-" + 40 * "a")

@in_process
def exits() -> None:
    raise SystemExit(3)

@in_process
def no_json() -> Any:
    return {1, object()}

@in_process
def hogs(mark: str) -> None:
    pathlib.Path(mark).write_text(str(os.getpid()))
    re.match("(a+)+$", "a" * 64 + "b")  # holds the interpreter's lock for years

@in_process
def waits(mark: str, go: str) -> str:
    pathlib.Path(mark).touch()
    while not pathlib.Path(go).exists():
        threading.Event().wait(0.01)
    return "done"

@in_process
def path(context: FunctionContext) -> str:
    return context.request.path

@in_process
def takes(x: Annotated[Any, pydantic.AfterValidator(lambda _: threading.Lock())]) -> None: ...

@in_process
class Counter:
    def __init__(self, start: int) -> None:
        self.start = start
    def add(self, n: int) -> int:
        return self.start + n

def server_pid() -> int:
    return os.getpid()
"""


@pytest.fixture(name="url", scope="module")
def _url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_module(tmp_path_factory.mktemp("served"), WORK, "--processes", "2") as url:
        yield url


def result(url: str, name: str, payload: Any = None) -> Any:
    answer = post(url, name, payload).json()
    assert answer.get("ok") is True, answer
    return answer["result"]


def test_a_function_runs_in_a_process_that_the_next_call_uses_again(url: str) -> None:
    pids = {result(url, "pid") for _ in range(3)} | {result(url, "pid_async")}
    assert len(pids) == 1
    assert result(url, "server_pid") not in pids
    assert result(url, "path") == "/navai/functions/execute"
    assert result(url, "counter_add", {"constructorArgs": [40], "n": 2}) == 42


@pytest.mark.parametrize(
    ("name", "payload", "how"),
    [
        ("ends", {"status": 0}, "with status 0"),
        ("ends", {"status": 3}, "with status 3"),
        ("is_killed", None, "by the signal SIGKILL"),
    ],
)
def test_a_crash_hurts_no_other_call_and_may_have_executed(
    url: str, tmp_path: Path, name: str, payload: Any, how: str
) -> None:
    mark, go = tmp_path / "mark", tmp_path / "go"
    other = posted(url, "waits", {"mark": str(mark), "go": str(go)})
    until(mark.exists)
    answer = post(url, name, payload).json()
    assert answer["details"] == f"The function's process ended {how}."
    assert answer["may_have_executed"] is True
    assert isinstance(result(url, "pid"), int)
    go.touch()
    assert other.result().json()["result"] == "done"


@pytest.mark.parametrize(
    ("name", "details", "more"),
    [
        ("raises", "no room", {}),
        ("refuses", "no key ***", {"details_for_model": True}),
        ("exits", "3", {}),
        ("no_json", "A result of type object has no form in JSON.", {"may_have_executed": True}),
    ],
)
def test_what_a_function_raises_in_a_process_is_reported(
    url: str, name: str, details: str, more: Any
) -> None:
    answer = post(url, name).json()
    expected = {"ok": False, "function_name": name, "error": "Function execution failed.", "details": details}
    assert answer == {**expected, **more}


def test_an_argument_that_cannot_be_sent_is_a_failure_of_a_call_that_has_not_begun(url: str) -> None:
    answer = post(url, "takes", {"x": 1}).json()
    assert answer["details"].startswith("The call cannot be sent to another process:")
    assert "may_have_executed" not in answer


@pytest.mark.parametrize("by", ["its time limit", "its client", "its key"])
def test_a_function_that_never_yields_is_ended_and_stalls_nobody(tmp_path: Path, by: str) -> None:
    # Before its time is over, it has to begin.
    options = ("--processes", "1", "--function-timeout", "5" if by == "its time limit" else "600")
    with serving_module(tmp_path, WORK, *options) as url:
        mark = tmp_path / "mark"
        until(lambda: post(url, "pid").json()["ok"])  # the process has started
        if by == "its client":
            with execute(url, "hogs", {"mark": str(mark)}):
                until(lambda: mark.exists() and mark.read_text() != "")
                assert isinstance(result(url, "server_pid"), int)
        else:
            call = posted(url, "hogs", {"mark": str(mark)}, key="k")
            until(lambda: mark.exists() and mark.read_text() != "")
            assert isinstance(result(url, "server_pid"), int)
            if by == "its key":
                cancelled = httpx.post(
                    url + CANCEL, headers={"idempotency-key": "k"}, timeout=PATIENCE_S, trust_env=False
                )
                assert cancelled.json() == {"ok": True, "cancelled": True, "may_have_executed": True}
            answer = call.result().json()
            assert (answer["ok"], answer["may_have_executed"]) == (False, True)
            assert post(url, "hogs", {"mark": str(mark)}, key="k").json() == answer
        until(lambda: not psutil.pid_exists(int(mark.read_text())))
        assert isinstance(result(url, "pid"), int)


def test_calls_that_wait_for_a_process_are_bounded_and_never_begin(tmp_path: Path) -> None:
    options = ("--processes", "1", "--max-waiting-calls", "0")
    with serving_module(tmp_path, WORK, *options) as url:
        mark, go = tmp_path / "mark", tmp_path / "go"
        first = posted(url, "waits", {"mark": str(mark), "go": str(go)})
        until(mark.exists)
        refused = post(url, "pid")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        go.touch()
        assert first.result().json()["result"] == "done"


def test_no_process_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    with serving_module(tmp_path, WORK) as url:
        mark, go = tmp_path / "mark", tmp_path / "go"
        calls = [posted(url, "waits", {"mark": str(mark), "go": str(go)})]
        until(mark.exists)
        server = psutil.Process(result(url, "server_pid"))
        family = server.children(recursive=True)
        assert family
        server.kill()
        until(lambda: not any(is_alive(each) for each in family))
        with pytest.raises(httpx.TransportError):
            calls[0].result()


def test_a_function_that_no_process_can_import_is_refused(backend: NavaiBackend) -> None:
    with pytest.raises(NavaiConfigError, match="define it at the top level of its module"):
        backend.function(name="f", runs_in="process")(functools.partial(lambda x: x, 1))
    with pytest.raises(NavaiConfigError, match="an object with submit and cancel"):
        backend.function(runs_in="thread")(len)  # type: ignore[call-overload]


class InThreads:
    """Runs functions in threads, as an example of a runner."""

    def __init__(self) -> None:
        self.cancelled: list[Any] = []
        self._pool = ThreadPoolExecutor(4)

    def submit(self, work: Callable[[], Any]) -> "Future[Any]":
        return self._pool.submit(work)

    def cancel(self, submitted: Any) -> None:
        self.cancelled.append(submitted)


class InTasks(InThreads):
    """Gives awaitables, as a cluster's client does."""

    def submit(self, work: Callable[[], Any]) -> Any:
        return asyncio.wrap_future(super().submit(work))


@pytest.mark.parametrize("runner_type", [InThreads, InTasks])
def test_an_object_with_submit_and_cancel_runs_functions(runner_type: type[InThreads]) -> None:
    runner, release = runner_type(), threading.Event()
    with LiveServer(function_timeout=None) as server:

        @server.function(runs_in=runner)
        def add(a: int, b: int) -> dict[str, Any]:
            return {"sum": a + b, "bytes": b"x"}

        @server.function(runs_in=runner)
        async def add_async(a: int) -> int:
            return a + 1

        @server.function(runs_in=runner)
        def fails() -> None:
            raise LookupError("no room")

        @server.function(runs_in=runner, timeout=0.2)
        def hangs() -> None:
            release.wait(PATIENCE_S)

        assert result(server.url, "add", {"a": 1, "b": 2}) == {"sum": 3, "bytes": "eA=="}
        assert result(server.url, "add_async", {"a": 1}) == 2
        assert post(server.url, "fails").json()["details"] == "no room"
        assert runner.cancelled == []
        late = post(server.url, "hangs").json()
        assert (late["ok"], late["may_have_executed"]) == (False, True)
        assert len(runner.cancelled) == 1
        release.set()


class InOwnBytes(InThreads):
    """Passes results on as a cluster does: pickled, and a subclass of bytes as bytes."""

    def submit(self, work: Callable[[], Any]) -> "Future[Any]":
        def passed() -> Any:
            result = pickle.loads(pickle.dumps(work))()
            return bytes(result) if isinstance(result, bytes) else pickle.loads(pickle.dumps(result))

        return super().submit(passed)


class UnpicklableError(Exception):
    """Has other arguments than its message."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what)


def raises_its_own() -> None:
    raise UnpicklableError("no room", "Oslo")


def refuses() -> None:
    raise ToolError("There is no table at eight.")


def test_results_and_errors_arrive_from_a_cluster_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    with LiveServer(expose_errors=False) as server:
        for call in (os.getpid, list, raises_its_own, refuses):
            server.function(call, runs_in=InOwnBytes())
        assert result(server.url, "getpid") == os.getpid()
        assert post(server.url, "refuses").json()["details"] == "There is no table at eight."
        assert post(server.url, "raises_its_own").json()["details"].startswith("The function failed.")
    assert "in raises_its_own" in caplog.text  # where it was raised


class Broken:
    """A runner that loses every call."""

    def __init__(self, lose: Callable[[], Any]) -> None:
        self.submit = lambda work: lose()

    def cancel(self, submitted: Any) -> None:
        raise AssertionError


def _refuse() -> Any:
    raise ConnectionError("the cluster has gone")


def _lose() -> Any:
    lost: Future[Any] = Future()
    lost.set_exception(RuntimeError("the worker died"))
    return lost


def _cancel() -> Any:
    cancelled: Future[Any] = Future()
    cancelled.cancel()
    return cancelled


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (_refuse, "ConnectionError: the cluster has gone"),
        (_lose, "RuntimeError: the worker died"),
        (_cancel, "CancelledError"),
    ],
)
def test_a_call_that_its_runner_lost_may_have_executed(lose: Callable[[], Any], why: str) -> None:
    with LiveServer() as server:
        server.function(os.getpid, runs_in=Broken(lose))
        answer = post(server.url, "getpid", key="k").json()
        assert (answer["ok"], answer["may_have_executed"]) == (False, True)
        assert answer["details"] == f"What runs the function has failed: {why}"
        assert post(server.url, "getpid", key="k").json() == answer


def call_in(processes: Processes, call: Callable[[], Any]) -> tuple[Callable[[], bool], "SimpleQueue[Any]"]:
    """Make *call* in a process; return what stops it, and the queue that its outcome comes through."""
    outcomes: SimpleQueue[Any] = SimpleQueue()
    return processes.submit("f", Work(call, 1000), lambda *outcome: outcomes.put(outcome)), outcomes


def test_a_process_that_died_while_it_was_idle_is_replaced() -> None:
    processes = Processes(1)
    _, outcomes = call_in(processes, os.getpid)
    first = int(outcomes.get(timeout=PATIENCE_S)[0])
    until(lambda: len(processes._idle) == 1)
    os.kill(first, signal.SIGKILL)
    until(lambda: not processes._idle[0].is_alive())
    _, outcomes = call_in(processes, os.getpid)
    assert int(outcomes.get(timeout=PATIENCE_S)[0]) != first
    processes.close()


def test_a_call_that_is_stopped_before_it_has_its_process_ends_like_one_after_it() -> None:
    call = _CallInProcess([], pickle.dumps(Work(functools.partial(time.sleep, 600), 1000)))
    call.stop()
    with pytest.raises(ProcessEndedError, match="by the signal SIGKILL"):
        call()


def test_a_call_that_waits_for_a_process_is_not_begun_and_one_that_returned_ends_no_process() -> None:
    processes = Processes(1)
    stop_first, first = call_in(processes, functools.partial(time.sleep, 600))
    until(lambda: not processes.threads._queued)  # it has begun
    stop, outcomes = call_in(processes, os.getpid)
    assert stop() is False
    assert stop_first() is True
    assert isinstance(first.get(timeout=PATIENCE_S)[1], ProcessEndedError)
    stop, outcomes = call_in(processes, os.getpid)
    assert int(outcomes.get(timeout=PATIENCE_S)[0]) > 0
    until(lambda: len(processes._idle) == 1)
    assert stop() is True
    assert processes._idle[0].is_alive()
    processes.close()


def test_what_a_process_returns_is_what_the_function_returned_or_raised() -> None:
    assert pickle.loads(answer(pickle.dumps(Work(functools.partial(int, "7"), 1000)))).result() == b"7"
    raised = pickle.loads(answer(pickle.dumps(Work(functools.partial(int, "x"), 1000))))
    with pytest.raises(RaisedElsewhereError, match="invalid literal") as caught:
        raised.result()
    assert "Traceback" in caught.value.__notes__[0]
    with pytest.raises(RaisedElsewhereError, match="underflow"):
        pickle.loads(answer(b"\x80\x04.")).result()
