"""The stores of idempotency keys: one suite for all of them, and what is particular to each."""

import asyncio
import contextlib
import logging
import signal
import socket
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from navai_client.server import (
    MemoryStore,
    NavaiBackend,
    RedisStore,
    SQLiteStore,
    Store,
    StoreError,
    _redis_store,
    _sqlite_store,
)
from navai_client.server._http import BackendRequest
from navai_client.testing import StoreTests
from tests.server.redis_server import DURABLE, RedisServer, redis_server
from tests.waiting import PATIENCE_S, until

KEY, PRINT, TOKEN = b"k" * 16, b"f" * 16, b"t" * 16
A_REPLICA = r"^The store of idempotency keys is a replica that cannot be written to\.$"
EVERYTHING = ("default", "on", "nopass", "~*", "&*", "+@all")  # what a user of Redis may do


@pytest.fixture(scope="module", name="redis")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), *DURABLE) as server:
        yield server


class TestMemoryStore(StoreTests):
    """The store of one process."""

    @asynccontextmanager
    async def open_stores(self) -> AsyncIterator[tuple[Store, Store]]:
        store = MemoryStore()
        yield store, store
        await store.aclose()


def test_the_tests_of_stores_take_a_longer_lease_where_one_passes_too_early() -> None:
    class BusyStore(MemoryStore):
        starts = 0

        async def start(self, key: bytes, token: bytes, lease: float) -> bool:
            self.starts += 1
            await asyncio.sleep(0.3 if self.starts == 1 else 0)  # longer than the first lease
            return await super().start(key, token, lease)

    class Busy(TestMemoryStore):
        @asynccontextmanager
        async def open_stores(self) -> AsyncIterator[tuple[Store, Store]]:
            store = BusyStore()
            yield store, store
            assert store.starts == 2

    Busy().test_a_lease_that_is_renewed_holds()


