"""``Idempotency-Key``: the same call sent twice runs once.

Keys are kept in the memory of one process, for ten minutes and up to a number of them: with several workers,
or after a restart, or when more keys came since, a repeated call runs again.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from navai_client.server._calls import Outcome, RunningCall

_LIFETIME_S: Final = 600.0
_MOST_KEYS: Final = 10_000
_MOST_BYTES: Final = 64 * 2**20

_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


class KeyReusedError(Exception):
    """The key came before, with another function or payload."""


class _Entry:
    __slots__ = ("expires", "fingerprint", "running", "size")

    def __init__(self, fingerprint: bytes, running: RunningCall) -> None:
        self.fingerprint = fingerprint
        self.running = running
        self.expires = 0.0
        self.size = 0


class IdempotencyKeys:
    """The first calls with each key, while they are worth repeating."""

    def __init__(
        self,
        *,
        lifetime: float = _LIFETIME_S,
        most_keys: int = _MOST_KEYS,
        most_bytes: int = _MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep at most *most_keys* results of at most *most_bytes* together, for *lifetime* seconds each."""
        self._lifetime = lifetime
        self._most_keys = most_keys
        self._most_bytes = most_bytes
        self._clock = clock
        self._running: dict[str, _Entry] = {}
        self._ended: OrderedDict[str, _Entry] = OrderedDict()  # in the order in which they expire
        self._bytes = 0

    def once(
        self, key: str, function: str, payload: Any, begin: Callable[[], RunningCall]
    ) -> tuple[RunningCall, bool]:
        """Return the call that *key* came with first, and whether it came before; else *begin* it.

        Raises:
            KeyReusedError: The key came before, with another function or payload.
        """
        now = self._clock()
        self._drop_old(now)
        fingerprint = _fingerprint(function, payload)
        entry = self._running.get(key) or self._ended.get(key)
        if entry is not None:
            if entry.fingerprint != fingerprint:
                raise KeyReusedError
            return entry.running, True
        running = begin()
        self._running[key] = _Entry(fingerprint, running)
        running.then(lambda outcome: self._keep(key, outcome))
        return running, False

    def _keep(self, key: str, outcome: Outcome | None) -> None:
        entry = self._running.pop(key)
        if outcome is None:
            return  # cancelled: it may run again
        now = self._clock()
        entry.expires = now + self._lifetime
        entry.size = len(outcome) if isinstance(outcome, bytes) else len(str(outcome))
        self._bytes += entry.size
        self._ended[key] = entry
        self._drop_old(now)

    def _drop_old(self, now: float) -> None:
        """Forget, oldest first, what has expired or is too much; a call that still runs is kept."""
        while self._ended:
            key, oldest = next(iter(self._ended.items()))
            too_much = len(self._ended) > self._most_keys or self._bytes > self._most_bytes
            if oldest.expires > now and not too_much:
                return
            del self._ended[key]
            self._bytes -= oldest.size


def _fingerprint(function: str, payload: Any) -> bytes:
    try:
        text = _encode_sorted((function, payload))
    except (ValueError, OverflowError, RecursionError):
        # What msgspec has no form for: lone surrogates, and whole numbers of more than 64 bits.
        text = json.dumps([function, payload], sort_keys=True, separators=(",", ":")).encode()
    return hashlib.blake2b(text, digest_size=16).digest()
