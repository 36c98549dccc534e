"""The body of a response: any bytes, any compression, any split, or no body; never more than the limit."""

import gzip
import zlib
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given, strategies as st

from navai_client import InvalidResponseError, NavaiHTTPError
from navai_client.transports._body import Body
from tests.clients import make_client


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


ENCODINGS: dict[str, tuple[str | None, Callable[[bytes], bytes]]] = {
    "none": (None, bytes),
    "identity": ("identity", bytes),
    "unknown": ("br", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": (" X-GZip ", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
}
COMPRESSED = {name: ENCODINGS[name] for name in ("gzip", "zlib", "raw deflate")}


def fed(body: Body, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        if not body.feed(data[start : start + size]):
            break


@pytest.mark.parametrize("name", ENCODINGS)
@given(data=st.binary(max_size=2000), size=st.integers(1, 500), limit=st.integers(1, 2500))
def test_a_body_arrives_whole_or_cut_at_the_limit(name: str, data: bytes, size: int, limit: int) -> None:
    encoding, compress = ENCODINGS[name]
    body = Body(limit, encoding)
    fed(body, compress(data), size)
    assert body.content() == data[:limit]
    assert body.truncated == (len(data) > limit)
    assert not body.damaged()


@pytest.mark.parametrize("name", COMPRESSED)
@given(data=st.binary(max_size=500), size=st.integers(1, 100), cut=st.integers(1, 1000))
def test_a_compressed_body_that_is_cut_short_is_damaged(name: str, data: bytes, size: int, cut: int) -> None:
    encoding, compress = COMPRESSED[name]
    compressed = compress(data)
    short = compressed[: -(1 + cut % (len(compressed) - 1))]
    body = Body(10_000, encoding)
    fed(body, short, size)
    assert body.damaged()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@given(data=st.binary(max_size=500), size=st.integers(1, 100))
def test_any_bytes_that_claim_to_be_compressed_raise_nothing(encoding: str, data: bytes, size: int) -> None:
    body = Body(1000, encoding)
    fed(body, data, size)
    assert len(body.content()) <= 1000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_no_bytes_are_an_empty_body(encoding: str) -> None:
    body = Body(10, encoding)
    assert body.content() == b""
    assert not body.damaged()


def test_a_wrong_checksum_is_damage() -> None:
    body = Body(100, "gzip")
    compressed = bytearray(gzip.compress(b"hello"))
    compressed[-5] ^= 1
    assert not body.feed(bytes(compressed))
    assert body.damaged()


def test_a_bomb_is_never_unpacked_beyond_the_limit() -> None:
    body = Body(1000, "gzip")
    assert not body.feed(gzip.compress(bytes(10**7)))
    assert body.truncated
    assert len(body.content()) == 1000


WHOLE = b'{"ok": true, "result": "' + b"r" * 500 + b'"}'
MEMBERS = (
    gzip.compress(WHOLE[:20], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(WHOLE[20:], mtime=0)
)


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        ("gzip", MEMBERS),
        ("gzip", MEMBERS + b"\0" * 20),
        ("deflate", zlib.compress(WHOLE) + b"surplus"),
    ],
)
def test_a_compressed_body_is_read_to_its_end_and_not_beyond(encoding: str, sent: bytes, step: int) -> None:
    body = Body(10_000, encoding)

    for start in range(0, len(sent), step):
        assert body.feed(sent[start : start + step])

    assert body.content() == WHOLE
    assert not body.truncated
    assert not body.damaged()


@pytest.mark.parametrize("surplus", [b"surplus", b"\x1f", gzip.compress(WHOLE, mtime=0)[:30]])
def test_surplus_bytes_after_gzip_are_damage(surplus: bytes) -> None:
    body = Body(10_000, "gzip")

    body.feed(gzip.compress(WHOLE, mtime=0) + surplus)

    assert body.damaged()


def test_members_count_together_towards_the_limit() -> None:
    body = Body(150, "gzip")

    assert not body.feed(gzip.compress(b"a" * 100, mtime=0) * 3)

    assert body.truncated
    assert body.content() == b"a" * 150


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_body_of_reset_content_is_not_read(kind: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(205, content=WHOLE))
    client = make_client(kind, base_url="http://backend.test", transport=transport)

    with pytest.raises(InvalidResponseError, match=r"(?m)^Invalid backend function response\.$"):
        client.execute_function("f")
    client.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_whose_compression_is_damaged_keeps_its_status(kind: str) -> None:
    def backend(_request: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(b"this is no gzip")
        return httpx.Response(500, headers={"Content-Encoding": "gzip"}, stream=stream)

    client = make_client(kind, base_url="http://navai.test", transport=httpx.MockTransport(backend))
    with pytest.raises(NavaiHTTPError, match=r"(?m)^HTTP 500$"):
        client.execute_function("f")
    assert client.list_functions().warnings == ("[navai] Failed to load backend functions (500).",)
    client.close()
