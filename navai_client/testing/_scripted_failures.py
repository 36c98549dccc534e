"""Scripted failures: what fails, and for which of the next requests to a test backend."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypedDict, get_args

from attrs import converters, define, field, frozen

from navai_client.errors import NavaiConfigError
from navai_client.server._http import BackendResponse
from navai_client.testing._recording import RecordedRequest, lookup_name
from navai_client.wire._operations import EXECUTE_FUNCTION, WITH_EXTENSIONS

Stage = Literal["sending", "executing", "answering"]
"""When a connection is dropped: before the request is sent, before the backend acts, before it responds."""


class Which(TypedDict, total=False):
    """The fields that select the requests of a failure; ``fail_next`` documents them."""

    function: str | None
    operation: str | None
    times: int | None
    optional: bool


@define(eq=False, kw_only=True)
class Failure:
    """A failure and the requests that it applies to, which the fields of ``Which`` select.

    Attributes:
        call: The name and the arguments of the method that scripted it.
        delay: Seconds that pass before the backend acts.
        drop: When the connection is dropped, or None.
        response: The response instead of the backend's own, or None.
        used: How often it was used.
    """

    call: tuple[str, Mapping[str, Any]]
    delay: float = 0.0
    drop: Stage | None = None
    response: BackendResponse | None = None
    function: str | None = field(default=None, converter=converters.optional(lookup_name))
    operation: str | None = None
    times: int | None = 1
    optional: bool = False
    used: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        operations = [each.name for each in WITH_EXTENSIONS]
        if not self.delay >= 0:
            raise NavaiConfigError(f"A delay is a number of seconds, 0 or more. Received: {self.delay}")
        if self.drop is not None and self.drop not in get_args(Stage):
            raise NavaiConfigError(f"before is one of {', '.join(get_args(Stage))}. Received: {self.drop!r}")
        if self.operation is not None and self.operation not in operations:
            raise NavaiConfigError(
                f"operation is one of {', '.join(operations)}. Received: {self.operation!r}"
            )
        if self.function is not None and self.operation not in (None, EXECUTE_FUNCTION.name):
            raise NavaiConfigError(f"{self.operation} executes no function; leave out function or operation.")
        if self.times is not None and self.times < 1:
            raise NavaiConfigError(f"times is 1 or more, or None for always. Received: {self.times}")

    def fits(self, request: RecordedRequest) -> bool:
        """Return whether *request* is one of its requests, and it is not used up."""
        return (
            (self.times is None or self.used < self.times)
            and self.operation in (None, request.operation)
            and self.function in (None, request.function_name)
        )

    def is_unused(self) -> bool:
        """Return whether it should have been used, and was not, or not as often."""
        return not self.optional and self.used < (1 if self.times is None else self.times)

    def usage(self) -> str:
        """Return the call that scripted it and how often it was used, for messages."""
        method, own = self.call
        arguments = {**own, "function": self.function, "operation": self.operation}
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items() if value is not None)
        return f"{method}({given}): {self.used} of {'any number' if self.times is None else self.times} used"


_NONE: Final = Failure(call=("", {}))


@frozen(eq=False)
class Arrival:
    """A request, and its scripted failure."""

    request: RecordedRequest
    failure: Failure

    @property
    def is_refused(self) -> bool:
        """Whether it never reaches the backend."""
        return self.failure.drop == "sending"

    async def respond(self, backend: Callable[[], Awaitable[BackendResponse]]) -> BackendResponse | None:
        """Return the response of *backend*, or the scripted one; None if the connection is dropped."""
        request, failure = self.request, self.failure
        if failure.delay:
            await asyncio.sleep(failure.delay)
        response = failure.response
        if response is None and failure.drop != "executing":
            response = await backend()
        if response is None or failure.drop is not None:
            request.outcome = f"connection dropped before {failure.drop} (scripted)"
            return None
        request.status = response.status
        request.outcome = (
            str(response.status) if failure.response is None else f"{response.status} (scripted)"
        )
        return response


class ScriptedFailures:
    """The scripted failures, in order. Each request takes the first one that fits it and is not used up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: list[Failure] = []

    def add(self, failure: Failure) -> None:
        with self._lock:
            self._failures.append(failure)

    def take(self, request: RecordedRequest) -> Failure:
        """Return the failure for *request*, and count it as used."""
        with self._lock:
            for failure in self._failures:
                if failure.fits(request):
                    failure.used += 1
                    return failure
        return _NONE

    def unused(self) -> list[str]:
        """Return the failures that should have been used and were not, in words."""
        with self._lock:
            return [failure.usage() for failure in self._failures if failure.is_unused()]

    def refused(self) -> int:
        """Return how many requests never arrived, because their connection was dropped before."""
        with self._lock:
            return sum(failure.used for failure in self._failures if failure.drop == "sending")
