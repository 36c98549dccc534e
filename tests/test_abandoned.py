"""Callers that are cancelled: they are released at once, sent requests are completed, and nothing leaks."""

import asyncio
import contextlib
import gc
import logging
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from navai_client import AsyncNavaiBackendClient, NavaiStateError, _abandoned
from navai_client._abandoned import BackgroundTasks
from navai_client.transports import AsyncTransport, Call
from navai_client.transports._default import AsyncHTTPXTransport
from navai_client.transports._given import async_transport
from navai_client.transports.fast import AsyncFastTransport
from navai_client.wire._values import Request, Response, TransportFailure
from tests.faults.backend import LoopBackend
from tests.waiting import PATIENCE_S, until_async

FDS = Path("/proc/self/fd")
CALLS = 2000
CALLS_OF_GIVEN = 1000  # enough to exhaust a smaller pool
LIMIT = 10  # connections of the pools that are passed in

TRANSPORTS: dict[str, tuple[Callable[[], Any], int]] = {
    "default": (AsyncHTTPXTransport, 100),
    "fast": (AsyncFastTransport, 100),
    "httpx": (
        lambda: httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=LIMIT)),
        LIMIT,
    ),
    "httpx2": (
        lambda: httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=LIMIT)),
        LIMIT,
    ),
}


class Recorder:
    """Sends through another transport, and remembers each call."""

    def __init__(self, inner: AsyncTransport) -> None:
        self._inner = inner
        self.calls: list[tuple[bytes | None, Call]] = []

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        self.calls.append((request.content, call))
        return await self._inner.send(request, call)

    async def close(self) -> None:
        await self._inner.close()


def open_files() -> set[tuple[str, str]]:
    """Return the numbers of the open files of this process, with what they are."""
    found = set()
    for entry in FDS.iterdir() if FDS.exists() else ():
        with contextlib.suppress(OSError):
            found.add((entry.name, str(entry.readlink())))
    return found


@pytest.mark.parametrize("keeps_connections", [True, False])
@pytest.mark.parametrize("name", TRANSPORTS)
def test_cancelled_calls_leak_no_connection_task_socket_or_thread(name: str, keeps_connections: bool) -> None:
    make, connections = TRANSPORTS[name]
    rng = random.Random(4)

    async def short() -> None:
        await asyncio.sleep(rng.random() * 0.01)

    async def main() -> None:
        threads, files = threading.active_count(), open_files()
        async with LoopBackend(short, keeps_connections=keeps_connections) as backend:
            recorder = Recorder(async_transport(make(), None, verify=True, proxy=None))
            async with AsyncNavaiBackendClient(backend.url, transport=recorder, timeout=PATIENCE_S) as client:
                calls = CALLS_OF_GIVEN if name.startswith("httpx") else CALLS
                await _call_and_cancel(
                    client, rng, calls, *((200, 0.05) if keeps_connections else (20, 0.008))
                )
                await _fill(client, backend, connections)
            assert backend.abandoned == 0
            ids = {f'"payload":{number}}}'.encode() for number in backend.arrived}
            for content, call in recorder.calls:
                arrived = content is not None and content[content.index(b'"payload"') :] in ids
                assert call.sent or not arrived  # withdrawn
                assert arrived or not call.sent  # completed
        await until_async(lambda: len(asyncio.all_tasks()) == 1)
        await until_async(lambda: threading.active_count() <= threads)
        assert open_files() <= files  # those of earlier tests may be closed meanwhile

    asyncio.run(main())


