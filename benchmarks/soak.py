"""10,000 calls through one client, sync and async: open files, threads and memory must stay flat.

Run it with ``python -m benchmarks.soak``. It counts on Linux, where /proc says what a process holds.
"""

import asyncio
import gc
import os
import threading
from pathlib import Path

from benchmarks.calls import SMALL
from benchmarks.contenders import CONTENDERS, OURS, Contender
from benchmarks.figures import number
from benchmarks.process import fixed_server

CALLS = 10_000
STEPS = 2
AT_ONCE = 32


def report(what: str, step: int) -> None:
    """Print what this process holds after *step* steps: files, threads, and resident memory in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    files = len(list(Path("/proc/self/fd").iterdir()))
    cells = [f"{step * CALLS // STEPS:,}", str(files), str(threading.active_count()), number(memory)]
    print(f"| {what} | {' | '.join(cells)} |", flush=True)


def sequential(what: str, contender: Contender, url: str) -> None:
    """Make the calls one after the other."""
    assert contender.sync is not None
    with contender.sync(url) as call:
        call()
        for step in range(STEPS + 1):
            report(what, step)
            if step < STEPS:
                for _ in range(CALLS // STEPS):
                    call()


async def concurrent(what: str, contender: Contender, url: str) -> None:
    """Make the calls, 32 concurrently."""
    assert contender.concurrent is not None
    async with contender.concurrent(url) as call:
        await asyncio.gather(*(call() for _ in range(AT_ONCE)))
        for step in range(STEPS + 1):
            report(what, step)
            if step < STEPS:
                for _ in range(CALLS // STEPS // AT_ONCE):
                    await asyncio.gather(*(call() for _ in range(AT_ONCE)))


def main() -> None:
    print("| client | calls | open files | threads | memory, MiB |\n| --- | --- | --- | --- | --- |")
    with fixed_server() as server:
        url = f"{server}/{SMALL}"
        for name in OURS:
            contender = CONTENDERS[name]
            if contender.sync is not None:
                sequential(f"{name}, sync", contender, url)
            with asyncio.Runner(loop_factory=contender.loop) as runner:
                runner.run(concurrent(f"{name}, async, {AT_ONCE} at once", contender, url))


if __name__ == "__main__":
    main()
