"""Streams of events, read from literals: however they are split, and whatever else they hold."""

import json
from typing import Any

import pytest

from navai_client.wire._events import EventStream
from navai_client.wire._values import Response, TransportFailure

STREAM = {"content-type": "Text/Event-Stream ;charset=utf-8", "content-length": "7", "x-request-id": "id-1"}
BODY = {"ok": True, "result": "Ma\u00ed"}
EVENTS = (
    '\ufeff: comment\nretry: 10\nevent: progress\ndata: {"message":\ndata:"one"}\nid: 7\n\n'
    'event:progress\ndata\n\ndata: {"message": "of no kind"}\n\n'
    'event: progress\ndata: {"message": "zwei \u00fc"}\n\n'
    f"event: response\ndata: {json.dumps({'status': 200, 'body': BODY}, ensure_ascii=False)}\n\n"
    'event: progress\ndata: {"message": "too late"}\n\n'
)


def read(*chunks: bytes, limit: int = 10_000) -> tuple[list[str], Any]:
    stream = EventStream(limit, lambda text, length: text[:length])
    assert stream.begin(200, STREAM)
    for chunk in chunks:
        stream.feed(chunk)
    return stream.take(), stream.outcome(Response(200, STREAM, b""))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_stream_means_the_same_wherever_it_is_split(line_end: str) -> None:
    content = EVENTS.replace("\n", line_end).encode()
    for place in range(len(content)):
        messages, outcome = read(content[:place], b"", content[place:])
        assert messages == ["one", "zwei \u00fc"]
        assert (outcome.status, outcome.parsed) == (200, BODY)
        assert outcome.headers == {"x-request-id": "id-1"}


@pytest.mark.parametrize(
    ("status", "content_type"), [(500, "text/event-stream"), (200, "application/json"), (200, "")]
)
def test_what_is_no_stream_stays_what_it_is(status: int, content_type: str) -> None:
    stream = EventStream(10, lambda text, _: text)
    response = Response(status, {"content-type": content_type}, EVENTS.encode())
    assert stream.outcome(response) is response
    failure = TransportFailure("refused", sent=False)
    assert stream.outcome(failure) is failure


def test_an_error_that_is_nested_too_deep_is_an_error_all_the_same() -> None:
    for depth in range(900, 1000):
        deep = "[" * depth + "]" * depth
        _, outcome = read(f'event: response\ndata: {{"status": 500, "body": {deep}}}\n\n'.encode())
        assert outcome.status == 500 or outcome.content == b""  # as deep as this Python reads, or not
