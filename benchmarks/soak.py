"""10,000 calls through one client, sync and async: open files, threads and memory must stay flat.

Run it with ``python -m benchmarks.soak``. It counts on Linux, where /proc says what a process holds.
"""

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.process import fixed_server
from benchmarks.results import SMALL
from navai_client import AsyncNavaiBackendClient, NavaiBackendClient

CALLS = 10_000
STEPS = 5
AT_ONCE = 32


def held() -> tuple[int, int, float]:
    """Return the open files, the threads and the resident memory in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = len(list(Path("/proc/self/fd").iterdir()))
    return files, threading.active_count(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def report(what: str, steps: Iterator[int]) -> None:
    """Print a row for each step that *steps* has made."""
    for calls in steps:
        files, threads, memory = held()
        print(f"| {what} | {calls:,} | {files} | {threads} | {memory:.1f} |", flush=True)


def one_after_the_other(call: Callable[[], object]) -> Iterator[int]:
    """Make the calls, and give how many were made, again and again."""
    for step in range(STEPS + 1):
        yield step * CALLS // STEPS
        if step < STEPS:
            for _ in range(CALLS // STEPS):
                call()


def main() -> None:
    print("| client | calls | open files | threads | memory, MiB |\n| --- | --- | --- | --- | --- |")
    with fixed_server() as server:
        url = f"{server}/{SMALL}"
        with NavaiBackendClient(url) as client:
            client.execute_function("f")
            report("sync", one_after_the_other(lambda: client.execute_function("f", {"a": 1})))
        with asyncio.Runner() as runner:
            asynchronous = AsyncNavaiBackendClient(url)

            async def at_once() -> None:
                await asyncio.gather(*(asynchronous.execute_function("f", {"a": 1}) for _ in range(AT_ONCE)))

            runner.run(at_once())
            steps = one_after_the_other(_every(AT_ONCE, lambda: runner.run(at_once())))
            report(f"async, {AT_ONCE} at once", steps)
            runner.run(asynchronous.close())


def _every(times: int, call: Callable[[], object]) -> Callable[[], None]:
    """Return a function that makes *call* at each *times*-th of its own calls."""
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1
        if count % times == 0:
            call()

    return counted


if __name__ == "__main__":
    main()
