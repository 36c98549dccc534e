"""Cached function lists and client secrets, with a clock that the tests control."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from navai_client import (
    AsyncNavaiBackendClient,
    ClientSecret,
    ClientSecrets,
    NavaiBackendClient,
    NavaiHTTPError,
)
from navai_client._abandoned import BackgroundTasks
from navai_client.client_secrets import AsyncClientSecrets
from navai_client.errors import NavaiConfigError
from tests.clients import make_client
from tests.waiting import PATIENCE_S


def background() -> BackgroundTasks:
    return BackgroundTasks(logging.getLogger("navai_client"))


VALUE = "ek_0123456789012345678901234567"


class Backend:
    """A backend in memory that counts its requests."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.etag: str | None = '"v1"'
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.status != 200:
            return httpx.Response(self.status)
        if self.etag is not None and request.headers.get("if-none-match") == self.etag:
            return httpx.Response(304)
        headers = {} if self.etag is None else {"ETag": self.etag}
        return httpx.Response(200, json={"items": [{"name": f"f{len(self.asked)}"}]}, headers=headers)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, backend: Backend) -> Iterator[Any]:
    client = make_client(
        request.param, base_url="http://navai.test", transport=httpx.MockTransport(backend), max_retries=0
    )
    yield client
    client.close()


def test_a_list_younger_than_max_age_needs_no_request(client: Any, backend: Backend) -> None:
    first = client.list_functions()
    assert client.list_functions(max_age=3600) is first
    assert len(backend.asked) == 1


def test_without_max_age_each_call_sends_a_request(client: Any, backend: Backend) -> None:
    client.list_functions(max_age=3600)
    client.list_functions()
    assert len(backend.asked) == 2
    assert "if-none-match" not in backend.asked[1].headers


def test_an_old_list_is_revalidated_by_its_etag_and_returned_if_still_valid(
    client: Any, backend: Backend
) -> None:
    first = client.list_functions(max_age=0)
    assert client.list_functions(max_age=0) is first
    assert backend.asked[1].headers["if-none-match"] == '"v1"'


def test_an_old_list_that_was_modified_is_replaced(client: Any, backend: Backend) -> None:
    client.list_functions(max_age=0)
    backend.etag = '"v2"'
    assert [function.name for function in client.list_functions(max_age=0)] == ["f2"]


def test_an_old_list_without_an_etag_is_requested_again(client: Any, backend: Backend) -> None:
    backend.etag = None
    client.list_functions(max_age=0)
    assert "f2" in client.list_functions(max_age=0)
    assert "if-none-match" not in backend.asked[1].headers


def test_a_failure_is_not_kept_and_does_not_replace_a_list(client: Any, backend: Backend) -> None:
    first = client.list_functions()
    backend.status = 500
    assert client.list_functions(max_age=0).warnings == ("[navai] Failed to load backend functions (500).",)
    assert client.list_functions(max_age=3600) is first


def test_an_unexpected_304_is_a_failure(client: Any, backend: Backend) -> None:
    backend.status = 304
    assert client.list_functions(max_age=0).warnings == ("[navai] Failed to load backend functions (304).",)


def test_a_list_belongs_to_the_headers_that_it_was_requested_with(client: Any, backend: Backend) -> None:
    ours = client.list_functions()
    for headers in ({"Authorization": "Bearer ana"}, {"Authorization": "Bearer bob"}, {"X-Tenant": "7"}):
        theirs = client.list_functions(max_age=3600, headers=headers)
        assert "if-none-match" not in backend.asked[-1].headers
        assert theirs != ours
        assert client.list_functions(max_age=3600, headers=headers) is theirs
        assert client.list_functions(max_age=0, headers=headers) is theirs
        assert backend.asked[-1].headers["if-none-match"] == '"v1"'
    assert client.list_functions(max_age=3600) is ours
    assert len(backend.asked) == 7


def test_headers_of_one_call_alone_make_no_other_caller(client: Any, backend: Backend) -> None:
    ours = client.list_functions()
    headers = {"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Request-ID": "a"}
    assert client.list_functions(max_age=3600, headers=headers) is ours
    assert len(backend.asked) == 1


def test_only_so_many_lists_are_kept_and_the_oldest_goes_first(client: Any, backend: Backend) -> None:
    for number in range(100):
        client.list_functions(headers={"X-Tenant": str(number)})
    for number in (0, 1):  # renewed, so that 2 is the oldest
        client.list_functions(headers={"X-Tenant": str(number)})
    client.list_functions()
    before = len(backend.asked)
    for number in (0, 1, 3, 99):
        client.list_functions(max_age=3600, headers={"X-Tenant": str(number)})
    assert len(backend.asked) == before
    client.list_functions(max_age=3600, headers={"X-Tenant": "2"})
    assert len(backend.asked) == before + 1


@pytest.mark.parametrize("max_age", [-1, float("nan"), True, "1"])
def test_an_invalid_max_age_is_refused(client: Any, max_age: Any) -> None:
    with pytest.raises(NavaiConfigError, match="max_age"):
        client.list_functions(max_age=max_age)


