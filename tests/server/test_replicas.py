"""Calls with an idempotency key on several replicas that share a store."""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from navai_client.server import NavaiBackend, RedisStore, SQLiteStore, Store, StoreError, _execution
from navai_client.server._http import BackendRequest, BackendResponse
from tests.server.redis_server import DURABLE, RedisServer, redis_server
from tests.server.time_limits import NEVER_S
from tests.serving import NO_TLS
from tests.waiting import PATIENCE_S, until

EXECUTE = "/navai/functions/execute"
JSON = {b"content-type": b"application/json"}

Open = Callable[[], Store]


@pytest.fixture(scope="module", name="redis")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), *DURABLE) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"], name="open_store")
def _open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "sqlite":
        return lambda: SQLiteStore(tmp_path / "keys.sqlite")
    server: RedisServer = request.getfixturevalue("redis")
    return lambda: RedisStore(server.url, prefix=f"{tmp_path}:")


class Brief:
    """A store whose claims have short leases."""

    def __init__(self, store: Store, lease: float = 0.3) -> None:
        self._store = store
        self.lease = lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Renewing(Brief):
    """A store whose claims are renewed as those with short leases, although theirs are longer."""

    LEASE_S = 4.0  # so that a process may be late by seconds

    async def claim(self, key: bytes, fingerprint: bytes, token: bytes, lease: float, **given: Any) -> Any:
        return await self._store.claim(key, fingerprint, token, self.LEASE_S, **given)

    async def start(self, key: bytes, token: bytes, lease: float) -> bool:
        return await self._store.start(key, token, self.LEASE_S)

    async def renew(self, key: bytes, token: bytes, lease: float) -> bool:
        return await self._store.renew(key, token, self.LEASE_S)


def post(backend: NavaiBackend, key: str, payload: str = "null", path: str = EXECUTE) -> "asyncio.Task[Any]":
    """Start a request that executes a function."""
    request = BackendRequest("POST", path, {**JSON, b"idempotency-key": key.encode()})
    body = b'{"function_name":"work","payload":%s}' % payload.encode()
    return asyncio.create_task(backend.router.respond(request, body))


def replayed(response: BackendResponse) -> bool:
    return (b"idempotent-replayed", b"true") in response.headers


async def loops_until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - nothing else happens in this loop
        await asyncio.sleep(0)


async def has_claimed(store: Store, key: bytes) -> None:
    while await store.read(key) is None:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)


class Replicas:
    """Two replicas with one function, which waits until it may end; with *in_thread*, it does not wait."""

    def __init__(self, open_store: Open, *, in_thread: bool = False, **settings: Any) -> None:
        self.ran: list[Any] = []
        self.began = asyncio.Event()
        self.release = asyncio.Event()
        options = {"function_timeout": NEVER_S, **settings}  # no call may end by its limit instead
        self.backends = [
            NavaiBackend(env={}, discover=False, store=open_store(), **options) for _ in range(2)
        ]
        for backend in self.backends:
            backend.function(self._work_in_thread if in_thread else self._work, name="work")

    async def _work(self, x: Any = None) -> int:
        self.ran.append(x)
        self.began.set()
        await self.release.wait()
        return len(self.ran)

    def _work_in_thread(self, x: Any = None) -> int:
        self.ran.append(x)
        return len(self.ran)


@contextlib.asynccontextmanager
async def replicas(open_store: Open, *, in_thread: bool = False, **settings: Any) -> AsyncIterator[Replicas]:
    both = Replicas(open_store, in_thread=in_thread, **settings)
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            yield both
    finally:
        for backend in both.backends:
            await backend.aclose()


