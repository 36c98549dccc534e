"""Processes in one thread, each with an event loop of its own, on a virtual clock.

A world runs one callback of one process at a time, and the seed says whose. Between two callbacks, which is
at any ``await`` that waits, a process can be paused or killed. When nothing is left to run, the clock moves
on to the next timer or packet: hours of waiting take no time.

simloop 0.2, simloom 0.5 and seedloop 0.4 do much the same. They need Python 3.12, and this project's default
is 3.11; and none of them can pause one host.
"""

import asyncio
import contextlib
import functools
import heapq
import itertools
import logging
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from importlib import metadata
from typing import Any, Final

__all__ = ["Loop", "Process", "Trace", "World"]

Trace = Callable[["World", str], object]

_EPOCH: Final = 1_790_000_000.0  # Unix time at the beginning of every world
_version: Final = functools.cache(metadata.version)  # redis-py reads it from the disk for each connection


class Loop(asyncio.AbstractEventLoop):
    """The event loop of a process: what is ready runs in order, as asyncio promises."""

    def __init__(self, process: "Process") -> None:
        self.process = process
        self.tasks: list[asyncio.Task[Any]] = []

    # What asyncio's tasks, futures and timeouts need.

    def time(self) -> float:
        return self.process.monotonic()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self.process.alive

    def is_closed(self) -> bool:
        return not self.process.alive

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)  # none is collected early, which would run its clean-up at some time or other
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.process.ready.append(handle)
        self.process.world.wake(self.process)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        process = self.process
        process.world.at(when - process.started, process.timer, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is skipped when its time comes

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.process.world.report(self.process, context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> Any:
        raise AssertionError(f"There are no threads in a simulation: {func}")

    # What connections need.

    async def sock_connect(self, sock: Any, address: Any) -> None:
        sock_to = self.process.sockets
        sock_to[sock] = await self.process.world.network.connect(self.process, address[0], address[1])

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], Any], host: str = "", port: int = 0, *, sock: Any = None, **_given: Any
    ) -> tuple[Any, Any]:
        if sock is None:
            transport = await self.process.world.network.connect(self.process, host, port)
        else:
            transport = self.process.sockets.pop(sock)
            sock.close()  # it was never connected
        protocol = factory()
        transport.begin(protocol)
        return transport, protocol


