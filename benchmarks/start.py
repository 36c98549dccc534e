"""The cost of starting: importing the package and making a client, in new processes that take turns."""

import json
import sys
from typing import Any

import attrs

from benchmarks.process import CORES, started
from benchmarks.scale import Scale

__all__ = ["STATEMENTS", "measure"]


@attrs.frozen
class Statement:
    """A timed statement, and what runs before it in the same process."""

    timed: str
    before: str = "pass"


OURS = "from navai_client import NavaiBackendClient as Client"
STATEMENTS = {
    "import navai_client": Statement("import navai_client"),
    "import httpx": Statement("import httpx"),
    "import attrs": Statement("import attrs"),
    "from navai_client import NavaiBackendClient": Statement(OURS),
    "the first client": Statement("Client()", OURS),
    "a further client": Statement("Client()", f"{OURS}; Client()"),
    "a further client, for https": Statement("Client('https://a')", f"{OURS}; Client('https://a')"),
    "the first httpx.Client": Statement("httpx.Client()", "import httpx"),
    "a further httpx.Client": Statement("httpx.Client()", "import httpx; httpx.Client()"),
}
PROGRAM = """
import json, time
{before}
cpu, began = time.process_time(), time.perf_counter()
{timed}
took = time.perf_counter() - began
print(json.dumps({{"ms": took * 1e3, "cpu": (time.process_time() - cpu) * 1e3}}))
"""


def measure(scale: Scale) -> dict[str, Any]:
    """Time each statement in new processes."""
    cases: dict[str, list[dict[str, float]]] = {name: [] for name in STATEMENTS}
    for turn in range(-1, scale.starts):  # the first compiles, as an installation does
        for name, statement in STATEMENTS.items():
            program = PROGRAM.format(before=statement.before, timed=statement.timed)
            with started([sys.executable, "-c", program], core=CORES[0]) as process:
                figures = json.loads(process.line())
            if turn >= 0:
                cases[name].append(figures)
    return {"cases": [{"what": name, "turns": turns} for name, turns in cases.items()]}
