"""A pool of connections: one call at a time on each, at most 100 in use, idle ones kept for the next call.

It is not the pool of httpcore, which loses slots when calls are cancelled (httpcore issue 1093) and looks
through all its connections at each call. Here a call that ends badly costs its own connection, nothing else.
"""

import asyncio
import contextlib
import functools
import time
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Final, Generic, Protocol, TypeVar

from navai_client._threads import forgets_parent
from navai_client.transports import Call
from navai_client.transports._connecting import Origin, Target
from navai_client.transports._proxies import Proxies, Proxy
from navai_client.transports._tls import TLS, AnyPath, Cert, Verify
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure

MAX_CONNECTIONS: Final = 100  # as httpx has
_IDLE_FOR: Final = 55.0  # seconds; load balancers end connections after 60, and earlier ends are noticed
# A call that was sent and then abandoned does not count. Its connection is closed after this time, or at once
# if as many are abandoned as may be active, so that interrupted callers cannot lock out others.
_ABANDONED_FOR: Final = 5.0  # seconds
_FAREWELL: Final = 2.0  # seconds that close() waits for connections to end


class Connection(Protocol):
    """A connection, which connects at its first call.

    Attributes:
        idle_since: When its last call ended.
    """

    idle_since: float

    def is_alive(self) -> bool:
        """Return whether the peer keeps an idle connection open, and has sent nothing unrequested."""

    def is_reusable(self) -> bool:
        """Return whether another call may use the connection."""


class SyncConnection(Connection, Protocol):
    """A sync connection."""

    def close(self) -> None:
        """Close it at once."""

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* and return the outcome, as ``Transport.send`` does."""


class AsyncConnection(Connection, Protocol):
    """An async connection."""

    def close(self, *, in_peace: bool = False) -> asyncio.Future[None] | None:
        """Close it, at once or with TLS's close_notify; return a future for that if it was connected.

        After the end of its event loop, only its socket is closed.
        """

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* and return the outcome, as ``Transport.send`` does."""


C = TypeVar("C", bound=Connection)


class _Idle(Generic[C]):
    """Connections without a call, by origin; the latest is taken first. Any thread may use it.

    Args:
        discard: Closes a connection that is no longer usable.
    """

    def __init__(self, discard: Callable[[C], object]) -> None:
        self._discard = discard
        self._waiting: defaultdict[Origin, deque[C]] = defaultdict(deque)
        self._closed = False

    def take(self, origin: Origin) -> C | None:
        """Return a connection to *origin* that is alive, or None; close those that are not or are too old."""
        waiting = self._waiting[origin]
        oldest = time.monotonic() - _IDLE_FOR
        try:
            while waiting[0].idle_since <= oldest:
                self._discard(waiting.popleft())
            while not (connection := waiting.pop()).is_alive():
                self._discard(connection)
        except IndexError:  # another thread may take the last
            return None
        return connection

    def give_back(self, origin: Origin, connection: C) -> bool:
        """Take *connection* back; return whether it was kept."""
        if self._closed:
            return False
        connection.idle_since = time.monotonic()
        self._waiting[origin].append(connection)
        return True

    def empty(self) -> Iterator[C]:
        """Remove and yield all connections."""
        for waiting in list(self._waiting.values()):
            with contextlib.suppress(IndexError):
                while True:
                    yield waiting.pop()

    def close(self) -> Iterator[C]:
        """Remove and yield all connections, and keep none from now on."""
        self._closed = True
        return self.empty()


class _Targets(dict[Endpoint, Target | TransportFailure]):
    """The targets of a client's few endpoints. Each URL is parsed once."""

    def __missing__(self, endpoint: Endpoint) -> Target | TransportFailure:
        target = self[endpoint] = Target.of(endpoint.url)
        return target


def _new_slots() -> SimpleQueue[None]:
    """Return a token for each connection that may be in use. A semaphore costs ten times as much."""
    slots: SimpleQueue[None] = SimpleQueue()
    for _ in range(MAX_CONNECTIONS):
        slots.put(None)
    return slots


def _all_busy() -> TransportFailure:
    """Return the failure of a call that got no connection."""
    return TransportFailure(f"all {MAX_CONNECTIONS} connections were busy", sent=False, timed_out=True)


