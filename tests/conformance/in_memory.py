"""An ASGI application behind a transport, without sockets; faults can change its responses."""

import asyncio
import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, cast

import httpx
from attrs import define, field

from navai_client.transports import Call
from navai_client.wire._values import Request, Response, TransportFailure

__all__ = ["Asked", "Fault", "InMemory", "Reply"]


@define
class Asked:
    """A request, as the application gets it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def record(self) -> dict[str, Any]:
        """The body as JSON, if it is an object."""
        try:
            read = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return read if isinstance(read, dict) else {}


@define
class Reply:
    """A response, which a fault may change."""

    status: int
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""

    @property
    def record(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @record.setter
    def record(self, value: Any) -> None:
        self.body = json.dumps(value).encode()


Fault = Callable[[Asked, Reply], Reply | None]


class InMemory:
    """A transport. A context manager, which runs the application on an event loop of its own.

    Args:
        app: The application.
        fault: Gets each request and its answer, and changes it; with None there comes none.
    """

    def __init__(self, app: Any, fault: Fault | None = None) -> None:
        self._transport = httpx.ASGITransport(app=cast("Any", app))
        self._fault = fault
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.asked: list[Asked] = []

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* to the application."""
        call.sent = True
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result()

    def close(self) -> None:
        """Do nothing: the loop ends with the context."""

    async def _answer(self, request: Request) -> Response | TransportFailure:
        endpoint = request.endpoint
        sent = httpx.Request(
            endpoint.method, endpoint.url, headers=list(request.headers), content=request.content
        )
        response = await self._transport.handle_async_request(sent)
        body = await response.aread()
        asked = Asked(endpoint.method, sent.url.path, dict(sent.headers), request.content or b"")
        self.asked.append(asked)
        reply = Reply(response.status_code, dict(response.headers), body)
        if self._fault is not None:
            changed = self._fault(asked, reply)
            if changed is None:
                return TransportFailure("the connection ended")
            reply = changed
        return Response(reply.status, reply.headers, reply.body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