class Mint:
    """Mints secrets that live *ttl* seconds, with a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ttl: float | None = 600.0
        self.ahead: float | None = None  # seconds by which ``now`` is ahead of the backend's clock, if known
        self.minted = 0
        self.error: Exception | None = None

    def __call__(self) -> ClientSecret:
        self.minted += 1
        if self.error is not None:
            raise self.error
        theirs = self.now - (self.ahead or 0.0)
        expires_at = None if self.ttl is None else theirs + self.ttl
        issued_at = None if self.ahead is None else theirs
        return ClientSecret(value=f"{VALUE}{self.minted}", expires_at=expires_at, issued_at=issued_at)

    async def later(self) -> ClientSecret:
        await asyncio.sleep(0)
        return self()


@pytest.fixture
def mint() -> Mint:
    return Mint()


@pytest.fixture
def source(kind: str, mint: Mint) -> ClientSecrets | AsyncClientSecrets:
    if kind == "sync":
        return ClientSecrets(mint, leeway=30, unix_time=lambda: mint.now)
    return AsyncClientSecrets(mint.later, 30, background(), unix_time=lambda: mint.now)


@pytest.fixture
def get(source: ClientSecrets | AsyncClientSecrets) -> Iterator[Callable[[], ClientSecret]]:
    """``get()`` of a source of either kind."""
    if isinstance(source, ClientSecrets):
        yield source.get
        return
    with asyncio.Runner() as runner:
        yield lambda: runner.run(source.get())


def test_a_secret_is_returned_again_until_its_leeway(get: Callable[[], ClientSecret], mint: Mint) -> None:
    first = get()
    mint.now += 569
    assert get() is first
    mint.now += 1
    assert get() is not first
    assert mint.minted == 2


@pytest.mark.parametrize("ttl", [None, 10])
def test_a_secret_of_short_or_unknown_lifetime_is_minted_each_time(
    get: Callable[[], ClientSecret], mint: Mint, ttl: float | None
) -> None:
    mint.ttl = ttl
    assert get().value != get().value


def test_after_a_failure_the_next_call_tries_again(get: Callable[[], ClientSecret], mint: Mint) -> None:
    mint.error = NavaiHTTPError("no", status_code=401)
    with pytest.raises(NavaiHTTPError):
        get()
    mint.error = None
    assert get().value == f"{VALUE}2"


@pytest.mark.parametrize("ahead", [900, 3, -3, -1200])
def test_secrets_are_valid_by_the_backends_clock(
    get: Callable[[], ClientSecret], mint: Mint, ahead: float, caplog: pytest.LogCaptureFixture
) -> None:
    mint.ahead = ahead
    first = get()
    mint.now += 560
    assert get() is first
    mint.now += 20
    assert get() is not first
    assert mint.minted == 2
    warned = [record.getMessage() for record in caplog.records]
    if abs(ahead) < 5:  # Date has whole seconds, and a response takes its time
        assert not warned
    else:
        (warning,) = warned  # one for two mintings
        assert f"{abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the backend's" in warning


def test_a_difference_of_clocks_lasts_until_a_response_shows_another(
    get: Callable[[], ClientSecret], mint: Mint
) -> None:
    mint.ahead, mint.ttl = 900, 10
    get()
    mint.ahead, mint.ttl = 0, 600  # the clock was set
    first = get()
    mint.now += 560
    assert get() is first


def test_a_secret_that_was_refused_is_dropped(
    source: Any, get: Callable[[], ClientSecret], mint: Mint
) -> None:
    first = get()
    source.invalidate(first)
    second = get()
    assert second is not first
    source.invalidate(first)  # late: a newer one is there
    source.invalidate(first.value)
    assert get() is second
    source.invalidate(second.value)
    third = get()
    assert third is not second
    source.invalidate()
    source.invalidate()
    assert get() is not third
    assert mint.minted == 4


@pytest.mark.parametrize("leeway", ["30", None, True, -1, float("nan")])
def test_a_leeway_that_is_no_number_of_seconds_is_refused(kind: str, mint: Mint, leeway: Any) -> None:
    make: dict[str, Callable[[], object]] = {
        "sync": lambda: ClientSecrets(mint, leeway),
        "async": lambda: AsyncClientSecrets(mint.later, leeway, background()),
    }
    with pytest.raises(NavaiConfigError, match="leeway"):
        make[kind]()


class Gate:
    """A mint that waits for the test."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.minted = 0
        self.entered = threading.Event()
        self.open = threading.Event()
        self.error = error

    def __call__(self) -> ClientSecret:
        self.minted += 1
        self.entered.set()
        assert self.open.wait(PATIENCE_S)
        if self.error is not None and self.minted == 1:
            raise self.error
        return ClientSecret(value=VALUE, expires_at=time.time() + 600)


