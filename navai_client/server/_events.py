"""What functions say of their progress, and the stream of events that carries it to a caller who accepts it.

A response becomes a stream with its first message, or when it has been silent for a while. Whatever is known
before is a plain response with its own status. Server-sent events: the WHATWG's HTML standard, section 9.2.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Final

from navai_client.server._calls import Outcome, RunningCall
from navai_client.server._http import BackendRequest, BackendResponse, Header

EVENT_STREAM: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx then passes on what arrives, and does not collect it
)

_KEEP_ALIVE_S: Final = 5.0  # of silence; proxies cut a connection after 30 to 60 seconds
_LEAST_S: Final = 0.1  # between messages; who says more at once is heard with the latest
_MOST_KEPT: Final = 16  # messages of a call
_LONGEST_KEPT: Final = 8192  # characters in which secrets are looked for, of which the caller gets
_LONGEST: Final = 1000  # at most; somebody hears it


def accepts_events(request: BackendRequest) -> bool:
    """Return whether *request* names ``text/event-stream`` as acceptable; a wildcard does not."""
    accept = request.raw_headers.get(b"accept")
    if accept is None or b"text/event-stream" not in (accept := accept.lower()):
        return False
    for each in accept.split(b","):  # RFC 9110, section 12.5.1
        media_type, *parameters = (part.strip() for part in each.split(b";"))
        if media_type == b"text/event-stream":
            weights = (part[2:].strip() for part in parameters if part.startswith(b"q="))
            return any(weight.strip(b"0.") for weight in weights) or not any(
                part.startswith(b"q=") for part in parameters
            )
    return False


_lock: Final = threading.Lock()  # one for all calls: it is held for a moment, and most calls say nothing


class Progress:
    """The latest messages of a function, which it may send from any thread.

    Args:
        redact: Removes secrets and paths from a message.
    """

    __slots__ = ("_is_waking", "_loop", "_messages", "_redact", "_said", "listeners")

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._loop = asyncio.get_running_loop()
        self._messages: tuple[tuple[int, str], ...] = ()
        self._said = 0
        self._is_waking = False
        self.listeners: tuple[asyncio.Event, ...] = ()

    def __call__(self, message: str) -> None:
        """Keep *message*, and wake the streams; never wait for them."""
        text = str(message)[:_LONGEST_KEPT]
        if not text.strip():
            return
        with _lock:
            self._said += 1
            self._messages = (*self._messages[1 - _MOST_KEPT :], (self._said, text))
            if self._is_waking or not self.listeners:
                return
            self._is_waking = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            return  # the loop is closed: nothing waits for the call

    def _wake(self) -> None:
        self._is_waking = False
        for listener in self.listeners:
            listener.set()

    def since(self, number: int) -> tuple[int, list[str]]:
        """Return the number of the latest message, and those after *number*."""
        messages = self._messages
        latest = [self._redact(text)[:_LONGEST] for each, text in messages if each > number]
        return messages[-1][0] if messages else 0, latest


class Events:
    """The response to one request as a stream of events.

    Args:
        begin: Sends the status and the headers.
        write: Sends a part of the body, and whether another follows.

    Attributes:
        has_begun: Whether the response is a stream.
    """

    def __init__(
        self, begin: Callable[[], Awaitable[None]], write: Callable[[bytes, bool], Awaitable[None]]
    ) -> None:
        self._begin = begin
        self._write = write
        self.has_begun = False

    async def follow(self, call: RunningCall) -> Outcome:
        """Send what *call* says of its progress, and return its outcome."""
        changed, heard = asyncio.Event(), 0
        ended = asyncio.ensure_future(call.wait())
        ended.add_done_callback(lambda _: changed.set())
        progress = call.progress
        if progress is not None:
            progress.listeners += (changed,)
        try:
            while True:
                changed.clear()
                is_last = ended.done()
                if progress is not None:
                    heard, messages = progress.since(heard)
                    for message in messages:
                        await self._send(_event("progress", json.dumps({"message": message}).encode()))
                    if messages and not is_last:
                        await asyncio.wait((ended,), timeout=_LEAST_S)
                        continue
                if is_last:
                    return ended.result()
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    await self._send(b": keep-alive\n\n")
        finally:
            if progress is not None:
                progress.listeners = tuple(each for each in progress.listeners if each is not changed)
            if not ended.done():  # nobody awaits the call here any more
                ended.cancel()
                await asyncio.wait((ended,))

    async def end(self, response: BackendResponse) -> None:
        """Send *response* as the last event."""
        # Line breaks are white space in JSON: within strings they are escaped.
        data = b'{"status":%d,"body":%b' % (response.status, b" ".join(response.body.splitlines()))
        names = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        names.pop("content-type", None)
        if names:  # such as Retry-After
            data += b',"headers":' + json.dumps(names).encode()
        await self._write(_event("response", data + b"}"), False)  # noqa: FBT003

    async def _send(self, event: bytes) -> None:
        if not self.has_begun:
            self.has_begun = True
            await self._begin()
        await self._write(event, True)  # noqa: FBT003


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
