"""Once or told, with real processes: no fault of a fleet runs a function twice or says nothing.

Clients ask three replicas that share a Redis server, or two workers that share a file, while these are
killed, paused, restarted and cut off. Each call is sent by our client, which asks again by itself, and by
one that knows nothing but HTTP. The function writes a line for each run.
"""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from navai_client import (
    NavaiBackendClient,
    NavaiHTTPError,
    NavaiTransportError,
    OutcomeUnknownError,
    RetryPolicy,
)
from tests.server.redis_server import DURABLE, RedisServer, redis_server
from tests.waiting import PATIENCE_S, until

EXECUTE: Final = "/navai/functions/execute"
CALLERS: Final = 4  # at a time
CALLS: Final = 20  # that have results before the fault, and after it
HELD: Final = "held"  # the key of a call that waits for a file
MODULE: Final = """
import asyncio, os, pathlib
import navai_client.server._store
navai_client.server._store.BatchedStore.lease = 1.0  # seconds: callers wait for a process that has gone
folder = pathlib.Path(__file__).parents[3]
async def charge(key: str) -> str:
    with open(folder / "lines", "a") as lines:
        lines.write(f"{key} {os.getpid()}\\n")
    await asyncio.sleep(0.01)
    while key == "held" and not (folder / "release").exists():
        await asyncio.sleep(0.01)
    return f"{key} of {os.getpid()}"
"""