def test_a_copy_at_another_replica_waits_for_the_first_and_gets_its_result(open_store: Open) -> None:
    async def scenario() -> None:
        async with replicas(open_store) as both:
            one, other = both.backends
            first = post(one, "k", '{"x":1}')
            await both.began.wait()
            copies = [post(other, "k", '{"x":1.0}') for _ in range(3)]
            cancelled = await post(one, "absent", path=f"{EXECUTE}/cancel")
            assert cancelled.status == 404
            await loops_until(lambda: any(call.begun for call in other.invoker._running))
            elsewhere = await post(other, "k", path=f"{EXECUTE}/cancel")
            assert (elsewhere.status, b'"may_have_executed":true' in elsewhere.body) == (409, True)
            both.release.set()
            result = await first
            assert (result.status, replayed(result)) == (200, False)
            for copy in copies:
                response = await copy
                assert (response.body, replayed(response)) == (result.body, True)
            wrong = await post(other, "k", '{"x":2}')
            assert (wrong.status, replayed(wrong)) == (422, False)
            ended = await post(other, "k", path=f"{EXECUTE}/cancel")
            assert b'"cancelled":false' in ended.body
            assert both.ran == [1]

    asyncio.run(scenario())


def test_a_response_can_be_relied_on_at_the_other_replica(open_store: Open) -> None:
    async def scenario() -> None:
        async with replicas(open_store) as both:
            both.release.set()
            for n in range(20):
                one, other = both.backends[:: 1 - 2 * (n % 2)]
                result, again = await post(one, f"{n}"), await post(other, f"{n}")
                assert (again.body, replayed(again)) == (result.body, True)
            assert len(both.ran) == 20

    asyncio.run(scenario())


def test_a_function_that_takes_longer_than_a_lease_keeps_its_key(open_store: Open) -> None:
    async def scenario() -> None:
        async with replicas(lambda: Renewing(open_store())) as both:
            one, other = both.backends
            first = post(one, "k")
            await both.began.wait()
            copy = post(other, "k")
            await asyncio.wait((first, copy), timeout=1.2 * Renewing.LEASE_S)
            assert not copy.done()
            both.release.set()
            assert (await copy).body == (await first).body
            assert len(both.ran) == 1

    asyncio.run(scenario())


def test_a_call_whose_owner_is_gone_may_have_been_executed_unless_it_comes_back(open_store: Open) -> None:
    async def scenario() -> None:
        async with replicas(lambda: Brief(open_store())) as both:
            one, other = both.backends
            first = post(one, "k")
            await both.began.wait()
            assert one.invoker._renewing is not None
            one.invoker._renewing.cancel()  # as if it were paused
            unknown = await post(other, "k")
            assert unknown.status == 409
            assert b'"may_have_executed":true' in unknown.body
            assert not replayed(unknown)
            both.release.set()
            assert (await first).status == 200
            late = await post(other, "k")
            assert (late.body, replayed(late)) == ((await first).body, True)
            assert len(both.ran) == 1

    asyncio.run(scenario())


def test_what_an_owner_refused_is_begun_by_the_replica_where_a_copy_waits(open_store: Open) -> None:
    async def scenario() -> None:
        async with replicas(open_store, in_thread=True) as both:
            one, other = both.backends
            start, started = one.store.start, asyncio.Event()

            async def paused(*arguments: Any) -> bool:
                await started.wait()
                await start(*arguments)
                raise StoreError("The response was lost.")

            vars(one.store)["start"] = paused
            refused = post(one, "k")
            await has_claimed(other.store, await _key(one))
            copy = post(other, "k")
            await loops_until(lambda: other.invoker.running > 0)
            started.set()
            assert (await refused).status == 503
            assert (await copy).status == 200
            assert len(both.ran) == 1

    asyncio.run(scenario())


