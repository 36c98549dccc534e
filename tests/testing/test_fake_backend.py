"""FakeBackend: both clients against the server's core, in memory."""

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from navai_client import (
    AsyncNavaiBackendClient,
    FunctionFailedError,
    NavaiBackendClient,
    NavaiHTTPError,
    NavaiStateError,
    NavaiTimeoutError,
)
from navai_client.testing import FakeBackend
from tests.waiting import PATIENCE_S, SHORT_S


def test_the_sync_client_runs_functions_in_memory() -> None:
    with FakeBackend() as backend, NavaiBackendClient(transport=backend.transport) as client:

        @backend.function
        def double(n: int) -> int:
            return 2 * n

        assert client.execute_function("double", {"n": 21}) == 42
        assert [each.name for each in client.list_functions().functions] == ["double"]
        assert client.create_client_secret().value.startswith("ek_demo_")
        with pytest.raises(FunctionFailedError, match="missing argument n"):
            client.execute_function("double")
        assert len(backend.requests) == 4


def test_the_async_client_runs_functions_in_memory() -> None:
    async def scenario() -> None:
        backend = FakeBackend()

        @backend.function
        async def hang() -> None:
            await asyncio.Event().wait()

        async with AsyncNavaiBackendClient(transport=backend.async_transport) as client:
            assert (await client.list_functions()).warnings == ()
            with pytest.raises(NavaiTimeoutError):
                await client.execute_function("hang", timeout=SHORT_S)
        backend.close()

    asyncio.run(scenario())


def test_timeouts_and_body_limits_hold_in_memory_as_over_a_socket() -> None:
    with (
        FakeBackend(max_body_bytes=100) as backend,
        NavaiBackendClient(transport=backend.transport) as client,
    ):

        @backend.function
        async def hang() -> None:
            await asyncio.Event().wait()

        with pytest.raises(NavaiTimeoutError) as late:
            client.execute_function("hang", timeout=SHORT_S)
        assert late.value.may_have_executed
        with pytest.raises(NavaiHTTPError, match="larger than 100 bytes"):
            client.execute_function("hang", "x" * 200)


def test_synchronous_callers_time_out_though_a_function_blocks_the_event_loop() -> None:
    release = threading.Event()
    with FakeBackend() as backend, NavaiBackendClient(transport=backend.transport) as client:

        @backend.function
        async def block() -> None:
            release.wait(2 * PATIENCE_S)

        try:
            with pytest.raises(NavaiTimeoutError):
                client.execute_function("block", timeout=SHORT_S)
            with (
                httpx.Client(transport=httpx.MockTransport(backend.handle), timeout=0.1) as web,
                pytest.raises(httpx.ReadTimeout),
            ):
                web.get("http://backend.test/navai/functions")
        finally:
            release.set()


def test_an_unknown_path_is_404_in_memory() -> None:
    with (
        FakeBackend() as backend,
        NavaiBackendClient(transport=backend.transport, functions_execute_path="/nope") as client,
        pytest.raises(NavaiHTTPError, match=r"Not found\."),
    ):
        client.execute_function("x")


def test_a_function_can_wait_for_what_an_async_test_does() -> None:
    async def scenario() -> None:
        with FakeBackend() as backend:
            begun, let = asyncio.Event(), asyncio.Event()

            @backend.function
            async def wait() -> str:
                begun.set()
                await let.wait()
                return "done"

            async with AsyncNavaiBackendClient(transport=backend.async_transport) as client:
                call = asyncio.create_task(client.execute_function("wait"))
                await begun.wait()
                let.set()
                assert await call == "done"

    asyncio.run(scenario())


def test_threads_and_several_event_loops_share_one_backend() -> None:
    calls = 25

    def in_thread(client: NavaiBackendClient) -> int:
        return sum(client.execute_function("double", {"n": n}) for n in range(calls))

    async def in_tasks(backend: FakeBackend) -> int:
        async with AsyncNavaiBackendClient(transport=backend.async_transport) as client:
            return sum(
                await asyncio.gather(*(client.execute_function("double", {"n": n}) for n in range(calls)))
            )

    with (
        FakeBackend(threads_per_function=4) as backend,
        NavaiBackendClient(transport=backend.transport) as client,
        ThreadPoolExecutor(6) as threads,
    ):

        @backend.function
        def double(n: int) -> int:
            return 2 * n

        sums = [
            *(threads.submit(in_thread, client) for _ in range(3)),
            *(threads.submit(asyncio.run, in_tasks(backend)) for _ in range(3)),
        ]
        assert {each.result() for each in sums} == {calls * (calls - 1)}

    assert len(backend.calls) == 6 * calls


