"""The plot of calls per second by concurrent calls, as an SVG for light and dark pages."""

import io
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

from benchmarks.calls import SMALL
from benchmarks.client import SEQUENTIAL
from benchmarks.contenders import OURS

__all__ = ["draw"]

# Each colour for light and for dark pages. The drawing is made with the light ones; then each becomes a CSS
# variable, which the style sheet sets for either kind of page.
PAGE = {"ink": ("#1f2328", "#e6edf3"), "paper": ("#fffffe", "#0d1117"), "grid": ("#d8dee4", "#30363d")}
LINES = (
    ("#d9480f", "#ff922b"),
    ("#1864ab", "#4dabf7"),
    ("#2b8a3e", "#69db7c"),
    ("#862e9c", "#da77f2"),
    ("#c92a2a", "#ff8787"),
    ("#0b7285", "#3bc9db"),
    ("#495057", "#adb5bd"),
    ("#7c5c00", "#ffd43b"),
    ("#5f3dc4", "#b197fc"),
)
COLOURS = {**PAGE, **{f"line-{index}": pair for index, pair in enumerate(LINES)}}
INK, PAPER, GRID = (light for light, _ in PAGE.values())
TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


def draw(data: dict[str, Any], path: Path) -> None:
    """Draw the rates of the clients with a small result, and write the plot to *path*."""
    lines: dict[str, list[tuple[int, list[float]]]] = {}
    for case in data["cases"]:
        if case["size"] == SMALL and case["at_once"] != SEQUENTIAL:
            lines.setdefault(case["client"], []).append((case["at_once"], case["rates"]))
    with mpl.rc_context(
        {
            "svg.fonttype": "none",  # text stays text, in the reader's fonts
            "lines.markersize": 4,
            "svg.hashsalt": "navai",  # the same figures make the same file
            "text.color": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    ):
        figure = Figure(figsize=(9, 5.2), facecolor=PAPER, layout="constrained")
        axes = figure.add_subplot(facecolor=PAPER)
        axes.set_xscale("log")
        axes.set_yscale("log")
        ends = {}
        for (name, points), (colour, _) in zip(lines.items(), LINES, strict=False):
            at = [x for x, _ in points]
            middle = [median(rates) for _, rates in points]
            below = [median(rates) - min(rates) for _, rates in points]
            above = [max(rates) - median(rates) for _, rates in points]
            width = 2.8 if name in OURS else 1.5
            axes.errorbar(at, middle, [below, above], color=colour, marker="o", linewidth=width, capsize=3)
            ends[name] = (middle[-1], colour)
        every = sorted({x for points in lines.values() for x, _ in points})
        _label(axes, every[-1], ends)
        axes.xaxis.set_major_locator(FixedLocator(every))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(FixedLocator(TICKS))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(visible=True, color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(length=0, which="both")
        axes.set_xlabel("calls at once")
        axes.set_title("execute, small result: calls per second, median and range", loc="left", color=INK)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    for variable, (light, _) in COLOURS.items():
        text = text.replace(light, f"var(--{variable})")
    head, opening, rest = text.partition("<defs>")
    path.write_text(f"{head}{_style()}{opening}{rest}", encoding="utf-8")


def _style() -> str:
    light, dark = (
        "; ".join(f"--{variable}: {pair[which]}" for variable, pair in COLOURS.items()) for which in (0, 1)
    )
    on_dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return f"<style>\n:root {{ {light} }}\n{on_dark}\n</style>\n"


def _label(axes: Any, x: float, ends: dict[str, tuple[float, str]]) -> None:
    """Write each name beside the end of its line, without overlaps."""
    low, high = axes.get_ylim()
    step = (high / low) ** (1 / 18)
    at = 0.0
    for name, (y, colour) in sorted(ends.items(), key=lambda end: end[1][0]):
        at = max(y, at * step)
        axes.annotate(
            name, (x, y), (x * 1.25, at), textcoords="data", color=colour, va="center", annotation_clip=False
        )
    axes.set_xlim(right=x * 8)
