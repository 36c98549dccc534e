"""Calls to OpenAI and ElevenLabs: one pooled HTTP client, a deadline for the whole call, bounded answers.

The only file of the server that knows its HTTP library, which is loaded at the first call.
"""

import asyncio
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
import msgspec

from navai_client.server._errors import UpstreamError, UpstreamTimeoutError

if TYPE_CHECKING:
    import aiohttp


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

    Connections belong to the event loop that they were made in: used in another one, it makes new ones. To be
    closed with :meth:`aclose` or ``async with``; what nobody closed is closed when it is forgotten.
    """

    def __init__(self, *, max_answer_bytes: int = _MAX_ANSWER_BYTES) -> None:
        """Refuse answers of more than *max_answer_bytes*, decompressed."""
        self._max_answer_bytes = max_answer_bytes
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._abandon: weakref.finalize[..., Any] | None = None
        self._sending: set[asyncio.Task[Any]] = set()
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel the tasks of those who still wait for an answer, and close the connections."""
        session, self._session = self._session, None
        if session is None or self._abandon is None:
            return
        if self._loop is not asyncio.get_running_loop():
            self._abandon()
            return
        self._abandon.detach()
        sending = tuple(self._sending)
        for task in sending:
            task.cancel()
        if sending:
            await asyncio.wait(sending)
        await session.close()

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
        import aiohttp  # noqa: PLC0415 - a backend that never calls upstream does not load it

        session = self._connected(aiohttp)
        parts = bytearray()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._sending.add(task)
        try:
            async with session.post(
                url,
                data=_encode(body),
                headers={"content-type": "application/json", **headers},
                params=query,
                proxy=self._proxy(url),
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as answer:
                async for part in answer.content.iter_any():
                    parts += part
                    if len(parts) > self._max_answer_bytes:
                        raise UpstreamError(f"{name} gave an answer that is too large.")
                names = {each.lower(): value for each, value in answer.headers.items()}
                return UpstreamAnswer(answer.status, names, bytes(parts))
        except TimeoutError:
            raise UpstreamTimeoutError(f"{name} did not answer within {seconds:g} seconds.") from None
        except (aiohttp.ClientError, ValueError) as error:
            # A ValueError is a URL that cannot be: no answer either.
            raise UpstreamError(f"{name} could not be reached ({type(error).__name__}).") from None
        finally:
            self._sending.discard(task)

    def _connected(self, aiohttp: Any) -> "aiohttp.ClientSession":
        """Return the pool of this loop: as many connections as there are calls, no cookies."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            if self._abandon is not None:
                self._abandon()
            self._loop = loop
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            self._abandon = weakref.finalize(self, _abandon, self._session, connector, loop)
        return self._session

    def _proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for *url*: looked up once, because that takes long."""
        parts = urlsplit(url)
        place = (parts.scheme, parts.netloc)
        if place not in self._proxies:
            found = getproxies()
            direct = proxy_bypass(parts.netloc)
            self._proxies[place] = None if direct else found.get(parts.scheme) or found.get("all")
        return self._proxies[place]


def _abandon(
    session: "aiohttp.ClientSession", connector: "aiohttp.TCPConnector", loop: asyncio.AbstractEventLoop
) -> None:
    """Close what nobody closed, from wherever it was forgotten."""
    session.detach()
    if loop.is_closed():
        _shut(connector)
    else:
        loop.call_soon_threadsafe(_shut, connector)


def _shut(connector: "aiohttp.TCPConnector") -> None:
    # Closing happens at the call; what it gives is only there to wait for the sockets' end.
    next(connector.close().__await__(), None)


def _encode(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        import json  # noqa: PLC0415 - needed for lone surrogates only, which JSON alone can carry

        return json.dumps(body).encode()
