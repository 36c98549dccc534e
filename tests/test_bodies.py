"""Response bodies, read as the JavaScript clients read them: gzip of several members, and no body."""

import gzip
import zlib

import httpx
import pytest

from navai_client import InvalidResponseError, NavaiHTTPError
from navai_client.transports._body import Body
from tests.clients import make_client

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
