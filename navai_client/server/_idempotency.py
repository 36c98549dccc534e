"""``Idempotency-Key``: the same call sent twice runs once.

A call claims its key before anything else happens, and starts the claim right before its function runs. A
call with a key that is claimed already is a repetition: it gets the outcome of the first one, if its function
and its payload are the same.

``MemoryKeys`` keeps the keys of one process: with several workers, after a restart, and when the key was
dropped to make room for newer ones, a repetition runs again.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, Protocol

import msgspec

from navai_client.functions._binding import Payload, whole_numbers
from navai_client.server._calls import Failure, Outcome, RunningCall

Key = tuple[bytes, bytes]
"""The caller, or nothing if it is not known, and what it sent as ``Idempotency-Key``."""

_LIFETIME_S: Final = 600.0  # clients retry within minutes
_MAX_KEYS: Final = 10_000  # about 5 MB without outcomes
_MAX_BYTES: Final = 64 * 2**20  # of outcomes; a result may have 16 MiB

_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


class KeyReusedError(Exception):
    """The key was used before with another function or payload."""


class Claim(msgspec.Struct, eq=False):
    """A key, and the call that has it.

    Attributes:
        key: The key.
        fingerprint: The fingerprint of the function and the payload.
        call: The call.
        state: ``started`` when the function may have run.
        expires: The time at which it is dropped, once it is done.
        size: The bytes of its outcome.
    """

    key: Key
    fingerprint: bytes
    call: RunningCall
    state: Literal["claimed", "started", "done"] = "claimed"
    expires: float = 0.0
    size: int = 0


class Keys(Protocol):
    """A store of keys."""

    async def claim(self, key: Key, fingerprint: bytes, call: RunningCall) -> Claim:
        """Return the claim of *call*, or that of the call which has the *key*.

        Raises:
            KeyReusedError: The key was used before with another function or payload.
        """
        ...

    async def read(self, key: Key) -> Claim | None:
        """Return the claim of *key*."""
        ...

    async def start(self, claim: Claim) -> bool:
        """Set *claim* from claimed to started, and return whether it was still claimed."""
        ...

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Keep the *outcome* of a claim. If its function never began, the key becomes free."""
        ...


class MemoryKeys:
    """The keys of one process."""

    def __init__(
        self,
        *,
        lifetime: float = _LIFETIME_S,
        max_keys: int = _MAX_KEYS,
        max_bytes: int = _MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep at most *max_keys* outcomes of at most *max_bytes* together, for *lifetime* seconds each."""
        self._lifetime = lifetime
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._clock = clock
        self._running: dict[Key, Claim] = {}
        self._done: OrderedDict[Key, Claim] = OrderedDict()  # in the order in which they expire
        self._bytes = 0

    async def claim(self, key: Key, fingerprint: bytes, call: RunningCall) -> Claim:
        """Return the claim of *call*, or that of the call which has the *key*.

        Raises:
            KeyReusedError: The key was used before with another function or payload.
        """
        claim = await self.read(key)
        if claim is None:
            claim = self._running[key] = Claim(key, fingerprint, call)
        elif claim.fingerprint != fingerprint:
            raise KeyReusedError
        return claim

    async def read(self, key: Key) -> Claim | None:
        """Return the claim of *key*."""
        self._forget(self._clock())
        return self._running.get(key) or self._done.get(key)

    async def start(self, claim: Claim) -> bool:
        """Set *claim* from claimed to started, and return whether it was still claimed."""
        if claim.state != "claimed" or self._running.get(claim.key) is not claim:
            return False
        claim.state = "started"
        return True

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Keep the *outcome* of a claim. If its function never began, the key becomes free."""
        del self._running[claim.key]
        if isinstance(outcome, Failure) and not outcome.has_begun:
            return
        now = self._clock()
        claim.state = "done"
        claim.expires = now + self._lifetime
        claim.size = len(outcome if isinstance(outcome, bytes) else outcome.message)
        self._bytes += claim.size
        self._done[claim.key] = claim
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop, oldest first, claims that have expired or exceed a limit; keep those of running calls."""
        while self._done:
            key, oldest = next(iter(self._done.items()))
            too_much = len(self._done) > self._max_keys or self._bytes > self._max_bytes
            if oldest.expires > now and not too_much:
                return
            del self._done[key]
            self._bytes -= oldest.size


def fingerprint(function: str, payload: Payload) -> bytes:
    """Return the fingerprint of a call: its function, and the value of its payload."""
    try:
        text = _encode_sorted((function, payload.value))
        if b".0" in text:  # perhaps a whole number: 2.0 is 2 in JSON
            text = _encode_sorted((function, whole_numbers(payload.value)))
    except (ValueError, OverflowError):
        # msgspec has no form for lone surrogates and integers of more than 64 bits.
        text = json.dumps(
            [function, whole_numbers(payload.value)], sort_keys=True, separators=(",", ":")
        ).encode()
    except RecursionError:  # as it was sent, then
        text = payload.text or b""
    return hashlib.blake2b(text, digest_size=16).digest()
