"""Calls to OpenAI and ElevenLabs: one pooled HTTP client, a deadline for the whole call, bounded answers.

The only file of the server that knows its HTTP library, which is loaded at the first call.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import msgspec

from navai_client.server.errors import UpstreamError, UpstreamTimeoutError

if TYPE_CHECKING:
    import httpx

__all__ = ["Upstream", "UpstreamAnswer"]

_MAX_ANSWER_BYTES: Final = 16 * 2**20


@attrs.frozen
class UpstreamAnswer:
    """What came back, of whatever status; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status <= 299  # noqa: PLR2004 - the class of statuses that HTTP calls successful

    @property
    def text(self) -> str:
        """The body as text, whatever its bytes are."""
        return self.body.decode("utf-8", "replace")


class Upstream:
    """Sends JSON and returns what came back; redirects are answers like others, and never followed.

    To be used within one event loop, and closed with :meth:`aclose` or ``async with``.
    """

    def __init__(self, *, max_answer_bytes: int = _MAX_ANSWER_BYTES) -> None:
        """Refuse answers of more than *max_answer_bytes*, decompressed."""
        self._max_answer_bytes = max_answer_bytes
        self._client: httpx.AsyncClient | None = None
        self._sending: set[asyncio.Task[UpstreamAnswer]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give up what is under way and close the connections."""
        for task in self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def post(
        self,
        name: str,
        url: str,
        body: object,
        *,
        headers: Mapping[str, str],
        seconds: float,
        query: Mapping[str, str] | None = None,
    ) -> UpstreamAnswer:
        """Post *body* as JSON to *url* and return the answer.

        Args:
            name: Whom this calls, for errors.
            url: Where to.
            body: What is sent.
            headers: Sent along.
            seconds: How long the whole call may take.
            query: Added to the URL.

        Raises:
            UpstreamTimeoutError: No whole answer in that time.
            UpstreamError: No answer at all, or one that is too large.
        """
        # Cancelling a request can leave its place in the connection pool taken for good. So the request is a
        # task that ends by itself, and a caller whose time is over only lets go of it.
        sending = asyncio.create_task(self._send(name, url, body, headers, seconds, query=query))
        self._sending.add(sending)
        sending.add_done_callback(self._forget)
        answered, _ = await asyncio.wait((sending,), timeout=seconds)
        if not answered:
            raise UpstreamTimeoutError(f"{name} did not answer within {seconds:g} seconds.")
        return await sending

    def _forget(self, task: asyncio.Task[UpstreamAnswer]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever still waits for it is told by the task itself

    async def _send(
        self,
        name: str,
        url: str,
        body: object,
        headers: Mapping[str, str],
        seconds: float,
        *,
        query: Mapping[str, str] | None,
    ) -> UpstreamAnswer:
        import httpx  # noqa: PLC0415 - a backend that never calls upstream does not load it

        if self._client is None:
            self._client = httpx.AsyncClient(follow_redirects=False)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        parts = bytearray()
        try:
            async with self._client.stream(
                "POST",
                url,
                content=_encode(body),
                headers={"content-type": "application/json", **headers},
                params=query,
                timeout=seconds,
            ) as answer:
                async for part in answer.aiter_bytes():
                    parts += part
                    if len(parts) > self._max_answer_bytes:
                        raise UpstreamError(f"{name} gave an answer that is too large.")
                    if loop.time() > end:
                        raise UpstreamTimeoutError(f"{name} did not answer within {seconds:g} seconds.")
                return UpstreamAnswer(answer.status_code, dict(answer.headers), bytes(parts))
        except httpx.TimeoutException:
            raise UpstreamTimeoutError(f"{name} did not answer within {seconds:g} seconds.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamError(f"{name} could not be reached ({type(error).__name__}).") from None


def _encode(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        import json  # noqa: PLC0415 - needed for lone surrogates only, which JSON alone can carry

        return json.dumps(body).encode()
