"""Calls with an idempotency key in one process: what is kept, for how long, and what is refused."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from navai_client.functions._binding import Payload
from navai_client.server import BackendOptionsError, MemoryStore, NavaiBackend, SQLiteStore, StoreError
from navai_client.server._http import BackendRequest, BackendResponse
from navai_client.server._store import BatchedStore, fingerprint, key_digest
from tests.server.conftest import Ask

EXECUTE = "/navai/functions/execute"
JSON = {b"content-type": b"application/json"}


def post(backend: NavaiBackend, key: str, payload: str = "null", name: str = "work") -> "asyncio.Task[Any]":
    """Start a request that executes a function."""
    request = BackendRequest("POST", EXECUTE, {**JSON, b"idempotency-key": key.encode()})
    body = b'{"function_name":"%s","payload":%s}' % (name.encode(), payload.encode())
    return asyncio.create_task(backend.router.respond(request, body))


def replayed(response: BackendResponse) -> bool:
    return (b"idempotent-replayed", b"true") in response.headers


def backend_of(
    store: MemoryStore, *, in_thread: bool = False, **settings: Any
) -> tuple[NavaiBackend, list[Any]]:
    ran: list[Any] = []
    backend = NavaiBackend(env={}, discover=False, store=store, **settings)

    def work_in_thread(x: Any = None) -> int:
        ran.append(x)
        return len(ran)

    async def work(x: Any = None) -> int:
        return work_in_thread(x)

    backend.function(work_in_thread if in_thread else work, name="work")
    return backend, ran


def test_a_key_is_kept_for_its_time_and_belongs_to_one_payload() -> None:
    now = [0.0]
    backend, ran = backend_of(MemoryStore(clock=lambda: now[0]), key_ttl=10)

    async def scenario() -> None:
        first = await post(backend, "a", r'{"x": {"y": 2, "z": "\ud800"}}')
        again = await post(backend, "a", r'{"x": {"z": "\ud800", "y": 2.0}}')
        assert (again.body, replayed(first), replayed(again)) == (first.body, False, True)
        other = await post(backend, "a", '{"x": 2}')
        assert (other.status, b"used before" in other.body, replayed(other)) == (422, True, False)
        now[0] = 10.0
        assert b'"result":2' in (await post(backend, "a", '{"x": 2}')).body

    asyncio.run(scenario())
    assert len(ran) == 2


def test_a_copy_with_another_payload_is_refused_while_the_call_runs() -> None:
    backend, ran = backend_of(MemoryStore())
    release = asyncio.Event()

    @backend.function
    async def slow(x: int) -> int:
        ran.append(x)
        await release.wait()
        return x

    async def scenario() -> None:
        first, copy = post(backend, "a", '{"x":1}', "slow"), post(backend, "a", '{"x":1}', "slow")
        other = await post(backend, "a", '{"x":2}', "slow")
        assert (other.status, replayed(other)) == (422, False)
        release.set()
        assert (await first).body == (await copy).body
        assert replayed(await copy)

    asyncio.run(scenario())
    assert ran == [1]


def test_without_room_new_keys_are_refused_and_those_at_hand_are_kept() -> None:
    now = [0.0]
    backend, ran = backend_of(MemoryStore(max_bytes=2000, clock=lambda: now[0]), key_ttl=60)

    async def scenario() -> None:
        kept = [await post(backend, str(n)) for n in range(3)]
        refused = await post(backend, "3")
        assert (refused.status, b"not begun" in refused.body) == (503, True)
        assert dict(refused.headers)[b"retry-after"] == b"60"
        for n, response in enumerate(kept):
            again = await post(backend, str(n))
            assert (again.body, replayed(again)) == (response.body, True)
        assert (await backend.router.respond(BackendRequest("GET", "/ready", {}), b"")).status == 200
        now[0] = 60.0
        assert (await post(backend, "3")).status == 200

    asyncio.run(scenario())
    assert len(ran) == 4


def test_without_room_for_an_outcome_its_key_is_kept_nevertheless() -> None:
    backend, _ = backend_of(MemoryStore(max_bytes=5000))
    ran = []

    @backend.function
    async def large() -> str:
        ran.append(1)
        return "x" * 5000

    async def scenario() -> None:
        assert len((await post(backend, "a", name="large")).body) > 5000
        for _ in range(2):
            again = await post(backend, "a", name="large")
            assert (again.status, b'"may_have_executed":true' in again.body) == (409, True)
            assert replayed(again)

    asyncio.run(scenario())
    assert ran == [1]


def test_counts_begin_again_after_their_window() -> None:
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0], max_bytes=5000)

    async def scenario() -> None:
        assert [await store.count("a", 60) for _ in range(2)] == [(1, 60), (2, 60)]
        now[0] = 59
        assert await store.count("b", 60) == (1, 60)
        now[0] = 60
        assert await store.count("a", 60) == (1, 60)
        await store.claim(b"k", b"", b"t", 60)
        with pytest.raises(StoreError, match="no room"):
            await store.finish(b"k", b"t", bytes(5000), 60)

    asyncio.run(scenario())


def test_counts_that_are_over_are_forgotten() -> None:
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])

    async def scenario() -> None:
        for name, window in (("long", 100), ("again", 10), ("short", 10)):
            await store.count(name, window)
        now[0] = 20
        assert await store.count("again", 1000) == (1, 1000)
        now[0] = 100
        assert await store.count("new", 1) == (1, 1)
        assert [*store._windows] == ["again", "new"]

    asyncio.run(scenario())


def test_calls_that_wait_for_approval_take_the_room_of_their_contents() -> None:
    store = MemoryStore(max_bytes=2000)

    async def scenario() -> None:
        await store.claim(b"a", b"", b"t", 60)
        with pytest.raises(StoreError, match="full"):
            await store.hold(b"b", b"", b"t", bytes(1000), 60, limit=9)
        await store.hold(b"b", b"", b"t", bytes(500), 60, limit=9)
        with pytest.raises(StoreError, match="full"):
            await store.claim(b"c", b"", b"t", 60)
        await store.finish(b"b", b"t", None, 60)
        await store.claim(b"c", b"", b"t", 60)
        await store.finish(b"c", b"t", None, 60)
        await store.hold(b"d", b"", b"t", bytes(500), 60, limit=9)
        assert await store.reject(b"d", b"", b"no", 60)
        assert store._bytes == 2 * 512 + len(b"no")
        assert store._held == set()

    asyncio.run(scenario())


def test_a_store_is_full_when_its_last_byte_is_taken() -> None:
    now = [100.0]
    store = MemoryStore(max_bytes=1024, clock=lambda: now[0])

    async def claim(key: bytes) -> None:
        await store.claim(key, b"", b"t", 60)

    async def scenario() -> None:
        await claim(b"a")
        await claim(b"b")
        with pytest.raises(StoreError, match=r"^The store of idempotency keys is full\.$") as full:
            await claim(b"c")
        assert full.value.retry_after == "1"
        assert await store.finish(b"a", b"t", bytes(512), 100)  # an outcome as short as this needs no room
        with pytest.raises(StoreError, match=r"^The store of idempotency keys has no room for an outcome\.$"):
            await store.finish(b"b", b"t", bytes(513), 10)
        assert store.finish_now(b"b", b"t", bytes(513), 10, b"short")
        entry = await store.read(b"b")
        assert entry is not None
        assert entry.outcome == b"short"
        now[0] += 100.0
        await claim(b"c")
        await claim(b"d")
        assert await store.finish(b"c", b"t", b"", 100)
        assert await store.finish(b"d", b"t", b"", 10)
        now[0] += 10.0
        await claim(b"e")  # in the place of d, which ends before c

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", [MemoryStore, SQLiteStore])
def test_a_lease_ends_at_its_last_moment(kind: type[MemoryStore | SQLiteStore], tmp_path: Path) -> None:
    now = [100.0]
    clock = lambda: now[0]  # noqa: E731
    store = MemoryStore(clock=clock) if kind is MemoryStore else SQLiteStore(tmp_path / "keys", clock=clock)

    async def scenario() -> None:
        await store.hold(b"k", b"f", b"t", b"call", 60, limit=1)
        await store.approve(b"k", b"f", b"u", 10)
        now[0] += 10.0
        assert not await store.start(b"k", b"u", 10)
        lapsed = await store.read(b"k")
        assert lapsed is not None
        assert (lapsed.state, lapsed.fingerprint, lapsed.token) == ("waiting", b"f", b"u")
        assert (lapsed.outcome, lapsed.call) == (None, b"call")
        await store.approve(b"k", b"f", b"v", 10)
        assert await store.finish(b"k", b"v", None, 10)
        freed = await store.read(b"k")
        assert freed is not None
        assert (freed.state, freed.token, freed.call) == ("waiting", b"", b"call")
        await store.aclose()

    asyncio.run(scenario())


def test_a_call_of_unknown_outcome_is_known_for_a_day() -> None:
    now = [1e6]
    store = MemoryStore(clock=lambda: now[0])

    async def scenario() -> None:
        for key in (b"a", b"b"):
            await store.claim(key, b"", b"t", 60, start=key == b"b")
            await store.start(key, b"t", 60)
        now[0] += 60 + 24 * 3600 - 1
        for key in (b"a", b"b"):
            entry = await store.read(key)
            assert entry is not None
            assert entry.state == "unknown"
        now[0] += 1
        assert [await store.read(key) for key in (b"a", b"b")] == [None, None]

    asyncio.run(scenario())


def test_a_call_counts_as_held_until_its_time_to_wait_is_over() -> None:
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])

    async def scenario() -> None:
        await store.hold(b"a", b"f", b"t", b"call", 10, limit=1)
        await store.approve(b"a", b"f", b"t", 60)
        now[0] = 9
        with pytest.raises(StoreError, match=r"^Too many calls wait for approval\.$") as refused:
            await store.hold(b"b", b"f", b"t", b"call", 10, limit=1)
        assert refused.value.retry_after == "60"
        now[0] = 10
        assert (await store.hold(b"b", b"f", b"t", b"call", 10, limit=1)).state == "waiting"

    asyncio.run(scenario())


def test_what_stores_know_calls_by_stays_as_it_is() -> None:
    class Asked(BatchedStore):
        async def _run(self, operations: list[tuple[Any, ...]]) -> list[Any]:
            assert operations == [("count", bytes.fromhex("2a51a79e92d2fdf35da3f6cde7d05a54"), 60)]
            return [(1, 60.0)]

    assert key_digest(b"caller", b"key").hex() == "07b5f64efc7339f96b5993af584d4a41"
    assert fingerprint("f", Payload({"x": 1.0})).hex() == "8b4a5e610d79d3174ed5692bf30c62ea"
    odd = fingerprint("f", Payload({"b": "\ud800", "a": [1, 2.0]}))
    assert odd.hex() == "72729725a51c897d37134b79c7a34e93"
    assert odd != fingerprint("f", Payload({"b": "\ud800", "a": [1, 3]}))
    assert odd != fingerprint("g", Payload({"b": "\ud800", "a": [1, 2.0]}))
    assert asyncio.run(Asked().count("\ud800a", 60)) == (1, 60.0)


def test_what_is_asked_while_a_batch_is_under_way_is_in_a_later_one_or_fails_with_it() -> None:
    batches: list[list[bytes]] = []

    class Asked(BatchedStore):
        async def _run(self, operations: list[tuple[Any, ...]]) -> list[Any]:
            batches.append([key for _, key in operations])
            await asyncio.sleep(0)  # meanwhile, the others ask
            if b"fails" in batches[-1]:
                raise StoreError("It cannot be reached.")
            return [None] * len(operations)

    async def ask(*keys: bytes) -> list[Any]:
        asked = []
        for key in keys:
            asked.append(asyncio.create_task(store.read(key)))
            await asyncio.sleep(0)  # the first one's batch begins
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)

    store = Asked()
    assert asyncio.run(ask(b"a", b"b", b"c")) == [None] * 3
    assert [key for batch in batches for key in batch] == [b"a", b"b", b"c"]
    assert len(batches) > 1
    failures = asyncio.run(ask(b"fails", b"beside"))
    assert [repr(each) for each in failures] == [repr(StoreError("It cannot be reached."))] * 2


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///keys.sqlite?synchronous=off",
        "sqlite:///keys.sqlite?secret",
        "mysql://secret@host/",
        "keys.sqlite",
        "redis://:secret@host:port/0",
        "redis://[::1",
    ],
)
def test_a_url_of_no_store_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(BackendOptionsError, match="NAVAI_STORE_URL") as caught:
        NavaiBackend(env={"NAVAI_STORE_URL": url})
    assert "secret" not in str(caught.value)


def test_the_password_of_a_store_is_a_secret() -> None:
    backend = NavaiBackend(env={}, store_url="redis://user:p%40ssw0rd-of-redis@127.0.0.1:1/0")
    assert "ssw0rd" not in repr(backend.settings)
    assert "ssw0rd" not in backend.log_redactor.text("p%40ssw0rd-of-redis and p@ssw0rd-of-redis", 1000)


def test_an_sqlite_url_is_read_as_sqlalchemy_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def scenario(url: str) -> None:
        backend = NavaiBackend(env={}, store_url=url)
        assert (await backend.router.respond(BackendRequest("GET", "/ready", {}), b"")).status == 200
        await backend.aclose()

    asyncio.run(scenario("sqlite:///one%201.sqlite?synchronous=full"))
    asyncio.run(scenario(f"sqlite:///{tmp_path}/two.sqlite"))
    assert {path.name for path in tmp_path.iterdir()} == {"one 1.sqlite", "two.sqlite"}


def test_a_result_that_is_too_large_to_keep_leaves_its_key_done() -> None:
    backend, _ = backend_of(MemoryStore(), max_kept_result_bytes=100)
    ran = []

    @backend.function
    async def large(size: int) -> str:
        ran.append(size)
        return "x" * size

    async def scenario() -> None:
        for size, status in ((97, 200), (98, 409)):
            payload = f'{{"size":{size}}}'
            assert (await post(backend, f"{size}", payload, "large")).status == 200
            again = await post(backend, f"{size}", payload, "large")
            assert again.status == status
            assert (b"more than 100 bytes" in again.body) is (status == 409)

    asyncio.run(scenario())
    assert ran == [97, 98]


def test_a_call_that_is_cancelled_after_its_start_keeps_its_key() -> None:
    backend, ran = backend_of(MemoryStore())
    began = asyncio.Event()

    @backend.function
    async def slow() -> None:
        ran.append(1)
        began.set()
        await asyncio.Event().wait()

    async def scenario() -> None:
        first = post(backend, "a", name="slow")
        await began.wait()
        cancel = BackendRequest("POST", f"{EXECUTE}/cancel", {b"idempotency-key": b"a"})
        assert (await backend.router.respond(cancel, b"")).status == 200
        again = await post(backend, "a", name="slow")
        assert (await first).body == again.body
        assert (b'"may_have_executed":true' in again.body, replayed(again)) == (True, True)
        assert b'"cancelled":false' in (await backend.router.respond(cancel, b"")).body

    asyncio.run(scenario())
    assert ran == [1]


def test_a_key_that_is_refused_is_503_and_a_result_that_is_not_kept_409(ask: Ask) -> None:
    backend = NavaiBackend(env={}, discover=False, max_key_bytes=1100, max_kept_result_bytes=199)
    backend.function(name="f")(lambda: "x" * 200)

    def call(key: str) -> httpx.Response:
        body = {"function_name": "f"}
        return ask(backend, "POST", EXECUTE, json=body, headers={"idempotency-key": key})

    assert call("a").json()["result"] == "x" * 200
    again = call("a")
    assert (again.status_code, again.json()["may_have_executed"]) == (409, True)
    assert again.headers["idempotent-replayed"] == "true"
    call("b")
    refused = call("c")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "600")
    assert list(refused.json()) == ["error"]


class Failing(MemoryStore):
    """A store whose operations fail as long as they are named."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.failing = set(names)

    async def claim(self, *arguments: Any, **options: Any) -> Any:
        self._check("claim")
        return await super().claim(*arguments, **options)

    async def start(self, *arguments: Any) -> bool:
        self._check("start")
        return await super().start(*arguments)

    def _check(self, name: str) -> None:
        if name in self.failing:
            raise StoreError("It is at redis.internal:6379.")
        if f"{name} by accident" in self.failing:
            raise OSError


