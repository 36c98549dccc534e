"""``Idempotency-Key``: the same call sent twice runs once, wherever the second one arrives.

A store holds one entry for each key, and is asked before and after each call with a key:

- ``claim`` takes a key that is free, for the seconds of a lease. A claim that was never started lapses with
  its lease: its function has certainly not run, so another process may claim the key.
- ``start`` confirms the claim right before the function begins. From then on, nobody else gets the key. For a
  function that begins at once, ``claim`` does this in the same step.
- ``renew`` extends the lease while the function runs. When the lease of a started claim ends, its outcome is
  unknown, unless its owner was only paused and still finishes it.
- ``finish`` keeps the outcome for some time, or frees the key of a call that never began.

A call that needs a person's approval does not claim its key: ``hold`` keeps the call itself under the key.
``approve`` turns that into a claim for the process that will run the call. If this claim lapses before its
start, the call waits again. ``reject`` keeps an outcome although nothing ran.

Each claim has a token of 16 random bytes. An operation changes nothing if its token differs from the entry's.
So a process that was paused until its claim lapsed does not start its function.

Of the contents of calls, a store has only outcomes and the calls that wait for approval. It knows all else by
two digests: one of the caller and the key, one of the function and the payload.
"""

import asyncio
import hashlib
import json
import math
import re
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

import msgspec

from navai_client.functions._binding import Payload, whole_numbers
from navai_client.server._calls import Failure, Outcome
from navai_client.server._errors import StoreError

State = Literal["waiting", "claimed", "started", "done", "rejected", "unknown"]

LAPSED: Final[dict[State, State]] = {"claimed": "waiting", "started": "unknown"}
"""What a claim becomes when its lease ends, if its entry has not expired then."""

TTL_S: Final = 600.0  # clients retry within minutes
MAX_KEPT_BYTES: Final = 2**20
MAX_STORE_BYTES: Final = 256 * 2**20
UNKNOWN_TTL_S: Final = 24 * 3600.0  # as long as Stripe keeps keys
LEASE_S: Final = 15.0  # a process that was paused for as long has lost its callers, too

_ENTRY_BYTES: Final = 512  # what an entry without its outcome takes in memory, as measured
_HELD: Final = b"held"  # this is never a key: keys have 16 bytes
_HELD_RETRY_AFTER: Final = "60"  # seconds, because people have to decide first
_STOPPED: Final = "The store did not respond before it was closed, or failed."
_MAX_BATCH: Final = 256  # a batch is one transaction, or one write to a connection

_POINT: Final = ord(".")  # one character is found faster than two
_EXPONENT: Final = re.compile(rb"e\d")  # as msgspec writes floats
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode
_decode_failure: Final = msgspec.json.Decoder(Failure).decode


class StoreEntry(msgspec.Struct, eq=False, gc=False):
    """What a store knows of a key.

    Attributes:
        state: ``waiting``: the call waits for approval. ``claimed``: the function has not begun. ``started``:
            it may have begun. ``done``: there is an outcome. ``rejected``: there is one, and nothing ran.
            ``unknown``: it may have begun, and the lease of its owner has ended.
        fingerprint: The fingerprint of the function and the payload.
        token: The token of the claim.
        outcome: The outcome of a call that is done or rejected.
        call: The call that waits for approval, or was approved and has not ended.
    """

    state: State
    fingerprint: bytes
    token: bytes
    outcome: bytes | None = None
    call: bytes | None = None


