"""Measured processes: started, pinned to a core, controlled by lines of JSON, watched, stopped."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import psutil

__all__ = ["CORES", "Running", "fixed_server", "started"]

_ALL = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else None
CORES: tuple[list[int] | None, list[int] | None] = ([_ALL[0]], [_ALL[-1]]) if _ALL else (None, None)
"""The core of the measured process, and that of its peer or load; None if processes cannot be pinned."""

PATIENCE = 30  # seconds for a process to stop


class Running:
    """A running process.

    Attributes:
        pid: Its number.
    """

    def __init__(self, process: subprocess.Popen[str], said: IO[str]) -> None:
        self.pid = process.pid
        self._process = process
        self._said = said

    def line(self) -> str:
        """Return the next line of its output.

        Raises:
            RuntimeError: It has ended; the message has the end of its stderr.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            raise RuntimeError(f"A process ended before it answered:\n{self._said.read()[-3000:]}")
        return line.strip()

    def ask(self, **values: Any) -> Any:
        """Send *values* as a line of JSON, and return the response."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(values) + "\n")
        self._process.stdin.flush()
        return json.loads(self.line())

    def cpu(self) -> float:
        """Return the CPU seconds that it and its children have used so far."""
        times = [each.cpu_times() for each in self._family()]
        return sum(each.user + each.system for each in times)

    def memory(self) -> float:
        """Return the resident memory of it and its children in MiB."""
        return sum(each.memory_info().rss for each in self._family()) / 2**20

    def _family(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]


@contextmanager
def started(
    command: Sequence[str], *, core: list[int] | None = None, env: dict[str, str] | None = None
) -> Iterator[Running]:
    """Run *command* on *core* (default: all), with *env* added to the environment; stop it at the end."""
    me = psutil.Process()
    with tempfile.TemporaryFile("w+") as said:
        if core is not None:
            me.cpu_affinity(core)  # inherited by the process and its threads
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env={**os.environ, **(env or {})},
            )
        finally:
            if core is not None:
                me.cpu_affinity(_ALL)
        with process:
            try:
                yield Running(process, said)
            finally:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def fixed_server() -> Iterator[str]:
    """Run the fixed server on the second core and yield its URL."""
    with started([sys.executable, "-m", "benchmarks.fixed_server"], core=CORES[1]) as process:
        yield process.line()
