"""What kubernetes.yaml and nginx.conf describe, run for real: nginx, three replicas, and the store."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from navai_client import NavaiBackendClient
from navai_client.server import FunctionContext
from navai_client.testing import LiveServer
from tests.deploying import DEPLOY, SECRET, Nginx, container_of, environment, kubernetes, nginx, valkey
from tests.waiting import PATIENCE_S, until

DRAIN_S = 5  # what NAVAI_DRAIN_DELAY is scaled to

CHARGING = """
import asyncio, os, pathlib
import navai_client.server._store
navai_client.server._store.BatchedStore.lease = 6.0  # seconds, until a process that is gone counts as gone
async def charge(key: str, folder: str, seconds: float = 0.0, release: str | None = None) -> int:
    with open(pathlib.Path(folder) / "charges", "a") as charges:
        charges.write(f"{key} {os.getpid()}\\n")
    await asyncio.sleep(seconds)
    while release is not None and not (pathlib.Path(folder) / release).exists():
        await asyncio.sleep(0.02)
    return os.getpid()
"""


class Replica(NamedTuple):
    """A process that serves the backend."""

    process: "subprocess.Popen[str]"
    url: str

    def is_ready(self) -> bool:
        return httpx.get(f"{self.url}/ready", timeout=PATIENCE_S, trust_env=False).is_success


class Fleet:
    """The replicas, the store, and nginx in front."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        modules = folder / "src" / "ai" / "functions-modules"
        modules.mkdir(parents=True)
        (modules / "charging.py").write_text(CHARGING)
        self._store = stack.enter_context(valkey(folder))
        replicas = kubernetes("HorizontalPodAutoscaler")["spec"]["minReplicas"]
        with ThreadPoolExecutor(replicas) as pool:
            self.replicas = list(pool.map(lambda _: self.start(), range(replicas)))
        self.nginx: Nginx = stack.enter_context(nginx(folder, *(each.url for each in self.replicas)))
        host = environment(container_of("Deployment"))["NAVAI_ALLOWED_HOSTS"].split(",")[0]
        self._client = stack.enter_context(
            httpx.Client(
                headers={"host": host, "authorization": f"Bearer {SECRET['access-token']}"},
                # When nginx is loaded again it closes connections that stay open, perhaps before a request.
                limits=httpx.Limits(max_keepalive_connections=0),
                timeout=2 * PATIENCE_S,
                trust_env=False,
            )
        )

    def start(self) -> Replica:
        """Start a replica with the environment of kubernetes.yaml and the command of the Dockerfile."""
        command = json.loads((DEPLOY / "Dockerfile").read_text().splitlines()[-1].removeprefix("CMD "))
        assert command[:3] == ["python", "-m", "navai_client.server"]
        env = environment(container_of("Deployment"))
        env["NAVAI_STORE_URL"] = env["NAVAI_STORE_URL"].replace("navai-store:6379", self._store)
        env["NAVAI_DRAIN_DELAY"] = str(DRAIN_S)
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, *command[1:], "--host", "127.0.0.1", "--port", "0"],
                cwd=self._folder,
                env={**os.environ, **env},
                stdout=subprocess.PIPE,
                stderr=self._stack.enter_context((self._folder / "replicas.log").open("a")),
                text=True,
            )
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        replica = Replica(process, process.stdout.readline().split()[-1])
        until(replica.is_ready)
        return replica

    def charge(
        self, key: str, seconds: float = 0.0, url: str | None = None, release: str | None = None
    ) -> httpx.Response:
        """Charge once for *key*, through nginx; the call ends once there is a file *release*."""
        payload = {"key": key, "folder": str(self._folder), "seconds": seconds, "release": release}
        body = {"function_name": "charge", "payload": payload}
        url = f"{url or self.nginx.url}/navai/functions/execute"
        return self._client.post(url, json=body, headers={"idempotency-key": key})

    def charge_until_told(self, key: str, release: str) -> httpx.Response:
        """Charge for *key*, and ask again where nginx lost the replica, as clients do."""
        end = time.monotonic() + PATIENCE_S
        while (response := self.charge(key, release=release)).status_code == 502:
            assert time.monotonic() < end
        return response

    def release(self, release: str) -> None:
        """Let the calls end that wait for this file."""
        (self._folder / release).touch()

    def each_has_run_some(self) -> bool:
        return {str(each.process.pid) for each in self.replicas} <= {pid for _, pid in self.charges}

    @property
    def charges(self) -> list[list[str]]:
        """The key and the process of each charge."""
        file = self._folder / "charges"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        yield Fleet(tmp_path, stack)


