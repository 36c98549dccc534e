"""What strangers may hold of a server: measured on real connections to a process of its own."""

import contextlib
import itertools
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from navai_client.server._process_settings import ProcessSettings
from tests.server.raw import (
    EXECUTE,
    connect,
    exchange,
    get,
    memory_of,
    paused,
    post,
    read_all,
    send_until_refused,
)
from tests.serving import Serve
from tests.waiting import PATIENCE_S, until

MIB = 2**20
HEAD = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n"
HEALTH = get("/health", "connection: close")
BAD_CHUNK = (
    post(EXECUTE, b"", ["transfer-encoding: chunked"]).replace(b"content-length: 0\r\n", b"")
    + b"2\r\n{}\r\nxyz\r\n"
)


def status(response: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d+) ", response)
    assert found, response
    return int(found[1])


def body(response: bytes) -> Any:
    return json.loads(response.partition(b"\r\n\r\n")[2])


@pytest.fixture(name="crowd")
def _crowd() -> Iterator[Callable[..., list[socket.socket]]]:
    """Open many connections, which are closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda url, count, **options: [
            stack.enter_context(connect(url, **options)) for _ in range(count)
        ]


Crowd = Callable[..., list[socket.socket]]

# Headers.


def endlessly(first: bytes, part: bytes, total: int = 100 * MIB) -> Iterator[bytes]:
    yield first
    yield from itertools.repeat(part, total // len(part))


@pytest.mark.parametrize(
    ("first", "part"),
    [
        (HEAD + b"x: ", b"v" * MIB),
        (HEAD, b"x: 1\r\n" * 100_000),
        (HEAD, b"n" * MIB),
        (HEAD + b"x:", b" " * MIB),
        (b"GET /health?", b"q" * MIB),
        (b"GET /", b"p" * 1000),
        (b"", b"\r\n" * 100_000),
        (b"POST /none HTTP/1.1\r\nhost: a\r\nx: ", b"v" * MIB),
    ],
    ids=["value", "many", "name", "spaces", "query", "path", "blank lines", "no token"],
)
def test_headers_of_any_shape_are_431_at_64_kib_and_take_no_memory(
    first: bytes, part: bytes, serve: Serve
) -> None:
    server = serve("--demo", NAVAI_ACCESS_TOKEN="a-token-that-is-long-enough")
    assert status(exchange(server.url, HEALTH)) == 200
    before = memory_of(server.process.pid)
    with connect(server.url) as connection:
        sent = send_until_refused(connection, endlessly(first, part), until_response=first != HEAD)
        during = memory_of(server.process.pid)
        received = read_all(connection)
    assert sent < 16 * MIB  # most of it in the buffers of the kernel
    assert during - before < 4 * MIB
    assert status(received) == 431
    assert body(received) == {"error": "Request headers are larger than 65536 bytes."}
    assert b"connection: close" in received
    until(lambda: "NAVAI_MAX_HEADER_BYTES" in server.log())


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_headers_up_to_the_limit_are_served_however_they_arrive(pieces: int, serve: Serve) -> None:
    server = serve("--demo")
    head = HEAD + b"connection: close\r\nx: " + b"v" * 65_000 + b"\r\n\r\n"
    size = len(head) // pieces
    parts = [head[start : start + size] for start in range(0, len(head), size)]
    assert status(exchange(server.url, *parts)) == 200
    assert status(exchange(server.url, head.replace(b"x: ", b"x: " + b"v" * 1000))) == 431


def test_large_headers_behind_another_request_close_the_connection_after_its_response(serve: Serve) -> None:
    server = serve("--demo")
    received = exchange(
        server.url, get("/health") + HEAD, *itertools.repeat(b"x: " + b"v" * 60_000 + b"\r\n", 9)
    )
    assert [status(b"HTTP/1.1" + each) for each in received.split(b"HTTP/1.1")[1:]] in ([200], [200, 431])


@pytest.mark.parametrize(
    "endless",
    [b"x: 1\r\n", b"t: " + b"v" * 1000, b"1;" + b"e" * 1000],
    ids=["trailers", "trailer", "chunk extension"],
)
def test_what_belongs_to_no_header_and_no_body_takes_no_memory(endless: bytes, serve: Serve) -> None:
    server = serve("--demo")
    assert status(exchange(server.url, HEALTH)) == 200
    before = memory_of(server.process.pid)
    chunked = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n" % EXECUTE.encode()
    chunked += b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n" + (b"0\r\n" if endless[0:1] != b"1" else b"")
    with connect(server.url) as connection:
        part = endless * (MIB // len(endless))
        sent = send_until_refused(connection, endlessly(chunked, part), until_response=False)
    assert sent < 16 * MIB
    assert memory_of(server.process.pid) - before < 4 * MIB


def test_a_trailer_is_no_header(serve: Serve) -> None:
    server = serve("--demo", NAVAI_ACCESS_TOKEN="a-token-that-is-long-enough")
    request = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n" % EXECUTE.encode()
    request += b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    trailer = b"authorization: Bearer a-token-that-is-long-enough\r\n\r\n"
    assert status(exchange(server.url, request + trailer)) == 401


# Time.


def test_half_open_requests_are_closed_in_time_and_the_log_says_so(serve: Serve, crowd: Crowd) -> None:
    server = serve("--demo", "--headers-timeout", "0.3", "--body-timeout", "0.3")
    unfinished = post(EXECUTE, b"{}")[:-2]
    beginnings = {
        b"": b"",
        HEAD: b"HTTP/1.1 408 ",
        b"\r\n": b"HTTP/1.1 408 ",
        get("/health") + HEAD: b"HTTP/1.1 200 ",
        unfinished: b"HTTP/1.1 408 ",
        unfinished + b"{": b"HTTP/1.1 408 ",
        get("/health") + unfinished: b"HTTP/1.1 200 ",
        unfinished.replace(EXECUTE.encode(), b"/none"): b"HTTP/1.1 404 ",
    }
    with paused(server.process.pid):
        connections = crowd(server.url, len(beginnings))
        for connection, sent in zip(connections, beginnings, strict=True):
            connection.sendall(sent)
    for connection, begins in zip(connections, beginnings.values(), strict=True):
        assert read_all(connection).startswith(begins)
    until(lambda: "NAVAI_HEADERS_TIMEOUT" in server.log())
    assert status(exchange(server.url, HEALTH)) == 200


def test_drops_of_headers_do_not_keep_a_connection_open(serve: Serve) -> None:
    server = serve("--demo", "--headers-timeout", "0.5")
    with connect(server.url) as slow, connect(server.url) as blank:
        slow.sendall(HEAD)
        blank.sendall(get("/health"))

        def drip() -> bool:
            slow.sendall(b"x: 1\r\n")
            blank.sendall(b"\r\n")
            return False

        with pytest.raises(ConnectionError):
            until(drip)


def test_an_idle_connection_outlives_the_one_of_a_proxy() -> None:
    nginx = (Path(__file__).parents[2] / "examples" / "deploy" / "nginx.conf").read_text()
    (idle,) = re.findall(r"keepalive_timeout (\d+)s;", nginx)
    assert ProcessSettings().keep_alive > int(idle) + 10


def test_an_idle_connection_is_closed_after_the_set_time(serve: Serve) -> None:
    server = serve("--demo", "--keep-alive", "0.2")
    assert read_all_after(server.url, get("/health")).endswith(b'{"ok":true}')


def read_all_after(url: str, request: bytes) -> bytes:
    with connect(url) as connection:
        connection.sendall(request)
        return read_all(connection)


# Bodies and readers.


def test_reading_stops_after_a_413_and_the_client_gets_it(serve: Serve) -> None:
    server = serve("--demo", "--max-body-bytes", "1000")
    chunked = post(EXECUTE, b"", ["transfer-encoding: chunked"]).replace(b"content-length: 0\r\n", b"")
    for head in (chunked, post(EXECUTE, b"").replace(b"length: 0", b"length: 300000000")):
        part = b"100000\r\n" + b"x" * MIB + b"\r\n"
        with connect(server.url) as connection:
            sent = send_until_refused(connection, endlessly(head, part), until_response=False)
            received = read_all(connection)
        assert sent < 16 * MIB
        assert status(received) == 413
        assert b"connection: close" in received


@pytest.mark.parametrize("path", ["/none", "/health", EXECUTE])
def test_a_body_that_no_response_waits_for_is_read_up_to_64_kib(path: str, serve: Serve) -> None:
    server = serve("--demo", NAVAI_ACCESS_TOKEN="a-token-that-is-long-enough")
    for length in (60_000, 300_000_000):
        head = post(path, b"").replace(b"length: 0", b"length: %d" % length)
        with connect(server.url) as connection:
            connection.sendall(head)
            first = connection.recv(2**16)
            assert status(first) in (401, 404, 405)
            sent = send_until_refused(connection, endlessly(b"", b"x" * 60_000, length), until_response=False)
            if length == 60_000:
                assert b"connection: close" not in first
                connection.sendall(HEALTH)
                assert status(read_all(connection)) == 200
            else:
                assert b"connection: close" in first
                assert sent < 16 * MIB


def test_a_response_before_an_unread_body_ends_the_connection(serve: Serve) -> None:
    server = serve("--demo", NAVAI_ACCESS_TOKEN="a-token-that-is-long-enough")
    bodies = [
        b"content-length: 70000",
        b"transfer-encoding: chunked",
        b"content-length: 2\r\nexpect: 100-continue",
    ]
    for path, body_header in itertools.product(["/none", "/health", EXECUTE], bodies):
        with connect(server.url) as connection:
            connection.sendall(post(path, b"").replace(b"content-length: 0", body_header))
            received = read_all(connection)
        assert status(received) in (401, 404, 405)
        assert b"connection: close" in received


def test_no_pooled_connection_is_one_that_the_server_resets(serve: Serve) -> None:
    server = serve("--demo", NAVAI_ACCESS_TOKEN="a-token-that-is-long-enough")
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
        for _ in range(300):
            with contextlib.suppress(httpx.WriteError):  # the refusal may come while it sends
                assert client.post("/none", content=b"x" * (MIB // 2)).status_code == 404
            assert client.get("/health").status_code == 200


def test_clients_that_leave_after_a_refusal_keep_no_place_from_others(serve: Serve) -> None:
    server = serve("--demo", "--max-connections", "4")
    refused = post("/none", b"").replace(b"length: 0", b"length: 100000")
    for _ in range(8):
        with connect(server.url) as connection:
            connection.sendall(refused)
            assert status(connection.recv(2**16)) == 404
    assert status(exchange(server.url, get("/navai/functions", "connection: close"))) == 200


def test_a_connection_whose_body_was_skipped_stays_open_as_any_other(serve: Serve) -> None:
    server = serve("--demo", "--headers-timeout", "0.3")
    for length in (1000, 65_536 - 1, 65_536):
        with contextlib.ExitStack() as stack:
            with paused(server.process.pid):
                connection = stack.enter_context(connect(server.url))
                connection.sendall(post("/none", b"").replace(b"length: 0", b"length: %d" % length))
            assert status(connection.recv(2**16)) == 404
            connection.sendall(b"x" * length)
            for _ in range(2):  # the time that a connection without a request has
                assert read_all_after(server.url, b"") == b""
            connection.sendall(HEALTH)
            assert status(read_all(connection)) == 200


UPGRADE = ["connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAAB"]
ASKED = json.dumps({"function_name": "get_weather", "payload": {"location": "Oslo"}}).encode()
IN_CHUNKS = post(EXECUTE, b"", [*UPGRADE, "transfer-encoding: chunked"]).replace(
    b"content-length: 0\r\n", b""
)
IN_CHUNKS += b"%x\r\n%b\r\n0\r\n\r\n" % (len(ASKED), ASKED)


@pytest.mark.parametrize("request_", [post(EXECUTE, ASKED, UPGRADE), IN_CHUNKS], ids=["length", "chunks"])
@pytest.mark.parametrize("split", [0, 1, 2], ids=["whole", "after the head", "in the body"])
def test_a_request_that_asks_for_http_2_is_served_with_its_body(
    request_: bytes, split: int, serve: Serve
) -> None:
    head, _, content = request_.partition(b"\r\n\r\n")
    parts = {0: [request_], 1: [head + b"\r\n\r\n", content], 2: [request_[:-9], request_[-9:]]}[split]
    with connect(serve("--demo").url) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05 * bool(split))  # so that they arrive one by one
        received = read_all(connection)
    assert status(received) == 200
    assert body(received)["ok"]
    assert b"connection: close" in received


def test_what_follows_a_request_to_upgrade_in_its_body_is_no_request(serve: Serve) -> None:
    server = serve("--demo")
    hidden = post(EXECUTE, ASKED)
    for sent in (post(EXECUTE, hidden, UPGRADE), post(EXECUTE, ASKED, UPGRADE) + hidden):
        received = exchange(server.url, sent)
        assert received.count(b"HTTP/1.1 ") == 1
    until(lambda: server.log().count("function=get_weather") == 1)


RESULTS = """
async def large(size: int) -> str:
    return "x" * size
