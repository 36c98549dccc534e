"""Seeded random bytes on real sockets: each response is JSON with a request id, no 500, and nothing hangs."""

import contextlib
import functools
import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.raw import EXECUTE, connect, exchange, get, paused, post, read_all
from tests.serving import Serve, Served

CASES = 150  # for each seed
FUNCTIONS = """
def echo(value: Any = None) -> Any: return value
async def add(a: int, b: float = 1.0) -> float: return a + b
def text(value: str) -> str: return value[::-1]
"""
CALL = b'{"function_name":"echo","payload":{"value":%s}}'
SECRET = "/navai/realtime/client-secret"
KEY = "idempotency-key: a-key"

CORPUS = [
    get("/health"),
    get("/ready"),
    get("/navai/functions", "origin: http://localhost:5173"),
    get("/navai/openapi.json", "if-none-match: *"),
    get("/navai/functions?a=%20b", "accept-encoding: gzip", "x-request-id: 1"),
    get("/navai/functions", "origin: http://localhost", "access-control-request-method: POST").replace(
        b"GET", b"OPTIONS"
    ),
    post(EXECUTE, CALL % b'{"a":[1,2.5,null,true,"\\u00e9"]}'),
    post(EXECUTE, CALL % b"[1]", [KEY]),
    post(
        EXECUTE,
        b'{"function_name":"add","payload":{"a":1}}',
        ["traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01"],
    ),
    post(EXECUTE, b'{"function_name":"text","payload":{"value":"abc"}}'),
    post(EXECUTE + "/cancel", b"", [KEY]),
    post(SECRET, b'{"model":"m","voice":"v","instructions":"i"}'),
    post("/navai/speech/synthesize", b'{"text":"t","voiceSettings":{"stability":1}}'),
    post(EXECUTE, b"", ["transfer-encoding: chunked"]).replace(b"content-length: 0\r\n", b"")
    + b"2\r\n{}\r\n0\r\n\r\n",
]
TOKENS = [
    *(b"\r\n", b"\n", b"\r\n\r\n", b"\0", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b" ", b":"),
    *(
        b"\t",
        b"%00",
        b"%ff",
        b"..",
        b"//",
        b"*",
        b"9" * 400,
        b"-1",
        b"1e999",
        b"NaN",
        b"18446744073709551617",
    ),
    *(b"[" * 984 + b"]" * 984, b'{"a":' * 984 + b"1" + b"}" * 984, b'"\\ud800"', b"null", b"x" * 5000),
    *(b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"expect: 100-continue\r\n"),
    *(b"connection: upgrade\r\nupgrade: websocket\r\n", b"host: evil.example\r\n", b"origin: null\r\n"),
    *(b"idempotency-key: \r\n", b"CONNECT a:1", b"HTTP/1.0", b"HTTP/2.0", b"HEAD "),
]


def mutated(chance: random.Random, request: bytes) -> bytes:
    changed = bytearray(request)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randrange(len(changed) + 1)
        end = at + chance.choice((0, 0, 1, 4, 20))
        kind = chance.randrange(4)
        if kind == 0:
            changed[at:end] = chance.choice(TOKENS)
        elif kind == 1:
            changed[at:end] = b""
        elif kind == 2:
            changed[at:end] = chance.randbytes(chance.choice((1, 2, 8)))
        else:
            changed[at:at] = changed[at:end]
    return bytes(changed)


def pieces(chance: random.Random, sent: bytes) -> Iterator[bytes]:
    while sent:
        size = chance.choice((len(sent), len(sent), chance.randrange(1, len(sent) + 1)))
        yield sent[:size]
        sent = sent[size:]


def responses(received: bytes) -> Iterator[tuple[int, dict[str, str], bytes]]:
    while received:
        head, separator, received = received.partition(b"\r\n\r\n")
        assert separator, head
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        if status == 304 or not received.startswith(b"{"):  # the response to HEAD has no body
            length = 0
        yield status, headers, received[:length]
        received = received[length:]


def check(received: bytes) -> set[int]:
    """Check all responses on one connection, and return their statuses."""
    seen = set()
    for status, headers, content in responses(received):
        seen.add(status)
        if status == 100:
            continue
        assert status < 500 or status == 503  # nothing else but a probe that is not ready
        if content:
            assert isinstance(json.loads(content), dict)
        # Without a request there is no id: what is not HTTP, or not complete.
        assert "x-request-id" in headers or (status in (400, 408, 431) and headers["connection"] == "close")
    return seen


@pytest.fixture(name="start")
def _start(serve: Serve, write: Callable[[str, str], Path]) -> Callable[..., Served]:
    write("src/functions.py", FUNCTIONS)
    return functools.partial(serve, "--demo", "--functions-folders", "src")


@pytest.mark.parametrize("seed", range(4))
def test_no_bytes_get_a_500_or_no_response(seed: int, start: Callable[..., Served]) -> None:
    server = start("--headers-timeout", "0.3", "--body-timeout", "0.3")
    chance = random.Random(seed)
    seen: set[int] = set()
    for case in range(CASES):
        sent = b"".join(mutated(chance, chance.choice(CORPUS)) for _ in range(chance.choice((1, 1, 1, 3))))
        with connect(server.url) as connection:
            try:
                for piece in pieces(chance, sent):
                    connection.sendall(piece)
                connection.sendall(get("/health", "connection: close"))
            except OSError:
                pass  # it was refused early
            try:
                seen |= check(read_all(connection))
            except Exception as error:
                error.add_note(f"Seed {seed}, case {case}: {sent!r}")
                raise
    with contextlib.ExitStack() as stack:
        with paused(server.process.pid):
            connection = stack.enter_context(connect(server.url))
            connection.sendall(get("/health", "connection: close"))
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    assert seen >= {200, 400, 404}
    log = server.log()
    assert "Traceback" not in log
    assert "status=500" not in log


@pytest.mark.parametrize("keyed", [False, True], ids=["without key", "key"])
def test_nested_json_is_served_or_refused(keyed: bool, start: Callable[..., Served]) -> None:
    server = start()
    numbers, seen = itertools.count(), set[int]()
    depths = (200, 400, 900, 984, 1000, 1030, 5000, 100_000)
    brackets = ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]"), (b"[2.0,", b"]"))
    for depth, (opening, closing) in itertools.product(depths, brackets):
        value = opening * depth + b"1" + closing * depth
        for path, content in (
            (EXECUTE, CALL % value),
            (EXECUTE, b'{"function_name":"text","payload":%s}' % value),
            (EXECUTE, b'{"function_name":%s}' % value),
            (EXECUTE, value),
            (SECRET, b'{"model":%s}' % value),
            (SECRET, value),
            ("/navai/speech/synthesize", b'{"voiceSettings":%s}' % value),
        ):
            key = [f"idempotency-key: {next(numbers)}"] if keyed else []
            received = exchange(server.url, post(path, content, [*key, "connection: close"]))
            assert received
            seen |= check(received)
    assert seen >= {200, 400}
    assert "Traceback" not in server.log()