class Calls:
    """Calls that a few callers make, one after the other, until they are to stop."""

    def __init__(self, fleet: Fleet, pool: ThreadPoolExecutor) -> None:
        self._fleet = fleet
        self._stop = threading.Event()
        self.responses: dict[str, httpx.Response] = {}
        self._callers: list[Future[None]] = [pool.submit(self._call, str(n)) for n in range(3)]

    def _call(self, caller: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            key = f"{caller}-{number}"
            self.responses[key] = self._fleet.charge(key, 0.02)

    def finish(self) -> None:
        self._stop.set()
        for caller in self._callers:
            caller.result(PATIENCE_S)


def test_copies_on_several_replicas_run_once_and_a_rolling_restart_loses_no_call(fleet: Fleet) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = [f"copied-{n}" for n in range(20)] * 3
        answers = dict(zip(keys, pool.map(lambda key: fleet.charge(key, 0.1), keys), strict=True))
        assert {answer.status_code for answer in answers.values()} == {200}
        assert answers["copied-0"].headers["navai-idempotency"] == "shared"
        ran = dict(fleet.charges)
        assert len(fleet.charges) == len(ran) == 20
        assert {key: str(answer.json()["result"]) for key, answer in answers.items()} == ran
        numbers = itertools.count()
        while not fleet.each_has_run_some() and (number := next(numbers)) < 1000:
            fleet.charge(f"more-{number}")
        assert fleet.each_has_run_some()

        calls = Calls(fleet, pool)
        for old in tuple(fleet.replicas):
            fleet.replicas.append(fleet.start())
            fleet.replicas.remove(old)
            slow = pool.submit(fleet.charge, f"slow-{old.url}", DRAIN_S + 1.0, old.url)
            until(lambda key=f"slow-{old.url}": key in dict(fleet.charges))  # type: ignore[misc]
            old.process.terminate()
            until(lambda old=old: not old.is_ready())  # type: ignore[misc]
            assert fleet.charge(f"after-{old.url}", url=old.url).status_code == 200  # it still accepts
            fleet.nginx.send_to(*(each.url for each in fleet.replicas))
            assert slow.result(PATIENCE_S).status_code == 200
            old.process.wait(PATIENCE_S)
        until(fleet.each_has_run_some)
        calls.finish()
    assert {answer.status_code for answer in calls.responses.values()} == {200}
    assert set(Counter(key for key, _ in fleet.charges).values()) == {1}


def test_a_replica_that_is_killed_loses_its_own_calls_alone_and_says_so(fleet: Fleet) -> None:
    killed, *others = fleet.replicas
    with ThreadPoolExecutor(16) as pool:
        keys = [f"killed-{n}" for n in range(9)]
        answers = {key: pool.submit(fleet.charge_until_told, key, "release") for key in keys}
        until(lambda: len(fleet.charges) == len(keys))
        killed.process.kill()
        fleet.nginx.send_to(*(each.url for each in others), fleet.start().url)
        fleet.release("release")
        told = {key: answer.result(2 * PATIENCE_S) for key, answer in answers.items()}
    ran = dict(fleet.charges)
    assert len(fleet.charges) == len(ran)
    lost = {key for key, pid in ran.items() if pid == str(killed.process.pid)}
    assert lost
    for key, answer in told.items():
        assert answer.status_code == (409 if key in lost else 200), answer.text
    assert all(told[key].json()["may_have_executed"] is True for key in lost)
    assert fleet.charge("afterwards").status_code == 200


def test_progress_passes_nginx_while_the_function_runs(tmp_path: Path) -> None:
    going = threading.Event()

    def plan(context: FunctionContext) -> str:
        context.progress("Looking at March")
        assert going.wait(PATIENCE_S), "nginx kept the message"
        return "12 March"

    heard: list[str] = []

    def hear(message: str) -> None:
        heard.append(message)
        going.set()

    with LiveServer() as server, nginx(tmp_path, server.url) as front:
        server.function(plan)
        with NavaiBackendClient(front.url, timeout=2 * PATIENCE_S) as client:
            assert client.execute_function("plan", on_progress=hear) == "12 March"
    assert heard == ["Looking at March"]
