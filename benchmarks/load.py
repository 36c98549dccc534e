"""Loads a server with one request over many connections: with wrk if installed, else load_generator.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from benchmarks.calls import compact
from benchmarks.process import CORES, started

__all__ = ["Load", "load", "tool"]

LUA = str(Path(__file__).parent / "wrk.lua")


@attrs.frozen(kw_only=True)
class Load:
    """The result of a load.

    Attributes:
        rate: Requests per second.
        p50: Milliseconds within which half of the requests were answered.
        p99: Milliseconds within which 99 of 100 were.
        requests: How many requests were answered.
    """

    rate: float
    p50: float
    p99: float
    requests: int


def tool() -> str:
    """Return the name of the tool that loads the servers."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return "benchmarks/load_generator.py, because wrk is not installed"
    said = subprocess.run(
        [wrk, "--version"], capture_output=True, text=True, check=False
    ).stdout  # exits with 1
    return " ".join(said.split()[:2])


def load(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    connections: int,
    seconds: float,
    core: list[int] | None = CORES[1],
    keyed: bool = False,
) -> Load:
    """Send the request again and again, one at a time over each connection.

    If it is *keyed*, each has an ``Idempotency-Key`` of its own.

    Raises:
        RuntimeError: Some responses reported a failure.
    """
    request = [method, urlsplit(url).path + path, *([] if body is None else [compact(body)])]
    if keyed:
        request.append(f"{os.urandom(6).hex()}-")
    if shutil.which("wrk") and seconds >= 1:  # it takes whole seconds only
        command = [
            "wrk",
            "--timeout=30s",
            "-t1",
            f"-c{connections}",
            f"-d{seconds:.0f}s",
            "-s",
            LUA,
            url,
            "--",
            *request,
        ]
    else:
        generator = [sys.executable, "-m", "benchmarks.load_generator"]
        command = [*generator, str(connections), str(seconds), url, *request]
    with started(command, core=core) as process:
        while not (line := process.line()).startswith("{"):
            pass
    said = json.loads(line)
    if said["wrong"] or not said["requests"]:
        raise RuntimeError(f"{method} {url}{path} had {said['wrong']} wrong answers of {said['requests']}.")
    return Load(
        rate=said["requests"] / said["seconds"], p50=said["p50"], p99=said["p99"], requests=said["requests"]
    )
