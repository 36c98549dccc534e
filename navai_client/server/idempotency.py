"""``Idempotency-Key``: the same call sent twice runs once.

Keys are kept in the memory of one process, for ten minutes and up to a number of them: with several workers,
or after a restart, or when more keys came since, a repeated call runs again.
"""

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs

from navai_client.server.messages import Answer

__all__ = ["IdempotencyKeys", "KeyReusedError"]

_LIFETIME_S: Final = 600.0
_MOST_KEYS: Final = 10_000
_MOST_BYTES: Final = 64 * 2**20


class KeyReusedError(Exception):
    """The key came before, with another function or payload."""


@attrs.define(eq=False)
class _Entry:
    fingerprint: bytes
    task: "asyncio.Task[Answer]"
    expires: float
    size: int = 0


class IdempotencyKeys:
    """The first answers of keyed calls, while they are worth repeating."""

    def __init__(
        self,
        *,
        lifetime: float = _LIFETIME_S,
        most_keys: int = _MOST_KEYS,
        most_bytes: int = _MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep at most *most_keys* answers of at most *most_bytes* together, for *lifetime* seconds each."""
        self._lifetime = lifetime
        self._most_keys = most_keys
        self._most_bytes = most_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0

    async def once(
        self, key: str, function: str, payload: Any, call: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Return what *call* answers, or what it answered when *key* came first.

        Raises:
            KeyReusedError: The key came before, with another function or payload.
        """
        self._drop_old()
        fingerprint = _fingerprint(function, payload)
        entry = self._entries.get(key)
        if entry is not None:
            if entry.fingerprint != fingerprint:
                raise KeyReusedError
            answer = await asyncio.shield(entry.task)
            return attrs.evolve(answer, headers=(*answer.headers, (b"idempotent-replayed", b"true")))
        # A task of its own: the call goes on when the one who asked first is gone.
        task = asyncio.ensure_future(_run(call))
        entry = self._entries[key] = _Entry(fingerprint, task, self._clock() + self._lifetime)
        task.add_done_callback(lambda done: self._finished(key, entry, done))
        return await asyncio.shield(task)

    def _finished(self, key: str, entry: _Entry, task: "asyncio.Task[Answer]") -> None:
        if self._entries.get(key) is not entry:
            return
        if task.cancelled() or task.exception() is not None:
            del self._entries[key]
            return
        entry.expires = self._clock() + self._lifetime
        entry.size = len(task.result().body)
        self._bytes += entry.size
        self._entries.move_to_end(key)
        self._drop_old()

    def _drop_old(self) -> None:
        """Forget, oldest first, what has expired or is too much; a call that still runs is kept."""
        now = self._clock()
        for key, entry in list(self._entries.items()):
            too_much = len(self._entries) > self._most_keys or self._bytes > self._most_bytes
            if entry.expires > now and not too_much:
                return
            if entry.task.done():
                del self._entries[key]
                self._bytes -= entry.size


async def _run(call: Callable[[], Awaitable[Answer]]) -> Answer:
    return await call()


def _fingerprint(function: str, payload: Any) -> bytes:
    text = json.dumps([function, payload], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()
