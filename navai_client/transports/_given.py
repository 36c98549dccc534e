"""Which transport a client sends through: the default one, or what its user hands in, wrapped as it needs."""

import functools
import inspect
from typing import Any, Final, cast

from navai_client.errors import NavaiConfigError
from navai_client.transports import AsyncTransport, Call, Transport
from navai_client.transports._default import AsyncHTTPXTransport, HTTPXTransport
from navai_client.transports._httpx import (
    ClientSender,
    Sender,
    TransportSender,
    send,
    send_async,
)
from navai_client.transports._tap import AsyncTap, AsyncTrace, Trace
from navai_client.transports._threads import run_within
from navai_client.wire._values import Request, Response, TransportFailure

__all__ = ["async_transport", "sync_transport"]

_PATIENCE: Final = 0.2  # seconds that a pool of the user's has to end a call by itself


def sync_transport(transport: Any, http_client: Any, verify: Any, proxy: str | None) -> Transport:
    """Return the transport for a sync client.

    Raises:
        NavaiConfigError: If what is given cannot work, alone or together.
    """
    _check_choice(transport, http_client, verify, proxy)
    if transport is None and http_client is None:
        return HTTPXTransport(verify, proxy)
    if http_client is not None:
        return _GivenTransport(ClientSender(_of_kind(http_client, "send", is_async=False), Trace))
    if _is_ours(transport, Transport):
        if inspect.iscoroutinefunction(transport.send):
            raise NavaiConfigError(f"{type(transport).__name__} is async; use AsyncNavaiBackendClient.")
        return cast("Transport", transport)
    return _GivenTransport(TransportSender(_of_kind(transport, "handle_request", is_async=False), Trace))


def async_transport(transport: Any, http_client: Any, verify: Any, proxy: str | None) -> AsyncTransport:
    """Return the transport for an async client, as ``sync_transport`` does."""
    _check_choice(transport, http_client, verify, proxy)
    if transport is None and http_client is None:
        return AsyncHTTPXTransport(verify, proxy)
    if http_client is not None:
        return _AsyncGivenTransport(ClientSender(_of_kind(http_client, "send", is_async=True), AsyncTrace))
    if _is_ours(transport, AsyncTransport):
        if not inspect.iscoroutinefunction(transport.send):
            raise NavaiConfigError(f"{type(transport).__name__} is not async; use NavaiBackendClient.")
        return cast("AsyncTransport", transport)
    return _AsyncGivenTransport(
        TransportSender(_of_kind(transport, "handle_async_request", is_async=True), AsyncTrace)
    )


def _check_choice(transport: Any, http_client: Any, verify: Any, proxy: str | None) -> None:
    if transport is not None and http_client is not None:
        raise NavaiConfigError(
            "transport and http_client were both given; a client sends through one of them."
        )
    if (transport is not None or http_client is not None) and (verify is not True or proxy is not None):
        raise NavaiConfigError("verify and proxy are for the default transport; set them on what you give.")


def _is_ours(given: Any, protocol: type) -> bool:
    """Return whether *given* is a transport as this package defines them."""
    theirs = ("handle_request", "handle_async_request", "build_request")
    return isinstance(given, protocol) and not any(hasattr(given, name) for name in theirs)


def _of_kind(given: Any, method: str, *, is_async: bool) -> Any:
    """Return *given* if it has the *method* of its world, else say what to use instead."""
    name = type(given).__name__
    is_client = hasattr(given, "build_request")
    if is_client and method != "send":
        raise NavaiConfigError(f"{name} is a client, not a transport; give it as http_client.")
    if method == "send" and not is_client:
        raise NavaiConfigError(f"{name} is no client of httpx or httpx2; a transport is given as transport.")
    found = getattr(given, method, None)
    asynchronous = inspect.iscoroutinefunction(found) or method == "handle_async_request"
    if found is not None and asynchronous == is_async:
        return given
    other = getattr(given, "handle_request" if is_async else "handle_async_request", found)
    if other is None:
        raise NavaiConfigError(f"{name} is no transport or client of navai_client, httpx or httpx2.")
    if is_async:
        raise NavaiConfigError(f"{name} is not async; use NavaiBackendClient with it.")
    raise NavaiConfigError(f"{name} is async; use AsyncNavaiBackendClient with it.")


class _GivenTransport:
    """A transport or client of the user's, for sync clients."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        in_process = (sender.library.MockTransport, sender.library.WSGITransport)
        self._blocks_on_network = not isinstance(sender.given, in_process)

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        trace = Trace()
        work = functools.partial(send, self._sender, request, call, trace)
        if not self._blocks_on_network:
            call.sent = True
            return work()  # in the caller's thread, which an application under test may depend on
        try:
            return run_within(call.remaining(), work)
        except TimeoutError:
            call.left = True
            return TransportFailure("time ran out", sent=call.sent or not trace.speaks_http, timed_out=True)
        except BaseException:
            call.left = True
            raise

    def close(self) -> None:
        if isinstance(self._sender, TransportSender):
            self._sender.given.close()


class _AsyncGivenTransport:
    """A transport or client of the user's, for async clients.

    Its pool is shared by all calls, and that of httpx 0.28.1 loses places when calls are cancelled. So none
    is cancelled: a call whose time runs out or whose caller leaves gets an error where it next sends or
    reads.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        in_process = (sender.library.MockTransport, sender.library.ASGITransport)
        self._sends_at_once = isinstance(sender.given, in_process)

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        call.sent = call.cancellable = self._sends_at_once
        trace = AsyncTrace()
        try:
            return await send_async(self._sender, request, call, trace, _PATIENCE)
        finally:
            if not call.sent and isinstance(trace.tap, AsyncTap):
                await trace.tap.aclose()

    async def close(self) -> None:
        if isinstance(self._sender, TransportSender):
            await self._sender.given.aclose()
