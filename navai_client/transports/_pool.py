"""Connections that wait for their next call, and how many there may be."""

import contextlib
import os
import time
from collections import defaultdict, deque
from collections.abc import Hashable, Iterator
from typing import Final, Generic, Protocol, TypeVar
from weakref import WeakSet

from navai_client.wire._values import TransportFailure

__all__ = ["MAX_CONNECTIONS", "Idle", "Inherited", "all_busy", "forget_after_fork"]

MAX_CONNECTIONS: Final = 100
_IDLE_FOR: Final = 55.0  # seconds; load balancers end connections after 60, and earlier ends are noticed


class Connection(Protocol):
    """What can wait: it says whether the peer has ended it or sent what nobody asked for."""

    idle_since: float

    def is_alive(self) -> bool:
        """Return whether another call may be sent on it."""


C = TypeVar("C", bound=Connection)


class Idle(Generic[C]):
    """Connections without a call, by where they lead; the latest is taken first. Any thread may use it."""

    def __init__(self) -> None:
        self._waiting: defaultdict[Hashable, deque[C]] = defaultdict(deque)
        self._closed = False

    def take(self, origin: Hashable, dead: list[C]) -> C | None:
        """Return a connection to *origin* that stands, or None; put those that must be closed into *dead*."""
        waiting = self._waiting[origin]
        oldest = time.monotonic() - _IDLE_FOR
        with contextlib.suppress(IndexError):  # another thread may take the last
            while waiting[0].idle_since <= oldest:
                dead.append(waiting.popleft())
            while True:
                connection = waiting.pop()
                if connection.is_alive():
                    return connection
                dead.append(connection)
        return None

    def give_back(self, origin: Hashable, connection: C) -> bool:
        """Take *connection* back; return whether it was kept."""
        if self._closed:
            return False
        connection.idle_since = time.monotonic()
        self._waiting[origin].append(connection)
        return True

    def empty(self) -> Iterator[C]:
        """Give out all connections for good."""
        for waiting in list(self._waiting.values()):
            with contextlib.suppress(IndexError):
                while True:
                    yield waiting.pop()

    def close(self) -> Iterator[C]:
        """Give out all connections, and take none back from now on."""
        self._closed = True
        return self.empty()


def all_busy() -> TransportFailure:
    """Return what a call ends with for which no connection became free."""
    return TransportFailure(f"all {MAX_CONNECTIONS} connections were busy", sent=False, timed_out=True)


class Inherited(Protocol):
    """What a child of ``fork()`` inherits and must not use."""

    def forget_parent(self) -> None:
        """Drop what belongs to the process that this one was forked from."""


_inherited: Final[WeakSet[Inherited]] = WeakSet()


def forget_after_fork(transport: Inherited) -> None:
    """Have *transport* drop its connections in every child: none may speak on those of its parent."""
    _inherited.add(transport)


def _forget_parents() -> None:
    for transport in list(_inherited):
        transport.forget_parent()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork()
    os.register_at_fork(after_in_child=_forget_parents)