def ask_in_threads(source: ClientSecrets, gate: Gate, threads: int) -> list[Any]:
    """Let one thread mint while the others ask; return the outcome of each."""
    results: list[Any] = []

    def ask() -> None:
        try:
            results.append(source.get().value)
        except BaseException as error:  # noqa: BLE001 - the test checks it
            results.append(error)

    leader = threading.Thread(target=ask)
    leader.start()
    assert gate.entered.wait(PATIENCE_S)
    waiting = [threading.Thread(target=ask) for _ in range(threads - 1)]
    for thread in waiting:
        thread.start()
    gate.open.set()
    for thread in (leader, *waiting):
        thread.join()
    return results


def test_threads_that_ask_at_the_same_time_share_one_minting() -> None:
    gate = Gate()
    assert ask_in_threads(ClientSecrets(gate, leeway=30), gate, 8) == [VALUE] * 8
    assert gate.minted == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_fork_mints_for_itself_whatever_threads_of_its_parent_do() -> None:
    gate = Gate()
    source = ClientSecrets(gate, leeway=30)
    leader = threading.Thread(target=source.get)
    leader.start()
    assert gate.entered.wait(PATIENCE_S)
    with source._lock:  # as another thread may hold it at that moment
        child = os.fork()
    if child == 0:  # pragma: no cover - not measured in there
        signal.alarm(60)
        gate.open.set()
        os._exit(0 if source.get().value == VALUE and gate.minted == 2 else 1)
    _, status = os.waitpid(child, 0)
    gate.open.set()
    leader.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert gate.minted == 1


def test_a_minting_that_ended_with_its_event_loop_blocks_no_other() -> None:
    entered = 0

    async def mint() -> ClientSecret:
        nonlocal entered
        entered += 1
        if entered == 1:
            await asyncio.Event().wait()
        return ClientSecret(value=VALUE, expires_at=time.time() + 600)

    source = AsyncClientSecrets(mint, 30, background())
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(source.get())
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            assert (await source.get()).value == VALUE

    asyncio.run(main())
    waiting.cancel()
    loop.run_until_complete(asyncio.wait(asyncio.all_tasks(loop), timeout=0))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_an_interrupted_minting_thread_does_not_affect_the_others() -> None:
    gate = Gate(KeyboardInterrupt())
    results = ask_in_threads(ClientSecrets(gate, leeway=30), gate, 4)
    assert results.count(VALUE) == 3
    assert sum(isinstance(result, KeyboardInterrupt) for result in results) == 1
    assert gate.minted == 2


def test_a_failure_is_shared_by_concurrent_callers() -> None:
    gate = Gate(NavaiHTTPError("no", status_code=401))
    results = ask_in_threads(ClientSecrets(gate, leeway=30), gate, 2)
    assert {type(result) for result in results} <= {NavaiHTTPError, str}
    assert isinstance(results[0], NavaiHTTPError) or isinstance(results[1], NavaiHTTPError)


def test_tasks_that_ask_at_the_same_time_share_one_minting_and_its_failure() -> None:
    async def main() -> None:
        asked = 0

        async def mint() -> ClientSecret:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            if asked == 1:
                raise NavaiHTTPError("no", status_code=401)
            return ClientSecret(value=VALUE, expires_at=time.time() + 600)

        source = AsyncClientSecrets(mint, 30, background())
        failures = await asyncio.gather(*(source.get() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(failure, NavaiHTTPError) for failure in failures)
        assert asked == 1
        assert [secret.value for secret in await asyncio.gather(*(source.get() for _ in range(5)))] == [
            VALUE
        ] * 5
        assert asked == 2

    asyncio.run(main())


def test_a_cancelled_task_does_not_affect_the_others() -> None:
    async def main() -> None:
        let_go = asyncio.Event()

        async def mint() -> ClientSecret:
            await let_go.wait()
            return ClientSecret(value=VALUE, expires_at=time.time() + 600)

        source = AsyncClientSecrets(mint, 30, background())
        first, second = asyncio.create_task(source.get()), asyncio.create_task(source())
        await asyncio.sleep(0)
        first.cancel()
        let_go.set()
        assert await second == VALUE
        assert first.cancelled() or (await asyncio.wait([first]))[0]

    asyncio.run(main())


def test_a_clients_source_passes_the_session_on_and_hides_its_key() -> None:
    asked: list[bytes] = []

    def backend(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(200, json={"value": VALUE, "expires_at": time.time() + 600})

    client = NavaiBackendClient("http://navai.test", transport=httpx.MockTransport(backend))
    source = client.client_secrets(leeway=10, voice="marin", api_key="sk-never-shown")
    assert source() == VALUE
    assert source.get().value == VALUE
    assert asked == [b'{"voice":"marin","apiKey":"sk-never-shown"}']
    assert "never-shown" not in repr(source)


def test_an_async_clients_source_can_be_the_api_key_of_a_library_that_calls_for_it() -> None:
    answer = {"value": VALUE, "expires_at": time.time() + 600}
    blocking = make_client(
        "async",
        base_url="http://navai.test",
        transport=httpx.MockTransport(lambda request: httpx.Response(200, json=answer)),
    )
    client: AsyncNavaiBackendClient = blocking.real
    source = client.client_secrets()
    assert blocking.run(source()) == VALUE
    blocking.close()