"""


def large(size: int) -> bytes:
    return post(EXECUTE, json.dumps({"function_name": "large", "payload": {"size": size}}).encode())


def test_a_reader_that_stops_is_closed_and_its_response_freed(
    serve: Serve, write: Callable[[str, str], Path], crowd: Crowd
) -> None:
    write("src/functions.py", RESULTS)
    returns_memory = {"MALLOC_MMAP_THRESHOLD_": "100000"}  # glibc keeps what was freed, else
    server = serve("--functions-folders", "src", "--write-timeout", "0.5", **returns_memory)
    assert status(exchange(server.url, HEALTH)) == 200
    before = memory_of(server.process.pid)
    stopped = crowd(server.url, 10, receive_buffer=4096)
    for connection in stopped:
        connection.sendall(large(5 * MIB))
    until(lambda: "NAVAI_WRITE_TIMEOUT" in server.log())
    until(lambda: memory_of(server.process.pid) - before < 10 * MIB)
    until(lambda: len(psutil.Process(server.process.pid).net_connections()) == 1)


def test_a_slow_reader_that_goes_on_gets_its_whole_response(
    serve: Serve, write: Callable[[str, str], Path]
) -> None:
    write("src/functions.py", RESULTS)
    server = serve("--functions-folders", "src", "--write-timeout", "2")
    with connect(server.url, receive_buffer=4096) as connection:
        connection.sendall(large(8 * MIB))
        received = 0
        end = time.monotonic() + 3  # longer than the limit
        while time.monotonic() < end:
            received += len(connection.recv(2**12))
            time.sleep(0.005)  # some 500 KB a second
        while received < 8 * MIB:
            part = connection.recv(2**16)
            assert part
            received += len(part)


def test_slow_readers_together_hold_a_bounded_amount_of_memory(
    serve: Serve, write: Callable[[str, str], Path], crowd: Crowd
) -> None:
    write("src/functions.py", RESULTS)
    server = serve("--functions-folders", "src")
    for connection in crowd(server.url, 20, receive_buffer=4096):
        connection.sendall(large(10 * MIB))
    until(lambda: "slow readers" in server.log())
    until(lambda: len(psutil.Process(server.process.pid).net_connections()) <= 1 + 7)
    assert status(exchange(server.url, HEALTH)) == 200


def test_requests_that_are_sent_ahead_wait_where_they_take_no_memory(serve: Serve) -> None:
    server = serve("--demo")
    assert status(exchange(server.url, HEALTH)) == 200
    before = memory_of(server.process.pid)
    ahead = [get("/health") * 30_000, HEALTH]
    with connect(server.url) as connection:
        sending = threading.Thread(target=connection.sendall, args=(b"".join(ahead),))
        sending.start()
        received, most = 0, 0
        while part := connection.recv(2**16):
            received += part.count(b"HTTP/1.1 200")
            most = max(most, memory_of(server.process.pid) - before)
        sending.join()
    assert most < 16 * MIB
    assert received > 29_000  # some beginnings are split between two parts


def test_a_request_to_upgrade_is_served_as_it_is(serve: Serve) -> None:
    server = serve("--demo")
    upgrade = get("/health", "connection: upgrade", "upgrade: h2c")
    socket_ = get("/health", "connection: upgrade", "upgrade: websocket")
    received = exchange(server.url, upgrade + socket_ + HEALTH)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert "uvicorn[standard]" not in server.log()


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"nonsense", [400]),
        (get("/health") + b"nonsense", [200]),
        (BAD_CHUNK, [400]),
        (get("/health") + BAD_CHUNK, []),
        (BAD_CHUNK.replace(EXECUTE.encode(), b"/none"), [400]),
    ],
    ids=["request", "second request", "body", "second body", "body without a route"],
)
def test_what_is_not_http_gets_at_most_one_response_for_each_request(
    sent: bytes, statuses: list[int], serve: Serve
) -> None:
    server = serve("--demo", "--body-timeout", "0.3")
    received = exchange(server.url, sent)
    assert [status(b"HTTP/1.1" + each) for each in received.split(b"HTTP/1.1")[1:]] == statuses
    until(lambda: "no valid HTTP" in server.log())


def test_a_body_that_breaks_after_its_response_gets_no_second_one(serve: Serve) -> None:
    server = serve("--demo")
    head, _, rest = BAD_CHUNK.replace(EXECUTE.encode(), b"/none").partition(b"\r\n\r\n")
    with connect(server.url) as connection:
        connection.sendall(head + b"\r\n\r\n")
        received = connection.recv(2**16)
        connection.sendall(rest)
        received += read_all(connection)
    assert status(received) == 404
    assert received.count(b"HTTP/1.1 ") == 1


# Connections.


WAIT = """
import asyncio
async def wait() -> str:
    await asyncio.sleep(60)
