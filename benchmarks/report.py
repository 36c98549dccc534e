"""The Markdown tables of each part."""

from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.backends import EXPRESS_AT_ITS_BEST
from benchmarks.client import JAVASCRIPT, JAVASCRIPT_FREE, SEQUENTIAL
from benchmarks.figures import exponents, number, percentile, spread, table
from benchmarks.voice_turn import LOADS

__all__ = ["REPORTS"]

HTTPX = "httpx by hand"
BOTH = (JAVASCRIPT, JAVASCRIPT_FREE)  # goals compare with the better one


def kib(size: int) -> str:
    """Return a number of bytes in a readable unit."""
    if size < 2**10:
        return f"{size} bytes"
    return f"{size // 2**10:,} KiB" if size < 2**20 else f"{size // 2**20:,} MiB"


def mode(at_once: int) -> str:
    """Return the heading for a number of concurrent calls."""
    return "sync" if at_once == SEQUENTIAL else f"async, {at_once} at once"


def client(data: dict[str, Any]) -> str:
    """Return the tables of the clients."""
    cases = data["cases"]
    found = {(case["size"], case["at_once"], case["client"]): case for case in cases}
    every = list(dict.fromkeys(case["at_once"] for case in cases))
    names = list(dict.fromkeys(case["client"] for case in cases if case["at_once"] != SEQUENTIAL))

    def ratio(size: int, at_once: int, name: str, by: tuple[str, ...], key: str) -> str:
        case = found.get((size, at_once, name))
        if case is None:
            return ""
        others = [median(found[size, at_once, each][key]) for each in by if (size, at_once, each) in found]
        ours, theirs = median(case[key]), max(others) if key == "rates" else min(others)
        return f"{ours / theirs:.2f}" if key == "rates" else f"{theirs / ours:.2f}"

    text = ""
    for size in dict.fromkeys(case["size"] for case in cases):
        for what, key in (("Calls per second", "rates"), ("Calls by CPU time", "cpu")):
            text += f"\n{what}, as a multiple of JavaScript's better row, result of {kib(size)}:\n\n"
            rows = [[name, *(ratio(size, at, name, BOTH, key) for at in every)] for name in names]
            text += table(["client", *map(mode, every)], rows)
    small = [case for case in cases if case["size"] == cases[0]["size"] and case["at_once"] != SEQUENTIAL]
    costs = [{"what": case["client"], "x": case["at_once"], "cost": median(case["cpu"])} for case in small]
    text += f"\nCPU us per call, by number of calls at once, result of {kib(cases[0]['size'])}. Exponent 0: "
    text += f"a call costs the same, however many are under way:\n\n{grown(costs, 'cost', str)}"
    rows = [
        [
            kib(case["size"]),
            mode(case["at_once"]),
            case["client"],
            spread(case["rates"]),
            *(ratio(case["size"], case["at_once"], case["client"], by, "rates") for by in (BOTH, (HTTPX,))),
            spread(case["cpu"]),
        ]
        for case in cases
    ]
    head = [
        "result",
        "calls",
        "client",
        "calls/s (min-max)",
        "x JavaScript",
        "x httpx",
        "CPU us/call (min-max)",
    ]
    ceilings = ", ".join(
        f"{number(each['rate'])} requests/s for {kib(each['size'])}" for each in data["ceiling"]
    )
    text += f"\nThe fixed server itself, under the load tool: {ceilings}.\n"
    return text + _folded("All figures of the clients", table(head, rows))


def server(data: dict[str, Any]) -> str:
    """Return the tables of the servers."""
    found = {(case["request"], case["server"]): case["turns"] for case in data["cases"]}
    rows = []
    for what in dict.fromkeys(case["request"] for case in data["cases"]):
        base = median(turn["rate"] for turn in found[what, EXPRESS_AT_ITS_BEST])
        for name in (case["server"] for case in data["cases"] if case["request"] == what):
            turns = found[what, name]
            figures = {key: [turn[key] for turn in turns] for key in ("rate", "p50", "p99", "cpu")}
            ratio = f"{median(figures['rate']) / base:.2f}"
            rows.append(
                [
                    what,
                    name,
                    spread(figures["rate"]),
                    ratio,
                    *(spread(figures[key]) for key in ("p50", "p99", "cpu")),
                ]
            )
    head = [
        "request",
        "server",
        "requests/s (min-max)",
        f"x {EXPRESS_AT_ITS_BEST}",
        "p50 ms",
        "p99 ms",
        "CPU us/request",
    ]
    memory = [[each["server"], number(each["rest"]), number(each["loaded"])] for each in data["memory"]]
    claims = [
        [
            each["store"],
            str(each["at_once"]),
            *(spread([turn[key] for turn in each["turns"]]) for key in ("us", "cpu")),
        ]
        for each in data["claims"]
    ]
    return (
        f"\n{data['connections']} connections, {data['tool']}:\n\n{table(head, rows)}\n"
        + table(["server", "MiB at rest", "MiB after the load"], memory)
        + "\nWhat the key of one call costs in its store, for a started claim and the outcome:\n\n"
        + table(["store", "calls at once", "us/call (min-max)", "CPU us/call (min-max)"], claims)
    )


