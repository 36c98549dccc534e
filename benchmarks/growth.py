"""How cost grows with the size of a result, the number of functions, a second worker, and three replicas.

client.py measures how it grows with the number of concurrent calls.
"""

import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import contenders, functions
from benchmarks.backends import EXPRESS, KEYED, OURS, REQUESTS, opened
from benchmarks.calls import EXECUTE
from benchmarks.client import SEQUENTIAL, opened as opened_clients, take_turns
from benchmarks.load import load
from benchmarks.process import fixed_server, started
from benchmarks.scale import Scale
from benchmarks.stores import free_port, urls_of_stores

__all__ = ["measure"]

PATIENCE = 10  # seconds until nginx listens
CONNECTIONS = 4  # few: the cost per request is measured, not the rate under load


def measure(scale: Scale) -> dict[str, Any]:
    """Measure everything of this part."""
    return {
        "client_results": client_results(scale),
        "server_results": server_results(scale),
        "connections": connections(scale),
        "functions": many_functions(scale),
        "workers": workers(scale),
        "replicas": replicas(scale),
    }


def client_results(scale: Scale) -> list[dict[str, Any]]:
    """Make one call after the other, with growing results."""
    rows = []
    with fixed_server() as url, opened_clients(contenders.OURS) as processes:
        for size in scale.growing:
            for at_once in (SEQUENTIAL, 1):
                for case in take_turns(processes, url, size, at_once, scale):
                    kind = "sync" if at_once == SEQUENTIAL else "async"
                    rows.append({"what": f"{case.client}, {kind}", "x": size, "cost": median(case.cpu) / 1e3})
    return rows


def server_results(scale: Scale) -> list[dict[str, Any]]:
    """Execute a function whose result grows."""
    with tempfile.TemporaryDirectory() as folder, fixed_server() as upstream, ExitStack() as stack:
        base = Path(folder)
        functions.write(base, scale.functions[0])
        servers = {name: stack.enter_context(opened(name, base, upstream)) for name in (OURS, EXPRESS)}
        rows = []
        for size in scale.growing:
            request = ("POST", EXECUTE, {"function_name": "sized", "payload": {"size": size}})
            turns: dict[str, list[float]] = {name: [] for name in servers}
            for turn in range(-1, scale.slow_rounds):  # the first makes the result
                for name, server in servers.items():
                    cost = server.cost(request, seconds=scale.load_seconds / 4)
                    if turn >= 0:
                        turns[name].append(cost / 1e3)
            rows += [{"what": name, "x": size, "cost": median(costs)} for name, costs in turns.items()]
    return rows


def connections(scale: Scale) -> list[dict[str, Any]]:
    """Execute over a growing number of connections."""
    with tempfile.TemporaryDirectory() as folder, fixed_server() as upstream, ExitStack() as stack:
        base = Path(folder)
        functions.write(base, scale.functions[0])
        servers = {name: stack.enter_context(opened(name, base, upstream)) for name in (OURS, EXPRESS)}
        for server in servers.values():
            server.load(
                REQUESTS["execute"], connections=CONNECTIONS, seconds=scale.load_seconds
            )  # to warm up
        rows = []
        for count in scale.at_once:
            turns: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(scale.rounds):
                for name, server in servers.items():
                    seen = server.load(REQUESTS["execute"], connections=count, seconds=scale.load_seconds / 2)
                    turns[name].append(seen.cpu)
            rows += [{"what": name, "x": count, "cost": median(costs)} for name, costs in turns.items()]
    return rows


def many_functions(scale: Scale) -> list[dict[str, Any]]:
    """Start servers with a growing number of functions, one per module, and request the list."""
    rows = []
    with fixed_server() as upstream:
        for count in scale.functions:
            with tempfile.TemporaryDirectory() as folder:
                base = Path(folder)
                functions.write(base, count)
                rows += [functions_of(name, base, upstream, count, scale) for name in (OURS, EXPRESS)]
    return rows


