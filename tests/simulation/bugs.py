"""Mistakes in the rules of store, execution and client, each of which the simulation must find."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest import mock

from navai_client.server import StoreError, _calls, _execution, _redis_store, _routes, _store
from navai_client.wire import _exchange, _requests, _retry
from tests.simulation import redis

__all__ = ["BUGS"]

Bug = Callable[[], contextlib.AbstractContextManager[Any]]

BUGS: Final[dict[str, Bug]] = {}
"""What makes each mistake while it is entered, by name."""


_OWNER: Final = "if not state or lapsed or entry[3] ~= token then return 0 end"
_LEASE: Final = "\n      lease("
_WAITS: Final = f"if state == 'waiting' then{_LEASE}"
_FREE: Final = "if claims[operation] and not state then"


def _bug(make: Callable[[], Iterator[None]]) -> None:
    BUGS[make.__name__.removeprefix("_").replace("_", " ")] = contextlib.contextmanager(make)


def _in_script(right: str, wrong: str) -> contextlib.AbstractContextManager[Any]:
    """Change the script that runs on the Redis server."""
    assert _redis_store._SCRIPT.count(right) == 1
    return mock.patch.object(_redis_store, "_SCRIPT", _redis_store._SCRIPT.replace(right, wrong))


@_bug
def _start_does_not_check_the_token() -> Iterator[None]:
    with _in_script(_OWNER, f"if operation == 'start' then return 1 end {_OWNER}"):
        yield


@_bug
def _a_fenced_owner_frees_the_key() -> Iterator[None]:
    with (
        _in_script(_OWNER, f"if operation ~= 'free' then {_OWNER} end"),
        _in_script("elseif not outcome then", "else"),
    ):
        yield


@_bug
def _a_started_key_can_be_claimed() -> Iterator[None]:
    with _in_script(_FREE, "if claims[operation] and (not state or state == 'started') then"):
        yield


@_bug
def _an_unknown_outcome_counts_as_free() -> Iterator[None]:
    with _in_script(_FREE, "if claims[operation] and (not state or state == 'unknown') then"):
        yield


@_bug
def _a_start_is_not_kept() -> Iterator[None]:
    with (
        _in_script("operation == 'start' and 'started' or entry[1]", "entry[1]"),
        _in_script("begin = 'started'", "begin = 'claimed'"),
    ):
        yield


@_bug
def _a_call_is_approved_twice() -> Iterator[None]:
    with _in_script(
        _WAITS, f"if state == 'waiting' or state == 'claimed' or state == 'started' then{_LEASE}"
    ):
        yield


@_bug
def _a_rejected_call_can_be_approved() -> Iterator[None]:
    with _in_script(_WAITS, f"if state == 'waiting' or state == 'rejected' then{_LEASE}"):
        yield


@_bug
def _leases_are_not_renewed() -> Iterator[None]:
    async def renew(_: Any) -> None:
        pass

    with mock.patch.object(_execution.Invoker, "_renew", renew):
        yield


@_bug
def _a_function_begins_before_its_start_is_confirmed() -> Iterator[None]:
    original = _execution.Invoker._start

    async def start(self: Any, claim: Any) -> bool:
        self._recording.start(original(self, claim), "start")
        return True

    with mock.patch.object(_execution.Invoker, "_start", start):
        yield


@_bug
def _without_a_store_functions_run_nevertheless() -> Iterator[None]:
    claims, starts = _store.BatchedStore.claim, _store.BatchedStore.start

    async def claim(self: Any, key: bytes, given: bytes, token: bytes, lease: float, *, start: bool) -> Any:
        try:
            return await claims(self, key, given, token, lease, start=start)
        except StoreError:
            return _store.StoreEntry("started" if start else "claimed", given, token)

    async def start(self: Any, key: bytes, token: bytes, lease: float) -> bool:
        try:
            return await starts(self, key, token, lease)
        except StoreError:
            return True

    with (
        mock.patch.object(_store.BatchedStore, "claim", claim),
        mock.patch.object(_store.BatchedStore, "start", start),
    ):
        yield


@_bug
def _another_payload_gets_the_result() -> Iterator[None]:
    with mock.patch.object(_execution, "fingerprint", return_value=bytes(16)):
        yield


@_bug
def _another_caller_gets_the_result() -> Iterator[None]:
    with mock.patch.object(_routes, "key_digest", lambda _caller, key: _store.key_digest(b"", key)):
        yield


@_bug
def _a_refusal_is_kept_as_the_outcome() -> Iterator[None]:
    with mock.patch.object(_calls.Failure, "has_begun", new=True):
        yield


@_bug
def _an_outcome_is_not_recorded_again() -> Iterator[None]:
    async def record(self: Any, claim: Any, kept: bytes | None) -> None:
        with contextlib.suppress(StoreError):
            await self._store.finish(claim.key, claim.token, kept, self._key_ttl)

    with mock.patch.object(_execution.Invoker, "_record", record):
        yield


@_bug
def _a_live_key_is_evicted() -> Iterator[None]:
    original = _store.MemoryStore.claim

    async def claim(self: Any, *given: Any, **options: Any) -> Any:
        while len(self._entries) > 1:
            self._drop(next(iter(self._entries)))
        return await original(self, *given, **options)

    with mock.patch.object(_store.MemoryStore, "claim", claim):
        yield


@_bug
def _the_client_repeats_what_may_have_been_executed() -> Iterator[None]:
    with mock.patch.object(_requests.SharedKeys, "are_shared", return_value=True):
        yield


@_bug
def _the_client_says_that_nothing_was_executed() -> Iterator[None]:
    original = _exchange.Exchange._error

    def error(self: Any, failure: Any) -> Any:
        self._may_have_executed = False
        return original(self, failure)

    with mock.patch.object(_exchange.Exchange, "_error", error):
        yield


@_bug
def _the_client_retries_every_error() -> Iterator[None]:
    with mock.patch.object(
        _retry.RetryPolicy, "delay", lambda *_, attempt, **__: 0.1 if attempt < 3 else None
    ):
        yield


@_bug
def _the_store_forgets_what_it_has_confirmed() -> Iterator[None]:
    with mock.patch.object(redis.Disk, "forgets", new=True):
        yield