@pytest.mark.parametrize("name", ["claim", "start"])
def test_a_call_that_cannot_be_claimed_or_started_is_not_begun(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing(name)
    backend, ran = backend_of(store, in_thread=name == "start")

    async def scenario() -> None:
        for _ in range(3):
            response = await post(backend, "a")
            assert (response.status, dict(response.headers)[b"retry-after"]) == (503, b"1")
            assert b"redis" not in response.body
        assert ran == []
        store.failing.clear()
        assert (await post(backend, "a")).status == 200

    asyncio.run(scenario())
    assert [line.message for line in caplog.records if "redis.internal" in line.message] == [
        "Calls with an Idempotency-Key get status 503: It is at redis.internal:6379."
    ]


@pytest.mark.parametrize("name", ["claim", "start"])
def test_a_defect_of_a_store_ends_the_call_and_frees_its_key(name: str) -> None:
    store = Failing(f"{name} by accident")
    backend, ran = backend_of(store, in_thread=name == "start")

    async def scenario() -> None:
        for _ in range(2):
            with pytest.raises(OSError, match=r"^$"):
                await post(backend, "a")
        assert backend.invoker.running == 0
        store.failing.clear()
        assert (await post(backend, "a")).status == 200

    asyncio.run(scenario())
    assert ran == [None]


def test_a_replay_needs_no_arguments_that_fit_the_function_of_today() -> None:
    store = MemoryStore()
    before, ran = backend_of(store)
    today = NavaiBackend(env={}, discover=False, store=store)

    @today.function
    async def work(y: int) -> None:
        """Not what it was."""

    async def scenario() -> None:
        first = await post(before, "a", '{"x": 1}')
        again = await post(today, "a", '{"x": 1}')
        assert (again.body, replayed(again)) == (first.body, True)
        refused = await post(today, "b", '{"x": 1}')
        assert (b'"ok":false' in refused.body, replayed(refused)) == (True, False)

    asyncio.run(scenario())
    assert ran == [1]


@pytest.mark.parametrize(
    "ways",
    [
        ("100", "1e2", "1E+2", "100.0"),
        ("0", "-0", "-0.0", "0e5"),
        ("100000000000000000", "1e17", "1.0e17"),
        ("10000000000000000000000", "1e22", "1.0E22"),
        ("0.1", "0.10", "1e-1"),
        ('{"a":{"y":[1,2],"z":"\\u0061"}}', ' { "a" : {"z":"a", "y":[1.0, 2]} } '),
    ],
)
def test_a_payload_is_the_same_however_its_json_is_written(ways: tuple[str, ...]) -> None:
    backend, ran = backend_of(MemoryStore())

    async def scenario() -> None:
        for way in ways:
            assert (await post(backend, "k", f'{{"x":{way}}}')).status == 200
        assert (await post(backend, "k", '{"x":7}')).status == 422
        assert len(ran) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("leaf", ["1", "1.0", r'"\ud800"'])
def test_a_copy_of_a_deeply_nested_payload_is_recognised(leaf: str) -> None:
    backend, ran = backend_of(MemoryStore())

    async def scenario() -> None:
        for within, status in ((leaf, 200), (leaf, 200), (r'"\udfff"', 422), (f"{leaf},1", 422)):
            response = await post(backend, "k", '{"x":' + "[" * 700 + within + "]" * 700 + "}")
            assert response.status == status
        assert len(ran) == 1

    asyncio.run(scenario())


def test_a_key_with_a_deeply_nested_payload_is_recognised() -> None:
    def nested(levels: int) -> Payload:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return Payload(value, b"[" * levels + b"1" + b"]" * levels)

    assert fingerprint("f", nested(5000)) == fingerprint("f", nested(5000)) != fingerprint("f", Payload(1))
    assert fingerprint("f", nested(5000)) != fingerprint("f", nested(5001))
    assert fingerprint("f", nested(5000)) != fingerprint("g", nested(5000))
    assert fingerprint("f", Payload({"a": 2.0, "b": [1.5, 10**30]})) == fingerprint(
        "f", Payload({"b": [1.5, 10**30], "a": 2})
    )
    assert fingerprint("f", Payload([2.0, "x"])) == fingerprint("f", Payload([2, "x"]))
