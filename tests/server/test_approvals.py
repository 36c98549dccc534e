"""Functions whose calls wait until a person has approved them."""

import asyncio
import contextlib
import json
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from copy import copy
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import psutil
import pytest

from navai_client._redaction import Redactor
from navai_client.server import (
    BackendOptionsError,
    BackendRequest,
    FunctionContext,
    MemoryStore,
    NavaiBackend,
    Principal,
    RedisStore,
    SQLiteStore,
    Store,
    StoreEntry,
    StoreError,
)
from navai_client.server._calls import Failure
from tests.server.redis_server import DURABLE, RedisServer, redis_server
from tests.waiting import PATIENCE_S, until as _until

APPROVALS = "/navai/approvals"
EXECUTE = "/navai/functions/execute"
INSPECTOR_TOKEN = "inspectors-own-token-for-tests"
PRINCIPALS = {
    "agent": Principal("agent", ["pay"], {"tenant": "t1", "access_token": "claims-token-0123456789"}),
    "other": Principal("other"),
    "boss": Principal("boss", ["navai:approve"]),
}


def principal_of(request: BackendRequest) -> Principal | None:
    return PRINCIPALS.get(request.headers.get("authorization", "").removeprefix("Bearer "))


class Caller:
    """Calls one backend, as one principal or as the inspector."""

    def __init__(self, backend: NavaiBackend, token: str | None) -> None:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        transport = httpx.ASGITransport(app=cast("Any", backend))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    async def call(self, payload: Any, key: str | None = None, **headers: str) -> httpx.Response:
        given = headers if key is None else {"idempotency-key": key, **headers}
        return await self.http.post(EXECUTE, json={"function_name": "pay", "payload": payload}, headers=given)

    async def decide(self, approval_id: str, decision: Any = "approve", **more: Any) -> httpx.Response:
        return await self.http.post(f"{APPROVALS}/{approval_id}", json={"decision": decision, **more})

    async def waiting(self) -> list[dict[str, Any]]:
        response = await self.http.get(APPROVALS)
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        items: list[dict[str, Any]] = response.json()["items"]
        return items


class Replicas:
    """Two backends with one store and one function that needs approval."""

    def __init__(self, open_store: Callable[[], Store], **settings: Any) -> None:
        self.ran: list[tuple[int, FunctionContext]] = []
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.backends = []
        for _ in range(2):
            backend = NavaiBackend(env={}, discover=False, store=open_store(), **settings)
            backend.function(self.pay, approval=True)
            backend.start()
            self.backends.append(backend)

    async def pay(self, amount: int, context: FunctionContext, password: str = "") -> str:
        """Pay an amount."""
        self.ran.append((amount, context))
        self.begun.set()
        await self.may_end.wait()
        return f"paid {amount}{password}"

    def by(self, token: str | None, replica: int = 0) -> Caller:
        return Caller(self.backends[replica], token)


@contextlib.asynccontextmanager
async def replicas(open_store: Callable[[], Store], **settings: Any) -> AsyncIterator[Replicas]:
    both = Replicas(open_store, **({"authenticate": principal_of} | settings))
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield both
    finally:
        for backend in both.backends:
            await backend.aclose()


@pytest.fixture(scope="module", name="redis_url")
def _redis_url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with redis_server(tmp_path_factory.mktemp("redis"), *DURABLE) as server:
        yield server.url


@pytest.fixture(params=["memory", "sqlite", "redis"], name="open_store")
def _open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    if request.param == "sqlite":
        return lambda: SQLiteStore(tmp_path / "keys.sqlite")
    url = request.getfixturevalue("redis_url")
    return lambda: RedisStore(url, prefix=f"{tmp_path}:")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


