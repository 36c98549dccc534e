"""Where a response ends: exactly there, however its bytes are split and whatever follows."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from navai_client.transports._framing import Framing

HEADER_NAMES = st.sampled_from(["X-One", "Date", "Content-Type", "X-Content-Length", "X-Transfer-Encoding"])
HEADER_VALUES = st.text("abc 0123;=,/", max_size=20)
INTERIM = st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Whole responses with every way to say where they end."""
    newline = draw(st.sampled_from(["\r\n", "\n"]))
    headers = [f"{name}: {value}" for name, value in draw(st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES)))]
    body = draw(st.binary(max_size=300))
    way = draw(st.sampled_from(["length", "chunked", "204", "304"]))
    status = way if way.isdigit() else draw(st.sampled_from(["200", "404", "503"]))
    if way == "length":
        name = draw(st.sampled_from(["Content-Length", "content-length", "CONTENT-LENGTH"]))
        headers.insert(draw(st.integers(0, len(headers))), f"{name}: {len(body)}")
    elif way == "chunked":
        headers.insert(draw(st.integers(0, len(headers))), "Transfer-Encoding: chunked")
        body = _chunked(body, draw(st.integers(1, 50)), draw(st.sampled_from([b"", b";a=b", b" ; c"])))
    else:
        body = b""
    head = newline.join([f"HTTP/1.1 {status} Some Text", *headers, "", ""]).encode()
    return b"".join(draw(st.lists(INTERIM, max_size=2))) + head + body


def _chunked(body: bytes, size: int, extension: bytes) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return chunks + b"0\r\nTrailer: x\r\n\r\n"


def fed(data: bytes, splits: list[int]) -> tuple[Framing, int]:
    """Return the framing after *data*, split so, and how many of its bytes belong to the response."""
    framing, taken = Framing(), 0
    slots = sorted({0, len(data), *(place % (len(data) + 1) for place in splits)})
    for start, end in pairwise(slots):
        taken += framing.feed(data[start:end])
    return framing, taken


@given(responses(), st.binary(max_size=200), st.lists(st.integers(0, 2000), max_size=20))
def test_a_response_is_consumed_exactly(response: bytes, surplus: bytes, splits: list[int]) -> None:
    framing, taken = fed(response + surplus, splits)
    assert framing.complete
    assert taken == len(response)


@given(responses(), st.data())
def test_a_response_that_is_cut_short_is_not_complete(response: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(response) - 1))
    framing, taken = fed(response[:cut], data.draw(st.lists(st.integers(0, 2000), max_size=5)))
    assert not framing.complete
    assert taken == cut


@given(st.binary(), st.lists(st.integers(0, 2000), max_size=5))
def test_any_bytes_are_followed(data: bytes, splits: list[int]) -> None:
    framing, taken = fed(data, splits)
    assert taken <= len(data)
    assert framing.complete or taken == len(data)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n content-length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % (b"9" * 5000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 300_000,
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
    ],
)
def test_what_names_no_end_has_none(start: bytes) -> None:
    framing = Framing()
    assert framing.feed(start) == len(start)
    assert framing.feed(b"more and more") == len(b"more and more")
    assert not framing.complete


def test_blank_lines_before_a_response_are_passed_over() -> None:
    framing = Framing()
    response = b"\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    assert framing.feed(response + b"HTTP/1.1") == len(response)
    assert framing.complete


def test_a_response_that_comes_byte_by_byte_is_consumed_exactly() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    response = head + b"2;a=b\r\nhi\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n"
    framing, taken = fed(response + b"HTTP/1.1", list(range(len(response) + 8)))
    assert framing.complete
    assert taken == len(response)
