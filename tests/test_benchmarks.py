"""The benchmarks run and print complete tables. Speed is not tested: machines differ."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BEGIN, END, PROJECT, README
from benchmarks.calls import compact, result_of
from benchmarks.contenders import CONTENDERS
from benchmarks.figures import exponents, number, percentile, ratio, spread, table
from benchmarks.goals import goals
from benchmarks.headlines import headlines
from benchmarks.load import load
from benchmarks.process import fixed_server
from benchmarks.voice_turn import AGENTS, LOADS
from tests.interop.peers import PeersMissingError, install

ROOT = Path(__file__).parent.parent


@pytest.fixture
def _peers() -> None:
    try:
        install()
    except PeersMissingError as missing:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for compiled files, which each run of the benchmarks would otherwise compile again."""
    return tmp_path_factory.mktemp("bytecode")


def run(bytecode: Path, *arguments: str) -> str:
    """Run ``python -m benchmarks`` and return what it prints."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(bytecode)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("_peers")
@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ("client", [*CONTENDERS, "JavaScript client", "JavaScript client, both cores"]),
        (
            "server",
            [
                *("list", "execute", "execute, Idempotency-Key", "execute, not async", "client secret"),
                *("navai_client.server", "Express", "Express at its best"),
                *("navai_client.server, SQLite", "navai_client.server, Redis"),
                *("memory", "SQLite", "Redis"),  # what a key costs there
            ],
        ),
        ("voice", [*AGENTS, *LOADS]),
        ("start", ["import navai_client", "import httpx", "a further client", "a further httpx.Client"]),
        (
            "growth",
            [
                *("navai_client, sync", "navai_client, fast, async", "navai_client.server", "Express"),
                *("1", "2", "3"),
            ],
        ),
    ],
)
def test_each_part_prints_a_row_for_everything_that_it_compares(
    part: str, shown: list[str], bytecode: Path
) -> None:
    printed = run(bytecode, part, "--quick")
    assert "| goal | wanted | measured | by CPU time | reached |" in printed
    assert "- Python: " in printed
    cells = {cell.strip() for line in printed.splitlines() for cell in line.strip("|").split("|")}
    assert cells.issuperset(shown)


@pytest.mark.parametrize("arguments", [["nonsense"], ["--quick", "--write"], ["--quick", "--no-run"]])
def test_impossible_requests_are_refused_before_anything_starts(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert b"error: " in done.stderr


@pytest.mark.parametrize("size", [64, 1000, 2**18])
def test_a_result_has_exactly_the_requested_size(size: int) -> None:
    assert len(compact(result_of(size))) == size


@pytest.mark.parametrize("seconds", [1, 0.1], ids=["wrk", "own"])
def test_both_load_tools_count_responses(seconds: float) -> None:
    if seconds == 1 and shutil.which("wrk") is None:
        pytest.skip("wrk is not installed; the benchmarks then use their own tool.")
    with fixed_server() as url:
        came = load(f"{url}/1000", "POST", "/any", {"a": 1}, connections=3, seconds=seconds)
    assert came.requests >= 3
    assert 0 < came.p50 <= came.p99


@pytest.mark.parametrize("seconds", [1, 0.1], ids=["wrk", "own"])
def test_responses_that_report_failure_are_refused(seconds: float, demo_server: str) -> None:
    with pytest.raises(RuntimeError, match="wrong answers"):
        load(demo_server, "GET", "/no/such", connections=2, seconds=seconds)


def test_the_plot_shows_every_client_by_its_name(tmp_path: Path) -> None:
    from benchmarks.plot import draw  # noqa: PLC0415 - matplotlib is slow to import, and only needed here

    case = {"size": 64, "rates": [900.0, 1000.0, 1200.0]}
    cases = [{**case, "client": name, "at_once": at} for name in ("one", "two & three") for at in (0, 1, 8)]
    draw({"cases": cases}, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert ">one</text>" in drawn
    assert ">two &amp; three</text>" in drawn
    assert "prefers-color-scheme: dark" in drawn


def test_the_table_of_goals_says_which_were_reached() -> None:
    turns = [{"rate": 900.0, "p99": 5.0, "cpu": 80.0}]
    slow = [{"rate": 300.0, "p99": 4.0, "cpu": 200.0}]
    best = [{"rate": 320.0, "p99": 8.0, "cpu": 160.0}]
    requests = ("list", "execute", "execute, Idempotency-Key", "execute, not async", "client secret")
    cases = [{"request": each, "server": "navai_client.server", "turns": turns} for each in requests]
    cases += [{"request": each, "server": "Express", "turns": slow} for each in requests]
    cases += [{"request": each, "server": "Express at its best", "turns": best} for each in requests]
    with_sqlite = {"request": "execute, Idempotency-Key", "server": "navai_client.server, SQLite"}
    cases.append({**with_sqlite, "turns": turns})  # and without Redis
    memory = [{"server": "navai_client.server", "rest": 30.0}, {"server": "Express", "rest": 60.0}]
    shown = goals({"server": {"cases": cases, "memory": memory}})
    reached = "requests/s relative to Express at its best | ≥ 2 x | 2.81 x | 2.00 x |"
    for request, wanted, answer in (
        ("list", 4, "**no**"),
        ("execute", 3, "**no**"),
        ("execute, Idempotency-Key", 2.8, "yes"),
        ("execute, Idempotency-Key, SQLite", 1.5, "yes"),
        ("execute, not async", 2.8, "yes"),
        ("client secret", 4, "**no**"),
    ):
        assert f"| {request}: {reached.replace('2 x', f'{wanted} x', 1)} {answer} |" in shown
    assert "| list: p99 relative to Express | ≤ 1 x | 1.25 x |  | **no** |" in shown
    assert "| memory at rest, relative to Express | ≤ 1 x | 0.50 x |  | yes |" in shown
    assert "| execute, Idempotency-Key, Redis: requests/s relative to Express at its best |" in shown
    assert shown.count("not measured") == 10


def test_each_figure_stands_in_one_place_and_readme_repeats_it_exactly() -> None:
    """``python -m benchmarks --write`` puts both where they belong."""
    readme = PROJECT.read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    block, _, after = rest.partition(END)
    assert block.strip() == headlines(README.read_text(encoding="utf-8")).strip()
    assert block.count(" times the ") == 2
    multiple = re.compile(
        r"\d *(?:times|x|\u00d7) (?:that of |those of )?(?:the )?(?:JavaScript|JS\b|Express|httpx)"
    )
    pages = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
    elsewhere = {name for name, text in {**pages, "README": before + after}.items() if multiple.search(text)}
    assert not elsewhere


def test_readme_leaves_out_what_was_not_measured() -> None:
    table = "## The goals\n\n| goal | wanted | measured | by CPU time | reached |\n"
    table += "| list: requests/s relative to Express at its best | ≥ 4 x | 4.50 x | 4.60 x | yes |\n"
    table += "| execute: requests/s relative to Express | ≥ 3 x | not measured |  |  |\n"
    table += "| import navai_client: time relative to import httpx | ≤ 0.6 x | 0.04 x | 0.04 x | yes |\n"
    assert headlines(f"{table}\n| execute: requests/s | ≥ 3 x | 9.99 x |\n") == (
        "In one run on one machine, with one core each: "
        "the import takes 0.04 of the time of `import httpx`.\n"
    )


def test_an_exponent_of_one_is_linear_and_of_zero_is_constant() -> None:
    assert exponents([(10, 3.0), (100, 30.0)]) == pytest.approx([1])
    assert exponents([(1, 5.0), (8, 5.0), (16, 20.0)]) == pytest.approx([0, 2])
    assert math.isnan(ratio(1.0, 0.0))
    assert exponents([(1, 0.0), (2, 1.0)]) == [pytest.approx(math.nan, nan_ok=True)]


def test_figures_have_three_significant_digits() -> None:
    assert [number(each) for each in (0, 0.01234, 1.5, 99.4, 12345.6)] == [
        "0",
        "0.0123",
        "1.50",
        "99.4",
        "12,346",
    ]
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00-3.00)"
    assert spread([2.0]) == "2.00"
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0, 0.5, 0.51, 0.99, 1)] == [1, 2, 3, 4, 4]
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
