"""Many concurrent clients of one server process: fast, slow, failing and never-ending functions mixed.

Run by hand: ``python benchmarks/server_load.py [seconds] [connections]``. The server is a process of its own.
"""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FUNCTIONS = """
import asyncio, time
async def fast(n: int) -> int: return n
def fast_sync(n: int) -> int: return n
def slow() -> str: time.sleep(0.5); return "slow"
async def slow_async() -> str: await asyncio.sleep(0.5); return "slow"
def fails() -> None: raise ValueError("on purpose")
async def endless() -> None: await asyncio.Event().wait()
"""
SERVE = """
import sys, uvicorn, logging
logging.basicConfig(level=logging.CRITICAL)
from navai_client.server import NavaiBackend
backend = NavaiBackend(env={}, functions_base_dir=sys.argv[1], functions_folders="src", function_timeout=2.0)
uvicorn.run(backend, port=int(sys.argv[2]), log_level="error", access_log=False)
"""
NAMES = ["fast"] * 6 + ["fast_sync"] * 6 + ["slow", "slow_async", "fails", "endless"]


async def call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, n: int
) -> dict[str, object]:
    """Execute one function over an open connection."""
    body = json.dumps(
        {"function_name": name, "payload": {"n": n} if name.startswith("fast") else None}
    ).encode()
    head = (
        "POST /navai/functions/execute HTTP/1.1\r\nhost: x\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return json.loads(await reader.readexactly(length))  # type: ignore[no-any-return]


async def client(port: int, end: float, seen: dict[str, list[float]], wrong: list[object]) -> None:
    """Call one function after the other until *end*, and check each response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        name, n, began = random.choice(NAMES), random.randrange(10**6), time.monotonic()
        answer = await call(reader, writer, name, n)
        seen.setdefault(name, []).append(time.monotonic() - began)
        wanted = {"slow": "slow", "slow_async": "slow"}.get(name, n)
        right = answer["ok"] is False if name in ("fails", "endless") else answer.get("result") == wanted
        if not right:
            wrong.append((name, answer))
    writer.close()


def status(pid: int, field: str) -> int:
    """Read a number from the kernel's description of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(text.partition(f"{field}:")[2].split()[0])


async def main(seconds: float, connections: int) -> None:
    """Serve, load, and print the table."""
    with tempfile.TemporaryDirectory() as base:
        module = Path(base, "src", "load.py")
        module.parent.mkdir()
        module.write_text(FUNCTIONS, encoding="utf-8")  # noqa: ASYNC240 - nothing else runs yet
        server = subprocess.Popen([sys.executable, "-c", SERVE, base, "8765"])  # noqa: ASYNC220 - nor here
        try:
            await asyncio.sleep(2)
            reader, writer = await asyncio.open_connection("127.0.0.1", 8765)
            await call(reader, writer, "fast_sync", 1)
            before = status(server.pid, "VmRSS"), status(server.pid, "Threads")
            seen: dict[str, list[float]] = {}
            wrong: list[object] = []
            end = time.monotonic() + seconds
            await asyncio.gather(*(client(8765, end, seen, wrong) for _ in range(connections)))
            during = status(server.pid, "VmRSS"), status(server.pid, "Threads")
            await asyncio.sleep(13)  # idle threads end after ten seconds
            after = status(server.pid, "VmRSS"), status(server.pid, "Threads")
        finally:
            server.terminate()
            server.wait(35)
    print("| function | calls | p50 ms | p99 ms | max ms |\n| --- | --- | --- | --- | --- |")
    for name, times in sorted(seen.items()):
        times.sort()
        picked = (times[len(times) // 2], times[int(len(times) * 0.99)], times[-1])
        print(f"| {name} | {len(times)} | " + " | ".join(f"{each * 1000:.1f}" for each in picked) + " |")
    print(f"wrong answers: {len(wrong)} {wrong[:3]}")
    print(f"(RSS kB, threads): before {before}, at the end {during}, 13 s later {after}")


if __name__ == "__main__":
    numbers = [float(each) for each in sys.argv[1:]]
    asyncio.run(main(numbers[0] if numbers else 30, int(numbers[1]) if len(numbers) > 1 else 200))