"""


def test_connections_without_a_request_make_room_for_others(serve: Serve, crowd: Crowd) -> None:
    server = serve("--demo", "--max-connections", "20")
    idle = crowd(server.url, 60)
    for number, connection in enumerate(idle):
        connection.sendall(HEAD if number % 2 else get("/health"))
    for _ in range(30):
        assert status(exchange(server.url, get("/navai/functions", "connection: close"))) == 200
    until(lambda: "NAVAI_MAX_CONNECTIONS" in server.log())


def test_beyond_the_limit_requests_get_503_and_probes_are_answered(
    serve: Serve, write: Callable[[str, str], Path], crowd: Crowd
) -> None:
    write("src/functions.py", WAIT)
    server = serve("--functions-folders", "src", "--max-connections", "8", "--grace", "0")
    waiting = post(EXECUTE, b'{"function_name":"wait"}')
    busy = crowd(server.url, 8)
    for connection in busy:
        connection.sendall(waiting)

    def refused() -> bytes:
        received = exchange(
            server.url, get("/navai/functions", "connection: close", "origin: http://localhost")
        )
        return received if status(received) == 503 else b""

    until(refused)
    received = refused()
    assert body(received) == {"error": "The server has too many connections."}
    for header in (b"retry-after: 1", b"x-request-id: ", b"access-control-allow-origin: http://localhost"):
        assert header in received
    assert status(exchange(server.url, HEALTH)) == 200
    got = b""
    with contextlib.suppress(ConnectionError):  # far beyond the limit they are closed at once
        for _ in range(20):
            (connection,) = crowd(server.url, 1)
            connection.sendall(waiting[:-2])  # while it may send the rest, its connection stays open
            got += connection.recv(2**16)
            assert status(got) == 503
    assert 1 <= got.count(b"HTTP/1.1 503 ") < 20
    until(lambda: status(exchange(server.url, HEALTH) or b"HTTP/1.1 0 ") == 200)


HOARD = """
held = []
def hoard() -> str:
    try:
        while True:
            held.append(open("/dev/null"))
    except OSError:
        return "all"
