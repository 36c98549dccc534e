"""The body of a response: any bytes, any compression, any split; never more than the limit."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from navai_client.transports._body import Body


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
