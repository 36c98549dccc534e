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
    expires: float = 0.0
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
        self._running: dict[str, _Entry] = {}
        self._answered: OrderedDict[str, _Entry] = OrderedDict()  # in the order in which they expire
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
        entry = self._running.get(key) or self._answered.get(key)
        if entry is not None:
            if entry.fingerprint != fingerprint:
                raise KeyReusedError
            answer = await asyncio.shield(entry.task)
            return attrs.evolve(answer, headers=(*answer.headers, (b"idempotent-replayed", b"true")))
        # A task of its own: the call goes on when the one who asked first is gone.
        task = asyncio.ensure_future(_run(call))
        entry = self._running[key] = _Entry(fingerprint, task)
        task.add_done_callback(lambda _: self._finished(key, entry))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Cancel what still runs."""
        left = [entry.task for entry in self._running.values()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _finished(self, key: str, entry: _Entry) -> None:
        del self._running[key]
        if entry.task.cancelled() or entry.task.exception() is not None:
            return
        entry.expires = self._clock() + self._lifetime
        entry.size = len(entry.task.result().body)
        self._bytes += entry.size
        self._answered[key] = entry
        self._drop_old()

    def _drop_old(self) -> None:
        """Forget, oldest first, what has expired or is too much; a call that still runs is kept."""
        now = self._clock()
        while self._answered:
            key, oldest = next(iter(self._answered.items()))
            too_much = len(self._answered) > self._most_keys or self._bytes > self._most_bytes
            if oldest.expires > now and not too_much:
                return
            del self._answered[key]
            self._bytes -= oldest.size


async def _run(call: Callable[[], Awaitable[Answer]]) -> Answer:
    return await call()


def _fingerprint(function: str, payload: Any) -> bytes:
    text = json.dumps([function, payload], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()
