"""The stores of idempotency keys against one model of the protocol, with time that the test drives."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import redis
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from navai_client.server import MemoryStore, RedisStore, SQLiteStore, Store, StoreError
from navai_client.server._store import UNKNOWN_TTL_S
from tests.server.redis_server import DURABLE, redis_server

# Seconds are long, so that those that pass while the test runs decide nothing.
HOUR: Final = 3600.0
Entry = tuple[str, bytes, bytes, bytes | None, bytes | None]

KEYS: Final = [bytes([n]) * 16 for n in range(2)]
TOKENS: Final = [bytes([n]) * 16 for n in range(10, 13)]
FINGERPRINTS: Final = [bytes([n]) * 16 for n in range(20, 22)]
OUTCOMES: Final = [b"", b"!outcome", bytes(range(256))]
key, token, fingerprint = st.sampled_from(KEYS), st.sampled_from(TOKENS), st.sampled_from(FINGERPRINTS)
# Mostly what fits: histories in which nothing is allowed find nothing.
of_entry = st.sampled_from([True, True, True, False])
outcome = st.sampled_from(OUTCOMES)
seconds = st.sampled_from([HOUR, 3 * HOUR])
patience = st.sampled_from([9 * HOUR, 30 * HOUR])  # of a call that waits for approval: many leases


@attrs.define
class Known:
    """What the model knows of a key."""

    state: str
    fingerprint: bytes
    token: bytes
    ends: float  # of its lease
    expires: float
    waits_until: float = 0.0
    outcome: bytes | None = None
    call: bytes | None = None


class Model:
    """The protocol, in its simplest form."""

    def __init__(self) -> None:
        self.now = 0.0
        self.known: dict[bytes, Known] = {}
        self.counts: dict[str, tuple[int, float]] = {}

    def find(self, key: bytes) -> Known | None:
        found = self.known.get(key)
        return found if found is not None and found.expires > self.now else None

    def state(self, found: Known) -> str:
        if found.ends > self.now:
            return found.state
        return {"claimed": "waiting", "started": "unknown"}.get(found.state, found.state)

    def read(self, key: bytes) -> Entry | None:
        found = self.find(key)
        if found is None:
            return None
        return self.state(found), found.fingerprint, found.token, found.outcome, found.call

    def owned(self, key: bytes, token: bytes) -> Known | None:
        found = self.find(key)
        if found is None or found.token != token:
            return None
        return None if found.state == "claimed" and found.ends <= self.now else found

    def lease(self, found: Known, lease: float) -> None:
        found.ends = self.now + lease
        found.expires = found.ends + (UNKNOWN_TTL_S if found.state == "started" else 0)
        found.expires = max(found.expires, found.waits_until)

    def claim(
        self, key: bytes, fingerprint: bytes, token: bytes, lease: float, *, start: bool
    ) -> Entry | None:
        if self.find(key) is None:
            self.known[key] = Known("started" if start else "claimed", fingerprint, token, 0, 0)
            self.lease(self.known[key], lease)
        else:
            self.renew(key, token, lease)
        return self.read(key)

    def start(self, key: bytes, token: bytes, lease: float) -> bool:
        found = self.owned(key, token)
        if found is None or found.state not in ("claimed", "started"):
            return False
        found.state = "started"
        self.lease(found, lease)
        return True

    def renew(self, key: bytes, token: bytes, lease: float) -> bool:
        found = self.owned(key, token)
        if found is None or found.state not in ("claimed", "started"):
            return False
        self.lease(found, lease)
        return True

    def finish(self, key: bytes, token: bytes, outcome: bytes | None, ttl: float) -> bool:
        found = self.owned(key, token)
        if found is None or found.outcome is not None:
            return found is not None
        if outcome is not None:
            self.end(found, "done", outcome, ttl)
        elif found.state != "waiting" and found.waits_until > self.now:
            found.state, found.token, found.expires = "waiting", b"", found.waits_until
        else:
            del self.known[key]
        return True

    def hold(
        self, key: bytes, fingerprint: bytes, token: bytes, call: bytes, ttl: float, *, limit: int
    ) -> Entry | None:
        if self.find(key) is None:
            held = [each for each in map(self.find, KEYS) if each is not None and each.call is not None]
            if len([each for each in held if each.waits_until > self.now]) >= limit:
                raise StoreError("Too many.")
            until = self.now + ttl
            self.known[key] = Known("waiting", fingerprint, token, until, until, until, None, call)
        return self.read(key)

    def approve(self, key: bytes, fingerprint: bytes, token: bytes, lease: float) -> Entry | None:
        found = self.find(key)
        if found is None or found.fingerprint != fingerprint:
            return None
        if self.state(found) == "waiting":
            found.state, found.token = "claimed", token
            self.lease(found, lease)
        return self.read(key)

    def reject(self, key: bytes, fingerprint: bytes, outcome: bytes, ttl: float) -> bool:
        found = self.find(key)
        if found is None or found.fingerprint != fingerprint:
            return False
        if self.state(found) == "waiting":
            self.end(found, "rejected", outcome, ttl)
        return found.state == "rejected"

    def end(self, found: Known, state: str, outcome: bytes, ttl: float) -> None:
        found.state, found.outcome, found.call, found.expires = state, outcome, None, self.now + ttl

    def list_waiting(self) -> dict[bytes, Entry]:
        entries = {key: entry for key in KEYS if (entry := self.read(key)) is not None}
        return {key: entry for key, entry in entries.items() if entry[0] == "waiting"}

    def count(self, name: str, window: float) -> int:
        number, end = self.counts.get(name, (0, 0.0))
        if end <= self.now:
            number, end = 0, self.now + window
        self.counts[name] = number + 1, end
        return number + 1


@attrs.define
class Subject:
    """A store that is held against the model."""

    store: Store
    advance: Callable[[float], None]
    reopen: Callable[[], Store] | None = None


def simple(found: Any) -> Any:
    """Return what a store returned, as the model has it."""
    if isinstance(found, bool | int):
        return bool(found)
    if isinstance(found, list):
        return {key: simple(entry) for key, entry in found}
    if isinstance(found, tuple):
        return found[0]  # how many were counted
    return found and (found.state, found.fingerprint, found.token, found.outcome, found.call)


class Stores(RuleBasedStateMachine):
    """A store beside the model: after each step, both say the same of each key."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.subject = subject

    def both(self, name: str, *given: Any, **named: Any) -> None:
        try:
            wanted: Any = getattr(self.model, name)(*given, **named)
        except StoreError:
            wanted = StoreError
        try:
            found = simple(self.run(getattr(self.subject.store, name)(*given, **named)))
        except StoreError:
            found = StoreError
        assert found == wanted, name

    def token_for(self, key: bytes, *, is_owner: bool) -> bytes:
        found = self.model.known.get(key)
        return found.token if is_owner and found is not None else TOKENS[0]

    def fingerprint_for(self, key: bytes, *, is_same: bool) -> bytes:
        found = self.model.known.get(key)
        return found.fingerprint if is_same and found is not None else FINGERPRINTS[0]

    def run(self, operation: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await operation

        return self.runner.run(wait())

    @rule(key=key, fingerprint=fingerprint, is_owner=of_entry, lease=seconds, start=st.booleans())
    def claim(self, key: bytes, fingerprint: bytes, lease: float, *, is_owner: bool, start: bool) -> None:
        self.both("claim", key, fingerprint, self.token_for(key, is_owner=is_owner), lease, start=start)

    @initialize(ttl=patience, lease=seconds)
    def begin(self, ttl: float, lease: float) -> None:
        """Begin where most can happen: with a call that was approved and has not begun."""
        self.both("hold", KEYS[0], FINGERPRINTS[0], TOKENS[0], b"call", ttl, limit=1)
        self.both("approve", KEYS[0], FINGERPRINTS[0], TOKENS[1], lease)

    # One rule for all that an owner does: hypothesis leaves some rules out of each history.
    @rule(
        name=st.sampled_from(["start", "renew", "finish"]),
        key=key,
        is_owner=of_entry,
        outcome=st.none() | outcome,
        time=seconds,
    )
    def own(self, name: str, key: bytes, outcome: bytes | None, time: float, *, is_owner: bool) -> None:
        given = (outcome, time) if name == "finish" else (time,)
        self.both(name, key, self.token_for(key, is_owner=is_owner), *given)

    @rule(
        key=key,
        fingerprint=fingerprint,
        token=token,
        ttl=patience,
        limit=st.integers(1, 3),
        lease=st.none() | seconds,
    )
    def hold(  # noqa: PLR0917 - what is drawn
        self, key: bytes, fingerprint: bytes, token: bytes, ttl: float, limit: int, lease: float | None
    ) -> None:
        self.both("hold", key, fingerprint, token, b"call " + key, ttl, limit=limit)
        if lease is not None:
            self.both("approve", key, fingerprint, TOKENS[1], lease)

    @rule(key=key, is_same=of_entry, token=token, lease=seconds)
    def approve(self, key: bytes, token: bytes, lease: float, *, is_same: bool) -> None:
        self.both("approve", key, self.fingerprint_for(key, is_same=is_same), token, lease)

    @rule(key=key, is_same=of_entry, outcome=outcome, ttl=seconds)
    def reject(self, key: bytes, outcome: bytes, ttl: float, *, is_same: bool) -> None:
        self.both("reject", key, self.fingerprint_for(key, is_same=is_same), outcome, ttl)

    @rule(name=st.sampled_from(["a", "b"]), window=seconds)
    def count(self, name: str, window: float) -> None:
        wanted = self.model.count(name, window)
        number, _ = self.run(self.subject.store.count(name, window))
        assert number == wanted

    @rule(passed=st.sampled_from([HOUR / 2, 2 * HOUR, 4 * HOUR, 10 * HOUR, UNKNOWN_TTL_S]))
    def advance(self, passed: float) -> None:
        self.model.now += passed
        self.subject.advance(passed)

    @rule()
    def restart(self) -> None:
        if self.subject.reopen is not None:
            self.run(self.subject.store.aclose())
            self.subject.store = self.subject.reopen()

    @invariant()
    def they_are_the_same(self) -> None:
        store = self.subject.store

        async def found() -> list[Any]:
            return await asyncio.gather(store.list_waiting(), *map(store.read, KEYS))

        wanted = [self.model.list_waiting(), *map(self.model.read, KEYS)]
        assert [simple(each) for each in self.runner.run(found())] == wanted

    def teardown(self) -> None:
        self.run(self.subject.store.aclose())
        self.runner.close()


def holds(subject_of: Callable[[], Subject], examples: int) -> None:
    """Hold a store against the model in *examples* histories."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,  # a slow machine is not a failure
        suppress_health_check=[HealthCheck.too_slow],
    )
    made: Any = lambda: Stores(subject_of())  # noqa: E731 - any callable, whatever its annotation says
    run_state_machine_as_test(made, settings=chosen)


class Clock:
    """A clock that the test drives."""

    def __init__(self) -> None:
        self.now = 0.0

    def advance(self, seconds: float) -> None:
        self.now += seconds


def test_memory_does_what_the_model_does() -> None:
    def subject() -> Subject:
        clock = Clock()
        return Subject(MemoryStore(clock=lambda: clock.now), clock.advance)

    holds(subject, 200)


def test_an_sqlite_file_does_what_the_model_does(tmp_path: Path) -> None:
    clock = Clock()

    def open_file() -> Store:
        return SQLiteStore(tmp_path / "keys.sqlite", clock=lambda: clock.now)

    def subject() -> Subject:
        clock.now += 1e9  # what the last history has left is over
        return Subject(open_file(), clock.advance, open_file)

    holds(subject, 100)


@pytest.fixture(scope="module", name="server")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis"), *DURABLE) as server:
        yield server.url


def test_redis_does_what_the_model_does(server: str) -> None:
    numbers = itertools.count()
    with contextlib.closing(redis.Redis.from_url(server)) as beside:

        def subject() -> Subject:
            prefix = f"{next(numbers)}:"

            def open_store() -> Store:
                return RedisStore(server, prefix=prefix)

            return Subject(open_store(), lambda passed: shift(beside, prefix, passed), open_store)

        holds(subject, 100)


def shift(server: "redis.Redis", prefix: str, passed: float) -> None:
    """Let *passed* seconds pass for Redis, whose clock nobody sets: bring its points in time nearer."""
    earlier = int(passed * 1000) + 2  # for it, a key expires a millisecond after its time
    for name in server.scan_iter(f"{prefix}*"):
        kind = server.type(name)
        if kind == b"zset":
            for member in server.zrange(name, 0, -1):
                server.zincrby(name, -earlier, member)  # type: ignore[arg-type]
            continue
        for field in ("lease_ends", "waits_until"):
            if kind == b"hash" and server.hexists(name, field):
                server.hincrby(name, field, -earlier)
        server.pexpireat(name, server.pexpiretime(name) - earlier)
