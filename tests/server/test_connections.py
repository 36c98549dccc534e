"""Connections of the command-line server: responses in one piece, in order, of every size."""

import asyncio
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from navai_client.server import BackendError, NavaiBackend
from navai_client.server._connections import Connection, Connections
from navai_client.server._demo import DemoServices
from navai_client.server._process_settings import ProcessSettings


async def ask(requests: bytes, end: bytes, *, then: bytes = b"", **given: Any) -> bytes:
    """Send *requests* over one connection and return what comes, up to and with *end*, or all without one.

    What comes *then* is sent once the server has read what came before it.
    """
    backend = NavaiBackend(env={}, discover=False, access_log=None, **given)
    backend.function(name="long")(lambda: "x" * 200_000)
    backend.function(name="short")(lambda: "y")
    config = uvicorn.Config(
        cast("Any", backend), lifespan="off", ws="none", log_config=None, access_log=False
    )
    config.load()
    state = ServerState()
    shared = Connections(ProcessSettings(), body_timeout=30)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(shared, config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=2**20)
        writer.write(requests)
        while then and not any(each.cycle for each in cast("set[Connection]", state.connections)):  # noqa: ASYNC110 - as below
            await asyncio.sleep(0)
        writer.write(then)
        answers = await (reader.readuntil(end) if end else reader.read())
        writer.close()
        await writer.wait_closed()
        while state.connections:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0)
        return answers


def post(name: bytes) -> bytes:
    body = b'{"function_name":"%s"}' % name
    head = b"POST /navai/functions/execute HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n"
    return head + b"content-length: %d\r\n\r\n%s" % (len(body), body)


def test_pipelined_responses_of_all_sizes_arrive_complete_and_in_order() -> None:
    head = b"HEAD /health HTTP/1.1\r\nhost: t\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"
    got = asyncio.run(ask(post(b"short") + post(b"long") + head + last, b'{"ok":true}'))
    assert got.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert got.index(b'"y"') < got.index(b"x" * 200_000) < got.index(b'{"ok":true}')


def test_thousands_of_requests_in_one_piece_begin_one_after_the_other() -> None:
    last = b"GET /health HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"
    got = asyncio.run(ask(post(b"short") * 2_000 + last, b'{"ok":true}'))
    assert got.count(b'"y"') == 2_000


def test_a_body_that_comes_after_its_headers_is_waited_for() -> None:
    async def main() -> bytes:
        request = post(b"short")
        return await ask(request[:-5], b'"y"}', then=request[-5:])

    assert b'"y"' in asyncio.run(main())


class Injecting(DemoServices):
    """Its refusal has a line break in a header."""

    async def create_client_secret(self, request: Any, *, ttl_seconds: int | None = None) -> Any:
        raise BackendError("Later.", status_code=503, retry_after="1\r\nset-cookie: a=b")


def test_a_line_break_in_a_header_of_the_owner_adds_no_header() -> None:
    request = post(b"short").replace(b"functions/execute", b"realtime/client-secret")
    assert asyncio.run(ask(request, b"", services=Injecting(60))) == b""


def test_a_request_that_is_not_http_is_400_and_closes_the_connection() -> None:
    assert asyncio.run(ask(b"nonsense\r\n\r\n", b'received."}')).startswith(b"HTTP/1.1 400 ")
