"""The default transports: lanes, each with one connection of httpx that serves one call after the other."""

import asyncio
import functools
import ssl
import threading

from navai_client.transports import Call, _pool
from navai_client.transports._httpx import Sender, Settings, send, send_async, too_late
from navai_client.transports._pool import Idle, all_busy, forget_after_fork
from navai_client.transports._tap import AsyncTap
from navai_client.transports._threads import run_within
from navai_client.wire._values import Request, Response, TransportFailure

__all__ = ["AsyncHTTPXTransport", "HTTPXTransport"]


class _Lane:
    """A sender with one connection, which serves one call after the other.

    One connection each, so that a call that ended badly takes nothing with it: its lane is thrown away.
    (httpx 0.28.1 loses slots in a shared pool when calls are cancelled; httpcore issue 1093.)
    """

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.trace = sender.trace_type()
        self.idle_since = 0.0

    def is_alive(self) -> bool:
        """Return whether its connection stands and nothing came on it that nobody asked for."""
        tap = self.trace.tap
        return tap is not None and not tap.get_extra_info("is_readable")

    def usable(self, outcome: Response | TransportFailure) -> bool:
        """Return whether another call may follow after *outcome*."""
        tap = self.trace.tap  # there is none if a stand-in answered that opens no connections
        self.trace.call = None
        return isinstance(outcome, Response) and not outcome.truncated and tap is not None and tap.clean()

    async def aclose(self) -> None:
        """Close what it has, in the async world."""
        await self.sender.given.aclose()
        if isinstance(self.trace.tap, AsyncTap):
            await self.trace.tap.aclose()


class _Lanes:
    """The lanes of one transport. Each serves any place, because httpx opens what it needs."""

    def __init__(self, settings: Settings, *, is_async: bool) -> None:
        self._settings = settings
        self._is_async = is_async
        self.idle: Idle[_Lane] = Idle()

    def take(self, request: Request, dead: list[_Lane]) -> tuple[_Lane, bool]:
        """Return a lane and whether its connection stands; put those that must be closed into *dead*."""
        lane = self.idle.take("", dead)
        if lane is not None:
            return lane, True
        scheme = request.endpoint.url.partition(":")[0].lower()
        return _Lane(self._settings.sender(scheme, is_async=self._is_async)), False

    def give_back(self, lane: _Lane, outcome: Response | TransportFailure) -> bool:
        """Take *lane* back; return whether it was kept."""
        return lane.usable(outcome) and self.idle.give_back("", lane)


class HTTPXTransport:
    """The default transport of ``NavaiBackendClient``.

    Args:
        verify: True for the usual certificate authorities, False for none, a file or folder of certificates,
            or an ``ssl.SSLContext``.
        proxy: The URL of a proxy, else what the environment says, as httpx reads it.
    """

    def __init__(self, verify: bool | str | ssl.SSLContext = True, proxy: str | None = None) -> None:
        self._lanes = _Lanes(Settings(verify, proxy), is_async=False)
        self._slots = threading.BoundedSemaphore(_pool.MAX_CONNECTIONS)
        forget_after_fork(self)

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request*; see ``Transport``."""
        if not self._slots.acquire(timeout=call.remaining()):
            return all_busy()
        dead: list[_Lane] = []
        try:
            lane, stands = self._lanes.take(request, dead)
        except BaseException:
            self._slots.release()
            raise
        finally:
            for other in dead:
                other.sender.given.close()
        work = functools.partial(self._send_on, lane, self._slots, request, call)
        if stands:
            return work()
        try:  # looking up the name and connecting can take longer than any timeout says
            return run_within(call.remaining(), work)
        except TimeoutError:
            call.left = True
            return too_late(call)
        except BaseException:
            call.left = True
            if (tap := lane.trace.tap) is not None:
                tap.cut_off()  # there may be no deadline for the other thread
            raise

    def _send_on(
        self, lane: _Lane, slots: threading.BoundedSemaphore, request: Request, call: Call
    ) -> Response | TransportFailure:
        outcome: Response | TransportFailure = TransportFailure("interrupted")
        try:
            outcome = send(lane.sender, request, call, lane.trace)
            return outcome
        finally:
            if call.left or not self._lanes.give_back(lane, outcome):
                lane.sender.given.close()
            slots.release()

    def close(self) -> None:
        """Close all connections."""
        for lane in self._lanes.idle.close():
            lane.sender.given.close()

    def forget_parent(self) -> None:
        """Drop what belongs to the process that this one was forked from."""
        self._slots = threading.BoundedSemaphore(_pool.MAX_CONNECTIONS)
        for lane in self._lanes.idle.empty():
            lane.sender.given.close()


class AsyncHTTPXTransport:
    """The default transport of ``AsyncNavaiBackendClient``; its arguments are those of ``HTTPXTransport``."""

    def __init__(self, verify: bool | str | ssl.SSLContext = True, proxy: str | None = None) -> None:
        self._lanes = _Lanes(Settings(verify, proxy), is_async=True)
        self._slots = asyncio.BoundedSemaphore(_pool.MAX_CONNECTIONS)
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request*; see ``AsyncTransport``."""
        if self._slots.locked():
            try:
                async with asyncio.timeout(call.remaining()):
                    await self._slots.acquire()
            except TimeoutError:
                return all_busy()
        else:
            await self._slots.acquire()
        dead: list[_Lane] = []
        outcome: Response | TransportFailure = TransportFailure("interrupted")
        lane: _Lane | None = None
        try:
            lane, _ = self._lanes.take(request, dead)
            outcome = await send_async(lane.sender, request, call, lane.trace)
            return outcome
        finally:
            if lane is not None and not self._lanes.give_back(lane, outcome):
                dead.append(lane)
            for other in dead:
                self._discard(other)
            self._slots.release()

    def _discard(self, lane: _Lane) -> None:
        """Close *lane* in a task of its own, which nobody cancels with the call."""
        task = asyncio.get_running_loop().create_task(lane.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all connections."""
        for lane in self._lanes.idle.close():
            self._discard(lane)
        if self._closing:
            await asyncio.wait(self._closing)