def voice(data: dict[str, Any]) -> str:
    """Return the table of voice turns."""
    rows = [
        [
            case["load"],
            case["agent"],
            f"{len(case['ms']):,}",
            *(number(percentile(case["ms"], share)) for share in (0.5, 0.9, 0.99, 1)),
            number(case["cpu"]),
        ]
        for case in sorted(data["cases"], key=lambda case: [*LOADS].index(case["load"]))
    ]
    head = ["load", "agent", "turns", "p50 ms", "p90 ms", "p99 ms", "longest ms", "CPU us/turn"]
    return (
        f"\nTime from a tool call to its output, {data['sessions']} sessions in one process. The function "
        "takes no time. The agent's CPU time includes the audio that each session receives meanwhile:\n\n"
        + table(head, rows)
    )


def start(data: dict[str, Any]) -> str:
    """Return the table of imports and constructions."""
    rows = [
        [case["what"], *(spread([turn[key] for turn in case["turns"]]) for key in ("ms", "cpu"))]
        for case in data["cases"]
    ]
    return "\n" + table(["in a fresh process", "ms (min-max)", "CPU ms (min-max)"], rows)


def growth(data: dict[str, Any]) -> str:
    """Return the tables of growth."""
    text = "\nAn exponent says how a cost grows from one column to the next: 0 not at all, 1 in proportion.\n"
    for caption, key, field, unit in GROWN:
        text += f"\n{caption}:\n\n{grown(data[key], field, unit)}"
    rows = [
        [str(row["workers"]), spread(row["rates"]), number(row["cpu"]), number(row["memory"])]
        for row in data["workers"]
    ]
    head = ["workers", "requests/s (min-max)", "CPU us/request", "MiB at rest, all processes"]
    text += "\nWorkers of our server, execute. They share all cores with the load tool:\n"
    text += f"\n{table(head, rows)}"
    if data["replicas"]:
        rows = [[str(row["replicas"]), spread(row["rates"]), number(row["cpu"])] for row in data["replicas"]]
        text += "\nReplicas of our server behind nginx, execute with a key in Redis. All share all cores:\n"
        text += "\n" + table(["replicas", "requests/s (min-max)", "CPU us/request, replicas"], rows)
    return text


GROWN: tuple[tuple[str, str, str, Callable[[int], str]], ...] = (
    ("Clients, larger results, CPU ms/call", "client_results", "cost", kib),
    ("Servers, larger results, CPU ms/request", "server_results", "cost", kib),
    ("Servers, more connections, CPU us/request of execute", "connections", "cost", str),
    ("Servers, more functions, ms from start to the first list", "functions", "start", "{:,}".format),
    ("The same, CPU ms", "functions", "start_cpu", "{:,}".format),
    ("The same without bytecode, as after an upload, CPU ms", "functions", "first_start", "{:,}".format),
    ("Servers, more functions, CPU ms/request of list", "functions", "list", "{:,}".format),
    ("Servers, more functions, bytes of the list", "functions", "bytes", "{:,}".format),
)


def grown(rows: list[dict[str, Any]], field: str, unit: Callable[[int], str]) -> str:
    """Return a table with a column for each ``x`` of *rows*, and the exponents of *field*."""
    every = list(dict.fromkeys(row["x"] for row in rows))
    lines = []
    for what in dict.fromkeys(row["what"] for row in rows):
        points = [(row["x"], row[field]) for row in rows if row["what"] == what]
        steps = exponents(points)
        overall = exponents([points[0], points[-1]])
        lines.append(
            [
                what,
                *(number(cost) for _, cost in points),
                f"{overall[0]:.2f}",
                f"{steps[-1]:.2f}",
                f"{max(steps):.2f}",
            ]
        )
    return table(["", *map(unit, every), "exponent", "last step", "largest step"], lines)


def _folded(title: str, text: str) -> str:
    return f"\n<details><summary>{title}</summary>\n\n{text}\n</details>\n"


REPORTS = {"client": client, "server": server, "voice": voice, "start": start, "growth": growth}
