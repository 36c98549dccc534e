"""The sentence of figures that the project's README repeats from the table of goals."""

import re

__all__ = ["headlines"]

# How a goal begins in that table, and what README says of its figure.
HEADLINES = (
    (
        "execute, async, 32 at once, fast:",
        "the fast transport makes {} times the calls of the JavaScript client",
    ),
    ("execute: requests/s", "the bundled server answers {} times the executions of Express"),
    ("import navai_client:", "the import takes {} of the time of `import httpx`"),
)


def headlines(measured: str) -> str:
    """Return README's sentence, of the table of goals in *measured*; what was not measured is left out."""
    table = measured.partition("## The goals\n\n")[2].partition("\n\n")[0]
    goals = re.findall(r"^\| (.+?) \| .+? \| ([0-9.]+) x \|", table, re.MULTILINE)
    said = [
        meaning.format(figure)
        for begin, meaning in HEADLINES
        for goal, figure in goals
        if goal.startswith(begin)
    ]
    return f"In one run on one machine, with one core each: {', '.join(said)}.\n"
