"""The goals, each with what was measured of it."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import attrs

from benchmarks.backends import EXPRESS, OURS
from benchmarks.client import JAVASCRIPT, JAVASCRIPT_FREE, SEQUENTIAL
from benchmarks.figures import table
from benchmarks.results import SMALL

__all__ = ["goals"]

DEFAULT = "navai_client"
FAST = "navai_client, fast"
AT_ONCE = 32


@attrs.frozen
class Goal:
    """One goal.

    Attributes:
        part: Which part measures it.
        what: What is asked.
        wanted: The limit, and how it is said.
        measured: Takes the figure out of the part's data; KeyError where it was not measured.
        at_least: Whether the limit is the least that is wanted, not the most.
    """

    part: str
    what: str
    wanted: float
    measured: Callable[[Any], float]
    at_least: bool = False
    unit: str = "x"


def rate(data: Any, client: str, at_once: int) -> float:
    """Return the calls per second of *client*, small result."""
    found = {(case["client"], case["size"], case["at_once"]): case["rates"] for case in data["cases"]}
    return float(median(found[client, SMALL, at_once]))


def of_javascript(data: Any, client: str, at_once: int) -> float:
    """Return the calls per second of *client* by those of the JavaScript client, where it is faster."""
    best = max(rate(data, name, max(at_once, 1)) for name in (JAVASCRIPT, JAVASCRIPT_FREE))
    return rate(data, client, at_once) / best


def of_express(data: Any, request: str, key: str = "rate") -> float:
    """Return a figure of our server by that of Express."""
    found = {(case["request"], case["server"]): case["turns"] for case in data["cases"]}
    ours, theirs = (median(turn[key] for turn in found[request, name]) for name in (OURS, EXPRESS))
    return float(ours / theirs)


def took(data: Any, what: str) -> float:
    """Return the milliseconds that *what* took."""
    found = {case["what"]: [turn["ms"] for turn in case["turns"]] for case in data["cases"]}
    return float(median(found[what]))


def rest(data: Any) -> float:
    """Return our server's memory at rest by that of Express."""
    found = {each["server"]: each["rest"] for each in data["memory"]}
    return float(found[OURS] / found[EXPRESS])


GOALS = (
    Goal(
        "client",
        f"execute, async, {AT_ONCE} at once, fast: calls/s by JavaScript's (aim: 5)",
        3,
        lambda data: of_javascript(data, FAST, AT_ONCE),
        at_least=True,
    ),
    Goal(
        "client",
        "execute, sync, one after the other, fast: calls/s by JavaScript's",
        2,
        lambda data: of_javascript(data, FAST, SEQUENTIAL),
        at_least=True,
    ),
    Goal(
        "client",
        "execute, sync, one after the other, default: time by that of httpx by hand",
        1,
        lambda data: rate(data, "httpx by hand", SEQUENTIAL) / rate(data, DEFAULT, SEQUENTIAL),
    ),
    Goal(
        "start",
        "a further client, for https",
        2,
        lambda data: took(data, "a further client, for https"),
        unit="ms",
    ),
    Goal(
        "start",
        "import navai_client: time by that of import httpx",
        0.6,
        lambda data: took(data, "import navai_client") / took(data, "import httpx"),
    ),
    *(
        Goal(
            "server",
            f"{what}: requests/s by those of Express",
            wanted,
            partial(of_express, request=what),
            at_least=True,
        )
        for what, wanted in (("list", 4), ("execute", 4), ("client secret", 3))
    ),
    *(
        Goal(
            "server",
            f"{what}: p99 by that of Express",
            1,
            partial(of_express, request=what, key="p99"),
        )
        for what in ("list", "execute")
    ),
    Goal("server", "memory at rest by that of Express", 1, rest),
)


def goals(parts: dict[str, Any]) -> str:
    """Return the table of the goals of *parts*, which has the data of each part that was measured."""
    return table(["goal", "wanted", "measured", "reached"], _rows(parts))


def _rows(parts: dict[str, Any]) -> Iterator[list[str]]:
    for goal in GOALS:
        wanted = f"{'≥' if goal.at_least else '≤'} {goal.wanted:g} {goal.unit}"
        try:
            measured = goal.measured(parts[goal.part])
        except KeyError:
            yield [goal.what, wanted, "not measured", ""]
            continue
        reached = measured >= goal.wanted if goal.at_least else measured <= goal.wanted
        yield [goal.what, wanted, f"{measured:.2f} {goal.unit}", "yes" if reached else "**no**"]
