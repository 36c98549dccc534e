"""The access log: the content of a line, when it is written, and a stream that is closed."""

import asyncio
import io
import logging
import re
from typing import Any

import httpx
import pytest

from navai_client.server import NavaiBackend
from navai_client.server._access_log import AccessLines
from navai_client.server._http import BackendRequest, BackendResponse

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO navai_client\.server\.access "
    r'method="GET" path="/health" status=200 duration_ms=\d+\.\d\d request_id=id-1 function=-\n'
)
REQUEST = BackendRequest("GET", "/health", {b"authorization": b"Bearer secret"}, "id-1")


def ask_twice(backend: Any) -> None:
    async def send() -> None:
        async with (
            backend.lifespan(),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=backend), base_url="http://t") as client,
        ):
            for _ in range(2):
                await client.get("/health", headers={"x-request-id": "id-1"})

    asyncio.run(send())


def test_lines_are_written_at_the_latest_when_the_server_stops() -> None:
    stream = io.StringIO()
    ask_twice(NavaiBackend(env={}, discover=False, access_log=AccessLines(stream)))
    first, second = stream.getvalue().splitlines(keepends=True)
    assert LINE.fullmatch(first)
    assert LINE.fullmatch(second)


def test_a_line_is_buffered_for_a_moment_only() -> None:
    class Stream(io.StringIO):
        """Signals when it is written to."""

        def flush(self) -> None:
            written.set()

    async def scenario() -> str:
        stream = Stream()
        AccessLines(stream).write(REQUEST, BackendResponse(200), 0.001)
        assert stream.getvalue() == ""
        await written.wait()
        return stream.getvalue()

    written = asyncio.Event()
    assert LINE.fullmatch(asyncio.run(scenario()))


def test_many_lines_are_written_in_pieces_that_other_processes_cannot_interrupt() -> None:
    class Stream(io.StringIO):
        """Records each write."""

        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    async def scenario() -> None:
        log = AccessLines(Stream())
        for _ in range(100):
            log.write(REQUEST, BackendResponse(200), 0.001)
        log.flush()

    pieces: list[str] = []
    asyncio.run(scenario())
    assert "".join(pieces).count("\n") == 100
    assert all(piece.endswith("\n") and len(piece) <= 4096 for piece in pieces)
    assert len(pieces) < 10


def test_a_closed_log_stream_does_not_stop_responses() -> None:
    stream = io.StringIO()
    stream.close()
    ask_twice(NavaiBackend(env={}, discover=False, access_log=AccessLines(stream)))


def test_lines_contain_no_headers_and_cannot_be_forged() -> None:
    async def scenario() -> str:
        stream = io.StringIO()
        log = AccessLines(stream)
        log.write(
            BackendRequest("GE\nT", "/x\nFAKE\x1b[31m" + "y" * 999, {b"a": b"secret"}, "i"),
            BackendResponse(404),
            1,
        )
        log.flush()
        return stream.getvalue()

    said = asyncio.run(scenario())
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "secret" not in said
    assert len(said) < 500


def test_without_an_access_log_nothing_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ask_twice(NavaiBackend(env={}, discover=False, access_log=None))
    assert [each for each in caplog.records if each.name.endswith("access")] == []
    ask_twice(NavaiBackend(env={}, discover=False))
    assert len([each for each in caplog.records if each.name.endswith("access")]) == 2


def test_the_reprs_of_requests_and_responses_show_no_headers_and_no_bodies() -> None:
    assert repr(REQUEST) == "BackendRequest('GET', '/health', request_id='id-1')"
    assert (
        repr(BackendResponse(200, b"secret", function="f")) == "BackendResponse(200, 6 bytes, function='f')"
    )
