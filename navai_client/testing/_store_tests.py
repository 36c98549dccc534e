# ruff: noqa: S101, PLR2004, ASYNC110 - tests
"""The tests that any store of idempotency keys must pass, for those who write their own."""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from navai_client.server._errors import StoreError
from navai_client.server._store import Store, StoreEntry

_LEASE_S = 60.0
_SHORT_S = 0.2
_DEADLINE_S = 60.0
_MANY = 10**6

Scenario = Callable[[Store, Store], Awaitable[None]]


def _new() -> bytes:
    return os.urandom(16)


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not await done():
            await asyncio.sleep(0.01)


class StoreTests(ABC):
    """Tests of a :class:`~navai_client.server.Store`, to be collected by pytest.

    ::

        class TestMyStore(StoreTests):
            @asynccontextmanager
            async def open_stores(self):
                yield MyStore(URL), MyStore(URL)
    """

    @abstractmethod
    def open_stores(self) -> AbstractAsyncContextManager[tuple[Store, Store]]:
        """Open the store twice, as two processes do: each sees what the other one has done.

        A store of one process is the same object twice. The tests use keys of their own, so what was stored
        before may stay.
        """

    def _run(self, scenario: Scenario) -> None:
        async def run() -> None:
            async with self.open_stores() as (one, other):
                await scenario(one, other)

        asyncio.run(run())

    def test_one_claim_gets_a_key_and_others_get_its_entry(self) -> None:
        """A key has one owner."""

        async def scenario(one: Store, other: Store) -> None:
            key, fingerprint, ours = _new(), _new(), _new()
            assert await one.read(key) is None
            entry = await one.claim(key, fingerprint, ours, _LEASE_S)
            for found in (
                entry,
                await other.claim(key, _new(), _new(), _LEASE_S),
                await other.read(key),
                await one.claim(key, fingerprint, ours, _LEASE_S),  # the response to the first may be lost
            ):
                assert found is not None
                assert (found.state, found.fingerprint, found.token) == ("claimed", fingerprint, ours)
                assert found.outcome is None

        self._run(scenario)

    def test_of_many_claims_at_a_time_one_gets_the_key(self) -> None:
        """Claims are atomic."""

        async def scenario(one: Store, other: Store) -> None:
            for _ in range(10):
                key, fingerprint, tokens = _new(), _new(), [_new() for _ in range(20)]
                claims = [
                    (other if n % 2 else one).claim(key, fingerprint, token, _LEASE_S)
                    for n, token in enumerate(tokens)
                ]
                owners = {entry.token for entry in await asyncio.gather(*claims)}
                assert len(owners) == 1
                starts = [
                    (one if n % 2 else other).start(key, token, _LEASE_S) for n, token in enumerate(tokens)
                ]
                started = await asyncio.gather(*starts)
                assert [token for token, done in zip(tokens, started, strict=True) if done] == [*owners]

        self._run(scenario)

    def test_a_claim_can_be_started_in_the_same_step(self) -> None:
        """A function that begins at once needs no second one."""

        async def scenario(one: Store, other: Store) -> None:
            key, fingerprint, ours = _new(), _new(), _new()
            for found in (
                await one.claim(key, fingerprint, ours, _LEASE_S, start=True),
                await one.claim(key, fingerprint, ours, _LEASE_S, start=True),  # the response may be lost
                await other.claim(key, _new(), _new(), _LEASE_S, start=True),
                await other.claim(key, _new(), _new(), _LEASE_S),
            ):
                assert (found.state, found.fingerprint, found.token) == ("started", fingerprint, ours)
            claimed, brief = _new(), _new()
            await one.claim(claimed, _new(), ours, _LEASE_S)
            assert (await other.claim(claimed, _new(), _new(), _LEASE_S, start=True)).state == "claimed"
            await one.claim(brief, _new(), ours, _SHORT_S, start=True)
            await _until(lambda: _is(other, brief, "unknown"))
            assert await one.renew(brief, ours, _LEASE_S)
            assert await one.finish(brief, ours, b"x", _LEASE_S)
            assert await _state(other, brief) == "done"

        self._run(scenario)

    def test_an_outcome_is_kept_for_all_and_changed_by_none(self) -> None:
        """What is done stays done."""

        async def scenario(one: Store, other: Store) -> None:
            key, fingerprint, ours = _new(), _new(), _new()
            outcome = bytes(range(256)) * 40
            await one.claim(key, fingerprint, ours, _LEASE_S)
            assert await one.start(key, ours, _LEASE_S)
            assert await one.finish(key, ours, outcome, _LEASE_S)
            assert await one.finish(key, ours, outcome, _LEASE_S)  # the first response may be lost
            assert await one.finish(key, ours, b"another", _LEASE_S)
            await one.finish(key, ours, None, _LEASE_S)
            assert not await other.finish(key, _new(), b"another", _LEASE_S)
            assert not await one.start(key, ours, _LEASE_S)
            assert not await one.renew(key, ours, _LEASE_S)
            for found in (await other.read(key), await other.claim(key, _new(), _new(), _LEASE_S)):
                assert found is not None
                assert (found.state, found.fingerprint, found.outcome) == ("done", fingerprint, outcome)

        self._run(scenario)

    def test_an_outcome_of_a_call_that_was_not_started_is_kept_too(self) -> None:
        """Such as that of arguments that do not fit."""

        async def scenario(one: Store, other: Store) -> None:
            key, ours = _new(), _new()
            await one.claim(key, _new(), ours, _LEASE_S)
            assert await one.finish(key, ours, b"", _LEASE_S)
            assert await _state(other, key) == "done"

        self._run(scenario)

    def test_a_key_that_its_owner_frees_can_be_claimed_again(self) -> None:
        """A refusal is no outcome."""

        async def scenario(one: Store, other: Store) -> None:
            for start in (False, True):
                key, ours, theirs = _new(), _new(), _new()
                await one.claim(key, _new(), ours, _LEASE_S)
                assert not start or await one.start(key, ours, _LEASE_S)
                assert not await other.finish(key, theirs, None, _LEASE_S)
                assert await one.finish(key, ours, None, _LEASE_S)
                assert not await one.finish(key, ours, None, _LEASE_S)
                assert await other.read(key) is None
                assert (await other.claim(key, _new(), theirs, _LEASE_S)).token == theirs
                assert not await one.start(key, ours, _LEASE_S)

        self._run(scenario)

    def test_a_claim_that_was_not_started_lapses_and_its_owner_cannot_start(self) -> None:
        """An owner that was paused is fenced."""

        async def scenario(one: Store, other: Store) -> None:
            key, ours, theirs = _new(), _new(), _new()
            await one.claim(key, _new(), ours, _SHORT_S)

            async def taken() -> bool:
                return (await other.claim(key, _new(), theirs, _LEASE_S)).token == theirs

            await _until(taken)
            assert not await one.start(key, ours, _LEASE_S)
            assert not await one.renew(key, ours, _LEASE_S)
            assert not await one.finish(key, ours, b"x", _LEASE_S)
            assert not await one.finish(key, ours, None, _LEASE_S)
            assert await other.start(key, theirs, _LEASE_S)
            assert await other.start(key, theirs, _LEASE_S)  # the first response may be lost

        self._run(scenario)

    def test_a_started_call_whose_owner_is_gone_is_unknown_until_it_comes_back(self) -> None:
        """Nobody else gets the key of a function that may have run."""

        async def scenario(one: Store, other: Store) -> None:
            for renew in (False, True):
                key, ours = _new(), _new()
                await one.claim(key, _new(), ours, _LEASE_S)
                assert await one.start(key, ours, _SHORT_S)
                assert await _state(other, key) in {"started", "unknown"}
                await _until(lambda key=key: _is(other, key, "unknown"))  # type: ignore[misc]
                assert (await other.claim(key, _new(), _new(), _LEASE_S)).state == "unknown"
                if renew:
                    assert await one.renew(key, ours, _LEASE_S)
                    assert await _state(other, key) == "started"
                assert await one.finish(key, ours, b"late", _LEASE_S)
                found = await other.read(key)
                assert found is not None
                assert (found.state, found.outcome) == ("done", b"late")

        self._run(scenario)

    def test_a_lease_that_is_renewed_holds(self) -> None:
        """Renewals count from when they are made."""

        async def scenario(one: Store, other: Store) -> None:
            lapsing, ours = _new(), _new()

            async def renewed(short: float) -> tuple[bytes, bytes, float]:
                claimed, started, began = _new(), _new(), time.monotonic()
                for key in (claimed, started):
                    await one.claim(key, _new(), ours, short)
                is_started = await one.start(started, ours, short)
                are_renewed = [await one.renew(key, ours, _LEASE_S) for key in (claimed, started)]
                if short < time.monotonic() - began < _DEADLINE_S:  # a busy machine misses a short lease
                    return await renewed(10 * short)
                assert is_started
                assert all(are_renewed)
                return claimed, started, short

            claimed, started, short = await renewed(_SHORT_S)
            for key in (claimed, started):
                assert not await other.renew(key, _new(), 0.0)
            await one.claim(lapsing, _new(), ours, short)
            await _until(lambda: _is(other, lapsing, None))
            assert await _state(other, claimed) == "claimed"
            assert await _state(other, started) == "started"

        self._run(scenario)

    def test_a_claim_that_is_repeated_renews_its_lease(self) -> None:
        """The response to the first one may have been lost: the function begins after the second one."""

        async def scenario(one: Store, other: Store) -> None:
            claimed, started, late, fingerprint, ours = _new(), _new(), _new(), _new(), _new()
            await one.claim(claimed, fingerprint, ours, _SHORT_S)
            await one.claim(started, fingerprint, ours, _SHORT_S, start=True)
            await one.claim(late, fingerprint, ours, _SHORT_S, start=True)
            await one.claim(claimed, fingerprint, ours, _LEASE_S)
            await one.claim(started, fingerprint, ours, _LEASE_S, start=True)
            await other.claim(started, fingerprint, _new(), 0.0, start=True)
            await _until(lambda: _is(other, late, "unknown"))
            assert await _state(other, claimed) == "claimed"
            assert await _state(other, started) == "started"
            assert (await one.claim(late, fingerprint, ours, _LEASE_S, start=True)).state == "started"
            assert await _state(other, late) == "started"

        self._run(scenario)

    def test_an_outcome_expires(self) -> None:
        """After its time, a key is free."""

        async def scenario(one: Store, other: Store) -> None:
            key, ours = _new(), _new()
            await one.claim(key, _new(), ours, _LEASE_S)
            await one.start(key, ours, _LEASE_S)
            await one.finish(key, ours, b"x", _SHORT_S)
            await _until(lambda: _is(other, key, None))
            assert (await other.claim(key, _new(), ours, _LEASE_S)).state == "claimed"

        self._run(scenario)

    def test_a_call_waits_for_approval_and_one_approval_gets_its_key(self) -> None:
        """Of those who approve at a time, one runs the call, and all know what became of it."""

        async def scenario(one: Store, other: Store) -> None:
            key, fingerprint, token, call = _new(), _new(), _new(), bytes(range(256))
            held = await one.hold(key, fingerprint, token, call, _LEASE_S, limit=_MANY)
            again = await one.hold(key, fingerprint, token, call, _LEASE_S, limit=_MANY)
            theirs = await other.hold(key, _new(), _new(), b"another", _LEASE_S, limit=_MANY)
            claim = await other.claim(key, _new(), _new(), _LEASE_S)
            for found in (held, again, theirs, claim, dict(await other.list_waiting())[key]):
                assert (found.state, found.fingerprint, found.call) == ("waiting", fingerprint, call)
                assert found.token == token
            assert not await one.start(key, token, _LEASE_S)
            assert not await one.renew(key, token, _LEASE_S)
            assert await other.approve(key, _new(), _new(), _LEASE_S) is None
            assert await other.approve(_new(), fingerprint, _new(), _LEASE_S) is None
            tokens = [_new() for _ in range(20)]
            approvals = [
                (other if n % 2 else one).approve(key, fingerprint, each, _LEASE_S)
                for n, each in enumerate(tokens)
            ]
            found_by_all = await asyncio.gather(*approvals)
            owners = {(each.state, each.token, each.call) for each in found_by_all if each is not None}
            assert len(owners) == 1
            ((state, owner, approved),) = owners
            assert (state, approved) == ("claimed", call)
            asked_again = await one.hold(key, fingerprint, _new(), call, _LEASE_S, limit=_MANY)
            assert (asked_again.state, asked_again.token) == ("claimed", owner)
            assert not await other.reject(key, fingerprint, b"no", _LEASE_S)
            assert [each for each in tokens if await other.start(key, each, _LEASE_S)] == [owner]
            assert key not in dict(await one.list_waiting())
            assert await other.finish(key, owner, b"done", _LEASE_S)
            ended = await one.approve(key, fingerprint, _new(), _LEASE_S)
            assert ended is not None
            assert (ended.state, ended.outcome, ended.call) == ("done", b"done", None)

        self._run(scenario)

    def test_a_rejection_is_an_outcome(self) -> None:
        """What is rejected stays rejected, and is never started."""

        async def scenario(one: Store, other: Store) -> None:
            key, fingerprint, token = _new(), _new(), _new()
            assert not await one.reject(key, fingerprint, b"no", _LEASE_S)
            await one.hold(key, fingerprint, token, b"call", _LEASE_S, limit=_MANY)
            assert not await other.reject(key, _new(), b"no", _LEASE_S)
            assert await other.reject(key, fingerprint, b"no", _LEASE_S)
            assert await one.reject(key, fingerprint, b"another", _LEASE_S)
            await one.finish(key, token, b"done", _LEASE_S)
            await one.finish(key, token, None, _LEASE_S)
            assert not await one.start(key, token, _LEASE_S)
            for found in (
                await other.approve(key, fingerprint, _new(), _LEASE_S),
                await other.hold(key, fingerprint, _new(), b"call", _LEASE_S, limit=_MANY),
                await one.read(key),
            ):
                assert found is not None
                assert (found.state, found.outcome, found.call) == ("rejected", b"no", None)
            assert key not in dict(await one.list_waiting())
            brief, another = _new(), _new()
            await one.hold(another, fingerprint, token, b"call", _LEASE_S, limit=_MANY)
            await one.hold(brief, fingerprint, token, b"call", _LEASE_S, limit=_MANY)
            assert await one.reject(brief, fingerprint, b"no", _SHORT_S)
            await _until(lambda: _is(other, brief, None))
            assert await one.finish(another, token, None, _LEASE_S)

        self._run(scenario)

    def test_an_approved_call_that_was_not_started_waits_again(self) -> None:
        """An approval is not lost with the process that had it, nor with its refusal to begin."""

        async def scenario(one: Store, other: Store) -> None:
            for lapses, start in ((True, False), (False, False), (False, True)):
                key, fingerprint, ours, theirs = _new(), _new(), _new(), _new()
                await one.hold(key, fingerprint, _new(), b"call", _LEASE_S, limit=_MANY)
                await one.approve(key, fingerprint, ours, _SHORT_S if lapses else _LEASE_S)
                if lapses:
                    await _until(lambda key=key: _is(other, key, "waiting"))  # type: ignore[misc]
                else:
                    assert not start or await one.start(key, ours, _LEASE_S)
                    assert await one.finish(key, ours, None, _LEASE_S)
                assert dict(await other.list_waiting())[key].call == b"call"
                assert not await one.start(key, ours, _LEASE_S)
                assert not await one.renew(key, ours, _LEASE_S)
                assert not await one.finish(key, ours, None, _LEASE_S)
                assert not await one.finish(key, ours, b"x", _LEASE_S)
                approved = await other.approve(key, fingerprint, theirs, _LEASE_S)
                assert approved is not None
                assert (approved.state, approved.token, approved.call) == ("claimed", theirs, b"call")
                assert await other.start(key, theirs, _LEASE_S)
                assert await other.finish(key, theirs, b"done", _LEASE_S)

        self._run(scenario)

    def test_calls_that_wait_for_approval_are_limited_and_expire(self) -> None:
        """A call that its caller withdraws, that is decided, or that expires, makes room."""

        async def scenario(one: Store, other: Store) -> None:
            keys, fingerprint, token = [_new() for _ in range(4)], _new(), _new()
            limit, held = 0, []

            async def holds(key: bytes, ttl: float) -> bool:
                try:
                    await other.hold(key, fingerprint, token, b"call", ttl, limit=limit)
                except StoreError:
                    return False
                held.append(key)
                return True

            assert not await holds(_new(), _LEASE_S)
            for key in reversed(keys):  # beside those that other tests have left
                while not await holds(key, _SHORT_S if key is keys[0] else _LEASE_S):
                    limit += 1
            await _until(lambda: holds(_new(), _LEASE_S))
            for makes_room in (
                one.finish(keys[1], token, None, _LEASE_S),
                one.reject(keys[2], fingerprint, b"no", _LEASE_S),
            ):
                assert not await holds(_new(), _LEASE_S)
                assert await holds(keys[3], _LEASE_S)  # it does already
                assert await makes_room
                assert await holds(_new(), _LEASE_S)
            assert await other.read(keys[1]) is None
            assert not await holds(_new(), _LEASE_S)
            await one.approve(keys[3], fingerprint, token, _LEASE_S)
            assert await one.start(keys[3], token, _LEASE_S)
            assert await one.finish(keys[3], token, b"done", _LEASE_S)
            assert await holds(_new(), _LEASE_S)
            for key in held:  # none expires while these tests run again, and makes room there
                await one.finish(key, token, None, _LEASE_S)

        self._run(scenario)

    def test_events_are_counted_in_windows(self) -> None:
        """All processes share a count."""

        async def scenario(one: Store, other: Store) -> None:
            name, brief = f"{_new().hex()} \ud800", _new().hex()
            counted = [await (other if n % 2 else one).count(name, _LEASE_S) for n in range(5)]
            assert [number for number, _ in counted] == [1, 2, 3, 4, 5]
            assert all(0 < left <= _LEASE_S for _, left in counted)
            assert (await one.count(brief, _SHORT_S))[0] == 1

            async def begins_again() -> bool:
                return (await other.count(brief, _SHORT_S))[0] == 1

            await _until(begins_again)
            assert (await one.count(name, _LEASE_S))[0] == 6

        self._run(scenario)


async def _state(store: Store, key: bytes) -> str | None:
    entry: StoreEntry | None = await store.read(key)
    return None if entry is None else entry.state


async def _is(store: Store, key: bytes, state: str | None) -> bool:
    return await _state(store, key) == state