class Store(Protocol):
    """A store of idempotency keys and counts: ``NavaiBackend(store=...)``.

    All operations raise :class:`StoreError` if the store cannot be reached or has no room. Whether they took
    effect is then unknown, unless the error has ``retry_after``: then the store had no room and has kept
    nothing, and this is when to try again. Repeating an operation has no further effect, except that leases
    begin again, and for ``count``. Times are in seconds, by one clock for all processes that share the store.
    :class:`~navai_client.testing.StoreTests` tests a store of your own.

    Attributes:
        lease: How long a claim holds without being renewed. Infinity means that claims end with the process
            and are never renewed.
        shared: Whether every replica reaches this store, and it keeps what it has confirmed, whatever
            happens. Clients are then told that they may repeat a call at another replica.
    """

    @property
    def lease(self) -> float: ...

    @property
    def shared(self) -> bool: ...

    async def claim(
        self, key: bytes, fingerprint: bytes, token: bytes, lease: float, *, start: bool = False
    ) -> StoreEntry:
        """Claim *key* if it is free. Return its entry, which is another call's if its token is not *token*.

        If it is already claimed or started with *token*, its lease is renewed: the response to the first
        claim may have been lost, and the function begins now.

        With *start*, the claim is started at the same time: its function begins next.
        """
        ...

    async def start(self, key: bytes, token: bytes, lease: float) -> bool:
        """Set the entry from claimed to started. Return whether the owner of *token* has started it."""
        ...

    async def renew(self, key: bytes, token: bytes, lease: float) -> bool:
        """Let the lease of a claimed or started entry end in *lease* seconds, and return whether it is ours.

        An entry that had become unknown counts as started once more.
        """
        ...

    async def finish(self, key: bytes, token: bytes, outcome: bytes | None, ttl: float) -> bool:
        """Set the entry to done for *ttl* seconds; without an *outcome*, free the key instead.

        If the call had been approved, its key does not become free: the call waits again, and *token* no
        longer owns the entry. Return whether *token* owned the entry, in whatever state.
        """
        ...

    async def hold(
        self, key: bytes, fingerprint: bytes, token: bytes, call: bytes, ttl: float, *, limit: int
    ) -> StoreEntry:
        """Let *call* wait for approval for *ttl* seconds if *key* is free. Return the entry of *key*.

        Raise :class:`StoreError` if *limit* calls are held already.
        """
        ...

    async def approve(self, key: bytes, fingerprint: bytes, token: bytes, lease: float) -> StoreEntry | None:
        """Set the entry from waiting to claimed, by *token*. Return the entry, also if it did not wait.

        Return None if the key is free or the entry has another *fingerprint*.
        """
        ...

    async def reject(self, key: bytes, fingerprint: bytes, outcome: bytes, ttl: float) -> bool:
        """Set the entry from waiting to rejected, for *ttl* seconds. Return whether it is rejected."""
        ...

    async def list_waiting(self) -> list[tuple[bytes, StoreEntry]]:
        """Return the entries that wait for approval, with their keys."""
        ...

    async def read(self, key: bytes) -> StoreEntry | None:
        """Return the entry of *key*; None if it is free."""
        ...

    async def count(self, name: str, window: float) -> tuple[int, float]:
        """Count an event of *name*. Return how many its window has, and the seconds until the window ends.

        A window lasts *window* seconds. It begins with the first event after the last window.
        """
        ...

    async def aclose(self) -> None:
        """Close connections and files."""
        ...


class _MemoryEntry(StoreEntry, eq=False, gc=False):
    lease_ends: float = 0.0
    expires: float = 0.0
    waits_until: float = 0.0  # for approval


