"""Closing a client: interrupted, resumed, after the end of its event loop. Nothing stays open."""

import asyncio
import contextlib
import gc
import random
import ssl
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import trustme

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient, NavaiStateError
from navai_client.transports import Call, Transport
from navai_client.transports._default import AsyncHTTPXTransport, HTTPXTransport
from navai_client.transports._network import AsyncConnection
from navai_client.transports.fast import AsyncFastTransport, FastTransport
from navai_client.wire._values import Request, Response, TransportFailure
from tests.faults.backend import LoopBackend
from tests.faults.server import OK, FaultServer, Peer, answer
from tests.waiting import PATIENCE_S, until, until_async

FDS = Path("/proc/self/fd")
CLOSES = 100
CALLS = 10  # of each client that is closed

AUTHORITY = trustme.CA()
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("127.0.0.1").configure_cert(TLS)
TRUST = ssl.create_default_context()
AUTHORITY.configure_trust(TRUST)

ASYNC: dict[str, Callable[[], Any]] = {
    "default": lambda: AsyncHTTPXTransport(verify=TRUST),
    "fast": lambda: AsyncFastTransport(verify=TRUST),
    "httpx": lambda: httpx.AsyncHTTPTransport(verify=TRUST),
    "httpx2": lambda: httpx2.AsyncHTTPTransport(verify=TRUST),
}
OURS = ["default", "fast"]


def open_sockets() -> set[str]:
    """Return the sockets of this process."""
    names = set()
    for entry in FDS.iterdir() if FDS.exists() else ():
        with contextlib.suppress(OSError):
            names.add(str(entry.readlink()))
    return {name for name in names if name.startswith("socket:")}


async def turns(number: int) -> None:
    """Let the event loop do *number* rounds."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("name", "tls"),
    [*((name, None) for name in ASYNC), *((name, TLS) for name in OURS)],
    ids=[*ASYNC, *(f"{name} with TLS" for name in OURS)],
)
def test_interrupted_closes_and_cancelled_calls_leak_no_socket_task_or_thread(name: str, tls: Any) -> None:
    rng = random.Random(6)

    async def hold() -> None:
        await turns(rng.randrange(20))

    async def use(url: str) -> None:
        client = AsyncNavaiBackendClient(url, transport=ASYNC[name](), timeout=PATIENCE_S)
        calls = [asyncio.create_task(client.execute_function("f", number)) for number in range(CALLS)]
        for call in calls:
            await turns(rng.randrange(8))
            call.cancel()
        await asyncio.wait(calls)
        closing = asyncio.create_task(client.close())
        await turns(rng.randrange(12))
        closing.cancel()
        await asyncio.wait([closing])

    async def main() -> None:
        sockets = open_sockets()
        async with asyncio.timeout(2 * PATIENCE_S), LoopBackend(hold, tls=tls) as backend:
            for _ in range(CLOSES):
                await use(backend.url)
            await until_async(lambda: backend.open == 0)
        await until_async(lambda: len(asyncio.all_tasks()) == 1)
        assert open_sockets() <= sockets  # those of earlier tests may be closed meanwhile

    threads = threading.active_count()
    asyncio.run(main())
    until(lambda: threading.active_count() <= threads)  # those of the loop's executor have ended with it


@pytest.mark.parametrize("name", ASYNC)
@pytest.mark.parametrize("when", ["waiting for abandoned calls", "closing connections"])
def test_after_an_interrupted_close_nothing_is_open_and_a_later_close_ends(name: str, when: str) -> None:
    async def main() -> None:
        gate, sockets = asyncio.Event(), open_sockets()
        async with asyncio.timeout(2 * PATIENCE_S), LoopBackend(lambda: asyncio.sleep(0)) as backend:
            client = AsyncNavaiBackendClient(backend.url, transport=ASYNC[name]())
            await asyncio.gather(*(client.execute_function("f", number) for number in range(10)))
            assert backend.open == 10
            if when == "waiting for abandoned calls":
                backend.hold = gate.wait
                caller = asyncio.create_task(client.execute_function("f", 1))
                await until_async(lambda: backend.busy == 1)
                caller.cancel()
                await asyncio.wait([caller])
            closing = asyncio.create_task(client.close())
            await turns(1 if when == "waiting for abandoned calls" else 3)
            closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing
            gate.set()
            await until_async(lambda: backend.open == 0)
            with pytest.raises(NavaiStateError, match="closed"):
                await client.execute_function("f", 1)
            await client.close()
            await client.close()
        assert open_sockets() <= sockets
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


class SlowToClose:
    """A transport whose ``close()`` waits for the test."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = self.closed = 0

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        return TransportFailure("never sent", sent=False)

    async def close(self) -> None:
        self.begun += 1
        await self.gate.wait()
        self.closed += 1