def functions_of(name: str, base: Path, upstream: str, count: int, scale: Scale) -> dict[str, Any]:
    """Start the server *name* again and again, and load it with requests for the list."""
    with opened(name, base, upstream) as server:
        first = server.start_cpu  # without compiled files, as after a deployment
        server.cost(REQUESTS["list"], seconds=scale.load_seconds / 2)  # to warm up
        cost = server.cost(REQUESTS["list"], seconds=scale.load_seconds / 2)
    starts, costs = [], []
    for _ in range(scale.rounds):
        with opened(name, base, upstream) as server:
            starts.append(server.start * 1e3)
            costs.append(server.start_cpu * 1e3)
    return {
        "what": name,
        "x": count,
        "first_start": first * 1e3,
        "start": median(starts),
        "start_cpu": median(costs),
        "list": cost / 1e3,
        "bytes": server.listed,
    }


def workers(scale: Scale) -> list[dict[str, Any]]:
    """Execute with one and with two workers, on all cores, shared with the load tool."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, fixed_server() as upstream:
        base = Path(folder)
        functions.write(base, scale.functions[0])
        turns: dict[int, list[tuple[float, float, float]]] = {1: [], 2: []}
        for _ in range(scale.rounds):
            for count, seen in turns.items():
                with opened(OURS, base, upstream, core=None, workers=count) as server:
                    memory = server.process.memory()
                    came = server.load(
                        REQUESTS["execute"],
                        connections=scale.connections,
                        seconds=scale.load_seconds,
                        core=None,
                    )
                seen.append((came.load.rate, came.cpu, memory))
        for count, seen in turns.items():
            rates, cpus, memories = zip(*seen, strict=True)
            rows.append({"workers": count, "rates": rates, "cpu": median(cpus), "memory": median(memories)})
    return rows


def replicas(scale: Scale) -> list[dict[str, Any]]:
    """Execute with a key at one replica and at three, behind nginx, where it and Redis are installed."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        functions.write(folder, scale.functions[0])
        upstream = stack.enter_context(fixed_server())
        redis = stack.enter_context(urls_of_stores()).get("Redis")
        if redis is None or shutil.which("nginx") is None:
            return rows
        servers = [
            stack.enter_context(opened(OURS, folder, upstream, core=None, store=redis)) for _ in range(3)
        ]
        turns: dict[int, list[tuple[float, float]]] = {1: [], 3: []}
        fronts = {
            count: stack.enter_context(nginx(folder / str(count), [each.url for each in servers[:count]]))
            for count in turns
        }
        for turn in range(-1, scale.rounds):  # the first is for warming up
            for count, seen in turns.items():
                used = servers[:count]
                before = sum(server.process.cpu() for server in used)
                came = load(
                    fronts[count],
                    *REQUESTS[KEYED],
                    connections=scale.connections,
                    seconds=scale.load_seconds,
                    core=None,
                    keyed=True,
                )
                cpu = sum(server.process.cpu() for server in used) - before
                if turn >= 0:
                    seen.append((came.rate, cpu / came.requests * 1e6))
    for count, seen in turns.items():
        rates, cpus = zip(*seen, strict=True)
        rows.append({"replicas": count, "rates": rates, "cpu": median(cpus)})
    return rows


@contextmanager
def nginx(folder: Path, urls: list[str]) -> Iterator[str]:
    """Run nginx in front of the servers at *urls*, with connections that it keeps, and yield its URL."""
    folder.mkdir()
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    servers = " ".join(f"server {url.removeprefix('http://')};" for url in urls)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary} upstream replicas {{ {servers} keepalive 64; }}\n"
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 10000000; location / {{\n"
        "proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Host localhost;\n"
        'proxy_set_header Connection ""; } } }\n',
        encoding="utf-8",
    )
    with started(["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]):
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            if time.monotonic() > deadline:
                raise RuntimeError((folder / "error.log").read_text())
        yield f"http://127.0.0.1:{port}"
