"""A Redis server of the system, on a free port, for the tests of the store."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, until

REDIS = shutil.which("redis-server")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """A Redis server that can be stopped and started again with its file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._options = options
        self._reserved = contextlib.ExitStack()

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def url(self) -> str:
        """Its address, for clients that wait for it as long as tests do: it writes to a disk."""
        return f"{self.address}?socket_timeout={PATIENCE_S}&socket_connect_timeout={PATIENCE_S}"

    def start(self) -> None:
        """Start it, and wait until it accepts connections: at the same port again, if it had one."""
        while not self.port or not self._has_started():
            self._reserved.close()
            self.port = self._reserved.enter_context(reserved_port())

    def _has_started(self) -> bool:
        """Start it, and return whether it has its ports: a node of a cluster needs a second one."""
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder), "--save", "")
        assert REDIS is not None
        process = subprocess.Popen([REDIS, *where, *self._options], stdout=subprocess.DEVNULL)
        self.process = process

        def accepts() -> bool:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as client,
            ):
                client.sendall(b"PING\r\n")
                return client.recv(100).startswith(b"+PONG")
            return False

        def has_port() -> bool:
            with contextlib.suppress(psutil.Error):
                listening = psutil.Process(process.pid).net_connections()
                return any(each.laddr.port == self.port for each in listening if each.laddr)
            return False

        until(lambda: process.poll() is not None or (has_port() and accepts()))
        return process.poll() is None

    def kill(self) -> None:
        """End it without warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End it, and let others have its port."""
        self.kill()
        self._reserved.close()


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a Redis server, or skip the test where none is installed."""
    if REDIS is None:
        if "CI" in os.environ:
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    server = RedisServer(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.close()
