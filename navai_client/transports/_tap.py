"""A hand on the connections of httpcore, which httpx and httpx2 send through.

Both announce each connection they open through their ``trace`` extension. We take the network stream from
there and look at what is read: no read waits past the call's deadline (their timeouts are per read, so that
a peer that drips bytes would never trip one), and no byte after the end of a response reaches them.
"""

from typing import Any, Final

from navai_client.transports import Call
from navai_client.transports._framing import Framing

__all__ = ["AsyncTrace", "Timeouts", "Trace"]


_SHORTEST_WAIT: Final = (
    0.001  # seconds; a timeout of 0 would mean "do not wait" to a socket, which is another error
)


def _remaining(call: Call) -> float | None:
    remaining = call.remaining()
    return None if remaining is None else max(_SHORTEST_WAIT, remaining)


class Timeouts(dict[str, float | None]):
    """The ``timeout`` extension: whatever phase asks is told what is left of the call."""

    def __init__(self, call: Call) -> None:
        super().__init__(dict.fromkeys(("connect", "read", "write", "pool"), _remaining(call)))
        self._call = call

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002 - dict.get
        return _remaining(self._call)


class Trace:
    """The ``trace`` extension: notes what was sent, and taps the connections that are opened.

    Attributes:
        call: The call under way.
        tap: The tap on the latest connection.
        speaks_http: Whether httpcore is at work, so that ``call.sent`` can be believed.

    Args:
        owner: Whether the connections serve only the calls of this trace, one after the other. Only then does
            the tap know whose deadline a read has.
    """

    def __init__(self, *, owner: bool) -> None:
        self.call: Call | None = None
        self.tap: Tap | None = None
        self.speaks_http = False
        self._owner = owner

    def __call__(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith(".send_request_headers.started"):
            self.speaks_http = True
            if self.call is not None and info["request"].method != b"CONNECT":
                self.call.sent = True
        elif name.endswith((".connect_tcp.started", ".connect_tcp.failed")):
            self.speaks_http = True
        elif name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            stream = info["return_value"]
            tls = stream.get_extra_info("ssl_object")
            if tls is None or tls.selected_alpn_protocol() != "h2":
                self.tap = self._tap(stream)

    def _tap(self, stream: Any) -> "Tap":
        return Tap(stream, self if self._owner else None)


class AsyncTrace(Trace):
    """The same for requests of the async world, whose callbacks are awaited."""

    async def __call__(self, name: str, info: dict[str, Any]) -> None:  # type: ignore[override]
        super().__call__(name, info)

    def _tap(self, stream: Any) -> "Tap":
        return AsyncTap(stream, self if self._owner else None)


class Tap:
    """Stands between httpcore and one of its network streams."""

    def __init__(self, stream: Any, trace: Trace | None) -> None:
        self.stream = stream
        self._trace = trace
        self._framing: Framing | None = None
        self._surplus = False
        self._read = stream.read
        self._write = stream.write
        self._get_extra_info = stream.get_extra_info
        stream.read = self.read
        stream.write = self.write
        stream.get_extra_info = self.get_extra_info

    def clean(self) -> bool:
        """Return whether the last response ended where it said, and nothing came after it."""
        return self._framing is not None and self._framing.complete and not self._surplus

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._read(max_bytes, timeout=self._bounded(timeout))
        return self._cut(data)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._begin()
        self._write(buffer, timeout=self._bounded(timeout))

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._framing is not None and not self.clean():
            return True  # to httpcore this means: the peer has ended this connection, take another
        return self._get_extra_info(info)

    def _bounded(self, timeout: float | None) -> float | None:
        call = None if self._trace is None else self._trace.call
        return timeout if call is None else _remaining(call)

    def _begin(self) -> None:
        if self._framing is None or self._framing.complete:
            self._framing = Framing()

    def _cut(self, data: bytes) -> bytes:
        if self._framing is None:
            return data
        end = self._framing.feed(data)
        if end < len(data):
            self._surplus = True
            return data[:end]
        return data


class AsyncTap(Tap):
    """The same for streams of the async world."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # type: ignore[override]
        data: bytes = await self._read(max_bytes, timeout=self._bounded(timeout))
        return self._cut(data)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # type: ignore[override]
        self._begin()
        await self._write(buffer, timeout=self._bounded(timeout))
