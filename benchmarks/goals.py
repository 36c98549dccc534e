"""The goals, each with the measured figure."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import attrs

from benchmarks.backends import EXPRESS, EXPRESS_AT_ITS_BEST, KEYED, OURS
from benchmarks.calls import BIG, SMALL
from benchmarks.client import JAVASCRIPT, JAVASCRIPT_FREE, SEQUENTIAL
from benchmarks.figures import percentile, ratio, table
from benchmarks.voice_turn import CALM

__all__ = ["goals"]

DEFAULT = "navai_client"
FAST = "navai_client, fast"
AT_ONCE = 32


class NotMeasuredError(Exception):
    """The machine lacks what is to be measured."""


Found = tuple[float, float | None]
"""A ratio, and the ratio of CPU times, which a busy machine distorts less, or None if that has no meaning."""


@attrs.frozen
class Goal:
    """One goal.

    Attributes:
        part: Which part measures it.
        what: What is measured.
        wanted: The limit.
        found: Returns the figures from the part's data.
        at_least: Whether the limit is a minimum; otherwise it is a maximum.
        unit: What the figures are.
    """

    part: str
    what: str
    wanted: float
    found: Callable[[Any], Found]
    at_least: bool = False
    unit: str = "x"


def of_client(data: Any, client: str, at_once: int, size: int = SMALL) -> tuple[float, float]:
    """Return the calls per second of *client* with a result of *size* bytes, and their CPU time."""
    (case,) = (
        case
        for case in data["cases"]
        if (case["client"], case["size"], case["at_once"]) == (client, size, at_once)
    )
    return median(case["rates"]), median(case["cpu"])


def by_javascript(data: Any, client: str, at_once: int, size: int = SMALL) -> Found:
    """Return the calls per second of *client* relative to the faster variant of the JavaScript client."""
    rate, cpu = of_client(data, client, at_once, size)
    theirs = [of_client(data, name, max(at_once, 1), size) for name in (JAVASCRIPT, JAVASCRIPT_FREE)]
    return rate / max(rate for rate, _ in theirs), min(cpu for _, cpu in theirs) / cpu


def by_httpx(data: Any, client: str, at_once: int) -> Found:
    """Return the time of a call of *client* relative to httpx used by hand."""
    rate, cpu = of_client(data, client, at_once)
    httpx_rate, httpx_cpu = of_client(data, "httpx by hand", at_once)
    return httpx_rate / rate, cpu / httpx_cpu


def by_express(data: Any, request: str, server: str = OURS) -> Found:
    """Return the requests per second of our server relative to Express at its best.

    Express has no keys, so a call with one is compared with Express's call without one.
    """
    rate, cpu = (_of_server(data, request, server, key) for key in ("rate", "cpu"))
    theirs = "execute" if request == KEYED else request
    their_rate = max(_of_server(data, theirs, name, "rate") for name in (EXPRESS, EXPRESS_AT_ITS_BEST))
    their_cpu = min(_of_server(data, theirs, name, "cpu") for name in (EXPRESS, EXPRESS_AT_ITS_BEST))
    return rate / their_rate, ratio(their_cpu, cpu)


def p99_by_express(data: Any, request: str) -> Found:
    """Return the 99th percentile of our server's response times relative to Express."""
    theirs = min(_of_server(data, request, name, "p99") for name in (EXPRESS, EXPRESS_AT_ITS_BEST))
    return _of_server(data, request, OURS, "p99") / theirs, None


def memory_by_express(data: Any) -> Found:
    """Return the memory of our idle server relative to Express."""
    rest = {each["server"]: each["rest"] for each in data["memory"]}
    return rest[OURS] / rest[EXPRESS], None


def turn(data: Any, agent: str) -> Found:
    """Return the 99th percentile of the milliseconds of a voice turn, in sessions that are not in step."""
    (case,) = (each for each in data["cases"] if (each["agent"], each["load"]) == (agent, CALM))
    return percentile(case["ms"], 0.99), None


