"""Scripted failures: what goes wrong with which of the next requests to a backend under test."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Final, Literal, get_args

from attrs import define, field, frozen

from navai_client.errors import NavaiConfigError
from navai_client.server._http import BackendResponse
from navai_client.testing._recording import RecordedRequest
from navai_client.wire._decode import trim
from navai_client.wire._operations import EXECUTE_FUNCTION, OPERATIONS

Stage = Literal["sending", "executing", "answering"]
"""When a connection is dropped: before the request is sent, before the backend acts, before it responds."""


@frozen
class Failure:
    """What goes wrong with one request.

    Attributes:
        delay: Seconds that pass before the backend acts.
        drop: When the connection is dropped, or None.
        response: The response instead of the backend's own, or None.
    """

    delay: float = 0.0
    drop: Stage | None = None
    response: BackendResponse | None = None

    def __attrs_post_init__(self) -> None:
        if not self.delay >= 0:
            raise NavaiConfigError(f"A delay is a number of seconds, 0 or more. Received: {self.delay}")
        if self.drop is not None and self.drop not in get_args(Stage):
            raise NavaiConfigError(f"before is one of {', '.join(get_args(Stage))}. Received: {self.drop!r}")


_NO_FAILURE: Final = Failure()


@frozen(eq=False)
class Arrival:
    """A request, and what goes wrong with it."""

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


@define(eq=False)
class _Entry:
    """Which requests, how many of them, and what goes wrong with each."""

    text: str
    failure: Failure
    operation: str | None
    function: str | None
    times: int | None
    optional: bool
    used: int = field(default=0, init=False)

    def fits(self, request: RecordedRequest) -> bool:
        return (
            (self.times is None or self.used < self.times)
            and self.operation in (None, request.operation)
            and self.function in (None, request.function_name)
        )

    def is_unused(self) -> bool:
        return not self.optional and self.used < (1 if self.times is None else self.times)

    def usage(self) -> str:
        return f"{self.text}: {self.used} of {'any number' if self.times is None else self.times} used"


class ScriptedFailures:
    """What goes wrong, in order. Each request takes the first entry that fits it and is not used up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []

    def add(
        self,
        text: str,
        failure: Failure,
        *,
        operation: str | None,
        function: str | None,
        times: int | None,
        optional: bool,
    ) -> None:
        """Add an entry that messages call *text*.

        Raises:
            NavaiConfigError: If no request could ever fit it.
        """
        names = [each.name for each in OPERATIONS]
        if operation is not None and operation not in names:
            raise NavaiConfigError(f"operation is one of {', '.join(names)}. Received: {operation!r}")
        if function is not None and operation not in (None, EXECUTE_FUNCTION.name):
            raise NavaiConfigError(f"{operation} executes no function; leave out function or operation.")
        if times is not None and times < 1:
            raise NavaiConfigError(f"times is 1 or more, or None for always. Received: {times}")
        name = None if function is None else trim(function).lower()
        entry = _Entry(text, failure, operation, name, times, optional)
        with self._lock:
            self._entries.append(entry)

    def take(self, request: RecordedRequest) -> Failure:
        """Return what goes wrong with *request*, and count it as used."""
        with self._lock:
            for entry in self._entries:
                if entry.fits(request):
                    entry.used += 1
                    return entry.failure
        return _NO_FAILURE

    def unused(self) -> list[str]:
        """Return the entries that should have been used and were not, in words."""
        with self._lock:
            return [entry.usage() for entry in self._entries if entry.is_unused()]

    def refused(self) -> int:
        """Return how many requests never arrived, because their connection was dropped before."""
        with self._lock:
            return sum(entry.used for entry in self._entries if entry.failure.drop == "sending")
