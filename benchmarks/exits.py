"""How processes end after thousands of calls: a client that aborts at exit is unusable.

Run by hand: ``python -m benchmarks.exits [--exits 300] [--calls 4000] [contender ...]``. Each exit is one
process that makes the calls, closes what it opened and ends: so many pinned to one core, and so many on all.
Contenders: fast, aiohttp, and pyreqwest and pyqwest where they are installed.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from benchmarks.calls import EXECUTE
from benchmarks.contenders import BODY, Async, aiohttp_by_hand, ours, ours_async
from benchmarks.process import fixed_server
from navai_client.transports.fast import AsyncFastTransport, FastTransport

__all__ = ["main"]

AT_ONCE = 32
PATIENCE = 300  # seconds for one process


@asynccontextmanager
async def pyreqwest(url: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Open a client of pyreqwest."""
    from pyreqwest.client import ClientBuilder  # type: ignore[import-not-found] # noqa: PLC0415 - no dependency

    async def call() -> Any:
        answer = await client.post(url + EXECUTE).body_json(BODY).build().send()
        return (await answer.json())["result"]

    async with ClientBuilder().build() as client:
        yield call


@asynccontextmanager
async def pyqwest(url: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Open a client of pyqwest."""
    from pyqwest import Client, HTTPTransport  # type: ignore[import-not-found] # noqa: PLC0415 - no dependency

    async def call() -> Any:
        return (await client.post(url + EXECUTE, content=json.dumps(BODY).encode())).json()["result"]

    async with HTTPTransport() as transport:
        client = Client(transport)
        yield call


CONTENDERS: dict[str, Async] = {
    "fast": partial(ours_async, transport=AsyncFastTransport),
    "aiohttp": aiohttp_by_hand,
    "pyreqwest": pyreqwest,
    "pyqwest": pyqwest,
}


async def make_calls(opened: Async, url: str, calls: int) -> None:
    """Make *calls* concurrent calls with the client that *opened* opens."""
    async with opened(url) as call:

        async def some() -> None:
            for _ in range(calls // AT_ONCE):
                await call()

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def live(contender: str, url: str, calls: int) -> None:
    """Run as a process of *contender*: make the calls and exit."""
    asyncio.run(make_calls(CONTENDERS[contender], url, calls))
    if contender == "fast":
        with ours(url, FastTransport) as call:
            for _ in range(calls // 4):
                call()


def ending(command: list[str], *, pinned: bool) -> str:
    """Run *command* and return how its process ended."""
    pin = partial(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))}) if pinned else None
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, preexec_fn=pin
    )
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    return "well" if done.returncode == 0 and not done.stderr else f"{done.returncode}: {done.stderr[-300:]}"


def main() -> None:
    """Print how the processes of each contender ended."""
    parser = argparse.ArgumentParser(description="Count how processes end.")
    parser.add_argument("contenders", nargs="*", default=["fast"], help=", ".join(CONTENDERS))
    parser.add_argument("--exits", type=int, default=300, help="processes pinned to a core, and as many not")
    parser.add_argument("--calls", type=int, default=4000, help="async calls of each process")
    parser.add_argument("--live", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.live:
        live(given.contenders[0], given.live, given.calls)
        return
    with fixed_server() as url:
        for contender in given.contenders:
            command = [sys.executable, "-m", "benchmarks.exits", contender, "--calls", str(given.calls)]
            command += ["--live", f"{url}/100"]
            for pinned in (True, False):
                ended = Counter(ending(command, pinned=pinned) for _ in range(given.exits))
                print(f"{contender}, {'one core' if pinned else 'all cores'}: {dict(ended)}", flush=True)


if __name__ == "__main__":
    main()
