"""What a request to the server costs, and what each step of the server adds.

Run by hand, on Linux, with wrk and redis-server installed: ``python -m benchmarks.server_costs [rounds]
[seconds]``. The server is a process of its own on one core, the load comes from another. What is counted is
the processor time that the server takes for a request, which other work on the machine changes less than the
number of requests a second. Variants take turns, and the median of the rounds is shown.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs

from benchmarks.stores import urls_of_stores

CONNECTIONS: Final = 32
LIST: Final = "/navai/functions"
EXECUTE: Final = "/navai/functions/execute"
SECRET: Final = "/navai/realtime/client-secret"

FUNCTIONS: Final = '''
async def fast(n: int) -> dict[str, int]:
    """Return it."""
    return {"n": n}


def fast_sync(n: int) -> dict[str, int]:
    """Return it."""
    return {"n": n}
'''
BARE: Final = """
import socket, uvicorn
BODY = b'{"ok":true,"function_name":"fast","source":"src/f.py#fast","result":{"n":1}}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["method"] == "POST":
        await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})

listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
print("http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, access_log=False, log_config=None, lifespan="off")
uvicorn.Server(config).run(sockets=[listener])
"""
STUB: Final = """
import asyncio, httptools, uvloop
BODY = b'{"value":"ek_of_the_stub","expires_at":1790000000}'
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY)

class Answering(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)
    def data_received(self, data):
        self.parser.feed_data(data)
    def on_message_complete(self):
        self.transport.write(HEAD + BODY)

async def main():
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print("http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

uvloop.run(main())
"""


@attrs.frozen
class Case:
    """One kind of request, to one kind of server."""

    name: str
    path: str
    function: str | None = None
    headers: Mapping[str, str] = attrs.Factory(dict)
    keyed: bool = False
    server: str = "default"

    def script(self) -> str:
        """Return it in the form that wrk takes."""
        lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in self.headers.items()]
        if self.path != LIST:
            body = {"function_name": self.function, "payload": {"n": 1}} if self.function else {}
            lines.append('wrk.method = "POST"; wrk.headers["content-type"] = "application/json"')
            lines.append(f"wrk.body = [[{json.dumps(body)}]]")
        if self.keyed:
            lines.append(f'local start, n = "{os.urandom(6).hex()}-", 0')
            lines.append('function request() n = n + 1; wrk.headers["idempotency-key"] = start .. n')
            lines.append("return wrk.format() end")
        return "\n".join(lines)


SERVERS: Final = {
    "default": ({}, []),
    "without an access log": ({}, ["--no-access-log"]),
    "with an access token": ({"NAVAI_ACCESS_TOKEN": "let-me-in"}, []),
}
CASES: Final = [
    Case("bare ASGI application on uvicorn, GET", LIST, server="bare"),
    Case("list", LIST),
    Case("list, without an access log", LIST, server="without an access log"),
    Case(
        "list, access token",
        LIST,
        headers={"authorization": "Bearer let-me-in"},
        server="with an access token",
    ),
    Case("list, from a page (CORS)", LIST, headers={"origin": "http://localhost:5173"}),
    Case("list, the client's own X-Request-ID", LIST, headers={"x-request-id": "a-request"}),
    Case("bare ASGI application on uvicorn, POST", EXECUTE, "fast", server="bare"),
    Case("execute, async function", EXECUTE, "fast"),
    Case("execute, async function, without an access log", EXECUTE, "fast", server="without an access log"),
    Case("execute, async function, Idempotency-Key", EXECUTE, "fast", keyed=True),
    Case("execute, async function, Idempotency-Key, SQLite", EXECUTE, "fast", keyed=True, server="SQLite"),
    Case("execute, async function, Idempotency-Key, Redis", EXECUTE, "fast", keyed=True, server="Redis"),
    Case("execute, sync function (in a thread)", EXECUTE, "fast_sync"),
    Case("client secret (stub upstream)", SECRET),
]


@contextmanager
def running(
    command: list[str], env: Mapping[str, str] | None = None, core: int = 1
) -> Iterator[tuple[int, str]]:
    """Run a server on one core and yield its process id and its URL."""
    pinned = ["taskset", "-c", str(core), *command]
    with (
        subprocess.Popen(
            pinned,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(env or {})},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            yield process.pid, process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def processor_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process, in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9


def load(url: str, case: Case, seconds: int) -> int:
    """Send requests of one kind and return the number of responses, all of which reported success."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(case.script())
        script.flush()
        command = ["taskset", "-c", "0", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script.name]
        said = subprocess.run([*command, url + case.path], capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said, f"{case.name}: {said}"
    found = re.search(r"(\d+) requests in", said)
    assert found is not None, said
    return int(found[1])


def measure(rounds: int, seconds: int) -> dict[str, list[float]]:
    """Return microseconds of processor time for a request, once for each round, by case."""
    found: dict[str, list[float]] = {case.name: [] for case in CASES}
    with ExitStack() as stack:
        base = stack.enter_context(tempfile.TemporaryDirectory())
        Path(base, "src").mkdir()
        Path(base, "src", "f.py").write_text(FUNCTIONS, encoding="utf-8")
        _, stub = stack.enter_context(running([sys.executable, "-c", STUB], core=0))
        serve = [sys.executable, "-m", "navai_client.server", "--port", "0", "--base-dir", base]
        serve += ["--functions-folders", "src"]
        upstream = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": stub, "NAVAI_MAX_KEY_BYTES": str(2**33)}
        servers = {"bare": stack.enter_context(running([sys.executable, "-c", BARE]))}
        for name, url in stack.enter_context(urls_of_stores()).items():
            servers[name] = stack.enter_context(running(serve, {"NAVAI_STORE_URL": url}))
        for name, (env, options) in SERVERS.items():
            servers[name] = stack.enter_context(running([*serve, *options], {**upstream, **env}))
        for case in CASES:
            load(servers[case.server][1], case, 1)
        for _ in range(rounds):
            for case in CASES:
                pid, url = servers[case.server]
                before = processor_seconds(pid)
                answered = load(url, case, seconds)
                found[case.name].append((processor_seconds(pid) - before) / answered * 1e6)
    return found


def main(rounds: int, seconds: int) -> None:
    """Measure, and print the table."""
    found = measure(rounds, seconds)
    print(f"| one request, {CONNECTIONS} connections | microseconds | min-max |\n| --- | --- | --- |")
    for name, times in found.items():
        print(f"| {name} | {statistics.median(times):.1f} | {min(times):.1f}-{max(times):.1f} |")


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:]]
    main(*(numbers + [5, 2][len(numbers) :]))