def test_a_copy_that_waits_gets_no_outcome_of_another_payload(open_store: Open) -> None:
    async def scenario() -> None:
        async with replicas(open_store, in_thread=True) as both:
            one, other = both.backends
            start, read = one.store.start, other.store.read
            refuse, waits, look = asyncio.Event(), asyncio.Event(), asyncio.Event()

            async def refused(*arguments: Any) -> bool:
                await refuse.wait()
                del vars(one.store)["start"]
                await start(*arguments)
                raise StoreError("The response was lost.")

            async def late(key: bytes) -> Any:
                waits.set()
                await look.wait()
                return await read(key)

            vars(one.store)["start"], vars(other.store)["read"] = refused, late
            first = post(one, "k", '{"x":1}')
            key = await _key(one)
            await has_claimed(one.store, key)
            copy = post(other, "k", '{"x":1}')
            await waits.wait()
            refuse.set()
            assert (await first).status == 503
            while await one.store.read(key) is not None:  # noqa: ASYNC110 - until its key is free
                await asyncio.sleep(0)
            assert (await post(one, "k", '{"x":2}')).status == 200
            look.set()
            assert (await copy).status == 422
            assert both.ran == [2]

    asyncio.run(scenario())


def test_an_owner_that_was_paused_before_its_start_does_not_start(open_store: Open) -> None:
    async def scenario() -> None:
        leases = iter((0.3, 60.0))
        async with replicas(lambda: Brief(open_store(), next(leases)), in_thread=True) as both:
            one, other = both.backends
            start, has_claimed, go_on = one.store.start, asyncio.Event(), asyncio.Event()

            async def paused(*arguments: Any) -> bool:
                has_claimed.set()
                await go_on.wait()
                return await start(*arguments)

            vars(one.store)["start"] = paused
            fenced = post(one, "k")
            await has_claimed.wait()
            assert (await post(other, "k")).status == 200  # once the claim has lapsed
            go_on.set()
            refused = await fenced
            assert (refused.status, len(both.ran)) == (503, 1)
            assert replayed(await post(one, "k"))

    asyncio.run(scenario())


class Forgetful(Brief):
    """A store that loses what it has confirmed."""

    async def renew(self, *_: Any) -> bool:
        return False

    async def finish(self, *_: Any) -> bool:
        return False


def test_an_owner_notices_that_the_store_has_lost_its_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with replicas(lambda: Forgetful(SQLiteStore(tmp_path / "keys.sqlite"))) as both:
            call = post(both.backends[0], "k")
            await loops_until(lambda: "that runs" in caplog.text)
            both.release.set()
            assert (await call).status == 200

    asyncio.run(scenario())
    assert "The store has lost the key of a call of work that runs." in caplog.messages
    assert "The store has lost the key of a call of work." in caplog.messages