class MemoryStore:
    """The store of one process: others do not know its keys, and a restart forgets them."""

    lease: float = math.inf
    shared: bool = False

    def __init__(
        self, *, max_bytes: int = MAX_STORE_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Hold at most *max_bytes*. No key is dropped early: without room, no further key is claimed."""
        self._max_bytes = max_bytes
        self._clock = clock
        self._bytes = 0
        self._entries: dict[bytes, _MemoryEntry] = {}
        # By TTL, so that each queue is in the order of expiry.
        self._done: defaultdict[float, deque[bytes]] = defaultdict(deque)
        self._held: set[bytes] = set()
        self._windows: OrderedDict[str, tuple[int, float]] = OrderedDict()  # in the order of their beginnings

    async def claim(
        self, key: bytes, fingerprint: bytes, token: bytes, lease: float, *, start: bool = False
    ) -> StoreEntry:
        """Claim *key* if it is free, and return its entry."""
        now = self._clock()
        entry = self._find(key, now)
        if entry is not None:
            if entry.state in LAPSED and self._find_owned(key, token, now) is entry:
                self._lease(entry, now + lease)
            return self._as_of(now, entry)
        self._make_room(now, _ENTRY_BYTES)
        ends = now + lease
        if start:
            entry = _MemoryEntry("started", fingerprint, token, None, None, ends, ends + UNKNOWN_TTL_S)
        else:
            entry = _MemoryEntry("claimed", fingerprint, token, None, None, ends, ends)
        self._entries[key] = entry
        self._bytes += _ENTRY_BYTES
        return entry

    async def start(self, key: bytes, token: bytes, lease: float) -> bool:
        """Set the entry from claimed to started, and return whether it is."""
        now = self._clock()
        entry = self._find_owned(key, token, now)
        if entry is None or entry.state not in LAPSED:
            return False
        entry.state = "started"
        self._lease(entry, now + lease)
        return True

    async def renew(self, key: bytes, token: bytes, lease: float) -> bool:
        """Extend the lease of an entry."""
        now = self._clock()
        entry = self._find_owned(key, token, now)
        if entry is None or entry.state not in LAPSED:
            return False
        self._lease(entry, now + lease)
        return True

    async def finish(self, key: bytes, token: bytes, outcome: bytes | None, ttl: float) -> bool:
        """Keep the outcome of an entry, or free its key."""
        return self.finish_now(key, token, outcome, ttl)

    def finish_now(
        self, key: bytes, token: bytes, outcome: bytes | None, ttl: float, otherwise: bytes | None = None
    ) -> bool:
        """Do as ``finish``. If there is no room for *outcome*, keep the short outcome *otherwise*."""
        now = self._clock()
        entry = self._find_owned(key, token, now)
        if entry is None:
            return False
        if entry.outcome is not None:
            return True
        if outcome is None:
            if entry.state in LAPSED and entry.waits_until > now:
                entry.state, entry.token, entry.expires = "waiting", b"", entry.waits_until
            else:
                self._drop(key)
            return True
        if len(outcome) > _ENTRY_BYTES and not self._has_room(now, len(outcome)):
            if otherwise is None:
                raise StoreError("The store of idempotency keys has no room for an outcome.")
            outcome = otherwise
        self._end(key, entry, "done", outcome, now, ttl)
        return True

    async def hold(
        self, key: bytes, fingerprint: bytes, token: bytes, call: bytes, ttl: float, *, limit: int
    ) -> StoreEntry:
        """Let *call* wait for approval if *key* is free, and return its entry."""
        now = self._clock()
        entry = self._find(key, now)
        if entry is not None:
            return self._as_of(now, entry)
        held = [found for each in tuple(self._held) if (found := self._find(each, now)) is not None]
        if sum(each.waits_until > now for each in held) >= limit:
            raise TooManyHeldError
        self._make_room(now, _ENTRY_BYTES + len(call))
        until = now + ttl
        entry = _MemoryEntry("waiting", fingerprint, token, call=call, expires=until, waits_until=until)
        self._entries[key] = entry
        self._bytes += _ENTRY_BYTES + len(call)
        self._held.add(key)
        return entry

    async def approve(self, key: bytes, fingerprint: bytes, token: bytes, lease: float) -> StoreEntry | None:
        """Set the entry from waiting to claimed, and return it."""
        now = self._clock()
        entry = self._find(key, now)
        if entry is None or entry.fingerprint != fingerprint:
            return None
        found = self._as_of(now, entry)
        if found.state != "waiting":
            return found
        entry.state, entry.token = "claimed", token
        self._lease(entry, now + lease)
        return entry

    async def reject(self, key: bytes, fingerprint: bytes, outcome: bytes, ttl: float) -> bool:
        """Set the entry from waiting to rejected, and return whether it is."""
        now = self._clock()
        entry = self._find(key, now)
        if entry is None or entry.fingerprint != fingerprint:
            return False
        if self._as_of(now, entry).state == "waiting":
            self._end(key, entry, "rejected", outcome, now, ttl)
        return entry.state == "rejected"

    async def list_waiting(self) -> list[tuple[bytes, StoreEntry]]:
        """Return the entries that wait for approval."""
        found = [(key, await self.read(key)) for key in tuple(self._held)]
        return [(key, entry) for key, entry in found if entry is not None and entry.state == "waiting"]

    async def read(self, key: bytes) -> StoreEntry | None:
        """Return the entry of *key*."""
        now = self._clock()
        entry = self._find(key, now)
        return None if entry is None else self._as_of(now, entry)

    async def count(self, name: str, window: float) -> tuple[int, float]:
        """Count an event of *name*. Return how many its window has, and the seconds until the window ends."""
        now = self._clock()
        while self._windows:
            oldest, (_, end) = next(iter(self._windows.items()))
            if end > now:
                break
            del self._windows[oldest]
        number, end = self._windows.get(name, (0, now))
        if end <= now:
            self._windows.pop(name, None)
            number, end = 0, now + window
        self._windows[name] = number + 1, end
        return number + 1, end - now

    async def aclose(self) -> None:
        """Keep everything: the process goes on."""

    def _find(self, key: bytes, now: float) -> _MemoryEntry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= now:
            self._drop(key)
            return None
        return entry

    def _find_owned(self, key: bytes, token: bytes, now: float) -> _MemoryEntry | None:
        entry = self._find(key, now)
        if entry is None or entry.token != token or (entry.state == "claimed" and entry.lease_ends <= now):
            return None
        return entry

    def _lease(self, entry: _MemoryEntry, ends: float) -> None:
        entry.lease_ends = entry.expires = ends
        if entry.state == "started":
            entry.expires += UNKNOWN_TTL_S
        entry.expires = max(entry.expires, entry.waits_until)

    def _as_of(self, now: float, entry: _MemoryEntry) -> StoreEntry:
        if entry.state in LAPSED and entry.lease_ends <= now:
            return StoreEntry(LAPSED[entry.state], entry.fingerprint, entry.token, None, entry.call)
        return entry

    def _end(  # noqa: PLR0917 - what changes
        self, key: bytes, entry: _MemoryEntry, state: State, outcome: bytes, now: float, ttl: float
    ) -> None:
        self._bytes += len(outcome)
        if entry.call is not None:
            self._bytes -= len(entry.call)
            self._held.discard(key)
        entry.state, entry.outcome, entry.call, entry.expires = state, outcome, None, now + ttl
        self._done[ttl].append(key)

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key)
        self._held.discard(key)
        self._bytes -= _ENTRY_BYTES + len(entry.outcome or b"") + len(entry.call or b"")

    def _has_room(self, now: float, needed: int) -> bool:
        self._forget(now)
        return self._bytes + needed <= self._max_bytes

    def _make_room(self, now: float, needed: int) -> None:
        if not self._has_room(now, needed):
            ends = [self._entries[keys[0]].expires for keys in self._done.values() if keys]
            left = min(ends) - now if ends else 1.0
            raise StoreError("The store of idempotency keys is full.", retry_after=f"{math.ceil(left)}")

    def _forget(self, now: float) -> None:
        """Drop what has expired."""
        for keys in self._done.values():
            while keys:
                entry = self._entries.get(keys[0])
                if entry is not None and entry.expires > now:
                    break
                key = keys.popleft()
                if entry is not None:
                    self._drop(key)


class BatchedStore(ABC):
    """A store outside the process. Operations that are wanted at the same time go there as one batch.

    While one batch is under way, the next one gathers. So the more calls at a time, the less each one costs.
    """

    lease: float = LEASE_S
    shared: bool = False

    def __init__(self) -> None:
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._batches: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @abstractmethod
    async def _run(self, operations: list[tuple[Any, ...]]) -> list[Any]:
        """Return the result of each operation, or raise :class:`StoreError` if not all can be done."""

    async def claim(
        self, key: bytes, fingerprint: bytes, token: bytes, lease: float, *, start: bool = False
    ) -> StoreEntry:
        """Claim *key* if it is free, and return its entry."""
        entry: StoreEntry = await self._do("begin" if start else "claim", key, token, fingerprint, lease)
        return entry

    async def start(self, key: bytes, token: bytes, lease: float) -> bool:
        """Set the entry from claimed to started, and return whether it is."""
        return bool(await self._do("start", key, token, lease))

    async def renew(self, key: bytes, token: bytes, lease: float) -> bool:
        """Extend the lease of an entry."""
        return bool(await self._do("renew", key, token, lease))

    async def finish(self, key: bytes, token: bytes, outcome: bytes | None, ttl: float) -> bool:
        """Keep the outcome of an entry, or free its key."""
        return bool(await self._do("finish", key, token, outcome, ttl))

    async def hold(
        self, key: bytes, fingerprint: bytes, token: bytes, call: bytes, ttl: float, *, limit: int
    ) -> StoreEntry:
        """Let *call* wait for approval if *key* is free, and return its entry."""
        entry: StoreEntry | None = await self._do("hold", key, token, fingerprint, ttl, call, limit)
        if entry is None:
            raise TooManyHeldError
        return entry

    async def approve(self, key: bytes, fingerprint: bytes, token: bytes, lease: float) -> StoreEntry | None:
        """Set the entry from waiting to claimed, and return it."""
        entry: StoreEntry | None = await self._do("approve", key, token, fingerprint, lease)
        return entry

    async def reject(self, key: bytes, fingerprint: bytes, outcome: bytes, ttl: float) -> bool:
        """Set the entry from waiting to rejected, and return whether it is."""
        return bool(await self._do("reject", key, fingerprint, outcome, ttl))

    async def list_waiting(self) -> list[tuple[bytes, StoreEntry]]:
        """Return the entries that wait for approval."""
        held = await self._do("list_held", _HELD)
        found = zip(held, await asyncio.gather(*map(self.read, held)), strict=True)
        return [(key, entry) for key, entry in found if entry is not None and entry.state == "waiting"]

    async def read(self, key: bytes) -> StoreEntry | None:
        """Return the entry of *key*."""
        entry: StoreEntry | None = await self._do("read", key)
        return entry

    async def count(self, name: str, window: float) -> tuple[int, float]:
        """Count an event of *name*. Return how many its window has, and the seconds until the window ends."""
        digest = _digest(name.encode(errors="surrogatepass"))
        counted: tuple[int, float] = await self._do("count", digest, window)
        return counted

    async def aclose(self) -> None:
        """Close connections and files."""
        if self._batches is not None and self._loop is asyncio.get_running_loop():
            self._batches.cancel()
            _fail(self._waiting, _STOPPED)  # the task may never have run
        self._waiting, self._batches = [], None

    async def _do(self, *operation: Any) -> Any:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what waited in another loop ended with it
            self._loop, self._waiting, self._batches = loop, [], None
        done: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((operation, done))
        if self._batches is None:
            self._batches = loop.create_task(self._run_batches(self._waiting))
        return await done

    async def _run_batches(self, waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        try:
            while waiting:
                batch = waiting[:_MAX_BATCH]
                try:
                    results = await self._run([operation for operation, _ in batch])
                except StoreError as error:
                    _fail(waiting, str(error))  # those after the batch would wait in vain, too
                else:
                    for (_, done), result in zip(batch, results, strict=True):
                        if not done.done():
                            done.set_result(result)
                    del waiting[: len(batch)]
        finally:
            if self._waiting is waiting:  # the store was neither closed nor used in another loop meanwhile
                self._batches = None
            _fail(waiting, _STOPPED)


def _fail(waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]], message: str) -> None:
    for _, done in waiting:
        if not done.done():
            done.set_exception(StoreError(message))
    waiting.clear()


class TooManyHeldError(StoreError):
    """No further call can wait for approval."""

    def __init__(self) -> None:
        super().__init__("Too many calls wait for approval.", retry_after=_HELD_RETRY_AFTER)


def _digest(content: bytes) -> bytes:
    # Never change this: replicas of two versions may share a store.
    return hashlib.blake2b(content, digest_size=16).digest()


def key_digest(caller: bytes, key: bytes) -> bytes:
    """Return the digest by which a store knows a key. It reveals neither the *caller* nor the key."""
    return _digest(b"%d:%b%b" % (len(caller), caller, key))


def fingerprint(function: str, payload: Payload) -> bytes:
    """Return the fingerprint of a call: its function, and the value of its payload."""
    try:
        text = _encode_sorted((function, payload.value))
        # In JSON, 2.0 is the same number as 2, and 1e17 the same as 1 with 17 zeros.
        if (_POINT in text and b".0" in text) or _EXPONENT.search(text):
            text = _encode_sorted((function, whole_numbers(payload.value)))
    except (ValueError, OverflowError, RecursionError):
        # msgspec cannot write lone surrogates, integers of more than 64 bits, or deep nesting.
        text = _flat([function, payload.value])
    return _digest(text)


def _flat(value: Any) -> bytes:
    """Return bytes that no other JSON value has: the parts of *value*, however deep they are."""
    parts, rest = [], [value]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            parts.append(f"{{{len(part)}")
            rest += [each for name in sorted(part) for each in (name, part[name])]
        elif isinstance(part, list):
            parts.append(f"[{len(part)}")
            rest += part
        else:
            parts.append(json.dumps(whole_numbers(part)))
    return " ".join(parts).encode()


def encode_outcome(outcome: Outcome) -> bytes:
    """Return *outcome* as a store keeps it."""
    return b"=" + outcome if isinstance(outcome, bytes) else b"!" + msgspec.json.encode(outcome)


def decode_outcome(kept: bytes) -> Outcome:
    """Return the outcome that ``encode_outcome`` turned into *kept*."""
    return kept[1:] if kept.startswith(b"=") else _decode_failure(kept[1:])
