"""Formatting of figures: medians with their spread, growth as an exponent, Markdown tables."""

import itertools
import math
from collections.abc import Iterable, Sequence
from statistics import median

__all__ = ["exponents", "number", "percentile", "ratio", "spread", "table"]


def number(value: float) -> str:
    """Return *value* with about three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of *values* that at least *share* of them, such as 0.99, do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ratio(value: float, by: float) -> float:
    """Return *value* divided by *by*, or NaN if *by* is below the clock's resolution."""
    return value / by if by else math.nan


def spread(values: Sequence[float]) -> str:
    """Return the median of *values*, with minimum and maximum."""
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))}-{number(max(values))})"


def exponents(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return, between each two neighbours, the exponent with which the second value grows with the first.

    0 is no growth, 1 is linear; 2 to its power is the ratio for each doubling. Where a value is 0, less was
    measured than the clock can tell, and the exponent is not a number.
    """
    return [
        math.log(after / before) / math.log(to / at) if before and after else math.nan
        for (at, before), (to, after) in itertools.pairwise(points)
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