async def _call_and_cancel(
    client: AsyncNavaiBackendClient, rng: random.Random, calls: int, wave: int, latest: float
) -> None:
    """Make *wave* calls at the same time, repeatedly, and cancel half of them within *latest* seconds."""
    cancelled = 0
    for start in range(0, calls, wave):
        numbers = range(start, start + wave)
        tasks = [asyncio.create_task(client.execute_function("f", number)) for number in numbers]
        for task in tasks[1::2]:
            asyncio.get_running_loop().call_later(rng.random() * latest, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[::2] == list(numbers[::2])
        cancelled += sum(isinstance(result, asyncio.CancelledError) for result in results)
    assert calls // 8 < cancelled <= calls // 2


async def _fill(client: AsyncNavaiBackendClient, backend: LoopBackend, connections: int) -> None:
    """Use all connections at the same time, to show that none was lost."""
    await until_async(lambda: backend.busy == 0)
    full = asyncio.Event()

    async def hold() -> None:
        if backend.busy == connections:
            full.set()
        await full.wait()

    backend.hold = hold
    numbers = list(range(CALLS, CALLS + connections))
    assert await asyncio.gather(*(client.execute_function("f", number) for number in numbers)) == numbers


def tasks(failure_of: Callable[[Any], str | None] = lambda _: None) -> BackgroundTasks:
    return BackgroundTasks(logging.getLogger("navai_client"), failure_of)


async def until(gate: asyncio.Event, outcome: Any = None) -> Any:
    await gate.wait()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def left(caller: asyncio.Task[Any]) -> None:
    """Let *caller* begin, cancel it, and check that it is released at once."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        ("fine", "name: went on in the background and ended."),
        ("broken", "and failed: it broke"),
        (ValueError("secret"), "and failed: ValueError."),
    ],
)
def test_how_abandoned_work_ended_is_logged_once(
    outcome: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        background, gate = tasks(lambda value: "it broke" if value == "broken" else None), asyncio.Event()
        task = background.start(until(gate, outcome), "name")
        await left(asyncio.create_task(background.result(task)))
        await left(asyncio.create_task(background.result(task)))
        gate.set()
        await background.close(5)

    with caplog.at_level(logging.DEBUG, "navai_client"):
        asyncio.run(main())
    (record,) = caplog.records  # asyncio reports no lost exception
    assert text in record.getMessage()
    assert "secret" not in caplog.text


def test_close_waits_no_longer_than_its_grace(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        background = tasks()
        await left(asyncio.create_task(background.run(until(asyncio.Event()), "name")))
        await background.close(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with caplog.at_level(logging.DEBUG, "navai_client"):
        asyncio.run(main())
    assert "name: went on in the background and was cancelled." in caplog.text


def test_close_is_not_held_up_by_work_that_ignores_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_abandoned, "_CLEANUP", 0.01)

    async def main() -> None:
        background, gate = tasks(), asyncio.Event()

        async def stubborn() -> None:
            while not gate.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.wait()

        task = background.start(stubborn(), "name")
        await background.close(0.0)
        assert not task.done()
        gate.set()
        await background.close(5)
        assert task.done()

    asyncio.run(main())


def test_work_that_has_not_begun_is_withdrawn() -> None:
    async def main() -> None:
        background = tasks()
        await left(asyncio.create_task(background.run(until(asyncio.Event()), "name", lambda: True)))
        await background.close(5)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("outcome", [None, ValueError("lost")])
def test_a_caller_that_is_cancelled_when_the_result_is_there_loses_nothing(
    outcome: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        background, gate, asked = tasks(), asyncio.Event(), asyncio.Event()

        def withdraw() -> bool:
            asked.set()
            return True

        caller = asyncio.create_task(background.run(until(gate, outcome), "name", withdraw))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.set()
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(caller.cancel)
        await asyncio.wait([caller])
        await background.close(0)
        assert caller.cancelled()
        assert not asked.is_set()  # there was nothing to withdraw
        gc.collect()

    asyncio.run(main())
    assert not caplog.records


def test_work_goes_on_for_the_other_callers() -> None:
    async def main() -> None:
        background, gate = tasks(), asyncio.Event()
        task = background.start(until(gate, 7), "name")
        first, second = (asyncio.create_task(background.result(task)) for _ in range(2))
        await left(first)
        gate.set()
        assert await second == 7
        assert await background.result(task) == 7

    asyncio.run(main())


def test_close_waits_for_a_call_that_was_sent() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        async with LoopBackend(gate.wait) as backend:
            client = AsyncNavaiBackendClient(backend.url)
            caller = asyncio.create_task(client.execute_function("f", 1))
            await until_async(lambda: backend.busy == 1)
            caller.cancel()
            await asyncio.wait([caller])
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0)
            assert not closing.done()
            gate.set()
            await closing
            assert backend.abandoned == 0

    asyncio.run(main())


def _in_two_loops(use: Callable[[AsyncNavaiBackendClient], Awaitable[Any]]) -> None:
    client = AsyncNavaiBackendClient(
        "http://backend.test", transport=httpx.MockTransport(lambda _: httpx.Response(200, json={"ok": True}))
    )

    async def main() -> None:
        await use(client)

    asyncio.run(main())
    asyncio.run(main())


def test_a_second_event_loop_is_refused() -> None:
    with pytest.raises(NavaiStateError, match="another event loop"):
        _in_two_loops(lambda client: client.execute_function("f"))


def test_no_event_loop_is_refused() -> None:
    client = AsyncNavaiBackendClient(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    with pytest.raises(NavaiStateError, match="needs a running asyncio event loop"):
        client.list_functions().send(None)