class TestSQLiteStore(StoreTests):
    """The store of several processes on one machine."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "keys.sqlite"

    @asynccontextmanager
    async def open_stores(self) -> AsyncIterator[tuple[Store, Store]]:
        stores = SQLiteStore(self.path), SQLiteStore(self.path, synchronous="full")
        yield stores
        for store in stores:
            await store.aclose()


class TestRedisStore(StoreTests):
    """The store of any number of machines."""

    @pytest.fixture(autouse=True)
    def _server(self, redis: RedisServer) -> None:
        self.url = redis.url

    @asynccontextmanager
    async def open_stores(self) -> AsyncIterator[tuple[Store, Store]]:
        stores = RedisStore(self.url), RedisStore(self.url)
        yield stores
        for store in stores:
            await store.aclose()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await scenario

    asyncio.run(in_time())


async def fill(store: Store) -> None:
    for n in range(1000):
        await store.claim(n.to_bytes(16), PRINT, TOKEN, 60)
        await store.finish(n.to_bytes(16), TOKEN, bytes(10_000), 60)


def modes_in(folder: Path) -> set[int]:
    return {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}


def test_an_sqlite_file_is_for_its_owner_alone_and_says_nothing_about_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"

    async def scenario() -> None:
        store = SQLiteStore(path)
        await store.claim(KEY, PRINT, TOKEN, 60)
        assert modes_in(tmp_path) == {0o600}
        await store.aclose()
        await store.aclose()
        assert (await store.claim(KEY, PRINT, b"", 60)).token == TOKEN  # opened again
        await store.aclose()

    run(scenario())


def test_an_sqlite_file_that_is_full_claims_nothing_until_entries_expire(tmp_path: Path) -> None:
    now = [1000.0]
    store = SQLiteStore(tmp_path / "keys.sqlite", max_bytes=200_000, clock=lambda: now[0])

    async def scenario() -> None:
        with pytest.raises(StoreError, match="full"):
            await fill(store)
        entry = await store.read(bytes(16))
        assert entry is not None
        assert entry.state == "done"
        now[0] += 60
        assert (await store.claim(KEY, PRINT, TOKEN, 60)).token == TOKEN
        await store.aclose()

    run(scenario())


def test_an_sqlite_file_that_cannot_be_opened_is_an_error_of_the_store(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(StoreError, match="cannot be used"):
            await SQLiteStore(tmp_path / "absent" / "keys.sqlite").read(KEY)
        (tmp_path / "text").write_text("no database " * 100)
        store = SQLiteStore(tmp_path / "text")
        with pytest.raises(StoreError, match="not a database"):
            await store.read(KEY)
        await store.aclose()

    run(scenario())


@pytest.mark.parametrize(("path", "synchronous"), [("", "normal"), ("keys.sqlite", "off")])
def test_an_sqlite_store_that_cannot_work_is_refused(path: str, synchronous: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^An SQLite store needs a path, and synchronous must be normal or full\.$"
    ):
        SQLiteStore(path, synchronous=synchronous)


@pytest.mark.parametrize(("synchronous", "threads"), [("normal", []), ("full", ["store"])])
def test_an_sqlite_store_needs_a_thread_between_two_upkeeps_only_if_it_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synchronous: Any, threads: list[str]
) -> None:
    now = [1000.0]
    store = SQLiteStore(tmp_path / "keys.sqlite", synchronous=synchronous, clock=lambda: now[0])
    used: list[Any] = []
    run_in_thread = store._threads.run

    def note_and_run(function: Any, call: Any) -> Any:
        used.append(function)
        return run_in_thread(function, call)

    async def scenario() -> None:
        await store.claim(KEY, PRINT, TOKEN, 60)
        now[0] += 0.9
        monkeypatch.setattr(store._threads, "run", note_and_run)
        assert await store.start(KEY, TOKEN, 60)
        assert used == threads
        await store.aclose()

    run(scenario())


def test_all_expired_entries_of_an_sqlite_file_are_removed_within_a_moment(tmp_path: Path) -> None:
    now = [1000.0]
    path = tmp_path / "keys.sqlite"

    async def scenario() -> None:
        store = SQLiteStore(path, clock=lambda: now[0])
        await asyncio.gather(*(store.claim(n.to_bytes(16), PRINT, TOKEN, 60) for n in range(2500)))
        now[0] += 61
        for _ in range(5):  # as long as calls with a key come in
            await store.read(KEY)
            now[0] += 0.1
        with contextlib.closing(sqlite3.connect(path)) as reader:
            assert reader.execute("SELECT count(*) FROM navai_keys").fetchone() == (0,)
        await store.aclose()

    run(scenario())


def test_the_log_of_an_sqlite_file_does_not_grow(tmp_path: Path) -> None:
    now = [1000.0]

    async def scenario() -> None:
        store = SQLiteStore(tmp_path / "keys.sqlite", clock=lambda: now[0])
        for n in range(50):
            await store.claim(n.to_bytes(16), PRINT, TOKEN, 60)
            await store.finish(n.to_bytes(16), TOKEN, bytes(500_000), 60)
            now[0] += 1.0
        assert (tmp_path / "keys.sqlite-wal").stat().st_size < 6_000_000
        await store.aclose()

    run(scenario())


def test_an_sqlite_file_that_another_process_writes_to_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_store, "_BUSY_S", PATIENCE_S)
    path = tmp_path / "keys.sqlite"

    async def scenario() -> None:
        store = SQLiteStore(path)
        await store.read(KEY)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            claim = asyncio.create_task(store.claim(KEY, PRINT, TOKEN, 60))
            while not store._threads.running:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            assert not claim.done()
            other.execute("COMMIT")
        assert (await claim).token == TOKEN
        assert (await store.read(KEY)) is not None
        assert store._threads.running == 0
        await store.aclose()

    run(scenario())


def test_what_was_asked_before_a_store_was_closed_does_not_open_its_file_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"

    async def scenario() -> None:
        store = SQLiteStore(path)
        for _ in range(2):
            may_begin = threading.Event()
            before = asyncio.create_task(store._threads.run("store", may_begin.wait))
            asked = asyncio.create_task(store.read(KEY))
            while not store._threads.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await asyncio.to_thread(asyncio.run, store.aclose())
            may_begin.set()
            assert await before
            with pytest.raises(StoreError, match=r"^The store of idempotency keys was closed\.$"):
                await asked
            assert not path.exists()
        assert await store.read(KEY) is None  # it can be used again
        await store.aclose()

    run(scenario())


def test_a_batch_fails_as_a_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"

    async def scenario() -> None:
        store = SQLiteStore(path)
        await store.read(KEY)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            claims = [store.claim(bytes([n]), PRINT, TOKEN, 60) for n in range(3)]
            results = await asyncio.gather(*claims, return_exceptions=True)
            assert [type(each) for each in results] == [StoreError] * 3
            other.execute("ROLLBACK")
        assert await store.read(bytes([0])) is None
        await store.aclose()

    run(scenario())


def test_who_no_longer_waits_for_a_store_changes_nothing_for_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = SQLiteStore(tmp_path / "keys.sqlite")
        left = asyncio.create_task(store.claim(KEY, PRINT, TOKEN, 60))
        stays = asyncio.create_task(store.read(KEY))
        failing = asyncio.create_task(SQLiteStore(tmp_path).read(KEY))
        await asyncio.sleep(0)
        left.cancel()
        failing.cancel()
        entry = await stays
        assert entry is not None
        assert entry.token == TOKEN
        closing = asyncio.create_task(store.read(KEY))
        await asyncio.sleep(0)
        await store.aclose()
        with pytest.raises(StoreError, match="closed, or failed"):
            await closing
        await asyncio.wait((left, failing))

    run(scenario())


def test_a_store_that_was_closed_amid_a_batch_can_be_used_at_once(tmp_path: Path) -> None:
    began = threading.Event()

    def clock() -> float:
        if threading.current_thread() is not threading.main_thread() and not began.is_set():
            began.set()  # within a transaction, which goes on until the store is being closed
            until(lambda: store._batches is None)
        return time.time()

    store = SQLiteStore(tmp_path / "keys.sqlite", clock=clock)

    async def scenario() -> None:
        asked = asyncio.create_task(store.read(KEY))
        while not began.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await store.aclose()
        assert (await store.claim(KEY, PRINT, TOKEN, 60)).token == TOKEN
        with pytest.raises(StoreError, match="closed, or failed"):
            await asked
        await store.aclose()

    run(scenario())


def test_a_redis_store_survives_a_restart_of_its_server_and_is_closed_meanwhile(tmp_path: Path) -> None:
    with redis_server(tmp_path, *DURABLE) as server:

        async def scenario() -> None:
            store = RedisStore(server.url)
            await store.claim(KEY, PRINT, TOKEN, 60)
            assert await store.start(KEY, TOKEN, 60)
            assert store.shared
            server.kill()
            with pytest.raises(StoreError):
                await store.claim(KEY, PRINT, b"other", 60)
            await asyncio.to_thread(server.start)
            found = await store.claim(KEY, PRINT, b"other", 60)
            assert (found.token, found.state) == (TOKEN, "started")
            assert (await store.count("n", 60))[0] == 1
            await store.aclose()

        run(scenario())


def test_a_redis_store_is_closed_while_its_server_takes_nothing(redis: RedisServer) -> None:
    async def scenario() -> None:
        # To close the connection takes as long as to open one may take.
        store = RedisStore(f"{redis.address}?socket_timeout={PATIENCE_S}", prefix="stopped:")
        await store.claim(KEY, PRINT, TOKEN, 60)
        assert redis.process is not None
        redis.process.send_signal(signal.SIGSTOP)
        try:
            # More than the sockets hold.
            given = [store.finish(KEY, TOKEN, b"x" * 2**20, 60) for _ in range(64)]
            waiting = asyncio.gather(*given, return_exceptions=True)
            connection: Any = store._server.connection
            transport = connection._writer.transport
            while not transport.get_write_buffer_size():  # noqa: ASYNC110
                await asyncio.sleep(0)
            await store.aclose()
            await asyncio.sleep(0)
            assert transport.get_extra_info("socket").fileno() == -1
        finally:
            redis.process.send_signal(signal.SIGCONT)
        assert {str(failure) for failure in await waiting} == {
            "The store did not respond before it was closed, or failed."
        }
        assert await store.read(KEY) is not None
        await store.aclose()

    run(scenario())


def test_a_redis_store_loads_its_script_again_where_it_is_gone(redis: RedisServer) -> None:
    async def scenario() -> None:
        store = RedisStore(redis.url, prefix="script:")
        await store.claim(KEY, PRINT, TOKEN, 60)
        await store._server.script_flush()
        assert await store.start(KEY, TOKEN, 60)
        await store.aclose()

    run(scenario())


def test_a_redis_store_connects_again_in_another_event_loop(redis: RedisServer) -> None:
    store = RedisStore(redis.url, prefix="loops:")
    with asyncio.Runner() as one, asyncio.Runner() as other:
        assert one.run(store.claim(KEY, PRINT, TOKEN, 60)).token == TOKEN
        left = store._server
        assert other.run(store.claim(KEY, PRINT, b"", 60)).token == TOKEN
        other.run(store.aclose())
        one.run(left.aclose())


def test_a_redis_store_that_was_closed_can_be_used_again(redis: RedisServer) -> None:
    async def scenario() -> None:
        store = RedisStore(redis.url, prefix="closed:")
        await store.aclose()  # unused
        for _ in range(2):
            assert (await store.claim(KEY, PRINT, TOKEN, 60)).token == TOKEN
            await store.aclose()

    run(scenario())


def test_operations_of_one_batch_have_results_of_their_own(redis: RedisServer) -> None:
    async def scenario() -> None:
        store = RedisStore(redis.url, prefix="batch:")
        await store.claim(KEY, PRINT, TOKEN, 60)
        before, is_freed, after = await asyncio.gather(
            store.claim(b"1" * 16, PRINT, b"a", 60),
            store.finish(KEY, TOKEN, None, 60),
            store.claim(b"2" * 16, PRINT, b"b", 60),
        )
        assert (before.token, is_freed, after.token) == (b"a", True, b"b")
        number, left = await store.count("n", 10**6)
        assert number == 1
        assert 10**6 - 60 < left <= 10**6
        await store.aclose()

    run(scenario())


@pytest.mark.parametrize(("prefix", "begin"), [(None, b"navai:"), ("names:", b"names:")])
def test_what_keys_in_redis_are_called_stays_as_it_is(
    redis: RedisServer, prefix: str | None, begin: bytes
) -> None:
    async def scenario() -> None:
        store = RedisStore(redis.url, prefix=prefix)
        await store.hold(KEY, PRINT, TOKEN, b"call", 60, limit=1000)
        names = {begin + b"held", begin + KEY.hex().encode()}
        assert names <= {name async for name in store._server.scan_iter()}
        assert await store.finish(KEY, TOKEN, None, 60)
        await store.aclose()

    run(scenario())


def test_a_redis_server_that_does_not_respond_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_redis_store, "_TIMEOUT_S", 0.1)
    asked: list[asyncio.StreamWriter] = []

    async def scenario() -> None:
        async with await asyncio.start_server(lambda _, writer: asked.append(writer), "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            store = RedisStore(f"redis://127.0.0.1:{port}/0?socket_connect_timeout={PATIENCE_S}")
            with pytest.raises(StoreError, match="cannot be used"):
                await store.read(KEY)
            await store.aclose()
            for writer in asked:
                writer.close()
        assert len(asked) == 2

    run(scenario())


def test_a_redis_server_that_accepts_no_connection_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_redis_store, "_TIMEOUT_S", 0.1)

    async def scenario(address: tuple[str, int]) -> None:
        store = RedisStore("redis://{}:{}/0".format(*address))
        with pytest.raises(StoreError, match="cannot be used"):
            await store.read(KEY)
        await store.aclose()

    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(4):  # Linux lets one more wait than it is told
            client = waiting.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(listener.getsockname())
        run(scenario(listener.getsockname()))


def test_stores_with_other_prefixes_or_databases_have_other_keys(redis: RedisServer) -> None:
    async def scenario() -> None:
        for store in (
            RedisStore(f"{redis.url}&prefix=a:"),
            RedisStore(redis.url, prefix="b:"),
            RedisStore(f"{redis.url}&prefix=a:&db=1"),
        ):
            assert (await store.claim(KEY, PRINT, TOKEN, 60)).state == "claimed"
            assert await store.finish(KEY, TOKEN, b"x", 60)
            await store.aclose()

    run(scenario())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "appendonly is 'no' and not 'yes'; appendfsync is 'everysec' and not 'always'"),
        (("--appendonly", "yes"), "appendfsync is 'everysec' and not 'always'"),
        (
            (*DURABLE, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"),
            "maxmemory-policy is 'allkeys-lru' and not 'noeviction'",
        ),
        (
            (*DURABLE, "--replicaof", "127.0.0.1", "1", "--replica-read-only", "no"),
            "a replica could take its place without the latest changes",
        ),
        ((*DURABLE, "--no-appendfsync-on-rewrite", "yes"), "no-appendfsync-on-rewrite is 'yes' and not 'no'"),
        ((*DURABLE, "--rename-command", "CONFIG", ""), "its settings cannot be read (CONFIG GET)"),
        ((*DURABLE, "--user", *EVERYTHING, "-config"), "its settings cannot be read (CONFIG GET)"),
        ((*DURABLE, "--user", *EVERYTHING, "-info"), "its replicas cannot be listed (INFO)"),
        ((*DURABLE, "--maxmemory", "100mb"), ""),
        ((*DURABLE, "--maxmemory-policy", "allkeys-lru"), ""),  # without a limit, nothing is evicted
    ],
)
def test_a_server_that_may_lose_what_it_confirmed_is_not_called_shared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, options: tuple[str, ...], reason: str
) -> None:
    with redis_server(tmp_path, *options) as server, caplog.at_level(logging.WARNING):

        async def scenario() -> None:
            store, declared = RedisStore(server.url), RedisStore(server.url, shared=True)
            await store.read(KEY)
            await declared.read(KEY)
            assert (store.shared, declared.shared) == (not reason, True)
            await store.aclose()
            await declared.aclose()

        run(scenario())
    warnings = [line.message for line in caplog.records if "could lose" in line.message]
    assert len(warnings) == bool(reason)
    assert all(warning.endswith(f": {reason}.") for warning in warnings)


def test_a_server_with_a_replica_is_not_called_shared_and_the_replica_cannot_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "replica"
    folder.mkdir()
    with redis_server(tmp_path, *DURABLE, "--repl-diskless-sync-delay", "0") as server:
        follows = ("--replicaof", "127.0.0.1", str(server.port))
        with redis_server(folder, *DURABLE, *follows) as replica:

            async def scenario() -> None:
                store, of_replica = RedisStore(server.url), RedisStore(replica.url, shared=True)
                async with redis.asyncio.Redis.from_url(replica.url) as client:
                    # Until then, it may be loading what it got, and answer nothing else.
                    while (await client.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                await store.read(KEY)
                assert not store.shared
                for operation in (of_replica.read(KEY), of_replica.claim(KEY, PRINT, TOKEN, 60)):
                    with pytest.raises(StoreError, match=A_REPLICA):
                        await operation
                backend = NavaiBackend(env={}, discover=False, store=of_replica)
                ready = await backend.router.respond(BackendRequest("GET", "/ready", {}), b"")
                assert ready.status == 503
                async with redis.asyncio.Redis.from_url(replica.url) as client:
                    await client.replicaof("NO", "ONE")  # as a failover does
                assert (await of_replica.claim(KEY, PRINT, TOKEN, 60)).token == TOKEN
                await store.aclose()
                await of_replica.aclose()

            run(scenario())


def test_a_server_that_became_a_replica_cannot_be_used(tmp_path: Path) -> None:
    with redis_server(tmp_path, *DURABLE) as server:

        async def scenario() -> None:
            store = RedisStore(server.url)
            await store.claim(KEY, PRINT, TOKEN, 60)
            async with redis.asyncio.Redis.from_url(server.url) as client:
                await client.replicaof("127.0.0.1", "1")
            with pytest.raises(StoreError, match="read only replica"):
                await store.start(KEY, TOKEN, 60)
            with pytest.raises(StoreError, match=A_REPLICA):
                await store.read(KEY)
            await store.aclose()

        run(scenario())


def test_a_cluster_needs_a_prefix_that_keeps_all_keys_at_one_node(tmp_path: Path) -> None:
    with redis_server(tmp_path, *DURABLE, "--cluster-enabled", "yes") as server:

        async def scenario() -> None:
            async with redis.asyncio.Redis.from_url(server.url) as client:
                ask: Any = client.execute_command
                await ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
                while (await ask("CLUSTER INFO"))["cluster_state"] != "ok":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            store = RedisStore(server.url)
            with pytest.raises(StoreError) as refused:
                await store.read(KEY)
            assert str(refused.value) == (
                "The store of idempotency keys is a cluster. It needs a prefix such as {navai}: "
                "(?prefix={navai}:), which keeps all keys at one node, and the URL of that node."
            )
            tagged = RedisStore(f"{server.url}&prefix={{navai}}:")
            claims = (tagged.claim(bytes([n]), PRINT, TOKEN, 60) for n in range(5))
            assert {entry.token for entry in await asyncio.gather(*claims)} == {TOKEN}
            assert tagged.shared
            await store.aclose()
            await tagged.aclose()

        run(scenario())


def test_an_sqlite_store_says_what_a_loss_of_power_may_lose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        for store, synchronous in (
            (
                SQLiteStore(tmp_path / "1"),
                1,
            ),  # as https://sqlite.org/pragma.html#pragma_synchronous numbers them
            (SQLiteStore(tmp_path / "2", synchronous="full"), 2),
            (SQLiteStore(tmp_path / "3", temporary=True), 0),
        ):
            await store.read(KEY)
            await store.read(KEY)
            assert store._connection is not None
            assert store._connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
            await store.aclose()
            assert not store.shared

    run(scenario())
    assert caplog.messages == [
        "A loss of power may lose the latest idempotency keys; synchronous=full prevents that."
    ]


def test_an_sqlite_store_that_no_other_process_would_see_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def scenario() -> None:
        with pytest.raises(StoreError, match=r": it cannot be in WAL mode, for several processes$"):
            await SQLiteStore(":memory:").read(KEY)

    run(scenario())


def test_a_redis_server_without_memory_claims_nothing_and_evicts_nothing(tmp_path: Path) -> None:
    with redis_server(tmp_path, *DURABLE, "--maxmemory", "3mb") as server:

        async def scenario() -> None:
            store = RedisStore(server.url)
            await store.claim(KEY, PRINT, TOKEN, 60)
            with pytest.raises(StoreError, match="memory"):
                await fill(store)
            assert await store.read(KEY) is not None
            await store.aclose()

        run(scenario())


def test_redis_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install 'navai-client\[redis\]'"):
        RedisStore("redis://127.0.0.1/0")
