"""How the fast transports read responses, however the bytes are split and whatever bytes follow."""

import gzip
from itertools import pairwise

import httptools
import pytest
from hypothesis import given, strategies as st

from navai_client.transports._body import Body
from navai_client.transports._fast_parser import ResponseParser
from navai_client.wire._values import Response, TransportFailure

LIMIT = 10_000
OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger"
VALUES = st.text("abc 0123;=,/", max_size=20).map(str.strip)
HEADERS = st.dictionaries(st.sampled_from(["X-One", "Date", "Content-Type", "X-Content-Length"]), VALUES)
INTERIM = st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, int, dict[str, str], bytes]:
    """The bytes of complete responses, with their status, headers and body."""
    headers = draw(HEADERS)
    way = draw(st.sampled_from(["length", "chunked", "204", "304"]))
    status = int(way) if way.isdigit() else draw(st.sampled_from([200, 404, 503]))
    body = b"" if way.isdigit() else draw(st.binary(max_size=300))
    sent = body
    if way == "length":
        headers["Content-Length"] = str(len(body))
    elif way == "chunked":
        headers["Transfer-Encoding"] = "chunked"
        size = draw(st.integers(1, 50))
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        sent = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        sent += draw(st.sampled_from([b"0\r\n\r\n", b"0\r\nX-One: trailer\r\n\r\n"]))
    lines = [f"HTTP/1.1 {status} Some Text", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    head = b"".join(draw(st.lists(INTERIM, max_size=2))) + "\r\n".join(lines).encode()
    return head + sent, status, {name.lower(): value for name, value in headers.items()}, body


def fed(answer: ResponseParser, data: bytes, splits: list[int]) -> None:
    slots = sorted({0, len(data), *(place % (len(data) + 1) for place in splits)})
    for start, end in pairwise(slots):
        answer.feed(data[start:end])


SPLITS = st.lists(st.integers(0, 2000), max_size=20)


@given(st.lists(answers(), min_size=1, max_size=3), SPLITS)
def test_one_response_after_the_other_is_read(
    several: list[tuple[bytes, int, dict[str, str], bytes]], splits: list[int]
) -> None:
    answer = ResponseParser()
    for data, status, headers, body in several:
        answer.begin(LIMIT)
        fed(answer, data, splits)
        assert answer.over
        assert answer.reusable
        outcome = answer.outcome()
        assert isinstance(outcome, Response)
        assert (outcome.status, outcome.headers, outcome.content) == (status, headers, body)


@given(answers(), st.binary(min_size=1, max_size=50), SPLITS)
def test_bytes_behind_a_response_change_nothing_and_end_the_connection(
    one: tuple[bytes, int, dict[str, str], bytes], surplus: bytes, splits: list[int]
) -> None:
    data, status, _, body = one
    for after in (surplus, OTHER):
        answer = ResponseParser()
        answer.begin(LIMIT)
        fed(answer, data + after, splits)
        outcome = answer.outcome()
        assert isinstance(outcome, Response)
        assert (outcome.status, outcome.content) == (status, body)
        assert not answer.reusable or not after.strip(b"\r\n")  # blank lines may precede a response


@given(answers(), st.data())
def test_a_response_that_is_cut_short_is_a_failure(
    one: tuple[bytes, int, dict[str, str], bytes], data: st.DataObject
) -> None:
    whole = one[0]
    answer = ResponseParser()
    answer.begin(LIMIT)
    fed(answer, whole[: data.draw(st.integers(0, len(whole) - 1))], data.draw(SPLITS))
    assert not answer.over
    answer.end()
    assert isinstance(answer.outcome(), TransportFailure)
    assert not answer.reusable


@given(st.binary(max_size=500), SPLITS)
def test_any_bytes_raise_nothing(data: bytes, splits: list[int]) -> None:
    for before in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        answer = ResponseParser()
        answer.begin(LIMIT)
        fed(answer, before + data, splits)
        answer.end()
        assert answer.over
        assert not answer.reusable
        answer.outcome()


def outcome_of(*pieces: bytes, limit: int = LIMIT) -> tuple[Response | TransportFailure, bool]:
    answer = ResponseParser()
    answer.begin(limit)
    for piece in pieces:
        answer.feed(piece)
    assert answer.over
    return answer.outcome(), answer.reusable


def test_a_response_without_a_length_ends_with_the_connection() -> None:
    answer = ResponseParser()
    answer.begin(LIMIT)
    answer.feed(b"HTTP/1.1 200 OK\r\n\r\ntext")
    assert not answer.over
    answer.end()
    outcome = answer.outcome()
    assert isinstance(outcome, Response)
    assert outcome.content == b"text"
    assert not answer.reusable


@pytest.mark.parametrize("coding", ["gzip", "xchunked", "gzip, chunked", "identity", ""])
def test_a_transfer_coding_that_is_not_supported_is_a_failure_at_once(coding: str) -> None:
    answer = ResponseParser()
    answer.begin(LIMIT)
    answer.feed(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\ntext".encode())
    assert answer.over
    assert isinstance(answer.outcome(), TransportFailure)
    assert not answer.reusable


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
)
def test_a_response_without_any_of_its_body_is_limited(start: bytes) -> None:
    answer = ResponseParser()
    answer.begin(LIMIT)
    answer.feed(start)
    for _ in range(200):
        if answer.over:
            break
        answer.feed(start * 40 if b"100" in start else b"x" * 1000)
    outcome = answer.outcome()
    assert isinstance(outcome, TransportFailure)
    assert outcome.message == "more than 64 KiB came without any of the body"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_body_over_the_limit_is_cut_and_ends_the_connection(encoding: str) -> None:
    body = b"x" * 5000 if encoding == "identity" else gzip.compress(b"x" * 5000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    outcome, reusable = outcome_of(head % (encoding.encode(), len(body)) + body, limit=1000)
    assert isinstance(outcome, Response)
    assert outcome.content == b"x" * 1000
    assert outcome.truncated
    assert not reusable


def test_damaged_compression_is_a_failure_of_a_success_and_the_status_of_an_error() -> None:
    head = b"HTTP/1.1 %b\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!"
    success, _ = outcome_of(head % b"200 OK")
    assert isinstance(success, TransportFailure)
    refusal, reusable = outcome_of(head % b"403 Forbidden")
    assert isinstance(refusal, Response)
    assert (refusal.status, refusal.content, reusable) == (403, b"", False)


@pytest.mark.parametrize("upgrade", [b"", b"Connection: upgrade\r\nUpgrade: other\r\n"])
def test_another_protocol_is_a_response_and_ends_the_connection(upgrade: bytes) -> None:
    answer = ResponseParser()
    answer.begin(LIMIT)
    answer.feed(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\nwhatever")
    answer.end()
    outcome = answer.outcome()
    assert isinstance(outcome, Response)
    assert outcome.status == 101
    assert not answer.reusable


def test_a_repeated_header_has_both_values() -> None:
    outcome, _ = outcome_of(b"HTTP/1.1 204 No\r\nLink: a\r\nLINK: b\xe9\r\n\r\n")
    assert isinstance(outcome, Response)
    assert outcome.headers["link"] == "a, b\xe9"


@pytest.mark.parametrize("line", [b"Connection: close\r\n", b""])
def test_a_connection_that_the_peer_closes_is_not_used_again(line: bytes) -> None:
    version = b"HTTP/1.1" if line else b"HTTP/1.0"
    _, reusable = outcome_of(version + b" 200 OK\r\n" + line + b"Content-Length: 1\r\n\r\n1")
    assert not reusable


def test_a_programming_error_is_not_taken_for_an_invalid_response(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Body, chunk: bytes) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Body, "feed", broken)
    with pytest.raises(httptools.HttpParserCallbackError) as caught:
        outcome_of(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    assert isinstance(caught.value.__context__, ZeroDivisionError)
