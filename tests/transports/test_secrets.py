"""Keys and payloads are in no log record, exception text or traceback, whatever fails."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any, Final

import httpx2
import pytest

from navai_client import AsyncNavaiBackendClient, NavaiError
from tests.clients import THROUGH, make_client
from tests.faults.server import FAULTS, OK, FaultServer, Peer, answer
from tests.waiting import SHORT_S, until_async

SECRET: Final = "hidden-0123456789"


def good(peer: Peer) -> None:
    while peer.request() is not None:
        peer.send(answer(OK))


def reflects(peer: Peer) -> None:
    """Send the request back, as an echo service does."""
    if peer.request() is not None:
        _, head, body = peer._server.arrived[0]
        peer.send(head + b"\r\n\r\n" + body)


def reflects_as_a_header(peer: Peer) -> None:
    """Send the key back in an invalid header line."""
    if peer.request() is not None:
        peer.send(b"HTTP/1.1 200 OK\r\n" + SECRET.encode() + b"\r\n\r\n")


def reflects_as_a_chunk(peer: Peer) -> None:
    """Send the key back instead of a chunk's size."""
    if peer.request() is not None:
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + SECRET.encode() + b"\r\n")


def reflects_as_a_status(peer: Peer) -> None:
    """Send the key back as a status line."""
    if peer.request() is not None:
        peer.send(b"HTTP/1.1 " + SECRET.encode() + b"\r\n\r\n")


BEHAVIOURS: Final[dict[str, Callable[[Peer], object]]] = {
    "good": good,
    **{
        function.__name__: function
        for function in (reflects, reflects_as_a_header, reflects_as_a_chunk, reflects_as_a_status)
    },
    **{
        name: FAULTS[name]
        for name in ("resets on accept", "closes after the request", "sends garbage", "never answers")
    },
}


@pytest.mark.parametrize("transport", [*THROUGH, "httpx2"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_no_secret_is_shown(
    behaviour: str, kind: str, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[Any] = []
    options: dict[str, Any] = {"through": transport}
    if transport == "httpx2":
        options["transport"] = httpx2.HTTPTransport() if kind == "sync" else httpx2.AsyncHTTPTransport()
    with caplog.at_level(logging.DEBUG), FaultServer(BEHAVIOURS[behaviour]) as server:
        client = make_client(
            kind,
            base_url=server.url,
            timeout=0.15,
            max_retries=1,
            headers={"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET},
            **options,
        )
        try:
            shown.append(client.list_functions())
            calls: tuple[Callable[[], Any], ...] = (
                lambda: client.execute_function("f", {"card": SECRET}),
                lambda: client.create_client_secret(api_key=SECRET),
                lambda: client.synthesize_speech(SECRET),
            )
            for call in calls:
                try:
                    shown.append(call())
                except NavaiError as error:
                    shown += [error, repr(error), traceback.format_exc(), *_causes(error)]
            shown += [repr(client), client.real]
        finally:
            client.close()
    assert transport == "fast" or any("httpcore" in record.name for record in caplog.records)
    assert SECRET not in "".join(map(str, shown))
    # httpcore logs at DEBUG what a peer has sent; docs/transports.md says so.
    logged = [
        record.getMessage()
        for record in caplog.records
        if not (behaviour.startswith("reflects") and record.name.startswith("httpcore"))
    ]
    assert SECRET not in "".join(logged)


def _causes(error: BaseException) -> list[str]:
    texts = []
    cause: BaseException | None = error
    while (cause := cause.__cause__ or cause.__context__ if cause else None) is not None:
        assert cause.__traceback__ is None or not isinstance(error.__cause__, type(cause))
        texts.append(f"{cause} {cause!r}")
    return texts


def test_the_frames_behind_a_failure_are_released(kind: str, through: str) -> None:
    with FaultServer(FAULTS["resets in the headers"]) as server:
        client = make_client(kind, through=through, base_url=server.url, max_retries=0)
        try:
            with pytest.raises(NavaiError) as caught:
                client.execute_function("f", SECRET)
        finally:
            client.close()
    cause = caught.value.__cause__
    while cause is not None:  # a traceback with local variables would show the request
        assert cause.__traceback__ is None
        cause = cause.__cause__ or cause.__context__


def test_a_call_that_failed_when_its_caller_had_left_is_logged_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(url: str) -> None:
        client = AsyncNavaiBackendClient(url, headers={"Authorization": SECRET}, timeout=SHORT_S)
        call = asyncio.create_task(client.execute_function("f", SECRET))
        await until_async(lambda: server.arrived)
        call.cancel()
        await asyncio.wait([call])
        await client.close()

    with caplog.at_level(logging.DEBUG), FaultServer(FAULTS["never answers"]) as server:
        asyncio.run(main(server.url))
    assert "execute_function: went on in the background and failed" in caplog.text
    assert SECRET not in caplog.text
