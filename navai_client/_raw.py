"""The operations of a client that return the response beside the value."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, final

from navai_client.errors import Headers
from navai_client.models import RawResponse
from navai_client.wire._exchange import Exchange

if TYPE_CHECKING:
    from navai_client.client import AsyncNavaiBackendClient, NavaiBackendClient

T = TypeVar("T")
P = ParamSpec("P")


def with_response(value: T, exchange: Exchange[T]) -> T:
    """Return *value* in a ``RawResponse``, which the types below declare, with the response of *exchange*."""
    response = exchange.response
    raw = RawResponse(
        value=value,
        status_code=None if response is None else response.status,
        headers=Headers({}) if response is None else Headers(response.headers),
        request_id=exchange.answered_id,
        elapsed=exchange.elapsed,
        attempts=exchange.attempts,
    )
    return cast("T", raw)


def _raw(method: Callable[P, T]) -> Callable[P, RawResponse[T]]:
    return cast("Callable[P, RawResponse[T]]", method)


def _raw_async(
    method: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
    return cast("Callable[P, Coroutine[Any, Any, RawResponse[T]]]", method)


@final
class RawOperations:
    """The operations of a client, which return a ``RawResponse``. Their arguments are those of the client."""

    def __init__(self, client: "NavaiBackendClient") -> None:
        self.create_client_secret = _raw(client.create_client_secret)
        self.list_functions = _raw(client.list_functions)
        self.execute_function = _raw(client.execute_function)
        self.cancel_execution = _raw(client.cancel_execution)
        self.synthesize_speech = _raw(client.synthesize_speech)


@final
class AsyncRawOperations:
    """The operations of an async client, which return a ``RawResponse``, as ``RawOperations`` do."""

    def __init__(self, client: "AsyncNavaiBackendClient") -> None:
        self.create_client_secret = _raw_async(client.create_client_secret)
        self.list_functions = _raw_async(client.list_functions)
        self.execute_function = _raw_async(client.execute_function)
        self.cancel_execution = _raw_async(client.cancel_execution)
        self.synthesize_speech = _raw_async(client.synthesize_speech)
