"""An HTTP server that sends scripted responses byte for byte, and keeps its requests."""

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from attrs import field, frozen

__all__ = ["Asked", "Scripted", "ScriptedServer"]


@frozen
class Scripted:
    """One response.

    Attributes:
        raw: Its bytes, from the status line on.
        closes: Whether the connection ends with it.
    """

    raw: bytes
    closes: bool = False


@frozen
class Asked:
    """One request, as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def _whole(request: bytes) -> Asked:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(method, target, headers, body)


_MOVED = (
    b'{"value": "moved", "ok": true, "result": "moved", "items": [{"name": "moved"}],'
    b' "provider": "elevenlabs", "mimeType": "audio/mpeg", "audioBase64": "bW92ZWQ="}'
)
_ELSEWHERE = Scripted(
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_MOVED), _MOVED)
)


@frozen
class ScriptedServer:
    """Sends the response *number* for ``/case/{number}/...``, in a thread. A context manager.

    Redirects may lead to ``/elsewhere``, which has a valid response for every request.

    Attributes:
        answers: The responses by number.
        asked: Their requests, by number.
    """

    answers: dict[int, Scripted] = field(factory=dict)
    asked: dict[int, list[Asked]] = field(factory=dict)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    _state: dict[str, Any] = field(factory=dict)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._state['port']}"

    def play(self, number: int) -> None:
        """Send the response *number* for ``/case/now/...`` from now on."""
        self._state["now"] = number

    def __enter__(self) -> Self:
        listening = threading.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self._state["port"] = server.sockets[0].getsockname()[1]
            self._state["stop"] = asyncio.Event()
            listening.set()
            await self._state["stop"].wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        self._state["thread"] = threading.Thread(target=self._loop.run_until_complete, args=(serve(),))
        self._state["thread"].start()
        assert listening.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._state["stop"].set)
        self._state["thread"].join()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                asked = _whole(request)
                if length := int(asked.headers.get("content-length", 0)):
                    asked = _whole(request + await reader.readexactly(length))
                answer = self._answer(asked)
                writer.write(answer.raw)
                await writer.drain()
                if answer.closes:
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, asked: Asked) -> Scripted:
        if asked.target == "/elsewhere":
            return _ELSEWHERE
        which = asked.target.split("/")[2]
        number = int(which) if which != "now" else int(self._state["now"])
        self.asked.setdefault(number, []).append(asked)
        return self.answers[number]