class Process:
    """A program that runs on a host, until it is killed; a program that is started again is another process.

    Attributes:
        steps: How many of its callbacks have run.
        plan: What happens to it before one of its steps, by their numbers.
        ready: What can run now.
    """

    def __init__(self, world: "World", name: str, address: str) -> None:
        self.world, self.name, self.address = world, name, address
        self.number = next(world.process_numbers)
        self.loop = Loop(self)  # type: ignore[abstract]  # it has what is needed here
        self.alive = True
        self.paused_until = 0.0
        self.steps = 0
        self.plan: dict[int, Callable[[], object]] = {}
        self.ready: deque[asyncio.Handle] = deque()
        self.is_listed = False  # among those that can run
        self.sockets: dict[Any, Any] = {}
        self.started = world.random.uniform(0, 1e5)  # no two machines have the same clock
        self._held: list[asyncio.Handle] = []  # what arrived while it was paused
        self._held_timers: list[asyncio.Handle] = []

    def __repr__(self) -> str:
        return f"{self.name}#{self.number}"

    def monotonic(self) -> float:
        return self.world.now + self.started

    def wall(self) -> float:
        return _EPOCH + self.world.now + self.world.skew.get(self.address, 0.0)

    def is_paused(self) -> bool:
        return self.paused_until > self.world.now

    def timer(self, handle: asyncio.Handle) -> None:
        if self.alive and not handle.cancelled():
            if self.is_paused():
                self._held_timers.append(handle)
            else:
                self.ready.append(handle)
                self.world.wake(self)

    def receive(self, callback: Callable[..., object], *args: Any) -> None:
        """Run *callback* as an event of the network."""
        if self.alive:
            handle = asyncio.Handle(callback, args, self.loop)
            if self.is_paused():
                self._held.append(handle)
            else:
                self.ready.append(handle)
                self.world.wake(self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run *work* as a task of this process."""
        task: asyncio.Task[Any] = self.loop.create_task(work)
        return task

    def pause(self, seconds: float) -> None:
        """Stop it, as SIGSTOP or a machine that swaps does; later it goes on, and has missed nothing."""
        if self.alive and not self.is_paused():
            self.world.trace(f"{self} is paused for {seconds:.1f} s")
            self.paused_until = self.world.now + seconds
            self.world.at(self.paused_until, self._resume)

    def _resume(self) -> None:
        if not self.alive:
            return
        self.world.trace(f"{self} goes on")
        arrived = [self._held, self._held_timers]
        if self.world.random.random() < 0.5:  # asyncio looks at sockets first, uvloop at timers
            arrived.reverse()
        self.ready.extend(itertools.chain(*arrived))
        self._held, self._held_timers = [], []
        self.world.wake(self)

    def kill(self) -> None:
        """End it at once, as SIGKILL does. The system closes its connections."""
        if self.alive:
            self.world.trace(f"{self} is killed")
            self.alive = False
            self.ready.clear()
            self.world.network.forget(self)


class World:
    """Processes, their clock, and the order in which everything happens.

    Attributes:
        now: Seconds since the beginning.
        skew: By how many seconds the wall clock of a host is wrong, by its address.
        current: The process whose code runs.
        problems: What no process should do, such as to lose an exception.
    """

    def __init__(self, seed: int, trace: Trace | None = None) -> None:
        # What is decided: one source for each purpose, so that a further use of one changes no other.
        from tests.simulation.network import Network  # noqa: PLC0415 - it needs this module

        self.seed = seed
        self.random = random.Random(f"world {seed}")
        self.now = 0.0
        self.skew: dict[str, float] = {}
        self.process_numbers = itertools.count(1)
        self.problems: list[str] = []
        self._trace = trace
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._runnable: list[Process] = []
        self._processes: list[Process] = []
        self.current: Process | None = None
        self._ended = False
        self.network = Network(self)

    def process(self, name: str, address: str) -> Process:
        """Start an empty process on the host of *address*."""
        process = Process(self, name, address)
        self._processes.append(process)
        return process

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Call *callback* at a time of this world; it belongs to no process."""
        heapq.heappush(self._events, (when, next(self._order), callback, args))

    def after(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        self.at(self.now + seconds, callback, *args)

    def wake(self, process: Process) -> None:
        if not process.is_listed and process.alive:
            process.is_listed = True
            self._runnable.append(process)

    def trace(self, line: str) -> None:
        if self._trace is not None:
            self._trace(self, line)

    def report(self, process: Process, context: dict[str, Any]) -> None:
        if process.alive and not self._ended:
            self.problems.append(f"{process}: {context.get('message')}: {context.get('exception')!r}")

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until *until*, or until *done*."""
        runnable = self._runnable
        while not done():
            if runnable:
                self._step(runnable)
                continue
            if not self._events or self._events[0][0] > until:
                self.now = until
                return
            when, _, callback, args = heapq.heappop(self._events)
            self.now = max(self.now, when)
            callback(*args)

    def _step(self, runnable: list[Process]) -> None:
        index = int(self.random.random() * len(runnable)) if len(runnable) > 1 else 0
        process = runnable[index]
        action = process.plan.pop(process.steps, None) if process.plan else None
        if action is not None:
            action()
        if not process.ready or not process.alive or process.is_paused():
            process.is_listed = False
            runnable[index] = runnable[-1]
            runnable.pop()
            return
        handle = process.ready.popleft()
        process.steps += 1
        if not handle.cancelled():
            self.current = process  # as inside() does, at a quarter of its cost
            asyncio._set_running_loop(process.loop)
            handle._run()
            asyncio._set_running_loop(None)
            self.current = None

    @contextlib.contextmanager
    def inside(self, process: Process) -> Iterator[None]:
        """Run the code of *process* in the body."""
        self.current = process
        asyncio._set_running_loop(process.loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)
            self.current = None

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """Replace the clocks, the sources of chance and the environment that the code under test has."""
        clocks = time.time, time.monotonic, time.perf_counter
        others = os.urandom, os.environ, metadata.version
        state, hooks = random.getstate(), sys.get_asyncgen_hooks()
        random.seed(f"backoff {self.seed}")
        chance = random.Random(f"tokens {self.seed}")

        def monotonic() -> float:
            return self.now if self.current is None else self.current.monotonic()

        def wall() -> float:
            return _EPOCH + self.now if self.current is None else self.current.wall()

        time.time, time.monotonic, time.perf_counter = wall, monotonic, monotonic
        os.urandom, metadata.version = chance.randbytes, _version
        os.environ = {}  # type: ignore[assignment]  # noqa: B003 - no child process is to see it
        self.trace(f"the world of seed {self.seed}")
        sys.set_asyncgen_hooks(lambda _: None, lambda _: None)  # none is closed when it is collected
        try:
            yield
            self._end()
        finally:
            time.time, time.monotonic, time.perf_counter = clocks
            os.urandom, os.environ, metadata.version = others
            random.setstate(state)
            sys.set_asyncgen_hooks(*hooks)

    def _end(self) -> None:
        """Close the coroutines that never ended: what they do then is no part of the history."""
        self._ended = True
        logging.disable()
        for each in itertools.chain(*self.network.pairs):
            each.close()
        for process in self._processes:
            process.alive = False
            for each in process.sockets:
                each.close()
            for task in process.loop.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()