class Proxy:
    """A TCP proxy, which spreads connections over backends, and cuts a share of what they send.

    Attributes:
        cuts: The share of responses that are cut at a random byte.
    """

    def __init__(self, urls: list[str]) -> None:
        self.cuts = 0.0
        parts = [httpx.URL(url) for url in urls]
        self._targets = itertools.cycle([(each.host, each.port or 80) for each in parts])
        self._tries = len(parts)
        self._random = random.Random(17)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        for _ in range(self._tries):  # as load balancers do: the next one if it cannot be reached
            with contextlib.suppress(OSError):
                backend = socket.create_connection(next(self._targets), 1)
                backend.settimeout(None)
                break
        else:
            client.close()
            return
        self._sockets += client, backend
        threading.Thread(target=self._pump, args=[client, backend, 0.0], daemon=True).start()
        self._pump(backend, client, self.cuts)

    def _pump(self, source: socket.socket, target: socket.socket, cuts: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if self._random.random() < cuts:
                    target.sendall(data[: self._random.randrange(len(data))])
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Fleet:
    """Replicas, or workers, and what clients were told of their calls.

    Attributes:
        folder: Where the function writes a line for each run.
        urls: Of each replica.
        proxy: In front of all.
        outcomes: What those were told who asked, by key: a result, a status, or "lost".
    """

    def __init__(self, folder: Path, urls: list[str]) -> None:
        self.folder = folder
        self.urls = urls
        self.proxy = Proxy(urls)
        self.outcomes: dict[str, list[Any]] = {}

    def ran(self) -> list[tuple[str, int]]:
        """Return each run: its key, and its process."""
        lines = self.folder / "lines"
        words = lines.read_text().split() if lines.exists() else []
        return list(zip(words[::2], map(int, words[1::2]), strict=True))

    def told(self) -> list[Any]:
        """Return what was told so far."""
        return [each for told in tuple(self.outcomes.values()) for each in tuple(told)]

    def proceeds(self) -> None:
        """Wait until more calls have had results."""
        wanted = CALLS + sum(isinstance(each, str) for each in self.told())
        until(lambda: sum(isinstance(each, str) for each in self.told()) >= wanted)

    def post(self, url: str, key: str, timeout: float = 4.0) -> httpx.Response:
        """Ask one replica, once."""
        body = {"function_name": "charge", "payload": {"key": key}}
        headers = {"idempotency-key": key}
        return httpx.post(url + EXECUTE, json=body, headers=headers, timeout=timeout, trust_env=False)

    def ask(self, key: str, urls: list[str]) -> httpx.Response:
        """Ask one replica after the other for a response."""
        end = time.monotonic() + PATIENCE_S
        for url in itertools.cycle(urls):
            if time.monotonic() > end:
                break
            with contextlib.suppress(httpx.TransportError):
                return self.post(url, key)
        pytest.fail(f"No replica has responded for {key}.")

    def begin(self, url: str, key: str) -> httpx.Response:
        """Ask one replica until its store lets the call begin, and return the response."""
        end = time.monotonic() + PATIENCE_S
        while (answer := self.post(url, key, 3 * PATIENCE_S)).status_code == 503:
            assert time.monotonic() < end
        return answer

    def ask_by_client(self, client: NavaiBackendClient, key: str) -> Any:
        """Return the result of a call, or what its error says."""
        try:
            return client.execute_function("charge", {"key": key}, idempotency_key=key)
        except OutcomeUnknownError:
            return 409
        except NavaiHTTPError as error:
            return error.status_code
        except NavaiTransportError as error:
            return "lost" if error.may_have_executed else "not sent"

    def ask_by_hand(self, key: str) -> Any:
        """Return the result of a call, or its status."""
        answer = self.ask(key, random.Random(key).sample(self.urls, len(self.urls)))
        return answer.json()["result"] if answer.status_code == 200 else answer.status_code

    @contextlib.contextmanager
    def traffic(self) -> Iterator[ThreadPoolExecutor]:
        """Ask all the time; check in the end what was told of each key."""
        policy = RetryPolicy(max_retries=8, base_delay=0.01, longest_retry_after=0.1)
        client = NavaiBackendClient(self.proxy.url, env={}, timeout=10, max_retries=policy)
        keys, stopped = itertools.count(), threading.Event()

        def ask() -> None:
            while not stopped.is_set():
                key = f"key-{next(keys)}"
                told = self.outcomes[key] = []
                copy = pool.submit(self.ask_by_hand, key)
                told += self.ask_by_client(client, key), copy.result()

        with client, ThreadPoolExecutor(2 * CALLERS + 2) as pool:
            asking = [pool.submit(ask) for _ in range(CALLERS)]
            try:
                self.proceeds()
                yield pool
                self.proceeds()
            finally:
                stopped.set()
            for each in asking:
                each.result(2 * PATIENCE_S)
        self.check()

    def check(self) -> None:
        """Check the promise by what was written and told, and by nothing else."""
        ran = Counter(key for key, _ in self.ran())
        assert set(ran.values()) == {1}
        for key, told in self.outcomes.items():
            results = set(told) - {409, 503, "lost", "not sent"}
            assert len(results) <= ran[key], (key, told)
            assert all(str(each).startswith(f"{key} of ") for each in results), (key, told)

    @contextlib.contextmanager
    def held(self, pool: ThreadPoolExecutor) -> Iterator[tuple[int, "Future[httpx.Response]"]]:
        """Begin a call that does not end, and yield its process and its response."""
        held = pool.submit(self.begin, self.urls[0], HELD)
        until(lambda: HELD in dict(self.ran()))
        yield dict(self.ran())[HELD], held

    def is_unknown(self) -> bool:
        """Return whether others are told that the call which does not end may have been executed."""
        answer = self.ask(HELD, self.urls[::-1])
        if answer.status_code == 503:  # their store was too slow
            return self.is_unknown()
        return (answer.status_code, answer.json()["may_have_executed"]) == (409, True)

    @contextlib.contextmanager
    def paused(self, process: int) -> Iterator[None]:
        """Pause a process, but not within a transaction: nobody else could use the file of the store."""
        numbers = itertools.count()

        def is_paused() -> bool:
            os.kill(process, signal.SIGSTOP)
            if self.ask(f"while-paused-{next(numbers)}", self.urls[::-1]).status_code == 200:
                return True
            os.kill(process, signal.SIGCONT)
            return False

        try:
            until(is_paused)
            yield
        finally:
            os.kill(process, signal.SIGCONT)


@contextlib.contextmanager
def processes(folder: Path, *commands: list[str]) -> Iterator[Fleet]:
    """Start servers, each with its own command before it, and wait until they listen."""
    module = folder / "src" / "ai" / "functions-modules" / "charging.py"
    module.parent.mkdir(parents=True)
    module.write_text(MODULE)
    with contextlib.ExitStack() as stack:
        started = []
        for command in commands:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
            stack.enter_context(process)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            started.append(process)
        fleet = Fleet(
            folder, [process.stdout.readline().split()[-1] for process in started if process.stdout]
        )
        stack.callback(fleet.proxy.close)
        yield fleet


def server(folder: Path, *options: str) -> list[str]:
    """Return the command of a server."""
    options = ("--port", "0", "--drain-delay", "0", "--no-access-log", "--base-dir", str(folder), *options)
    return [sys.executable, "-m", "navai_client.server", *options]


@contextlib.contextmanager
def replicas(folder: Path) -> Iterator[tuple[Fleet, RedisServer]]:
    """Start three replicas that share a Redis server."""
    with redis_server(folder, *DURABLE) as redis:
        command = server(folder, "--store", f"{redis.address}?socket_timeout=1")
        with processes(folder, command, command, command) as fleet:
            yield fleet, redis


@pytest.fixture(params=["replicas", "workers"], name="fleet")
def _fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    if request.param == "replicas":
        with replicas(tmp_path) as (fleet, _):
            yield fleet
    else:
        with processes(tmp_path, server(tmp_path, "--workers", "2")) as fleet:
            yield fleet


def test_what_a_killed_process_had_begun_is_unknown_and_not_run_again(fleet: Fleet) -> None:
    with fleet.traffic() as pool, fleet.held(pool) as (process, held):
        os.kill(process, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            held.result(PATIENCE_S)
        assert fleet.is_unknown()
        assert fleet.is_unknown()


def test_what_a_paused_process_had_begun_is_unknown_until_it_goes_on(fleet: Fleet) -> None:
    with fleet.traffic() as pool, fleet.held(pool) as (process, held):
        with fleet.paused(process):
            assert fleet.is_unknown()
        is_same(fleet, held)


def is_same(fleet: Fleet, held: "Future[httpx.Response]") -> None:
    """Let the call end that does not, and check that others get its result."""
    (fleet.folder / "release").touch()
    result = held.result(PATIENCE_S)
    replayed: list[httpx.Response] = []

    def is_recorded() -> bool:  # which may be after the response, where the store was slow
        replayed.append(fleet.ask(HELD, fleet.urls[::-1]))
        return replayed[-1].status_code not in (409, 503)

    until(is_recorded)
    again = replayed[-1]
    assert (result.status_code, again.json()) == (200, result.json())
    assert again.headers["idempotent-replayed"] == "true"


def test_while_a_store_is_paused_nothing_begins_and_what_has_begun_is_kept(tmp_path: Path) -> None:
    with replicas(tmp_path) as (fleet, redis), fleet.traffic() as pool, fleet.held(pool) as (_, held):
        assert redis.process is not None
        redis.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: 503 in fleet.told())
        finally:
            redis.process.send_signal(signal.SIGCONT)
        is_same(fleet, held)
        assert held.result().headers["navai-idempotency"] == "shared"


def test_a_store_that_is_killed_knows_everything_when_it_is_back(tmp_path: Path) -> None:
    with replicas(tmp_path) as (fleet, redis), fleet.traffic() as pool, fleet.held(pool) as (_, held):
        redis.kill()
        until(lambda: 503 in fleet.told())
        redis.start()
        is_same(fleet, held)


def test_responses_that_are_cut_are_asked_for_again(tmp_path: Path) -> None:
    with replicas(tmp_path) as (fleet, _), fleet.traffic():
        fleet.proxy.cuts = 0.3
        fleet.proceeds()
        fleet.proceeds()


@contextlib.contextmanager
def network(name: str) -> Iterator[tuple[str, str, Callable[[str], None]]]:
    """Make a network namespace, and yield the address of this side, that of the other, and a switch."""
    ip = shutil.which("ip")
    if ip is None or os.geteuid() != 0:
        pytest.skip("Network namespaces need the command ip, and root.")

    def run(*arguments: str) -> None:
        subprocess.run([ip, *arguments], check=True, capture_output=True, text=True)

    net = f"10.{random.randrange(200, 250)}.{random.randrange(250)}"
    here, there = f"{net}.1", f"{net}.2"
    try:
        run("netns", "add", name)
        run("link", "add", name, "type", "veth", "peer", "name", "there", "netns", name)
    except subprocess.CalledProcessError as error:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"This machine makes no network namespace: {error.stderr.strip()}")
    try:
        run("addr", "add", f"{here}/30", "dev", name)
        run("-n", name, "addr", "add", f"{there}/30", "dev", "there")
        run("-n", name, "link", "set", "there", "up")
        run("link", "set", name, "up")
        yield here, there, lambda state: run("link", "set", name, state)
    finally:
        run("netns", "delete", name)  # and what is in it


def test_a_replica_that_is_cut_off_runs_nothing_that_another_one_may_run(tmp_path: Path) -> None:
    name = f"navai{os.getpid()}"
    with contextlib.ExitStack() as stack:
        here, there, switch = stack.enter_context(network(name))
        redis = stack.enter_context(
            redis_server(tmp_path, *DURABLE, "--bind", "127.0.0.1", here, "--protected-mode", "no")
        )
        inside = ["ip", "netns", "exec", name]
        inside += server(
            tmp_path, "--host", there, "--store", f"redis://{here}:{redis.port}?socket_timeout=1"
        )
        outside = server(tmp_path, "--store", f"{redis.address}?socket_timeout=1")
        fleet = stack.enter_context(processes(tmp_path, inside, outside, outside))
        pool = stack.enter_context(fleet.traffic())
        _, held = stack.enter_context(fleet.held(pool))
        switch("down")
        assert fleet.is_unknown()
        switch("up")
        is_same(fleet, held)
