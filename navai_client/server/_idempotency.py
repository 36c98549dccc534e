"""``Idempotency-Key``: the same call sent twice runs once.

A call claims its key before anything else happens, and starts the claim right before its function runs. A
call with a key that is claimed already is a repetition: it gets the outcome of the first one, if its function
and its payload are the same.

``MemoryKeys`` keeps the keys of one process: with several workers, and after a restart, a repetition runs
again. A key is never dropped before its time: without room for another one, a new call is refused.
"""

import hashlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, Protocol

import msgspec

from navai_client.functions._binding import Payload, whole_numbers
from navai_client.server._calls import CUT_OFF, Failure, Outcome, RunningCall, ended_call
from navai_client.server._errors import BackendError

Key = tuple[bytes, bytes]
"""The caller, or nothing if it is not known, and what it sent as ``Idempotency-Key``."""

_LIFETIME_S: Final = 600.0  # clients retry within minutes
_KEY_BYTES: Final = 1000  # what a key takes in memory without its outcome, measured on CPython 3.11 to 3.14
_MAX_BYTES: Final = 256 * 2**20  # 250,000 keys with small outcomes: 400 new ones a second
_MAX_KEPT_BYTES: Final = 2**20
_NOT_KEPT: Final = Failure(
    "The function was executed with this Idempotency-Key, but its result was too large to keep.",
    CUT_OFF,
    may_have_executed=True,
)

_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


class KeyReusedError(BackendError):
    """The key was used before with another function or payload."""

    status_code: int = 422

    def __init__(self) -> None:
        super().__init__("Idempotency-Key was used before with another function or payload.")


class NoRoomError(BackendError):
    """There is no room for another key; *seconds* later there may be."""

    status_code: int = 503

    def __init__(self, seconds: int) -> None:
        text = "The server has no room for another Idempotency-Key: the function was not begun. Try again."
        super().__init__(text, retry_after=str(seconds))


class Claim(msgspec.Struct, eq=False):
    """A key, and the call that has it.

    Attributes:
        key: The key.
        fingerprint: The fingerprint of the function and the payload.
        call: The call.
        state: ``started`` when the function may have run.
        expires: The time at which it is dropped, once it is done.
        size: The bytes that it takes.
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
            NoRoomError: There is no room for another key.
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
        max_bytes: int = _MAX_BYTES,
        max_kept_bytes: int = _MAX_KEPT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep keys and outcomes for *lifetime* seconds.

        Args:
            lifetime: The seconds, from the end of a call.
            max_bytes: What all of them may take together.
            max_kept_bytes: The largest result that is kept; of a larger one it is kept that there was one.
            clock: The time in seconds.
        """
        self._lifetime = lifetime
        self._max_bytes = max_bytes
        self._max_kept_bytes = max_kept_bytes
        self._clock = clock
        self._running: dict[Key, Claim] = {}
        self._done: OrderedDict[Key, Claim] = OrderedDict()  # in the order in which they expire
        self._bytes = 0

    async def claim(self, key: Key, fingerprint: bytes, call: RunningCall) -> Claim:
        """Return the claim of *call*, or that of the call which has the *key*.

        Raises:
            KeyReusedError: The key was used before with another function or payload.
            NoRoomError: There is no room for another key.
        """
        claim = self._find(key)
        if claim is None:
            if self._bytes + _KEY_BYTES > self._max_bytes:
                raise NoRoomError(self._seconds_to_room())
            claim = self._running[key] = Claim(key, fingerprint, call, size=_KEY_BYTES)
            self._bytes += _KEY_BYTES
        elif claim.fingerprint != fingerprint:
            raise KeyReusedError
        return claim

    async def read(self, key: Key) -> Claim | None:
        """Return the claim of *key*."""
        return self._find(key)

    async def start(self, claim: Claim) -> bool:
        """Set *claim* from claimed to started, and return whether it was still claimed."""
        if claim.state != "claimed" or self._running.get(claim.key) is not claim:
            return False
        claim.state = "started"
        return True

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Keep the *outcome* of a claim. If its function never began, the key becomes free."""
        del self._running[claim.key]
        if isinstance(outcome, Failure):
            if not outcome.has_begun:
                self._bytes -= claim.size
                return
            size = len(outcome.message)
        else:
            size = len(outcome)
            if size > self._max_kept_bytes or self._bytes + size > self._max_bytes:
                # Those who wait for the call get its result; those who come later learn that there was one.
                claim.call, size = ended_call(claim.call.name, _NOT_KEPT), 0
        claim.state = "done"
        claim.expires = self._clock() + self._lifetime
        claim.size += size
        self._bytes += size
        self._done[claim.key] = claim

    def _find(self, key: Key) -> Claim | None:
        now = self._clock()
        while self._done:
            oldest = next(iter(self._done.values()))
            if oldest.expires > now:
                break
            del self._done[oldest.key]
            self._bytes -= oldest.size
        return self._running.get(key) or self._done.get(key)

    def _seconds_to_room(self) -> int:
        if not self._done:  # the calls that run have all of it
            return 1
        return max(1, math.ceil(next(iter(self._done.values())).expires - self._clock()))


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
