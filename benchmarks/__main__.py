"""``python -m benchmarks``: measures, prints the tables; ``--write`` puts them into both README.md."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import client, growth, server, start, voice_turn
from benchmarks.goals import goals
from benchmarks.headlines import headlines
from benchmarks.machine import cpu_of_others, describe
from benchmarks.plot import draw
from benchmarks.report import REPORTS
from benchmarks.scale import FULL, QUICK
from tests.interop.peers import PeersMissingError

HERE = Path(__file__).parent
README = HERE / "README.md"
PROJECT = HERE.parent / "README.md"  # which repeats a few of the figures
PLOT = HERE / "concurrency.svg"
RESULTS = HERE / "results"  # the last results, a file for each part; not in the repository
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
BUSY = 0.1  # the share of the machine above which other work distorts rates
PARTS = {
    "client": client.measure,
    "server": server.measure,
    "voice": voice_turn.measure,
    "start": start.measure,
    "growth": growth.measure,
}
TITLES = {
    "client": "The clients",
    "server": "The servers",
    "voice": "Voice turns",
    "start": "Starting",
    "growth": "How cost grows",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the requested parts; return 2 if the published packages cannot be installed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure against the peers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; by default all")
    parser.add_argument("--quick", action="store_true", help="as little as shows that it runs; kept nowhere")
    parser.add_argument(
        "--write", action="store_true", help="put what was measured last into README.md, here and above"
    )
    parser.add_argument("--no-run", action="store_true", help="measure nothing, print what was measured last")
    given = parser.parse_args(arguments)
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if given.quick and (given.write or given.no_run):
        parser.error("--quick keeps nothing, so it goes with neither --write nor --no-run")
    try:
        measured = {} if given.no_run else run(given.parts or list(PARTS), quick=given.quick)
    except PeersMissingError as missing:
        print(missing, file=sys.stderr)
        return 2
    if not given.quick:
        measured = {name: part for name in PARTS if (part := stored(name))}
    text = rendered(measured)
    print(text)
    if given.write:
        put(README, text)
        put(PROJECT, headlines(text))
        if "client" in measured:
            draw(measured["client"]["data"], PLOT)
    return 0


def put(path: Path, text: str) -> None:
    """Put *text* where *path* has what was measured."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def run(parts: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """Measure *parts* and report progress; keep the results, unless *quick*."""
    scale = QUICK if quick else FULL
    measured = {}
    with tempfile.TemporaryDirectory() as bytecode:
        # Compiled files are kept, as in an installation, but not beside the sources.
        os.environ.setdefault("PYTHONPYCACHEPREFIX", bytecode)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for name in parts:
            print(f"Measuring: {name}", file=sys.stderr, flush=True)
            head = {"date": datetime.now(UTC).date().isoformat(), "machine": describe()}
            began, others = time.perf_counter(), cpu_of_others()
            data = PARTS[name](scale)
            share = (cpu_of_others() - others) / (time.perf_counter() - began) / (os.cpu_count() or 1)
            measured[name] = {**head, "others": share, "data": data}
            if not quick:
                RESULTS.mkdir(exist_ok=True)
                (RESULTS / f"{name}.json").write_text(json.dumps(measured[name], indent=1), encoding="utf-8")
    return measured


def stored(name: str) -> Any:
    """Return the last results of the part *name*, or None."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def rendered(measured: dict[str, Any]) -> str:
    """Return the tables of *measured* in Markdown."""
    text = "## The goals\n\n" + goals({name: part["data"] for name, part in measured.items()})
    for machine in {json.dumps(part["machine"]): part["machine"] for part in measured.values()}.values():
        text += "\nMeasured on:\n\n" + "".join(f"- {what}: {said}\n" for what, said in machine.items())
    for name, part in measured.items():
        text += (
            f"\n## {TITLES[name]}\n\n`python -m benchmarks {name}`, {part['date']}.{_busy(part['others'])}\n"
        )
        text += REPORTS[name](part["data"])
        if name == "client":
            text += f"\n![Calls per second over calls at once]({PLOT.name})\n"
    return text


def _busy(others: float) -> str:
    if others < BUSY:
        return ""
    return f" **The machine was busy**: other work took {others:.0%} of it, so CPU time says more than rates."


if __name__ == "__main__":
    sys.exit(main())
