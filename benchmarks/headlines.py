"""The figures that the project's README repeats from the table of goals: one figure for each thing."""

import re

__all__ = ["headlines"]

# How a goal begins in that table, what README calls it, and what its figure means.
HEADLINES = (
    (
        "execute, async, 32 at once, fast:",
        "async, 32 calls at once, `AsyncFastTransport`",
        "{} times the JavaScript client",
    ),
    (
        "execute, sync, one after the other, fast:",
        "sync, one call after the other, `FastTransport`",
        "{} times the JavaScript client",
    ),
    (
        "execute, result of 256 KiB, sync, fast:",
        "the same, with results of 256 KiB",
        "{} times the JavaScript client",
    ),
    (
        "execute, async, 32 at once, default:",
        "async, 32 calls at once, the default transport",
        "{} times the JavaScript client",
    ),
    (
        "execute, sync, one after the other, default:",
        "sync, the default transport",
        "{} of the time of httpx used by hand",
    ),
    ("import navai_client:", "`import navai_client`", "{} of the time of `import httpx`"),
    (
        "a tool call to its output, 500 sessions",
        "a tool call of a voice session to its output, 500 sessions in one process",
        "99 % within {} ms",
    ),
    ("list: requests/s", "the server: list", "{} times Express"),
    ("execute: requests/s", "the server: execute", "{} times Express"),
    ("client secret: requests/s", "the server: client secret", "{} times Express"),
)


def headlines(measured: str) -> str:
    """Return README's table, of the table of goals in *measured*; what was not measured is left out."""
    table = measured.partition("## The goals\n\n")[2].partition("\n\n")[0]
    goals = re.findall(r"^\| (.+?) \| .+? \| ([0-9.]+) (?:x|ms) \|", table, re.MULTILINE)
    rows = [
        f"| {name} | {meaning.format(figure)} |\n"
        for begin, name, meaning in HEADLINES
        for goal, figure in goals
        if goal.startswith(begin)
    ]
    return "| | compared |\n| --- | --- |\n" + "".join(rows)
