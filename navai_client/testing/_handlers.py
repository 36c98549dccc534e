"""How requests of httpx and httpx2 reach a backend in memory, whoever sends them.

The two libraries have the same interface and no class in common: what is returned and raised is of the
library that the request came from.
"""

import asyncio
import sys
from types import ModuleType
from typing import Any, NoReturn

from navai_client.errors import NavaiStateError
from navai_client.server._http import BackendResponse
from navai_client.testing._in_process import InMemory
from navai_client.testing._scenario import Arrival


def handle(memory: InMemory, request: Any) -> Any:
    """Return the response to *request*, within its read timeout; raise what its library would."""
    library = _library_of(request)
    arrival = _receive(memory, request, request.read(), library)
    try:
        return _response(library, memory.answer_blocking(arrival, _read_timeout(request)), request)
    except TimeoutError:
        _time_out(library, request)


async def handle_async(memory: InMemory, request: Any) -> Any:
    """Do the same on the running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise NavaiStateError(
            "handle_async needs a running asyncio event loop; else there is handle."
        ) from None
    library = _library_of(request)
    arrival = _receive(memory, request, await request.aread(), library)
    try:
        async with asyncio.timeout(_read_timeout(request)):
            return _response(library, await memory.answer(arrival), request)
    except TimeoutError:
        _time_out(library, request)


def _library_of(request: Any) -> ModuleType:
    """Return the library that *request* comes from; it is loaded, as its request is there."""
    roots = {cls.__module__.partition(".")[0] for cls in type(request).__mro__}
    return sys.modules["httpx2" if "httpx2" in roots else "httpx"]


def _receive(memory: InMemory, request: Any, content: bytes, library: ModuleType) -> Arrival:
    arrival = memory.receive(request.method, str(request.url), request.headers.multi_items(), content)
    if arrival.is_refused:
        raise library.ConnectError("connection refused (scripted)", request=request)
    return arrival


def _read_timeout(request: Any) -> float | None:
    timeouts = request.extensions.get("timeout")
    seconds: float | None = timeouts.get("read") if timeouts else None
    return seconds


def _response(library: ModuleType, answer: BackendResponse | None, request: Any) -> Any:
    if answer is None:
        raise library.RemoteProtocolError("connection dropped (scripted)", request=request)
    body = b"" if request.method == "HEAD" else answer.body
    return library.Response(answer.status, headers=list(answer.headers), content=body, request=request)


def _time_out(library: ModuleType, request: Any) -> NoReturn:
    raise library.ReadTimeout("the backend took longer", request=request) from None
