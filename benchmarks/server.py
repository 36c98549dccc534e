"""The servers take turns, each on one core, under the same load from the other."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import functions
from benchmarks.backends import EXPRESS, EXPRESS_AT_ITS_BEST, KEYED, OURS, REQUESTS, opened
from benchmarks.load import tool
from benchmarks.process import fixed_server
from benchmarks.scale import Scale
from benchmarks.stores import claims, urls_of_stores

__all__ = ["FUNCTIONS", "measure"]

FUNCTIONS = 10
SERVERS = (OURS, EXPRESS, EXPRESS_AT_ITS_BEST)


def measure(scale: Scale) -> dict[str, Any]:
    """Load each server with each request, in turn."""
    cases: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, fixed_server() as upstream, ExitStack() as stack:
        base = Path(folder)
        functions.write(base, FUNCTIONS)
        with opened(OURS, base, upstream):
            pass  # compiles everything, as an installation does
        servers = {name: stack.enter_context(opened(name, base, upstream)) for name in SERVERS}
        stores = {
            f"{OURS}, {store}": stack.enter_context(opened(OURS, base, upstream, store=url))
            for store, url in stack.enter_context(urls_of_stores()).items()
        }
        rest = {name: server.process.memory() for name, server in servers.items()}
        for what, request in REQUESTS.items():
            asked = {**servers, **stores} if what == KEYED else servers
            turns: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
            for turn in range(-1, scale.rounds):  # the first is for warming up
                for name, server in asked.items():
                    seen = server.load(
                        request,
                        connections=scale.connections,
                        seconds=scale.load_seconds,
                        keyed=what == KEYED,
                    )
                    if turn >= 0:
                        came = seen.load
                        turns[name].append(
                            {"rate": came.rate, "p50": came.p50, "p99": came.p99, "cpu": seen.cpu}
                        )
            cases += [
                {"request": what, "server": name, "turns": measured} for name, measured in turns.items()
            ]
        memory = [
            {"server": name, "rest": rest[name], "loaded": server.process.memory()}
            for name, server in servers.items()
        ]
    return {
        "tool": tool(),
        "connections": scale.connections,
        "cases": cases,
        "memory": memory,
        "claims": claims(scale),
    }
