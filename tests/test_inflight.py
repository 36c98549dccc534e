"""Callers that leave: they are let go at once, what was sent is finished, and nothing is left of the rest."""

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from navai_client import AsyncNavaiBackendClient, NavaiStateError
from navai_client.inflight import InFlight
from navai_client.transports import AsyncTransport, Call
from navai_client.transports._default import AsyncHTTPXTransport
from navai_client.transports._given import async_transport
from navai_client.transports.fast import AsyncFastTransport
from navai_client.wire._values import Request, Response, TransportFailure
from tests.faults.backend import LoopBackend

FDS = Path("/proc/self/fd")
CALLS = 2000
CALLS_OF_GIVEN = 1000  # enough to lose every place of a pool that is smaller
PLACES = 10  # connections of the pools that users give

TRANSPORTS: dict[str, tuple[Callable[[], Any], int]] = {
    "default": (AsyncHTTPXTransport, 100),
    "fast": (AsyncFastTransport, 100),
    "httpx": (lambda: httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=PLACES)), PLACES),
    "httpx2": (lambda: httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=PLACES)), PLACES),
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


def open_files() -> int:
    return len(list(FDS.iterdir())) if FDS.exists() else 0


async def settled(done: Callable[[], bool]) -> None:
    """Let everything run until *done*."""
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 - what it waits for signals nothing
            await asyncio.sleep(0)


@pytest.mark.parametrize("keeps_connections", [True, False])
@pytest.mark.parametrize("name", TRANSPORTS)
def test_cancelled_calls_cost_no_connection_task_socket_or_thread(name: str, keeps_connections: bool) -> None:
    make, places = TRANSPORTS[name]
    rng = random.Random(4)

    async def short() -> None:
        await asyncio.sleep(rng.random() * 0.01)

    async def main() -> None:
        threads, files = threading.active_count(), open_files()
        async with LoopBackend(short, keeps_connections=keeps_connections) as backend:
            recorder = Recorder(async_transport(make(), None, verify=True, proxy=None))
            async with AsyncNavaiBackendClient(backend.url, transport=recorder, timeout=20) as client:
                calls = CALLS_OF_GIVEN if name.startswith("httpx") else CALLS
                await _call_and_cancel(
                    client, rng, calls, *((200, 0.05) if keeps_connections else (20, 0.008))
                )
                await _fill(client, backend, places)
            assert backend.abandoned == 0
            ids = {f'"payload":{number}}}'.encode() for number in backend.arrived}
            for content, call in recorder.calls:
                arrived = content is not None and content[content.index(b'"payload"') :] in ids
                assert call.sent or not arrived  # taken back
                assert arrived or not call.sent  # finished
        await settled(lambda: len(asyncio.all_tasks()) == 1)
        assert threading.active_count() <= threads
        assert open_files() == files

    asyncio.run(main())


async def _call_and_cancel(
    client: AsyncNavaiBackendClient, rng: random.Random, calls: int, wave: int, latest: float
) -> None:
    """Make *wave* calls at the same time, again and again, and leave half of them within *latest* seconds."""
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


async def _fill(client: AsyncNavaiBackendClient, backend: LoopBackend, places: int) -> None:
    """Use all connections at the same time: no place was lost."""
    await settled(lambda: backend.busy == 0)
    full = asyncio.Event()

    async def hold() -> None:
        if backend.busy == places:
            full.set()
        await full.wait()

    backend.hold = hold
    numbers = list(range(CALLS, CALLS + places))
    assert await asyncio.gather(*(client.execute_function("f", number) for number in numbers)) == numbers


async def _until_sent(call: Call, gate: asyncio.Event, outcome: Any = None) -> Any:
    call.sent = True
    await gate.wait()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _call() -> Call:
    return Call(timeout=None, max_response_bytes=100)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Response(200, {}, b""), "went on in the background"),
        (TransportFailure("it broke"), "it broke"),
        (ValueError("secret"), "failed: ValueError"),
    ],
)
def test_what_comes_of_a_call_whose_caller_left_is_logged(
    outcome: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        in_flight, call, gate = InFlight(), _call(), asyncio.Event()
        caller = asyncio.create_task(in_flight.run(_until_sent(call, gate, outcome), call, "name"))
        await settled(lambda: call.sent)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert call.left
        gate.set()
        await in_flight.finish(5)

    with caplog.at_level(logging.DEBUG, "navai_client"):
        asyncio.run(main())
    assert text in caplog.text
    assert "secret" not in caplog.text


def test_close_waits_no_longer_than_its_grace(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        in_flight, call = InFlight(), _call()
        caller = asyncio.create_task(in_flight.run(_until_sent(call, asyncio.Event()), call, "name"))
        await settled(lambda: call.sent)
        caller.cancel()
        await asyncio.wait([caller])
        await in_flight.finish(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with caplog.at_level(logging.DEBUG, "navai_client"):
        asyncio.run(main())
    assert "name: went on in the background and was cancelled." in caplog.text


def test_a_call_of_which_nothing_was_sent_is_taken_back() -> None:
    async def main() -> None:
        in_flight, call, began = InFlight(), _call(), asyncio.Event()

        async def work() -> None:
            began.set()
            await asyncio.Event().wait()

        caller = asyncio.create_task(in_flight.run(work(), call, "name"))
        await began.wait()
        caller.cancel()
        await asyncio.wait([caller])
        await in_flight.finish(5)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_caller_who_leaves_when_the_answer_is_there_leaves_nothing() -> None:
    async def main() -> None:
        in_flight, call, gate = InFlight(), _call(), asyncio.Event()
        done = asyncio.Event()

        async def work() -> None:
            await _until_sent(call, gate)
            done.set()

        caller = asyncio.create_task(in_flight.run(work(), call, "name"))
        await settled(lambda: call.sent)
        gate.set()
        await done.wait()
        caller.cancel()
        await asyncio.wait([caller])
        await in_flight.finish(0)

    asyncio.run(main())


def test_close_waits_for_a_call_that_was_sent() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        async with LoopBackend(gate.wait) as backend:
            client = AsyncNavaiBackendClient(backend.url)
            caller = asyncio.create_task(client.execute_function("f", 1))
            await settled(lambda: backend.busy == 1)
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
    with pytest.raises(NavaiStateError, match="needs a running asyncio event loop"):
        InFlight().check_loop()
