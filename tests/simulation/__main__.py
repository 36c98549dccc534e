"""Run the histories of many seeds, or show that of one: ``python -m tests.simulation --help``."""

import argparse
import collections
import contextlib
import functools
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.simulation.bugs import BUGS
from tests.simulation.checking import Checked, check
from tests.simulation.history import violations
from tests.simulation.scenario import simulate
from tests.simulation.world import World

_AT_A_TIME = 50  # seeds, of a process; then it says what it has found


def show(seed: int, bug: str | None = None) -> int:
    """Print everything that happens with *seed*, and what is wrong with it."""
    handler = _Handler()
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    with BUGS[bug]() if bug else contextlib.nullcontext():
        history = simulate(seed, trace=handler.trace)
    broken = violations(history)
    print("", *(broken or ["no violation"]), sep="\n")
    return int(bool(broken))


class _Handler(logging.Handler):
    """Adds the log of clients and servers to a trace."""

    world: World

    def trace(self, world: World, line: str) -> None:
        self.world = world
        print(f"{world.now:10.4f}  {line}")

    def emit(self, record: logging.LogRecord) -> None:
        self.trace(self.world, f"{self.world.current}: {record.name}: {record.getMessage()}")


def run(first: int, number: int, processes: int, bug: str | None = None) -> int:
    """Check seeds in several processes, up to the first that is violated."""
    began = time.monotonic()
    seen: collections.Counter[str] = collections.Counter()
    end = first + number
    parts = [range(start, min(start + _AT_A_TIME, end)) for start in range(first, end, _AT_A_TIME)]
    for found, counts in _checked(parts, processes, functools.partial(check, bug=bug)):
        seen += counts
        for seed, broken in found.items():
            with_bug = f" --bug {bug!r}" if bug else ""
            print(f"Seed {seed}: {broken[0]}")
            print(f"Replay it: python -m tests.simulation --seed {seed}{with_bug}")
        if found:
            return 1
    text = ", ".join(f"{count:,} {what}" for what, count in seen.items())
    print(f"{text}: no violation, in {time.monotonic() - began:.0f} s")
    return 0


def _checked(parts: list[range], processes: int, check: Callable[[range], Checked]) -> Iterator[Checked]:
    if processes == 1:
        yield from map(check, parts)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(check, parts)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--seed", type=int, help="show what happens with this seed")
    one.add_argument("--seeds", type=int, help="check so many seeds; the status is 1 if one is violated")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("-j", "--processes", type=int, default=1, help="in so many processes (1)")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with a mistake that must be found")
    given: Any = parser.parse_args(arguments)
    if given.seed is not None:
        return show(given.seed, given.bug)
    return run(given.first, given.seeds, given.processes, given.bug)


if __name__ == "__main__":
    sys.exit(main())
