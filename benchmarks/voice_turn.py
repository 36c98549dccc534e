"""What a voice turn feels: the time from a tool call of the Realtime API to the output that answers it.

Three processes: a stand-in for the Realtime API with a WebSocket for each session; the measured agent, which
has all sessions in one event loop; and the bundled server with a function that returns at once. The API takes
the time, from the moment before it sends the ``response.output_item.done`` until it has the
``function_call_output``. So its own delays are included, and those of the server.
"""

import asyncio
import gc
import itertools
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.backends import OURS, opened
from benchmarks.calls import compact
from benchmarks.functions import write
from benchmarks.process import CORES, fixed_server, started
from benchmarks.scale import Scale
from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.realtime import RealtimeToolRunner
from navai_client.integrations.toolset import Toolset
from navai_client.transports.fast import AsyncFastTransport

__all__ = ["AGENTS", "AT_ONCE", "CALM", "LOADS", "measure"]

AGENTS = ("navai_client, fast", "navai_client, fast, uvloop", "navai_client")
CALM = "a turn every 5 s in each session"
AT_ONCE = "a turn in every session at the same moment"
LOADS = {CALM: 5.0, "a turn every second in each session": 1.0, AT_ONCE: 0.0}  # seconds on average
FUNCTIONS = 3
ARGUMENTS = '{"location": "Bogotá"}'
# What a session receives while its agent speaks: 200 ms of audio, 9,600 bytes (24 kHz, 16 bits), in base64.
AUDIO = compact({"type": "response.output_audio.delta", "response_id": "r", "delta": "A" * 12_800})
SPOKEN = 0.5  # seconds between two such events, for an agent that speaks for 40 % of the time
PATIENCE = 30  # seconds for the last outputs


def _collect_rarely() -> None:
    """Do what docs/agents.md recommends to a process with many sessions."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


class _Session:
    """One session, as the API sees it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.began: dict[str, float] = {}
        self.took: list[float] = []
        self.answered = asyncio.Event()

    async def turn(self, number: int) -> None:
        """Let the model call a function, and wait for its output."""
        response, call = f"resp_{number}", f"call_{number}"
        item = {"id": f"item_{number}", "type": "function_call", "status": "completed", "call_id": call}
        item |= {"name": "weather_0", "arguments": ARGUMENTS}
        done = compact({"type": "response.output_item.done", "response_id": response, "item": item})
        self.answered.clear()
        await self.socket.send(compact({"type": "response.created", "response": {"id": response}}))
        self.began[call] = time.perf_counter()
        await self.socket.send(done)
        ended = {"type": "response.done", "response": {"id": response, "status": "completed"}}
        await self.socket.send(compact(ended))
        async with asyncio.timeout(PATIENCE):
            await self.answered.wait()

    async def serve(self) -> None:
        """Receive what the agent sends."""
        async for message in self.socket:
            now = time.perf_counter()
            event = json.loads(message)
            if event["type"] == "conversation.item.create":
                self.took.append(now - self.began.pop(event["item"]["call_id"]))
                assert "sunny" in event["item"]["output"], event
            elif event["type"] == "response.create":  # the agent speaks of the result
                for kind in ("response.created", "response.done"):
                    await self.socket.send(
                        compact({"type": kind, "response": {"id": "r", "status": "completed"}})
                    )
                self.answered.set()


async def _pauses(mean: float, end: float) -> AsyncIterator[None]:
    """Yield after random pauses (a Poisson process) until the time *end*."""
    while time.perf_counter() + (pause := random.expovariate(1 / mean)) < end:
        await asyncio.sleep(pause)
        yield


async def _api() -> None:
    """Serve sessions, and for each line of standard input measure turns in all of them."""
    sessions: list[_Session] = []
    numbers = itertools.count()

    async def accept(socket: ServerConnection) -> None:
        sessions.append(session := _Session(socket))
        await session.serve()
        sessions.remove(session)

    async def turns(session: _Session, mean: float, end: float) -> None:
        if not mean:
            await session.turn(next(numbers))
            return
        async for _ in _pauses(mean, end):
            await session.turn(next(numbers))

    async def audio(session: _Session, end: float) -> None:
        async for _ in _pauses(SPOKEN, end):
            await session.socket.send(AUDIO)

    async with serve(accept, "127.0.0.1", 0, compression=None, max_size=None) as server:
        (listener,) = server.sockets
        print(f"ws://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            _collect_rarely()
            end = time.perf_counter() + asked["seconds"]
            await asyncio.gather(
                *(turns(session, asked["mean"], end) for session in sessions),
                *(audio(session, end) for session in sessions),
            )
            print(json.dumps([1e3 * each for session in sessions for each in session.took]), flush=True)
            for session in sessions:
                session.took.clear()


@asynccontextmanager
async def _session(url: str, toolset: Toolset) -> AsyncIterator[None]:
    async def receive(socket: Any, runner: RealtimeToolRunner) -> None:
        async for message in socket:
            await runner.receive(message)

    async with (
        connect(url, compression=None, max_size=None) as socket,
        RealtimeToolRunner(toolset, socket.send) as runner,
        asyncio.TaskGroup() as tasks,
    ):
        await runner.offer()
        receiving = tasks.create_task(receive(socket, runner))
        yield
        receiving.cancel()


async def _agent(name: str) -> None:
    """Hold the sessions that a line of standard input asks for, until the input ends."""
    asked = json.loads(await asyncio.to_thread(sys.stdin.readline))
    transport = AsyncFastTransport() if "fast" in name else None
    async with (
        AsyncNavaiBackendClient(asked["backend"], transport=transport) as client,
        Toolset.load(client) as toolset,
        AsyncExitStack() as stack,
    ):
        assert len(toolset.tools) == FUNCTIONS, toolset.warnings
        _collect_rarely()
        for _ in range(asked["sessions"]):
            await stack.enter_async_context(_session(asked["api"], toolset))
        print(json.dumps({"sessions": asked["sessions"]}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


def measure(scale: Scale) -> dict[str, Any]:
    """Measure the turns of every agent under every load."""
    cases = []
    module = [sys.executable, "-m", "benchmarks.voice_turn"]
    with TemporaryDirectory() as folder, fixed_server() as upstream:
        write(Path(folder), FUNCTIONS)
        with opened(OURS, Path(folder), upstream, core=CORES[1]) as backend:
            for agent in AGENTS:
                with (
                    started([*module, "api"], core=CORES[1]) as api,
                    started([*module, agent], core=CORES[0]) as process,
                ):
                    process.ask(api=api.line(), backend=backend.url, sessions=scale.sessions)
                    api.ask(mean=0.0, seconds=0.0)  # opens the connections to the backend
                    for load, mean in LOADS.items():
                        before = process.cpu()
                        seconds = scale.turn_seconds if mean else 0.0
                        took = sorted(api.ask(mean=mean / scale.turns_hurry, seconds=seconds))
                        cpu = (process.cpu() - before) / len(took) * 1e6
                        cases.append({"agent": agent, "load": load, "ms": took, "cpu": cpu})
    return {"sessions": scale.sessions, "cases": cases}


def main(role: str) -> None:
    """Be the API, or the agent of that name."""
    loop = uvloop.new_event_loop if role in {"api", AGENTS[1]} else None
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_api() if role == "api" else _agent(role))


if __name__ == "__main__":
    main(sys.argv[1])
