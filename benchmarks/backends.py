"""The servers to compare, started as their documentation says, and the requests to load them with."""

import http.client
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from benchmarks.calls import EXECUTE, LIST, SECRET, compact
from benchmarks.functions import FOLDER
from benchmarks.load import Load, load
from benchmarks.process import CORES, Running, started
from tests.interop.peers import install

__all__ = ["EXPRESS", "EXPRESS_AT_ITS_BEST", "KEYED", "OURS", "REQUESTS", "Backend", "Loaded", "opened"]

OURS = "navai_client.server"
EXPRESS = "Express"
EXPRESS_AT_ITS_BEST = "Express at its best"
# Node collects young objects whenever 16 MiB of them are full, which costs a tenth of a request on one core.
YOUNG_GENERATION = "--max-semi-space-size=128"  # MiB
KEYED = "execute, Idempotency-Key"  # a new one with each request; Express takes no notice of it
FEWEST = 3  # requests, at least, of whose costs the mean is taken
WEATHER = {"location": "Bogotá", "unit": "celsius"}
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "list": ("GET", LIST, None),
    "execute": ("POST", EXECUTE, {"function_name": "weather_0", "payload": WEATHER}),
    KEYED: ("POST", EXECUTE, {"function_name": "weather_0", "payload": WEATHER}),
    "execute, not async": ("POST", EXECUTE, {"function_name": "weather_sync", "payload": WEATHER}),
    "client secret": ("POST", SECRET, {"voice": "marin", "language": "Spanish"}),
}


@attrs.frozen
class Loaded:
    """How a server did under load.

    Attributes:
        load: What the load tool saw.
        cpu: Microseconds of processor time per request.
    """

    load: Load
    cpu: float


@attrs.frozen
class Backend:
    """A running server.

    Attributes:
        url: Where it is.
        process: Its process.
        start: Seconds from its start to its first list of functions.
        start_cpu: Seconds of processor time that it took until then.
        listed: Bytes of that list.
    """

    url: str
    process: Running
    start: float
    start_cpu: float
    listed: int

    def load(
        self,
        request: tuple[str, str, Any],
        *,
        connections: int,
        seconds: float,
        core: list[int] | None = CORES[1],
        keyed: bool = False,
    ) -> Loaded:
        """Load it with *request*, with a new ``Idempotency-Key`` each time if *keyed*."""
        before = self.process.cpu()
        method, path, body = request
        came = load(
            self.url,
            method,
            path,
            body,
            connections=connections,
            seconds=seconds,
            core=core,
            keyed=keyed,
        )
        return Loaded(came, (self.process.cpu() - before) / came.requests * 1e6)

    def cost(self, request: tuple[str, str, Any], *, seconds: float) -> float:
        """Send *request* again and again over one connection, and return microseconds of CPU time for one.

        Unlike under load, which ends while requests are in flight, every request is counted completely.
        """
        method, path, body = request
        headers = {} if body is None else {"content-type": "application/json"}
        entity = None if body is None else compact(body)
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc)
        with closing(connection):
            before, end, count = self.process.cpu(), time.perf_counter() + seconds, 0
            while count < FEWEST or time.perf_counter() < end:
                connection.request(method, path, entity, headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == HTTPStatus.OK
                count += 1
            return (self.process.cpu() - before) / count * 1e6


@contextmanager
def opened(
    name: str,
    base: Path,
    upstream: str,
    *,
    core: list[int] | None = CORES[0],
    workers: int = 1,
    store: str | None = None,
) -> Iterator[Backend]:
    """Start the server *name* with the functions below *base*, and wait for its first list.

    Ours keeps idempotency keys in the *store* of that URL.
    """
    if name == OURS:
        command = [sys.executable, "-m", "navai_client.server", "--port", "0", "--base-dir", str(base)]
        command += ["--functions-folders", FOLDER, "--workers", str(workers)]
        command += [] if store is None else ["--store", store]
    else:
        flags = [YOUNG_GENERATION] if name == EXPRESS_AT_ITS_BEST else []
        command = [
            install(),
            *flags,
            str(Path(__file__).parent / "express_backend.mjs"),
            str(base),
            FOLDER,
            upstream,
        ]
    env = {
        "NODE_ENV": "production",
        "OPENAI_API_KEY": "sk-of-the-backend",
        "OPENAI_BASE_URL": f"{upstream}/v1",
    }
    began = time.perf_counter()
    with started(command, core=core, env=env) as process:
        url = process.line().split()[-1]
        with urllib.request.urlopen(url + LIST, timeout=120) as answer:
            body = answer.read()
        start = time.perf_counter() - began
        assert json.loads(body)["items"], f"{name} has no functions"
        yield Backend(url, process, start, process.cpu(), len(body))
