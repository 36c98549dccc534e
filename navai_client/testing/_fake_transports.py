"""How the two clients reach a backend in memory."""

import asyncio
from typing import Final, final

from navai_client.server._http import BackendResponse
from navai_client.testing._in_process import InMemory
from navai_client.transports import Call
from navai_client.transports._body import Body
from navai_client.wire._values import Request, Response, TransportFailure

_REFUSED: Final = TransportFailure("connection refused (scripted)", sent=False)
_DROPPED: Final = TransportFailure("connection dropped (scripted)")
_DAMAGED: Final = TransportFailure("the answer is compressed, and damaged or cut short")
_FIRST_REDIRECT: Final = 300
_LATE: Final = TransportFailure("the backend took longer", timed_out=True)


@final
class InMemoryTransport:
    """Answers ``NavaiBackendClient``."""

    def __init__(self, memory: InMemory) -> None:
        self._memory = memory

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Let *request* be answered, for as long as *call* may take."""
        arrival = self._memory.receive(*_parts(request))
        if arrival.is_refused:
            return _REFUSED
        call.sent = True
        try:
            return _outcome(self._memory.answer_blocking(arrival, call.remaining()), call)
        except TimeoutError:
            return _LATE

    def close(self) -> None:
        """Hold nothing: the backend is closed by who made it."""


@final
class AsyncInMemoryTransport:
    """Answers ``AsyncNavaiBackendClient``, on the client's own event loop."""

    def __init__(self, memory: InMemory) -> None:
        self._memory = memory

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Let *request* be answered, for as long as *call* may take."""
        arrival = self._memory.receive(*_parts(request))
        if arrival.is_refused:
            return _REFUSED
        call.sent = True
        try:
            async with asyncio.timeout(call.remaining()):
                return _outcome(await self._memory.answer(arrival), call)
        except TimeoutError:
            return _LATE

    async def close(self) -> None:
        """Hold nothing: the backend is closed by who made it."""


def _parts(request: Request) -> tuple[str, str, tuple[tuple[str, str], ...], bytes | None]:
    endpoint = request.endpoint
    return endpoint.method, endpoint.url, (*request.headers, *request.call_headers), request.content


def _outcome(answer: BackendResponse | None, call: Call) -> Response | TransportFailure:
    if answer is None:
        return _DROPPED
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    body = Body(call.max_response_bytes, headers.get("content-encoding"))
    body.feed(answer.body)
    if answer.status < _FIRST_REDIRECT and body.damaged():
        return _DAMAGED
    return Response(answer.status, headers, body.content(), body.truncated)
