"""The process of one Python client: makes the calls that a line of JSON asks for, and reports the figures.

``{"url", "at_once", "seconds"}``, with 0 at once for sync calls one after the other, is answered by
``{"calls", "seconds", "cpu", "bytes"}``: the calls made, the seconds that they took, those of the
processor, and the size of the last result as compact JSON. javascript_client.mjs understands the same.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.calls import compact
from benchmarks.contenders import CONTENDERS, Contender

__all__ = ["main"]


@contextmanager
def measured(outcome: dict[str, Any]) -> Iterator[None]:
    """Put the time that the body takes into *outcome*."""
    cpu, began = time.process_time(), time.perf_counter()
    yield
    outcome["seconds"] = time.perf_counter() - began
    outcome["cpu"] = time.process_time() - cpu


def sequential(contender: Contender, url: str, seconds: float) -> dict[str, Any]:
    """Make calls one after the other for *seconds*."""
    assert contender.sync is not None
    outcome: dict[str, Any] = {}
    calls, result = 0, None
    with contender.sync(url) as call:
        call()  # opens the connection
        with measured(outcome):
            end = time.perf_counter() + seconds
            while not calls or time.perf_counter() < end:
                result = call()
                calls += 1
    return {**outcome, "calls": calls, "bytes": len(compact(result))}


async def concurrent(contender: Contender, url: str, at_once: int, seconds: float) -> dict[str, Any]:
    """Make calls for *seconds*, *at_once* of them concurrently."""
    assert contender.concurrent is not None
    outcome: dict[str, Any] = {}
    calls, result = 0, None

    async def worker(end: float) -> None:
        nonlocal calls, result
        result = await call()
        calls += 1
        while time.perf_counter() < end:
            result = await call()
            calls += 1

    async with contender.concurrent(url) as call:
        await asyncio.gather(*(call() for _ in range(at_once)))  # opens the connections
        with measured(outcome):
            end = time.perf_counter() + seconds
            await asyncio.gather(*(worker(end) for _ in range(at_once)))
    return {**outcome, "calls": calls, "bytes": len(compact(result))}


def main(name: str) -> None:
    """Serve the lines of standard input."""
    contender = CONTENDERS[name]
    with asyncio.Runner(loop_factory=contender.loop) as runner:
        for line in sys.stdin:
            asked = json.loads(line)
            url, at_once, seconds = asked["url"], asked["at_once"], asked["seconds"]
            if at_once == 0:
                outcome = sequential(contender, url, seconds)
            else:
                outcome = runner.run(concurrent(contender, url, at_once, seconds))
            print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