def test_closing_ends_running_calls_and_later_sync_calls_fail() -> None:
    ended = threading.Event()
    backend = FakeBackend()

    @backend.function
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with NavaiBackendClient(transport=backend.transport) as client:
        with pytest.raises(NavaiTimeoutError):
            client.execute_function("hang", timeout=SHORT_S)
        backend.close()
        assert ended.wait(PATIENCE_S)
        with pytest.raises(NavaiStateError, match="closed; make a new one"):
            client.list_functions()
    backend.close()


def test_closing_ends_calls_on_an_event_loop_that_still_runs() -> None:
    async def scenario() -> None:
        ended = asyncio.Event()
        backend = FakeBackend()

        @backend.function
        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with AsyncNavaiBackendClient(transport=backend.async_transport) as client:
            with pytest.raises(NavaiTimeoutError):
                await client.execute_function("hang", timeout=SHORT_S)
            assert not ended.is_set()  # it has a key: a retry with that key gets its result
            backend.close()
            await asyncio.wait_for(ended.wait(), PATIENCE_S)

    asyncio.run(scenario())


def test_closing_ends_calls_on_an_event_loop_that_is_idle(caplog: pytest.LogCaptureFixture) -> None:
    backend = FakeBackend()
    begun = asyncio.Event()

    @backend.function
    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def leave_calls() -> list[asyncio.Task[Any]]:
        client = AsyncNavaiBackendClient(transport=backend.async_transport)
        backend.delay_next(3600, function="hang", operation="execute_function")
        calls = [asyncio.create_task(client.execute_function("hang")) for _ in range(3)]
        await begun.wait()
        calls[0].cancel()
        calls[1].cancel()
        return calls

    loop = asyncio.new_event_loop()
    calls = loop.run_until_complete(leave_calls())
    backend.close()
    loop.close()

    assert all(call.cancelled() for call in calls)
    assert asyncio.all_tasks(loop) == set()
    assert caplog.records == []


@pytest.mark.parametrize("inside", [False, True])
def test_idle_event_loops_do_not_block_closing(inside: bool) -> None:
    async def list_functions(backend: FakeBackend) -> None:
        async with AsyncNavaiBackendClient(transport=backend.async_transport) as client:
            await client.list_functions()

    async def close(backend: FakeBackend) -> None:
        backend.close()

    backend = FakeBackend()
    idle = asyncio.new_event_loop()
    idle.run_until_complete(list_functions(backend))
    if inside:
        asyncio.run(close(backend))
    else:
        backend.close()
    idle.close()


def test_a_backend_outlives_the_event_loops_that_used_it() -> None:
    async def list_functions(backend: FakeBackend) -> int:
        async with AsyncNavaiBackendClient(transport=backend.async_transport) as client:
            return len(await client.list_functions())

    with FakeBackend() as backend:
        for _ in range(3):
            assert asyncio.run(list_functions(backend)) == 0


def test_an_interrupted_caller_stops_waiting() -> None:
    with FakeBackend() as backend, NavaiBackendClient(transport=backend.transport) as client:
        begun = threading.Event()
        main = threading.main_thread().ident or 0

        @backend.function
        async def hang() -> None:
            begun.set()
            await asyncio.Event().wait()

        def interrupt() -> None:
            begun.wait()
            signal.pthread_kill(main, signal.SIGINT)

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            client.execute_function("hang", timeout=None)
        interrupter.join()


def test_the_settings_of_a_server_can_be_given() -> None:
    with (
        FakeBackend(access_token="t", functions_list_path="f") as backend,
        NavaiBackendClient(
            transport=backend.transport, functions_list_path="/f", headers={"Authorization": "Bearer t"}
        ) as client,
        NavaiBackendClient(transport=backend.transport) as stranger,
    ):
        assert client.list_functions().warnings == ()
        assert backend.requests[0].operation == "list_functions"
        with pytest.raises(NavaiHTTPError, match="access token"):
            stranger.create_client_secret()