class Pool(ABC):
    """The connections of a sync transport. ``FastTransport`` documents the arguments."""

    def __init__(
        self,
        verify: Verify = True,
        proxy: str | None = None,
        cert: Cert | None = None,
        uds: AnyPath | None = None,
    ) -> None:
        self._tls, self._proxies = TLS(verify, cert), Proxies(proxy, uds)
        self._idle: _Idle[SyncConnection] = _Idle(lambda connection: connection.close())
        self._targets = _Targets()
        self._slots = _new_slots()
        forgets_parent(self)

    @abstractmethod
    def _connection(self, origin: Origin, proxy: Proxy | None) -> SyncConnection:
        """Return a connection, which connects at its first call."""

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* on a connection; see ``Transport``."""
        target = self._targets[request.endpoint]
        if isinstance(target, TransportFailure):
            return target
        slots = self._slots  # a child of fork() has others; this call releases the one that it took
        try:
            slots.get(timeout=call.remaining())
        except Empty:
            return _all_busy()
        try:
            connection = self._idle.take(target.origin) or self._connection(
                target.origin, self._proxies.find(target.origin)
            )
            try:
                outcome = connection.send(request, call)
                keeps = call.accepts(outcome) and connection.is_reusable()
            except BaseException:
                connection.close()
                raise
            if not (keeps and self._idle.give_back(target.origin, connection)):
                connection.close()
            return outcome
        finally:
            slots.put(None)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle.close():
            connection.close()

    def forget_parent(self) -> None:
        """Drop the connections of the parent process after fork(): two processes must not share one."""
        self._slots = _new_slots()
        for connection in self._idle.empty():
            connection.close()


class AsyncPool(ABC):
    """The connections of an async transport. ``FastTransport`` documents the arguments."""

    def __init__(
        self,
        verify: Verify = True,
        proxy: str | None = None,
        cert: Cert | None = None,
        uds: AnyPath | None = None,
    ) -> None:
        self._tls, self._proxies = TLS(verify, cert), Proxies(proxy, uds)
        self._prepare()
        self._idle: _Idle[AsyncConnection] = _Idle(self._discard)
        self._targets = _Targets()
        self._slots = asyncio.BoundedSemaphore(MAX_CONNECTIONS)
        self._abandoned: dict[Call, asyncio.TimerHandle] = {}  # until their connections are closed
        self._ending: dict[asyncio.Future[None], AsyncConnection] = {}

    @abstractmethod
    def _connection(self, origin: Origin, proxy: Proxy | None) -> AsyncConnection:
        """Return a connection, which connects at its first call."""

    def _prepare(self) -> None:  # noqa: B027 - there may be nothing to prepare
        """Do now what would block the event loop in the first call."""

    async def _make(self, origin: Origin) -> AsyncConnection:
        if origin.scheme == "https":
            await self._tls.load()
        return self._connection(origin, self._proxies.find(origin))

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* on a connection; see ``AsyncTransport``."""
        target = self._targets[request.endpoint]
        if isinstance(target, TransportFailure):
            return target
        if self._slots.locked():
            try:
                async with asyncio.timeout(call.remaining()):
                    await self._slots.acquire()
            except TimeoutError:
                return _all_busy()
        else:
            await self._slots.acquire()
        try:
            connection = self._idle.take(target.origin) or await self._make(target.origin)
            call.on_abandon = functools.partial(self._abandon, connection, call)
            try:
                outcome = await connection.send(request, call)
                keeps = call.accepts(outcome) and connection.is_reusable()
            except BaseException:
                self._discard(connection)
                raise
            if not (keeps and self._idle.give_back(target.origin, connection)):
                self._discard(connection)
            return outcome
        finally:
            call.on_abandon = None
            if (timer := self._abandoned.pop(call, None)) is not None:
                timer.cancel()
            else:
                self._slots.release()

    def _abandon(self, connection: AsyncConnection, call: Call) -> None:
        """Give the slot of *call* to the next, and *connection* a little time to learn the response."""
        if call.sent:  # else its task is cancelled
            delay = _ABANDONED_FOR if len(self._abandoned) < MAX_CONNECTIONS else 0.0
            loop = asyncio.get_running_loop()
            self._abandoned[call] = loop.call_later(delay, self._discard, connection)
            self._slots.release()

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._idle.close():
            self._discard(connection, in_peace=True)
        try:
            if self._ending:
                await asyncio.wait(self._ending, timeout=_FAREWELL)
        finally:
            for connection in list(self._ending.values()):
                connection.close()

    def _discard(self, connection: AsyncConnection, *, in_peace: bool = False) -> None:
        gone = connection.close(in_peace=in_peace)
        if gone is not None and not gone.done():
            self._ending[gone] = connection
            gone.add_done_callback(lambda gone: self._ending.pop(gone, None))