"""


def test_with_few_file_descriptors_probes_are_answered_or_the_log_says_why(
    serve: Serve, write: Callable[[str, str], Path], crowd: Crowd
) -> None:
    write("src/functions.py", HOARD)
    server = serve("--functions-folders", "src", open_files=64)
    half_open = crowd(server.url, 100)
    for connection in half_open:
        with contextlib.suppress(OSError):
            connection.sendall(HEAD)
    assert status(exchange(server.url, HEALTH)) == 200
    until(lambda: "RLIMIT_NOFILE leaves" in server.log())
    with connect(server.url) as connection:
        connection.sendall(post(EXECUTE, b'{"function_name":"hoard"}'))
        until(lambda: "cannot open another file" in server.log())


# Upstream.


SECRET = "/navai/realtime/client-secret"


@pytest.fixture(name="hung")
def _hung() -> Iterator[tuple[str, list[socket.socket]]]:
    """An upstream that never responds: its URL, and the connections to it."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener, contextlib.ExitStack() as stack:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.settimeout(PATIENCE_S)
                    accepted.append(stack.enter_context(connection))

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", accepted
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def test_a_hung_upstream_takes_its_share_and_is_left_with_the_clients(
    serve: Serve, crowd: Crowd, hung: tuple[str, list[socket.socket]]
) -> None:
    url, accepted = hung
    server = serve(
        "--max-upstream-calls", "8", "--grace", "0", OPENAI_API_KEY="sk-of-the-test", OPENAI_BASE_URL=url
    )
    clients = crowd(server.url, 150)
    for client in clients:
        client.sendall(post(SECRET))
    until(lambda: len(accepted) == 8)
    assert status(exchange(server.url, HEALTH)) == 200
    assert status(exchange(server.url, get("/navai/functions", "connection: close"))) == 200
    until(lambda: len(select.select(clients, [], [], 0)[0]) == 142)
    received = select.select(clients, [], [], 0)[0][-1].recv(2**16)
    assert status(received) == 503
    assert b"retry-after: 1\r\n" in received
    assert "OpenAI was not called: 8 other calls have not ended." in body(received)["error"]
    for client in clients:
        client.close()
    for connection in accepted:
        assert b"client_secrets" in read_all(connection)  # up to the end: the server has closed it


def test_with_few_file_descriptors_a_hung_upstream_leaves_some_for_probes(
    serve: Serve, crowd: Crowd, hung: tuple[str, list[socket.socket]]
) -> None:
    server = serve("--grace", "0", open_files=64, OPENAI_API_KEY="sk-of-the-test", OPENAI_BASE_URL=hung[0])
    for client in crowd(server.url, 150):
        with contextlib.suppress(OSError):
            client.sendall(post(SECRET))
    for _ in range(20):
        assert status(exchange(server.url, HEALTH)) == 200