class Full(Brief):
    """A store that takes keys, and no outcomes."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.tried = 0

    async def finish(self, *_: Any) -> bool:
        self.tried += 1
        raise StoreError("It cannot be written to.")


def test_an_outcome_that_the_store_never_takes_is_given_up_when_its_key_would_have_ended(
    tmp_path: Path,
) -> None:
    store = Full(SQLiteStore(tmp_path / "keys.sqlite"))

    async def scenario() -> None:
        async with replicas(lambda: store, key_ttl=0.9) as both:  # it is tried again after one second
            both.release.set()
            assert (await post(both.backends[0], "k")).status == 200

    asyncio.run(scenario())
    assert store.tried == 2


async def _key(backend: NavaiBackend) -> bytes:
    await loops_until(lambda: bool(backend.invoker._claims))
    return next(iter(backend.invoker._claims))


def test_a_call_goes_on_when_its_client_leaves_while_it_is_claimed(open_store: Open) -> None:
    async def scenario() -> None:
        async with replicas(open_store) as both:
            one, other = both.backends
            left = post(one, "k")
            await _key(one)
            left.cancel()
            await asyncio.wait((left,))
            await both.began.wait()
            both.release.set()
            assert replayed(await post(other, "k"))
            assert len(both.ran) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("in_thread", [False, True], ids=["on the loop", "in a thread"])
def test_a_call_that_is_cancelled_while_it_is_claimed_does_not_begin(
    open_store: Open, *, in_thread: bool
) -> None:
    async def scenario() -> None:
        async with replicas(open_store, in_thread=in_thread) as both:
            one, other = both.backends
            for state in ("claim", "start") if in_thread else ("claim",):
                operation, go_on = getattr(one.store, state), asyncio.Event()

                async def paused(
                    *arguments: Any, call: Any = operation, go_on: Any = go_on, **options: Any
                ) -> Any:
                    answer = await call(*arguments, **options)
                    await go_on.wait()
                    return answer

                setattr(one.store, state, paused)
                call = post(one, state)
                await _key(one)
                stopped = await post(one, state, path=f"{EXECUTE}/cancel")
                assert b'"cancelled":true}' in stopped.body
                go_on.set()
                assert b"before its function began" in (await call).body
                assert replayed(await post(other, state))
            assert both.ran == []

    asyncio.run(scenario())


def test_a_copy_that_waits_has_the_time_limit_of_the_function(open_store: Open) -> None:
    async def scenario() -> None:
        async with replicas(open_store, function_timeout=None) as both:
            one, other = both.backends
            other.invoker._timeout = 0.1
            first = post(one, "k")
            await both.began.wait()
            late = await post(other, "k")
            assert (late.status, b'"may_have_executed":true' in late.body) == (200, True)
            both.release.set()
            assert (await first).status == 200

    asyncio.run(scenario())


def test_only_a_store_of_all_replicas_is_announced(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_execution, "_PROBE_S", PATIENCE_S)

    async def scenario() -> None:
        backend = NavaiBackend(env={}, discover=False, store=open_store())
        transport = httpx.ASGITransport(app=backend)
        async with backend.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            said = [
                (await client.get(path)).headers.get("navai-idempotency")
                for path in ("/ready", "/navai/functions")
            ]
            assert said == ["shared" if isinstance(backend.store, RedisStore) else None] * 2

    asyncio.run(scenario())


def test_a_backend_whose_store_is_down_is_not_ready_and_refuses_only_calls_with_a_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_execution, "_PROBE_S", PATIENCE_S)
    with redis_server(tmp_path, *DURABLE) as server, caplog.at_level(logging.ERROR):

        async def scenario() -> None:
            async with replicas(lambda: RedisStore(server.url)) as both:
                backend = both.backends[0]
                transport = httpx.ASGITransport(app=backend)
                async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                    body = {"function_name": "work"}
                    running = asyncio.create_task(
                        client.post(EXECUTE, json=body, headers={"idempotency-key": "r"})
                    )
                    await both.began.wait()
                    waiting = post(both.backends[1], "r")
                    await loops_until(lambda: any(call.begun for call in both.backends[1].invoker._running))
                    server.kill()
                    for _ in range(2):
                        refused = await client.post(EXECUTE, json=body, headers={"idempotency-key": "k"})
                        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                        assert refused.headers["idempotency-key"] == "k"
                        assert str(server.port) not in refused.text
                    cancel = await client.post(f"{EXECUTE}/cancel", headers={"idempotency-key": "k"})
                    assert cancel.status_code == 503
                    assert (await client.get("/ready")).status_code == 503
                    both.release.set()
                    assert (await client.post(EXECUTE, json=body)).json()["result"] == 2
                    assert (await client.get("/navai/functions")).status_code == 200
                    assert (await running).status_code == 200  # its outcome is recorded later
                    await asyncio.to_thread(server.start)
                    assert (await client.get("/ready")).status_code == 200
                    again = await client.post(EXECUTE, json=body, headers={"idempotency-key": "r"})
                    assert again.json() == (await running).json()
                    assert again.headers["idempotent-replayed"] == "true"
                    assert replayed(await waiting)
                    assert (
                        await client.post(EXECUTE, json=body, headers={"idempotency-key": "k"})
                    ).is_success

        asyncio.run(scenario())
    assert [line.message[:48] for line in caplog.records] == [
        "Calls with an Idempotency-Key get status 503: Th"
    ]


def test_a_store_that_is_down_or_does_not_respond_is_logged_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, *DURABLE) as server, caplog.at_level(logging.ERROR):
        backends = [NavaiBackend(env={}, discover=False, store=RedisStore(server.url)) for _ in range(2)]

        async def start(backend: NavaiBackend) -> None:
            async with backend.lifespan():
                ready = await backend.router.respond(BackendRequest("GET", "/ready", {}), b"")
                assert ready.status == 503

        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        asyncio.run(start(backends[0]))
        server.kill()
        asyncio.run(start(backends[1]))
    first, second = caplog.messages
    assert first.endswith("get status 503: The store did not respond within 1 seconds.")
    assert "get status 503: The store of idempotency keys cannot be used: " in second


def test_nothing_that_is_stored_shows_a_key_a_token_or_a_payload(tmp_path: Path) -> None:
    with redis_server(tmp_path, *DURABLE) as server:

        async def scenario() -> None:
            for store in (SQLiteStore(tmp_path / "keys.sqlite"), RedisStore(server.url)):
                async with replicas(lambda store=store: store) as both:  # type: ignore[misc]
                    both.release.set()
                    request = BackendRequest(
                        "POST",
                        EXECUTE,
                        {**JSON, b"idempotency-key": b"secret-key", b"authorization": b"Bearer secret-token"},
                    )
                    body = b'{"function_name":"work","payload":{"x":"secret-payload"}}'
                    assert (await both.backends[0].router.respond(request, body)).status == 200

        asyncio.run(scenario())
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"=1" in each for each in written)
    assert not any(b"secret" in each for each in written)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A folder with a function that notes each run."""
    file = tmp_path / "src" / "ai" / "functions-modules" / "charging.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import asyncio, os, pathlib\n"
        "async def charge(key: str, folder: str, seconds: float = 0.0) -> int:\n"
        "    with open(pathlib.Path(folder) / 'charges', 'a') as charges:\n"
        "        charges.write(f'{key}\\n')\n"
        "    await asyncio.sleep(seconds)\n"
        "    return os.getpid()\n"
    )
    return tmp_path


