"""examples/deploy/ray_serve.py on a local Ray cluster. `make ray` runs this, in an environment of its own."""

import os
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
from ray import serve

from examples.deploy.ray_serve import app
from tests.server.redis_server import DURABLE, redis_server
from tests.waiting import PATIENCE_S, until

EXECUTE = "/navai/functions/execute"
PRIME = 2**61 - 1  # trial division takes years, and no memory

CHARGING = """
import asyncio, os, pathlib
import navai_client.server._store
navai_client.server._store.BatchedStore.lease = 3.0  # seconds, until a process that is gone counts as gone
async def charge(key: str, folder: str, release: str | None = None) -> int:
    with open(pathlib.Path(folder) / "charges", "a") as charges:
        charges.write(f"{key} {os.getpid()}\\n")
    while release is not None and not (pathlib.Path(folder) / release).exists():
        await asyncio.sleep(0.02)
    return os.getpid()
"""


class Cluster:
    """A local cluster that serves the example."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": "Bearer let-me-in"},
            timeout=2 * PATIENCE_S,
            trust_env=False,
        )

    def post(self, key: str, name: str, payload: Any) -> httpx.Response:
        body = {"function_name": name, "payload": payload}
        return self.client.post(EXECUTE, json=body, headers={"idempotency-key": key})

    def charge(self, key: str, release: str | None = None) -> httpx.Response:
        """Charge for *key*; where Ray's proxy lost the replica, ask again.

        The call ends once there is a file *release*.
        """
        payload = {"key": key, "folder": str(self.folder), "release": release}
        while (response := self.post(key, "charge", payload)).status_code == 500:
            assert "may_have_executed" not in response.text
        return response

    @property
    def charges(self) -> list[list[str]]:
        """The key and the process of each charge."""
        file = self.folder / "charges"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("served")
    modules = folder / "src" / "ai" / "functions-modules"
    modules.mkdir(parents=True)
    (modules / "charging.py").write_text(CHARGING)
    with (
        redis_server(folder, *DURABLE) as store,
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as home,  # a path of a socket is short
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {
            "HOME": home,  # where Ray keeps the token of the cluster
            "NAVAI_ACCESS_TOKEN": "let-me-in",
            "NAVAI_STORE_URL": store.url,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "RAY_USAGE_STATS_ENABLED": "0",
        }.items():
            patch.setenv(name, value)
        patch.chdir(folder)  # the working directory of the replicas
        ray.init(
            num_cpus=2,  # half of one for each replica, and one for a task
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100 * 2**20,
            _temp_dir=home,
        )
        try:
            with socket.create_server(("127.0.0.1", 0)) as unused:
                port = int(unused.getsockname()[1])
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            serve.run(app)
            yield Cluster(folder, port)
        finally:
            serve.shutdown()
            ray.shutdown()


def tasks() -> list[psutil.Process]:
    """Return the processes that run a task of the example; Ray sets their titles."""
    processes = psutil.process_iter(["cmdline"])
    return [each for each in processes if (each.info["cmdline"] or [""])[0] == "ray::run_task"]


def test_calls_with_a_key_run_once_although_a_replica_is_killed(cluster: Cluster) -> None:
    with ThreadPoolExecutor(64) as pool:
        keys = [f"key-{n}" for n in range(20)]
        copies = [(key, pool.submit(cluster.charge, key, "release")) for key in keys for _ in range(3)]
        until(lambda: len(cluster.charges) == len(keys))
        replicas = {pid for _, pid in cluster.charges}
        assert len(replicas) == 2
        killed = replicas.pop()
        os.kill(int(killed), signal.SIGKILL)
        (cluster.folder / "release").touch()
        answers = [(key, copy.result(120)) for key, copy in copies]
    ran = dict(cluster.charges)
    assert len(cluster.charges) == len(ran) == len(keys)
    for key, answer in answers:
        if ran[key] == killed:
            assert (answer.status_code, answer.json()["may_have_executed"]) == (409, True)
        else:
            assert (answer.status_code, answer.json()["result"]) == (200, int(ran[key]))
    assert answers[0][1].headers["navai-idempotency"] == "shared"
    # Ray starts another.
    numbers = iter(range(10_000))
    until(lambda: len({cluster.charge(f"after-{next(numbers)}").json()["result"] for _ in range(8)}) == 2)
    assert set(Counter(key for key, _ in cluster.charges).values()) == {1}


def test_a_heavy_function_runs_as_a_task(cluster: Cluster) -> None:
    answer = cluster.post("heavy", "largest_prime_factor", {"number": 2 * 3 * 101}).json()
    assert answer["result"] == 101
    refused = cluster.post("refused", "largest_prime_factor", {"number": "x"}).json()
    assert refused["details"].startswith("Invalid arguments: number:")


@pytest.mark.parametrize("end", ["is cancelled", "dies"])
def test_a_task_that_is_cancelled_or_dies_ends_its_call_and_does_not_run_again(
    cluster: Cluster, end: str
) -> None:
    key = f"it-{end}".replace(" ", "-")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(cluster.post, key, "largest_prime_factor", {"number": PRIME})
        until(lambda: len(tasks()) == 1)
        (task,) = tasks()
        if end == "dies":
            task.kill()
        else:
            # Another replica than the one that runs it says 409.
            until(
                lambda: cluster.client.post(f"{EXECUTE}/cancel", headers={"idempotency-key": key}).is_success
            )
        until(lambda: not task.is_running())
        answer = call.result(60).json()
    assert (answer["ok"], answer["may_have_executed"]) == (False, True)
    assert cluster.post(key, "largest_prime_factor", {"number": PRIME}).json() == answer
    assert tasks() == []
