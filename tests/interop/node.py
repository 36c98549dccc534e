"""The published JavaScript peers, run in one Node process, which reads commands as lines of JSON."""

import json
import math
import os
import queue
import subprocess
import tempfile
import threading
from typing import IO, Any, Final, NoReturn, Self

import pytest

from tests.interop.peers import HERE, PeersMissingError, install

__all__ = ["Node", "is_absent", "revived"]

_PATIENCE: Final = 120  # seconds that one command may take before the process counts as stuck


def _give_up(reason: str) -> NoReturn:
    """Skip tests that need the peers; in CI, fail instead, so that nothing is skipped unnoticed."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Node:
    """One process of Node with the peers in it. A context manager."""

    def __init__(self) -> None:
        try:
            node = install()
        except PeersMissingError as missing:
            _give_up(str(missing))
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [node, str(HERE / "driver.mjs")],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={"PATH": os.environ.get("PATH", "")},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()
        self._id = 0
        self.version: str = self._answer()

    def ask(self, command: str, **values: Any) -> Any:
        """Send *command* to the driver, and return its reply."""
        self._id += 1
        self._stdin.write(
            json.dumps({"id": self._id, "command": command, **values}, allow_nan=False).encode() + b"\n"
        )
        self._stdin.flush()
        return self._answer()

    def call(self, base_url: str, method: str, *arguments: Any, **options: Any) -> Any:
        """Call *method* of the JavaScript client: ``{"value": ...}`` or ``{"raised": message}``."""
        call = {"options": {"apiBaseUrl": base_url, **options}, "method": method}
        if arguments:
            call["input"] = arguments[0]
        return self.ask("calls", calls=[call])[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._said.close()

    def _read(self, lines: IO[bytes]) -> None:
        for line in lines:
            self._lines.put(line)
        self._lines.put(b"")

    def _answer(self) -> Any:
        line = self._lines.get(timeout=_PATIENCE)
        if not line:
            self._said.seek(0)
            pytest.fail(f"The driver ended:\n{self._said.read().decode()[-3000:]}", pytrace=False)
        answer = json.loads(line)
        assert answer["id"] == self._id
        assert "error" not in answer, answer["error"]
        return answer["value"]


_SPECIAL: Final = {
    "undefined": None,
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
    "too deep": "too deep",
}


def is_absent(value: Any) -> bool:
    """Return whether the value was ``undefined`` in JavaScript."""
    return isinstance(value, dict) and value == {"$": "undefined"}


def revived(value: Any) -> Any:
    """Return the driver's value in Python: ``undefined`` becomes None."""
    if isinstance(value, dict):
        if set(value) == {"$"} and value["$"] in _SPECIAL:
            return _SPECIAL[value["$"]]
        return {key: revived(child) for key, child in value.items()}
    return [revived(child) for child in value] if isinstance(value, list) else value