def took(data: Any, what: str, by: str | None = None) -> Found:
    """Return the milliseconds that *what* took, or their ratio to those of *by*."""
    found = {
        case["what"]: [median(turn[key] for turn in case["turns"]) for key in ("ms", "cpu")]
        for case in data["cases"]
    }
    milliseconds, cpu = found[what]
    others, other_cpu = (1, 1) if by is None else found[by]
    return milliseconds / others, cpu / other_cpu


def _of_server(data: Any, request: str, server: str, key: str) -> float:
    for case in data["cases"]:
        if (case["request"], case["server"]) == (request, server):
            return float(median(turn[key] for turn in case["turns"]))
    raise NotMeasuredError


GOALS = (
    Goal(
        "client",
        f"execute, async, {AT_ONCE} at once, fast: calls/s relative to JavaScript",
        5,
        partial(by_javascript, client=FAST, at_once=AT_ONCE),
        at_least=True,
    ),
    Goal(
        "client",
        "execute, sync, one at a time, fast: calls/s relative to JavaScript",
        3,
        partial(by_javascript, client=FAST, at_once=SEQUENTIAL),
        at_least=True,
    ),
    Goal(
        "client",
        f"execute, async, {AT_ONCE} at once, default: calls/s relative to JavaScript",
        1,
        partial(by_javascript, client=DEFAULT, at_once=AT_ONCE),
        at_least=True,
    ),
    *(
        Goal(
            "client",
            f"execute, result of 256 KiB, {how}, fast: calls/s relative to JavaScript",
            1.2,
            partial(by_javascript, client=FAST, at_once=at_once, size=BIG),
            at_least=True,
        )
        for how, at_once in (("sync", SEQUENTIAL), (f"async, {AT_ONCE} at once", AT_ONCE))
    ),
    Goal(
        "client",
        "execute, sync, one at a time, default: time relative to httpx by hand",
        1,
        partial(by_httpx, client=DEFAULT, at_once=SEQUENTIAL),
    ),
    Goal(
        "voice",
        "a tool call to its output, 500 sessions, fast: p99, without the function's own time",
        2,
        partial(turn, agent=FAST),
        unit="ms",
    ),
    Goal(
        "start",
        "a further client, for https",
        2,
        partial(took, what="a further client, for https"),
        unit="ms",
    ),
    Goal(
        "start",
        "import navai_client: time relative to import httpx",
        0.6,
        partial(took, what="import navai_client", by="import httpx"),
    ),
    *(
        Goal(
            "server",
            f"{request}: requests/s relative to Express at its best",
            wanted,
            partial(by_express, request=request),
            at_least=True,
        )
        for request, wanted in (
            ("list", 4),
            ("execute", 3),
            (KEYED, 2.8),
            ("execute, not async", 2.8),
            ("client secret", 4),
        )
    ),
    *(
        Goal(
            "server",
            f"{KEYED}, {store}: requests/s relative to Express at its best",
            wanted,
            partial(by_express, request=KEYED, server=f"{OURS}, {store}"),
            at_least=True,
        )
        for store, wanted in (("SQLite", 1.5), ("Redis", 1.2))
    ),
    *(
        Goal("server", f"{request}: p99 relative to Express", 1, partial(p99_by_express, request=request))
        for request in ("list", "execute")
    ),
    Goal("server", "memory at rest, relative to Express", 1, memory_by_express),
)


def goals(parts: dict[str, Any]) -> str:
    """Return the table of goals; *parts* holds the data of each measured part."""
    return table(["goal", "wanted", "measured", "by CPU time", "reached"], _rows(parts))


def _rows(parts: dict[str, Any]) -> Iterator[list[str]]:
    for goal in GOALS:
        wanted = f"{'≥' if goal.at_least else '≤'} {goal.wanted:g} {goal.unit}"
        try:
            measured, by_cpu = goal.found(parts[goal.part])
        except (KeyError, NotMeasuredError):
            yield [goal.what, wanted, "not measured", "", ""]
            continue
        reached = measured >= goal.wanted if goal.at_least else measured <= goal.wanted
        shown = "" if by_cpu is None else f"{by_cpu:.2f} {goal.unit}"
        yield [goal.what, wanted, f"{measured:.2f} {goal.unit}", shown, "yes" if reached else "**no**"]