async def until(done: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    while not await done():  # noqa: ASYNC110 - what waits may be anywhere
        await asyncio.sleep(0)


async def outcome(caller: Caller, payload: Any, key: str) -> httpx.Response:
    """Ask with the key until the call has been decided."""
    response = None

    async def is_decided() -> bool:
        nonlocal response
        response = await caller.call(payload, key)
        return response.status_code != 202

    await until(is_decided)
    assert response is not None
    return response


def test_a_call_waits_for_approval_at_one_replica_and_runs_at_the_other(
    open_store: Callable[[], Store], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "navai_client.server")

    async def scenario() -> None:
        async with replicas(open_store) as both:
            agent, boss = both.by("agent"), both.by("boss", 1)
            first = await agent.call({"amount": 5}, "k1", **{"x-card": "4111", "x-request-id": "r1"})
            body = first.json()
            assert first.status_code == 202
            assert first.headers["idempotency-key"] == "k1"
            approval = body.pop("approval")
            assert approval == {"id": approval["id"], "status": "pending"}
            assert "Do not repeat it" in body.pop("message")
            assert body == {"ok": False, "pending_approval": True, "function_name": "pay"}
            copies = [await each.call({"amount": 5}, "k1") for each in (agent, both.by("agent", 1))]
            assert [each.json()["approval"]["id"] for each in copies] == [approval["id"]] * 2
            assert copies[1].headers["idempotent-replayed"] == "true"
            assert (await both.by("agent", 1).call({"amount": 6}, "k1")).status_code == 422
            assert (await both.by("other").call({"amount": 5}, "k1")).json()["approval"] != approval

            (item, _) = await boss.waiting()
            assert item.pop("expires_at") - item.pop("requested_at") == 24 * 3600
            assert item == {
                "id": approval["id"],
                "status": "pending",
                "function_name": "pay",
                "payload": {"amount": 5},
                "caller": "agent",
                "request_id": "r1",
            }
            assert not both.ran
            approved = await boss.decide(approval["id"])
            assert (approved.status_code, approved.json()) == (
                200,
                {
                    "ok": True,
                    "function_name": "pay",
                    "approval": {"id": approval["id"], "status": "approved"},
                },
            )
            for replica in (0, 1):
                told = await outcome(both.by("agent", replica), {"amount": 5}, "k1")
                assert told.status_code == 200
                assert told.json()["result"] == "paid 5"
                assert told.headers["idempotent-replayed"] == "true"
            ((amount, context),) = both.ran
            assert (amount, context.request.raw_headers, context.request.scope) == (5, {}, {})
            principal = context.principal
            assert principal == Principal("agent", ["pay"])
            assert principal is not None
            assert principal.claims["tenant"] == "t1"
            assert "claims-token" not in str(principal.claims)
            again = await boss.decide(approval["id"])
            assert (again.status_code, again.json()["approval"]["status"]) == (409, "approved")
            assert (await boss.decide(approval["id"], "reject")).json()["approval"]["status"] == "approved"
            assert len(await boss.waiting()) == 1

    run(scenario())
    assert "boss approved the call of pay of request r1." in caplog.text


def test_a_rejected_call_never_runs_and_its_caller_is_told(open_store: Callable[[], Store]) -> None:
    async def scenario() -> None:
        async with replicas(open_store) as both:
            agent, boss = both.by("agent"), both.by("boss", 1)
            for reason, why in (({}, "."), ({"reason": "Too much."}, ": Too much.")):
                key = f"k{len(reason)}"
                waits = (await agent.call({"amount": 5}, key)).json()["approval"]["id"]
                rejected = await boss.decide(waits, "reject", **reason)
                assert rejected.json()["approval"] == {"id": waits, "status": "rejected"}
                told = await agent.call({"amount": 5}, key)
                assert told.status_code == 200
                assert told.headers["idempotent-replayed"] == "true"
                assert told.json() == {
                    "ok": False,
                    "function_name": "pay",
                    "error": "The call was rejected.",
                    "details": f"A person rejected the call{why} It was not executed.",
                    "details_for_model": True,
                }
                late = await both.by("boss").decide(waits)
                assert (late.status_code, late.json()["approval"]["status"]) == (409, "rejected")
            assert not both.ran
            assert not await boss.waiting()

    run(scenario())


def test_of_approvals_at_a_time_one_runs_the_call(open_store: Callable[[], Store]) -> None:
    async def scenario() -> None:
        async with replicas(open_store) as both:
            for n in range(5):
                waits = (await both.by("agent").call({"amount": n}, f"k{n}")).json()["approval"]["id"]
                decisions = [both.by("boss", each % 2).decide(waits) for each in range(6)]
                statuses = [each.status_code for each in await asyncio.gather(*decisions)]
                assert sorted(statuses) == [200, *[409] * 5]
            while len(both.ran) < 5:  # noqa: ASYNC110 - nothing else happens in this loop
                await asyncio.sleep(0)
            assert sorted(amount for amount, _ in both.ran) == [*range(5)]

    run(scenario())


def test_a_call_without_a_key_waits_under_one_of_its_own() -> None:
    async def scenario() -> None:
        async with replicas(MemoryStore) as both:
            agent, boss = both.by("agent"), both.by("boss")
            ids = {(await agent.call({"amount": 1})).json()["approval"]["id"] for _ in range(2)}
            assert ids == {each["id"] for each in await boss.waiting()}
            assert len(ids) == 2
            for each in ids:
                assert (await boss.decide(each)).status_code == 200
            while len(both.ran) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            assert [amount for amount, _ in both.ran] == [1, 1]

    run(scenario())


def test_arguments_that_do_not_fit_are_refused_and_no_person_is_asked() -> None:
    async def scenario() -> None:
        async with replicas(MemoryStore) as both:
            agent = both.by("agent")
            for key in (None, "k"):
                refused = await agent.call({"amount": "much"}, key)
                assert refused.status_code == 200
                assert "amount" in refused.json()["details"]
            assert (await agent.call({"amount": 1}, "k")).status_code == 422
            large = await agent.call({"amount": 1, "password": "x" * 16_384})
            assert "at most 16384 bytes" in large.json()["details"]
            assert not await both.by("boss").waiting()
            assert not both.ran

    run(scenario())


def test_a_running_call_is_awaited_by_those_who_ask_with_its_key(open_store: Callable[[], Store]) -> None:
    async def scenario() -> None:
        async with replicas(open_store) as both:
            both.may_end.clear()
            waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
            assert (
                await both.by("boss").decide(waits)
            ).status_code == 200  # it does not wait for the function
            await both.begun.wait()
            asking = [asyncio.create_task(both.by("agent", n).call({"amount": 5}, "k")) for n in (0, 1)]
            assert (await both.by("boss", 1).decide(waits)).status_code == 409
            both.may_end.set()
            assert [(await each).json()["result"] for each in asking] == ["paid 5"] * 2

    run(scenario())


def test_a_caller_withdraws_its_call(open_store: Callable[[], Store]) -> None:
    async def scenario() -> None:
        async with replicas(open_store) as both:
            agent = both.by("agent", 1)
            waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
            for cancelled in (True, False):
                response = await agent.http.post(f"{EXECUTE}/cancel", headers={"idempotency-key": "k"})
                assert response.json() == {"ok": True, "cancelled": cancelled}
            told = await agent.call({"amount": 5}, "k")
            assert "cancelled before" in told.json()["details"]
            decided = (await both.by("boss").decide(waits)).json()
            assert decided["approval"]["status"] == "withdrawn"
            assert decided["error"] == "The call was withdrawn before."
            assert not both.ran

    run(scenario())


def test_only_who_holds_the_scope_sees_and_decides() -> None:
    async def scenario() -> None:
        async with replicas(MemoryStore, inspector_token=INSPECTOR_TOKEN) as both:
            waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
            for token, status in ((None, 401), ("wrong", 401), ("agent", 403), ("other", 403)):
                caller = both.by(token)
                answers = await caller.http.get(APPROVALS), await caller.decide(waits)
                assert [each.status_code for each in answers] == [status] * 2
                assert status == 401 or "navai:approve" in answers[0].json()["error"]
            inspector = both.by(INSPECTOR_TOKEN)
            assert [each["id"] for each in await inspector.waiting()] == [waits]
            assert (await inspector.http.get("/navai/functions")).status_code == 200
            assert (await inspector.decide(waits)).status_code == 200

    run(scenario())


def test_the_inspectors_own_token_approves_where_callers_need_not_say_who_they_are() -> None:
    async def scenario() -> None:
        given: dict[str, Any] = {"authenticate": None, "inspector_token": INSPECTOR_TOKEN, "inspector": True}
        async with replicas(MemoryStore, **given) as both:
            anybody, inspector = both.by(None), both.by(INSPECTOR_TOKEN)
            waits = (await anybody.call({"amount": 5}, "k")).json()["approval"]["id"]
            for caller, status in ((anybody, 401), (both.by("wrong"), 401), (inspector, 200)):
                for path in (APPROVALS, "/navai/inspector/calls"):
                    assert (await caller.http.get(path)).status_code == status
            (item,) = await inspector.waiting()
            assert item["caller"] is None
            assert (await inspector.decide(waits)).status_code == 200
            assert (await outcome(anybody, {"amount": 5}, "k")).json()["result"] == "paid 5"
            assert both.ran[0][1].principal is None

    run(scenario())


def test_a_backend_where_nobody_could_approve_does_not_start() -> None:
    def backend(**settings: Any) -> NavaiBackend:
        made = NavaiBackend(env={}, discover=False, **settings)
        made.function(lambda: None, name="pay", approval=True)
        return made

    for settings in ({}, {"access_token": "a-token-for-tests"}, {"access_tokens": ["a=one-token", "b=two"]}):
        with pytest.raises(BackendOptionsError, match=r"nobody could give: pay\. Set NAVAI_INSPECTOR_TOKEN"):
            backend(**settings).start()
        backend(**settings, inspector_token=INSPECTOR_TOKEN).start()
    backend(authenticate=principal_of).start()
    with pytest.raises(BackendOptionsError, match="must not be an access token"):
        backend(access_tokens=[f"a={INSPECTOR_TOKEN}"], inspector_token=INSPECTOR_TOKEN)


def test_the_list_marks_functions_that_need_approval() -> None:
    async def scenario() -> None:
        async with replicas(MemoryStore) as both:
            both.backends[0].function(lambda: None, name="free")
            items = (await both.by("agent").http.get("/navai/functions")).json()["items"]
            assert {each["name"]: each.get("metadata") for each in items} == {
                "pay": {"requires_approval": True},
                "free": None,
            }

    run(scenario())


def test_a_payload_is_kept_until_its_call_is_decided_and_shown_without_secrets(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with replicas(lambda: SQLiteStore(tmp_path / "keys.sqlite")) as both:
            agent, boss = both.by("agent"), both.by("boss")
            payload = {"amount": 5, "password": "swordfish-0123"}
            waits = (await agent.call(payload, "idempotency-key-0123")).json()["approval"]["id"]
            (item,) = await boss.waiting()
            assert item["payload"]["amount"] == 5
            assert "swordfish" not in json.dumps(item)
            kept = rows(tmp_path)
            assert "swordfish" in kept
            for hidden in ("idempotency-key", "claims-token", "Bearer"):
                assert hidden not in kept
            assert (await boss.decide(waits)).status_code == 200
            assert (await outcome(agent, payload, "idempotency-key-0123")).json()[
                "result"
            ] == "paid 5swordfish-0123"
            rejected = await agent.call(payload, "k2")
            await boss.decide(rejected.json()["approval"]["id"], "reject")
            assert "amount" not in rows(tmp_path)

    run(scenario())


def rows(folder: Path) -> str:
    with contextlib.closing(sqlite3.connect(folder / "keys.sqlite")) as reader:
        return str(reader.execute("SELECT * FROM navai_keys").fetchall())


def test_a_call_of_which_the_store_does_not_confirm_that_it_waits_is_unknown() -> None:
    class Store(MemoryStore):
        """Keeps a call, and loses the response."""

        is_lost = True

        async def hold(self, *given: Any, **limit: Any) -> StoreEntry:
            entry = await super().hold(*given, **limit)
            if self.is_lost:
                raise StoreError("The store of idempotency keys cannot be used.")
            return entry

    async def scenario() -> None:
        store = Store()
        async with replicas(lambda: store) as both:
            agent, boss = both.by("agent"), both.by("boss")
            told = await agent.call({"amount": 1}, "k1")
            assert (told.status_code, told.json()["may_have_executed"]) == (409, True)
            assert "Ask again" in told.json()["error"]
            (waits,) = await boss.waiting()
            assert (await boss.decide(waits["id"])).status_code == 200
            store.is_lost = False
            assert (await outcome(agent, {"amount": 1}, "k1")).json()["result"] == "paid 1"
        assert len(both.ran) == 1

    run(scenario())


def test_calls_that_wait_are_limited_and_expire() -> None:
    now = [1000.0]

    async def scenario() -> None:
        store = MemoryStore(clock=lambda: now[0])
        async with replicas(lambda: store, max_waiting_approvals=2, approval_ttl=60) as both:
            agent, boss = both.by("agent"), both.by("boss")
            first = await agent.call({"amount": 1}, "k1")
            await agent.call({"amount": 2}, "k2")
            refused = await agent.call({"amount": 3}, "k3")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
            assert refused.json()["error"] == "Too many calls wait for approval."
            assert (await agent.call({"amount": 1}, "k1")).json() == first.json()
            now[0] += 60
            assert not await boss.waiting()
            assert (await boss.decide(first.json()["approval"]["id"])).status_code == 404
            assert (await agent.call({"amount": 3}, "k3")).status_code == 202
            rejected = (await boss.waiting())[0]["id"]
            await boss.decide(rejected, "reject")
            now[0] += 59  # longer than any outcome of a call that did not wait for a person
            assert (await agent.call({"amount": 3}, "k3")).json()["error"] == "The call was rejected."

    run(scenario())


def test_an_approval_that_cannot_begin_leaves_the_call_waiting(open_store: Callable[[], Store]) -> None:
    async def scenario() -> None:
        async with replicas(open_store, threads=1, max_waiting_calls=0) as both:
            agent, boss, backend = both.by("agent"), both.by("boss"), both.backends[0]
            release = asyncio.Event()
            loop = asyncio.get_running_loop()

            def block() -> None:
                asyncio.run_coroutine_threadsafe(release.wait(), loop).result(PATIENCE_S)

            def pay_in_thread() -> str:
                return "paid"

            backend.function(block)
            backend.function(pay_in_thread, approval=True)
            body = {"function_name": "pay_in_thread", "payload": {}}
            waits = (await agent.http.post(EXECUTE, json=body)).json()["approval"]["id"]
            blocked = asyncio.create_task(agent.http.post(EXECUTE, json={"function_name": "block"}))
            while not backend.invoker.running:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            busy = await boss.decide(waits)
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
            assert "still waits for approval" in busy.json()["error"]
            release.set()
            await blocked
            while not await boss.waiting():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            assert (await boss.decide(waits)).status_code == 200

    run(scenario())


def test_a_decision_that_makes_no_sense_is_refused() -> None:
    async def scenario() -> None:
        async with replicas(MemoryStore) as both:
            agent, boss = both.by("agent"), both.by("boss")
            waits = (await agent.call({"amount": 1}, "k")).json()["approval"]["id"]
            for body, status in (
                ({"decision": "perhaps"}, 400),
                ({}, 400),
                ({"decision": ["approve"]}, 400),
                ({"decision": "reject", "reason": 5}, 400),
                ([], 400),
            ):
                assert (await boss.http.post(f"{APPROVALS}/{waits}", json=body)).status_code == status
            for unknown in ("", "x", "ä", "A" * 43, waits[:-4] + "AAAA", f"{waits}A", f"{waits}/x"):
                assert (await boss.decide(unknown)).status_code == 404
            assert (await boss.http.get(f"{APPROVALS}/{waits}")).status_code == 405
            assert len(await boss.waiting()) == 1
            both.backends[0]._registry._by_name.clear()
            gone = await boss.decide(waits)
            assert (gone.status_code, "still waits" in gone.json()["error"]) == (409, True)
            assert len(await boss.waiting()) == 1

    run(scenario())


def test_an_id_approves_the_call_that_was_shown_and_no_other() -> None:
    now = [1000.0]

    async def scenario() -> None:
        store = MemoryStore(clock=lambda: now[0])
        async with replicas(lambda: store, approval_ttl=60) as both:
            agent, boss = both.by("agent"), both.by("boss")
            shown = (await agent.call({"amount": 1}, "k")).json()["approval"]["id"]
            now[0] += 60
            other = (await agent.call({"amount": 1_000_000}, "k")).json()["approval"]["id"]
            assert other != shown
            assert (await boss.decide(shown)).status_code == 404
            assert (await boss.decide(shown, "reject")).status_code == 404
            assert [each["id"] for each in await boss.waiting()] == [other]
            assert not both.ran

    run(scenario())


KILLED = """
import asyncio, json, os, signal, sys
import httpx
from navai_client.server import NavaiBackend, RedisStore, SQLiteStore

url, approval, when = sys.argv[1:]
store = RedisStore(url) if url.startswith("redis") else SQLiteStore(url)
start = store.start
# Only a lease that nothing has to happen within may be short.
store.lease = 0.3 if when == "approved" else 60
backend = NavaiBackend(env={}, discover=False, store=store, inspector_token="inspectors-own-token")


async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


async def pay(amount: int) -> str:
    print(amount, flush=True)
    await die()


async def begin(key, token, lease):
    return await start(key, token, 0.3)


store.start = die if when == "approved" else begin
backend.function(pay, approval=True)


async def main():
    headers = {"authorization": "Bearer inspectors-own-token"}
    transport = httpx.ASGITransport(app=backend)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
        await client.post(f"/navai/approvals/{approval}", json={"decision": "approve"})
        await asyncio.sleep(60)


asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_replica_that_is_killed_after_an_approval_loses_nothing_and_repeats_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"{tmp_path}/keys.sqlite"
    if kind == "redis":
        url = f"{request.getfixturevalue('redis_url')}&prefix={tmp_path}:"

    async def killed(approval: str, when: str) -> str:
        command = (sys.executable, "-c", KILLED, url, approval, when)
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        said, _ = await process.communicate()
        assert process.returncode == -signal.SIGKILL
        return said.decode()

    async def scenario() -> None:
        store = RedisStore(url) if kind == "redis" else SQLiteStore(url)
        given: dict[str, Any] = {"authenticate": None, "inspector_token": INSPECTOR_TOKEN}
        async with replicas(lambda: store, **given) as both:
            anybody, inspector = both.by(None), both.by(INSPECTOR_TOKEN)
            waits = (await anybody.call({"amount": 5}, "k")).json()["approval"]["id"]

            async def is_waiting() -> bool:
                return [each["id"] for each in await inspector.waiting()] == [waits]

            assert await killed(waits, "approved") == ""  # its function has not begun
            await until(is_waiting)
            assert (await anybody.call({"amount": 5}, "k")).json()["approval"]["id"] == waits
            assert await killed(waits, "began") == "5\n"
            told = await outcome(anybody, {"amount": 5}, "k")
            assert (told.status_code, told.json()["may_have_executed"]) == (409, True)
            assert (await inspector.decide(waits)).json()["approval"]["status"] == "approved"
            assert not await inspector.waiting()
            assert not both.ran

    run(scenario())


def test_a_replica_that_was_paused_after_an_approval_does_not_run_what_another_has_run(
    open_store: Callable[[], Store],
) -> None:
    async def scenario() -> None:
        async with replicas(open_store) as both:
            store, go_on = both.backends[0].store, asyncio.Event()
            paused: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
            start = store.start

            async def pause(key: bytes, token: bytes, lease: float) -> bool:
                vars(store).pop("start", None)
                paused.set_result((key, token))
                await go_on.wait()
                return await start(key, token, lease)

            vars(store).update(start=pause)
            waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
            first = asyncio.create_task(both.by("boss").decide(waits))
            claim = await paused
            assert (await both.by("boss", 1).decide(waits)).status_code == 409
            assert await store.renew(*claim, 0.01)

            async def is_approved() -> bool:
                return (await both.by("boss", 1).decide(waits)).status_code == 200

            await until(is_approved)  # once the lease of the first has ended
            assert (await outcome(both.by("agent", 1), {"amount": 5}, "k")).json()["result"] == "paid 5"
            go_on.set()
            assert (await first).status_code == 503
            assert len(both.ran) == 1

    run(scenario())


class Disturbed(MemoryStore):
    """A store whose operations are disturbed once: *before* or *after* they are done."""

    def __init__(self, operation: str, disturb: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        undisturbed = getattr(self, operation)

        async def disturbed(*given: Any) -> Any:
            delattr(self, operation)
            if operation != "approve":
                await disturb()
                return await undisturbed(*given)
            entry = copy(await undisturbed(*given))  # as it is now
            await disturb()
            return entry

        setattr(self, operation, disturbed)


async def fail() -> None:
    raise StoreError("It cannot be reached.", retry_after="7")


def test_a_store_that_fails_is_said_and_no_approval_is_lost() -> None:
    async def scenario() -> None:
        for operation in ("list_waiting", "read", "reject", "approve"):
            store = Disturbed(operation, fail)
            async with replicas(lambda store=store: store) as both:  # type: ignore[misc]
                boss = both.by("boss")
                waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
                if operation == "list_waiting":
                    failed = await boss.http.get(APPROVALS)
                else:
                    failed = await boss.decide(waits, "reject" if operation == "reject" else "approve")
                assert failed.status_code == 503
                assert failed.headers["retry-after"] in {"1", "7"}
                assert [each["id"] for each in await boss.waiting()] == [waits]
                assert (await boss.decide(waits)).status_code == 200

    run(scenario())


def test_a_decision_that_comes_too_late_says_what_was_decided() -> None:
    async def scenario(before: str) -> None:
        boss: Caller
        waits = ""
        now = [1000.0]

        async def be_faster() -> None:
            if before == "expired":
                now[0] += 90_000
            else:
                faster = asyncio.create_task(boss.decide(waits, before))  # each request has a task of its own
                assert (await faster).status_code == 200

        store = Disturbed("reject", be_faster)
        store._clock = lambda: now[0]
        async with replicas(lambda: store) as both:
            boss = both.by("boss")
            waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
            late = await boss.decide(waits, "reject")
            if before == "expired":
                assert late.status_code == 404
            else:
                assert (late.status_code, late.json()["approval"]["status"]) == (409, "approved")

    run(scenario("approve"))
    run(scenario("expired"))


def test_a_server_that_stops_while_it_approves_leaves_the_call_waiting() -> None:
    async def scenario() -> None:
        approved, go_on = asyncio.Event(), asyncio.Event()

        async def pause() -> None:
            approved.set()
            await go_on.wait()

        store = Disturbed("approve", pause)
        async with replicas(lambda: store) as both:
            waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
            deciding = asyncio.create_task(both.by("boss").decide(waits))
            await approved.wait()
            for call in tuple(both.backends[0].invoker._running):
                both.backends[0].invoker.stop(call, Failure("stopped"))
            go_on.set()
            assert (await deciding).status_code == 503
            assert [each["id"] for each in await both.by("boss").waiting()] == [waits]
            assert not both.ran

    run(scenario())


def test_a_request_that_waits_for_the_store_when_it_is_closed_gets_503(tmp_path: Path) -> None:
    async def scenario(server: RedisServer) -> None:
        async with replicas(lambda: RedisStore(server.url)) as both:
            boss = both.by("boss")
            waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
            assert server.process is not None
            server.process.send_signal(signal.SIGSTOP)
            stopped = psutil.Process(server.process.pid)
            _until(lambda: stopped.status() == psutil.STATUS_STOPPED)
            requests = [asyncio.create_task(each) for each in (boss.http.get(APPROVALS), boss.decide(waits))]
            store: Any = both.backends[0].store
            while len(store._waiting) < len(requests):  # noqa: ASYNC110
                await asyncio.sleep(0)
            await both.backends[0].aclose()
            server.process.send_signal(signal.SIGCONT)
            for response in await asyncio.gather(*requests):
                assert (response.status_code, response.headers["retry-after"]) == (503, "1")
                assert "error" in response.json()
            assert [each["id"] for each in await both.by("boss", 1).waiting()] == [waits]

    with redis_server(tmp_path, *DURABLE) as server:
        run(scenario(server))


def test_what_has_no_form_in_json_is_not_kept_of_a_caller_and_what_cannot_be_searched_is_not_shown() -> None:
    user = Principal("agent", [], {"tenant": "t1", "session": object()})

    async def scenario() -> None:
        async with replicas(MemoryStore, authenticate=lambda request: principal_of(request) and user) as both:
            backend, agent = both.backends[0], both.by("agent")
            backend.invoker._holding._redactor = Redactor(seconds=0)
            await agent.call({"amount": 5}, "k")
            ((key, entry),) = await backend.store.list_waiting()
            held = msgspec.msgpack.decode(entry.call or b"")
            assert held["principal"][2] == {}
            assert "not shown" in json.loads(held["shown"])
            backend.invoker._holding._redactor = Redactor()
            await agent.call({"amount": 5}, "k2")
            ((_, entry),) = [each for each in await backend.store.list_waiting() if each[0] != key]
            assert msgspec.msgpack.decode(entry.call or b"")["principal"][2] == {"tenant": "t1"}

    run(scenario())


def test_a_store_that_is_down_is_503_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    class Down(MemoryStore):
        async def list_waiting(self) -> list[tuple[bytes, StoreEntry]]:
            raise StoreError("redis://10.1.2.3:6379 refused")

        async def read(self, key: bytes) -> StoreEntry | None:
            raise StoreError("redis://10.1.2.3:6379 refused")

    async def scenario() -> None:
        async with replicas(MemoryStore) as both, replicas(Down) as down:
            waits = (await both.by("agent").call({"amount": 5}, "k")).json()["approval"]["id"]
            boss = down.by("boss")
            for answer in (await boss.http.get(APPROVALS), await boss.decide(waits)):
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert "10.1.2.3" not in answer.text

    run(scenario())
    assert "10.1.2.3" in caplog.text