def test_a_transport_that_is_slow_to_close_is_closed_once_however_often_that_is_interrupted() -> None:
    async def main() -> None:
        transport = SlowToClose()
        client = AsyncNavaiBackendClient(transport=transport)
        for _ in range(3):
            closing = asyncio.create_task(client.close())
            await turns(5)
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()
        last = [asyncio.create_task(client.close()) for _ in range(2)]
        await turns(5)
        assert not any(each.done() for each in last)
        transport.gate.set()
        await asyncio.gather(*last)
        assert (transport.begun, transport.closed) == (1, 1)

    asyncio.run(main())


class InterruptedOnce:
    """Sends through another transport; the first ``close()`` is interrupted."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.closed = 0

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        return self._inner.send(request, call)

    def close(self) -> None:
        self.closed += 1
        if self.closed == 1:
            raise KeyboardInterrupt
        self._inner.close()


def serve(peer: Peer) -> None:
    while peer.request() is not None:
        peer.send(answer(OK))


@pytest.mark.parametrize("make", [HTTPXTransport, FastTransport], ids=OURS)
def test_a_sync_close_that_was_interrupted_can_be_resumed(make: type[Any]) -> None:
    with FaultServer(serve) as server:
        transport = InterruptedOnce(make())
        client = NavaiBackendClient(server.url, transport=transport)
        assert client.execute_function("f") == "done"
        with pytest.raises(KeyboardInterrupt):
            client.close()
        with pytest.raises(NavaiStateError, match="closed"):
            client.execute_function("f")
        client.close()
        client.close()
        assert transport.closed == 2
        for thread in server._threads:  # each ends with its connection
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def serve_tls(peer: Peer) -> None:
    with TLS.wrap_socket(peer._connection, server_side=True) as wrapped:
        peer._connection = wrapped
        serve(peer)


@pytest.mark.parametrize(
    ("name", "end"), [*((name, "run") for name in ASYNC), *((name, "closed") for name in ASYNC)]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_to_close_after_the_event_loop_has_ended_is_quiet(
    name: str, scheme: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultServer(serve if scheme == "http" else serve_tls) as server, warnings.catch_warnings():
        client = AsyncNavaiBackendClient(server.url.replace("http:", f"{scheme}:"), transport=ASYNC[name]())

        async def main() -> None:
            assert await client.execute_function("f") == "done"

        if end == "run":
            asyncio.run(main())
        else:  # asyncio itself then warns of what it has not closed
            warnings.simplefilter("ignore", ResourceWarning)
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
        asyncio.run(client.close())
        asyncio.run(client.close())
        if end == "closed" and name not in OURS:
            client = None  # type: ignore[assignment]
        gc.collect()
        for thread in server._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    assert not caplog.records


@pytest.mark.parametrize("name", ASYNC)
def test_connections_are_closed_with_an_event_loop_whose_client_was_not_closed(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultServer(serve) as server:
        client = AsyncNavaiBackendClient(server.url, transport=ASYNC[name]())

        async def main() -> None:
            assert await client.execute_function("f") == "done"
            task = asyncio.create_task(client.execute_function("f"))
            await turns(20)
            task.cancel()

        asyncio.run(main())
        for thread in server._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    assert not caplog.records


def test_a_connection_that_was_never_opened_can_be_ended_after_its_event_loop() -> None:
    async def make() -> AsyncConnection:
        return AsyncConnection()

    assert asyncio.run(make()).end() is None


def test_another_event_loop_cannot_close_a_client_whose_own_goes_on() -> None:
    client = AsyncNavaiBackendClient(transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    with asyncio.Runner() as runner:
        runner.run(client.list_functions())
        with pytest.raises(NavaiStateError, match="another event loop"):
            asyncio.run(client.close())
        runner.run(client.close())
