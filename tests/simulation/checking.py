"""The check of many seeds, which runs in several processes."""

import collections
import contextlib

from tests.simulation.bugs import BUGS
from tests.simulation.history import Answer, Began, Fault, violations
from tests.simulation.scenario import simulate

__all__ = ["Checked", "check"]

Checked = tuple[dict[int, list[str]], collections.Counter[str]]
"""The violations of seeds, and how much their histories hold."""


def check(seeds: range, bug: str | None = None) -> Checked:
    """Check *seeds*, with a mistake if *bug* names one."""
    found: dict[int, list[str]] = {}
    seen: collections.Counter[str] = collections.Counter(seeds=len(seeds))
    with BUGS[bug]() if bug else contextlib.nullcontext():
        for seed in seeds:
            history = simulate(seed)
            if broken := violations(history):
                found[seed] = broken
            seen["calls"] += len(history.of(Answer))
            seen["executions"] += len(history.of(Began))
            seen["faults"] += len(history.of(Fault))
    return found, seen
