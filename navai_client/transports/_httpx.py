"""Requests, responses and errors of httpx and of httpx2: building, reading, understanding them.

The two libraries have the same interface and no class in common, so each name is taken from the one at hand.
"""

import re
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

from navai_client.transports import Call
from navai_client.transports._body import ACCEPT_ENCODING, Body, outcome
from navai_client.transports._network import is_permanent, without_frames
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure

_REFUSED: Final = re.compile(r"4(?!08|29)\d\d ")  # what a proxy responds to CONNECT, such as 403 and 407
_QUOTED: Final = re.compile(r"[:,]? *(?:bytearray\(|b?['\"])")

Headers = tuple[tuple[str, str], ...]


class Library:
    """The parts of httpx, or of httpx2, that this package uses.

    Attributes:
        module: The library.
        errors: What it raises for a request that fails, and errors of sockets that it does not convert.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.errors = (module.RequestError, module.InvalidURL, OSError, UnicodeError)
        self._never_sent = (
            module.ConnectError,
            module.ConnectTimeout,
            module.PoolTimeout,
            module.ProxyError,
            module.UnsupportedProtocol,
            module.InvalidURL,
            UnicodeError,  # of a name or a header that cannot be encoded
        )
        self._prepared: WeakKeyDictionary[Endpoint, tuple[Headers, Any, Any]] = WeakKeyDictionary()

    def request(self, request: Request, extensions: dict[str, Any] | None = None) -> Any:
        endpoint, given = request.endpoint, request.headers
        prepared = self._prepared.get(endpoint)
        if prepared is None or prepared[0] is not given:
            headers = self.module.Headers([*given, ("Accept-Encoding", ACCEPT_ENCODING)])
            prepared = self._prepared[endpoint] = (given, self.module.URL(endpoint.url), headers)
        _, url, headers = prepared
        built = self.module.Request(
            endpoint.method,
            url,
            headers=headers,  # copied by it
            content=request.content,
            extensions=extensions,
        )
        for name, value in request.call_headers:
            built.headers[name] = value
        return built

    def failure(
        self, error: BaseException, call: Call, *, knows_sent: bool, where: str = ""
    ) -> TransportFailure:
        """Return *error* as a failure, without anything that could be secret.

        Args:
            error: One of ``errors``.
            call: The call that it ended.
            knows_sent: Whether ``call.sent`` is what happened, because our own connection sent the bytes.
            where: What to add to the message.
        """
        sent = call.sent if knows_sent else not isinstance(error, self._never_sent)
        timed_out = isinstance(error, self.module.TimeoutException | TimeoutError)
        kind = type(error).__name__
        if isinstance(error, self.module.LocalProtocolError):  # its text can hold a header in full
            return TransportFailure(f"{kind}: the request cannot be sent as it is", sent=sent, permanent=True)
        text = " ".join(str(error).split()) or ("time ran out" if timed_out else "no reason was given")
        if isinstance(error, self.module.RemoteProtocolError) and (quoted := _QUOTED.search(text)):
            # What is quoted comes from the peer, which may repeat our key.
            return TransportFailure(f"{kind}: {text[: quoted.start()]}", sent=sent)
        return TransportFailure(
            f"{kind}: {text}{where}",
            sent=sent,
            timed_out=timed_out,
            cause=without_frames(error),
            permanent=self._is_permanent(error, text),
        )

    def _is_permanent(self, error: BaseException, text: str) -> bool:
        if isinstance(error, self.module.ProxyError):
            return _REFUSED.match(text) is not None
        return is_permanent(error) or isinstance(
            error, self.module.UnsupportedProtocol | self.module.InvalidURL | UnicodeError
        )


def _body_of(response: Any, call: Call) -> Body:
    """Return where to put the body; it is there already if a hook of the owner's client has read it."""
    events = call.events and call.events.begin(response.status_code, response.headers)
    if not response.is_stream_consumed:
        return Body(call.max_response_bytes, response.headers.get("content-encoding"), events)
    body = Body(call.max_response_bytes, None, events)
    body.feed(response.content)
    return body


def exchange(handle: Callable[[Any], Any], built: Any, call: Call) -> Response | TransportFailure:
    """Let *handle* send the request *built*, and read the response.

    Raises:
        TimeoutError: If time runs out between two pieces of the body.
    """
    response = handle(built)
    try:
        body = _body_of(response, call)
        if not response.is_stream_consumed:
            for chunk in response.stream:
                if not body.feed(chunk):
                    break
                call.deliver()
                if call.remaining() == 0:
                    raise TimeoutError("time ran out")
    finally:
        response.close()
    return outcome(response.status_code, response.headers, body)


async def exchange_async(
    handle: Callable[[Any], Awaitable[Any]], built: Any, call: Call
) -> Response | TransportFailure:
    """Let *handle* send the request *built*, and read the response."""
    response = await handle(built)
    try:
        body = _body_of(response, call)
        if not response.is_stream_consumed:
            async for chunk in response.stream:
                if not body.feed(chunk):
                    break
                call.deliver()
    finally:
        await response.aclose()
    return outcome(response.status_code, response.headers, body)
