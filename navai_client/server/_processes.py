"""Functions that run in other processes: those of the server, or where an object of the owner runs them.

A process of the server makes one call at a time, and one thread waits for it. So a crash, or a call that is
stopped, ends that process and no other call. The pool of the standard library loses the neighbours of a
crash, and Pebble (5.2.3) never reports a process that exits with status 0, as by ``os._exit(0)``.
"""

import asyncio
import concurrent.futures
import inspect
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any, Final

import attrs

from navai_client._redaction import message_of
from navai_client._threads import CallThreads
from navai_client.functions._declaration import Runner
from navai_client.functions._results import ResultError, ToolError, encode_result

# "fork" copies the locks of other threads in whatever state they are.
_METHODS: Final = multiprocessing.get_all_start_methods()
_context: Final[Any] = multiprocessing.get_context("forkserver" if "forkserver" in _METHODS else "spawn")
_ENDING_S: Final = 5.0  # a process whose pipe is closed has ended, or is about to


class NotSentError(Exception):
    """A call that cannot be sent to another process; it has not begun."""


class ProcessEndedError(Exception):
    """The process of a call, or what else ran it, ended before its function returned."""


class RaisedElsewhereError(Exception):
    """What a function raised in another process; its notes have the traceback."""


class Encoded(bytes):
    """A result as JSON."""


@attrs.frozen
class Work:
    """A call that can be made in another process, and encodes its result there."""

    call: Callable[[], Any]
    limit: int

    def __call__(self) -> "_Returned | _Raised":
        """Call the function, and encode its result."""
        try:
            result = self.call()
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
            return _Returned(encode_result(result, self.limit))
        # The boundary to the owner's code: whatever is raised is passed to the caller, as a value. A cluster
        # may change an exception (Ray puts the traceback into the message), and repeat a call that raised.
        except BaseException as error:  # noqa: BLE001
            return _Raised.of(error)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


async def run_by(runner: Runner, work: Work) -> Any:
    """Return the result of *work*, made by *runner*; if this is cancelled, it is told to stop.

    Raises:
        ProcessEndedError: The runner itself failed.
        Exception: What the function raised, as ``_Raised`` passes it on.
    """
    submitted: Any = None
    try:
        submitted = runner.submit(work)
        future = concurrent.futures.Future
        done = await (asyncio.wrap_future(submitted) if isinstance(submitted, future) else submitted)
    # The boundary to the owner's runner, which may raise any exception. Nobody knows how far the call came.
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            runner.cancel(submitted)
            raise
        why = f"{type(error).__name__}: {message_of(error)}".removesuffix(": CancelledError")
        raise ProcessEndedError(f"What runs the function has failed: {why}") from error
    return done.result()


class Processes:
    """Makes calls in processes, a bounded number of them; each is started when it is first needed."""

    def __init__(self, limit: int = 4, *, waiting: float = 1000) -> None:
        """Run *limit* calls at a time, and let up to *waiting* others wait."""
        self.threads = CallThreads(limit, in_all=limit, waiting=waiting)  # one waits for each process
        self._idle: list[_Process] = []

    def submit(
        self, function: str, work: Work, on_end: Callable[[Any, BaseException | None], object]
    ) -> Callable[[], bool]:
        """Do *work* in a process, as ``CallThreads.submit`` does in a thread; abandoning it ends the process.

        Raises:
            NotSentError: The function or an argument cannot be pickled.
            NoThreadLeftError: Too many calls wait.
        """
        try:
            pickled = pickle.dumps(work)
        # The boundary to the owner's types: pickling them may raise any exception.
        except Exception as error:  # noqa: BLE001
            text = f"The call cannot be sent to another process: {message_of(error)}"
            raise NotSentError(text) from None
        call = _CallInProcess(self._idle, pickled)
        abandon = self.threads.submit(function, call, on_end)

        def stop() -> bool:
            begun = abandon()
            if begun:
                call.stop()
            return begun

        return stop

    def close(self) -> None:
        """End the processes without a call."""
        while self._idle:
            self._idle.pop().kill()


class _CallInProcess:
    """One call, made by a thread that waits for its process."""

    def __init__(self, idle: "list[_Process]", work: bytes) -> None:
        self._idle = idle
        self._work = work
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._stopped = False

    def __call__(self) -> Any:
        process = self._take()
        with self._lock:
            self._process = process
            if self._stopped:
                process.kill()
        answer = process.call(self._work)
        with self._lock:
            self._process = None
        self._idle.append(process)
        return answer.result()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _take(self) -> "_Process":
        while self._idle:
            process = self._idle.pop()
            if process.is_alive():
                return process
        return _Process()


class _Process:
    """One process, and the pipe to it."""

    def __init__(self) -> None:
        self._pipe, theirs = _context.Pipe()
        # A daemon, so that it does not keep the server's process from exiting.
        self._process = _context.Process(target=_serve, args=(theirs,), name="navai-function", daemon=True)
        self._process.start()
        theirs.close()

    def is_alive(self) -> bool:
        return self._process.exitcode is None

    def call(self, work: bytes) -> Any:
        """Return what ``_answer`` returned there.

        Raises:
            ProcessEndedError: The process ended before.
        """
        try:
            self._pipe.send_bytes(work)
            return pickle.loads(self._pipe.recv_bytes())  # noqa: S301 - from our own child
        except (EOFError, OSError):
            self._process.join(_ENDING_S)
            self.kill()
            raise ProcessEndedError(f"The function's process ended {_how(self._process.exitcode)}.") from None

    def kill(self) -> None:
        self._process.kill()


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"by the signal {signal.Signals(-status).name}"
    return f"with status {status}"


_KINDS: Final = (ResultError, ToolError)  # which the server tells from others


@attrs.frozen
class _Returned:
    """A result as JSON. What passes it on may turn a subclass of bytes into bytes, as Ray does."""

    json: bytes

    def result(self) -> Encoded:
        return Encoded(self.json)


@attrs.frozen
class _Raised:
    """An exception, in a form that every process can read."""

    kind: type[Exception]
    message: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> "_Raised":
        kind = next((kind for kind in _KINDS if isinstance(error, kind)), RaisedElsewhereError)
        return cls(kind, message_of(error), "".join(traceback.format_exception(error)))

    def result(self) -> Encoded:
        error = self.kind(self.message)
        error.add_note(f"In another process:\n{self.trace}")
        raise error


def _serve(pipe: Connection) -> None:  # pragma: no cover - runs in another process, which may be killed
    """Do the work that comes through *pipe*, until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            work = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        pipe.send_bytes(answer(work))


def _end_with_parent() -> None:  # pragma: no cover - as above
    """Leave no process behind that computes for a server which was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def answer(work: bytes) -> bytes:
    """Do *work*, and return its result or exception, pickled."""
    found: Any
    try:
        found = pickle.loads(work)()  # noqa: S301 - from the server
    # The boundary to the owner's code: its module may raise any exception while it is imported.
    except BaseException as error:  # noqa: BLE001
        found = _Raised.of(error)
    return pickle.dumps(found)
