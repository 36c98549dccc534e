"""What a call with an idempotency key costs from one process to a fleet: processor time and memory, by part.

Run by hand, on Linux, with wrk, redis-server and nginx: ``python -m benchmarks.fleet_costs [rounds] [seconds]
[a Python that has Ray]``. What is counted is the processor time that each part takes for a call: other work
changes it less than the number of calls a second.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx
import psutil

from benchmarks.server_costs import EXECUTE, FUNCTIONS, LIST, Case, load, processor_seconds
from benchmarks.stores import redis_server
from tests.deploying import nginx
from tests.waiting import until

ROOT: Final = Path(__file__).parents[1]
CASE: Final = Case("keyed", EXECUTE, "fast", headers={"authorization": "Bearer let-me-in"}, keyed=True)
RAY: Final = """
import socket, sys, ray
from ray import serve
from examples.deploy.ray_serve import app
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
with socket.create_server(("127.0.0.1", 0)) as unused:
    port = unused.getsockname()[1]
serve.start(http_options={"host": "127.0.0.1", "port": port})
serve.run(app)
print(f"http://127.0.0.1:{port}", flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
"""

Parts = dict[str, list[psutil.Process]]


class Steps:
    """Starts the processes of each step, in a folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        (folder / "src").mkdir()
        (folder / "src" / "f.py").write_text(FUNCTIONS, encoding="utf-8")

    def _start(self, command: list[str], **env: str) -> tuple[psutil.Process, str]:
        process = self._stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=self._folder,
                env={
                    **os.environ,
                    "NAVAI_ACCESS_TOKEN": "let-me-in",
                    "NAVAI_FUNCTIONS_FOLDERS": "src",
                    "NAVAI_MAX_KEY_BYTES": str(2**33),
                    "PYTHONPATH": str(ROOT),
                    **env,
                },
            )
        )
        self._stack.callback(process.terminate)
        assert process.stdout is not None
        return psutil.Process(process.pid), process.stdout.readline().split()[-1]

    def _serve(self, *options: str, **env: str) -> tuple[psutil.Process, str]:
        return self._start([sys.executable, "-m", "navai_client.server", "--port", "0", *options], **env)

    def _redis(self) -> tuple[psutil.Process, str]:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder)))
        url = self._stack.enter_context(redis_server(folder))
        (process,) = (each for each in psutil.Process().children() if each.name() == "redis-server")
        return process, url

    def one_process(self, **env: str) -> tuple[Parts, str]:
        """Serve with one process."""
        process, url = self._serve(**env)
        return {"server": [process]}, url

    def workers(self) -> tuple[Parts, str]:
        """Serve with two workers."""
        process, url = self._serve("--workers", "2")
        return {"server": [process]}, url

    def replicas(self, number: int) -> tuple[Parts, str]:
        """Serve with replicas that share a Redis, behind nginx if there are several."""
        store, store_url = self._redis()
        servers = [self._serve(NAVAI_STORE_URL=store_url) for _ in range(number)]
        parts = {"server": [process for process, _ in servers], "store": [store]}
        if number == 1:
            return parts, servers[0][1]
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder)))
        front = self._stack.enter_context(nginx(folder, *(url for _, url in servers)))
        return {**parts, "proxy": [psutil.Process(int((folder / "pid").read_text()))]}, front.url

    def ray(self, python: str) -> tuple[Parts, str]:
        """Serve with two replicas of Ray Serve."""
        store, store_url = self._redis()
        env = {"NAVAI_STORE_URL": store_url, "HOME": str(self._folder), "RAY_USAGE_STATS_ENABLED": "0"}
        driver, url = self._start([python, "-c", RAY], **env)
        family = driver.children(recursive=True)
        servers = [each for each in family if "ServeReplica" in each.cmdline()[0]]
        proxies = [each for each in family if "ProxyActor" in each.cmdline()[0]]
        others = [each for each in [driver, *family] if each not in (*servers, *proxies)]
        return {"server": servers, "store": [store], "proxy": proxies, "Ray itself": others}, url


def with_children(processes: list[psutil.Process]) -> Iterable[psutil.Process]:
    """Return *processes*, and those that they have started."""
    return {each.pid: each for root in processes for each in [root, *root.children(recursive=True)]}.values()


def measured(parts: Parts, url: str, rounds: int, seconds: int) -> Mapping[str, tuple[float, float]]:
    """Return the microseconds of processor time for a call, and the MiB, of each part."""
    until(lambda: httpx.get(url + LIST, headers=CASE.headers, trust_env=False).is_success)
    load(url, CASE, 2)
    family = {name: list(with_children(each)) for name, each in parts.items()}
    memory = {
        name: sum(each.memory_full_info().pss for each in all_) / 2**20 for name, all_ in family.items()
    }

    def processor(name: str) -> float:
        return sum(processor_seconds(each.pid) for each in family[name])

    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        before = {name: processor(name) for name in parts}
        answered = load(url, CASE, seconds)
        for name, found in times.items():
            found.append((processor(name) - before[name]) / answered * 1e6)
    return {name: (statistics.median(found), memory[name]) for name, found in times.items()}


def main(rounds: int, seconds: int, ray_python: str | None = None) -> None:
    """Measure each step, and print the table."""
    names = ("server", "store", "proxy", "Ray itself")
    print("| step |", *(f"{name}, µs | {name}, MiB |" for name in names))
    print("| --- |", *("--- | --- |" for _ in names))
    with tempfile.TemporaryDirectory(dir="/tmp") as base:  # Ray's sockets need a short path
        sqlite = f"sqlite:///{base}/keys.sqlite"
        steps: dict[str, Callable[[Steps], tuple[Parts, str]]] = {
            "one process, keys in memory": Steps.one_process,
            "one process, keys in SQLite": lambda these: these.one_process(NAVAI_STORE_URL=sqlite),
            "two workers": Steps.workers,
            "one replica, Redis": lambda these: these.replicas(1),
            "three replicas, Redis, nginx": lambda these: these.replicas(3),
        }
        if ray_python is not None:
            steps["two replicas of Ray Serve, Redis"] = lambda these: these.ray(ray_python)
        for name, start in steps.items():
            with tempfile.TemporaryDirectory(dir=base) as folder, ExitStack() as stack:
                parts, url = start(Steps(Path(folder), stack))
                found = measured(parts, url, rounds, seconds)
            cells = (
                f"{found[each][0]:.0f} | {found[each][1]:.0f} |" if each in found else "| |" for each in names
            )
            print(f"| {name} |", *cells, flush=True)


if __name__ == "__main__":
    given = sys.argv[1:] or ["5", "2"]
    main(int(given[0]), int(given[1]), *given[2:])
