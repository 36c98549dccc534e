"""The stores of idempotency keys: where they are, and what the key of one call costs each."""

import asyncio
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.process import CORES, started
from benchmarks.scale import Scale
from navai_client.server import MemoryStore, RedisStore, SQLiteStore, Store

__all__ = ["claims", "free_port", "redis_server", "urls_of_stores"]

AT_ONCE: Final = (1, 32)
LEASE_S: Final = 15.0
TTL_S: Final = 600.0
OUTCOME: Final = b'={"location":"Bogota","temperature":18}'


@contextmanager
def urls_of_stores() -> Iterator[dict[str, str]]:
    """Yield the URLs of an SQLite file and, if it is installed, of a durable Redis server beside the load."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {"SQLite": f"sqlite:///{folder}/keys.sqlite"}
        if shutil.which("redis-server"):
            urls["Redis"] = stack.enter_context(redis_server(folder))
        yield urls


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis server that keeps what it confirms, beside the load, and yield its URL."""
    port = free_port()
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    durable = ["--appendonly", "yes", "--appendfsync", "always"]
    with started(["redis-server", *where, *durable], core=CORES[1]) as process:
        while "Ready to accept connections" not in process.line():
            pass
        yield f"redis://127.0.0.1:{port}/0"


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def claims(scale: Scale) -> list[dict[str, Any]]:
    """Claim keys, start the claims in the same step, and finish them, one at a time and many at once."""
    rows = []
    with urls_of_stores() as urls:
        stores: dict[str, Store] = {"memory": MemoryStore(max_bytes=2**33)}
        stores["SQLite"] = SQLiteStore(urls["SQLite"].removeprefix("sqlite:///"))
        if "Redis" in urls:
            stores["Redis"] = RedisStore(urls["Redis"])
        for name, store in stores.items():
            for at_once in AT_ONCE:
                turns = asyncio.run(_cost(store, at_once, scale))
                rows.append({"store": name, "at_once": at_once, "turns": turns})
    return rows


async def _cost(store: Store, at_once: int, scale: Scale) -> list[dict[str, float]]:
    """Return the microseconds of one call with a key, as time and as processor time of this process."""

    async def call() -> None:
        key, token = os.urandom(16), os.urandom(16)
        await store.claim(key, key, token, LEASE_S, start=True)
        await store.finish(key, token, OUTCOME, TTL_S)

    await call()  # opens it
    turns = []
    for _ in range(scale.rounds):
        count, began, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() < began + scale.seconds:
            await asyncio.gather(*(call() for _ in range(at_once)))
            count += at_once
        turns.append(
            {
                "us": (time.perf_counter() - began) / count * 1e6,
                "cpu": (time.process_time() - cpu) / count * 1e6,
            }
        )
    await store.aclose()
    return turns