@contextlib.contextmanager
def server_process(base: Path, *options: str, **env: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    command = [sys.executable, "-m", "navai_client.server", "--port", "0", "--base-dir", str(base), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def charge(url: str, key: str, folder: Path, seconds: float = 0.0) -> httpx.Response:
    body = {"function_name": "charge", "payload": {"key": key, "folder": str(folder), "seconds": seconds}}
    headers = {"idempotency-key": key}
    return httpx.post(
        url + EXECUTE, json=body, headers=headers, timeout=PATIENCE_S, trust_env=False, verify=NO_TLS
    )


@pytest.mark.parametrize("store", [(), ("--store", "sqlite:///{}/keys.sqlite")], ids=["by itself", "named"])
def test_several_workers_run_each_key_once(module: Path, store: tuple[str, ...]) -> None:
    options = [each.format(module) for each in store]
    with (
        server_process(module, "--workers", "2", "--drain-delay", "0", *options) as (_, url),
        ThreadPoolExecutor(8) as pool,
    ):
        numbers, answers, ran = itertools.count(), list[httpx.Response](), set[int]()

        def both_have_run_some() -> bool:  # the second one may start later
            keys = [f"{next(numbers)}" for _ in range(40)]
            answers.extend(
                pool.map(lambda key: charge(url, key, module), (k for k in keys for _ in range(2)))
            )
            assert {answer.status_code for answer in answers} == {200}
            ran.update(answer.json()["result"] for answer in answers)
            return len(ran) == 2

        until(both_have_run_some)
    for first, second in zip(answers[::2], answers[1::2], strict=True):
        assert first.json() == second.json()
    assert set(Counter((module / "charges").read_text().split()).values()) == {1}


def test_a_file_that_is_named_keeps_keys_when_the_server_is_started_again(module: Path) -> None:
    answers = []
    for _ in range(2):
        store = f"sqlite:///{module}/keys.sqlite"
        with server_process(module, "--drain-delay", "0", NAVAI_STORE_URL=store) as (_, url):
            answers.append(charge(url, "k", module))
    assert answers[0].json() == answers[1].json()
    assert (module / "charges").read_text() == "k\n"
