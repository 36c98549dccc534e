"""Scripted failures: what shall go wrong with which of the next requests."""

import threading
from typing import Final, Literal, get_args

from attrs import define, field, frozen

from navai_client.errors import NavaiConfigError
from navai_client.server._http import BackendResponse
from navai_client.testing._journal import OPERATIONS
from navai_client.testing._recording import RecordedRequest
from navai_client.wire._decode import trim

Stage = Literal["sending", "executing", "answering"]
"""When a connection is dropped: before the request is sent, before the backend acts, or before it answers."""


@frozen
class Fault:
    """What goes wrong with one request.

    Attributes:
        delay: Seconds that pass before the backend acts.
        drop: When the connection is dropped, or None.
        answer: What is answered instead of what the backend would, or None.
    """

    delay: float = 0.0
    drop: Stage | None = None
    answer: BackendResponse | None = None

    def __attrs_post_init__(self) -> None:
        if not self.delay >= 0:
            raise NavaiConfigError(f"A delay is a number of seconds, 0 or more. Received: {self.delay}")
        if self.drop is not None and self.drop not in get_args(Stage):
            raise NavaiConfigError(f"before is one of {', '.join(get_args(Stage))}. Received: {self.drop!r}")


_NO_FAULT: Final = Fault()


@define(eq=False)
class _Entry:
    """One line of the script: which requests, how many of them, and what happens to them."""

    text: str
    fault: Fault
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

    def is_left(self) -> bool:
        return not self.optional and self.used < (1 if self.times is None else self.times)

    def usage(self) -> str:
        return f"{self.text}: {self.used} of {'any number' if self.times is None else self.times} used"


class Script:
    """What shall go wrong, in order. Each request takes the first entry that fits it and is not used up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []

    def add(
        self,
        text: str,
        fault: Fault,
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
        if operation is not None and operation not in OPERATIONS:
            raise NavaiConfigError(f"operation is one of {', '.join(OPERATIONS)}. Received: {operation!r}")
        if function is not None and operation not in (None, "execute_function"):
            raise NavaiConfigError(f"{operation} executes no function; leave out function or operation.")
        if times is not None and times < 1:
            raise NavaiConfigError(f"times is 1 or more, or None for always. Received: {times}")
        name = None if function is None else trim(function).lower()
        entry = _Entry(text, fault, operation, name, times, optional)
        with self._lock:
            self._entries.append(entry)

    def take(self, request: RecordedRequest) -> Fault:
        """Return what shall happen to *request*, and count it as having happened."""
        with self._lock:
            for entry in self._entries:
                if entry.fits(request):
                    entry.used += 1
                    return entry.fault
        return _NO_FAULT

    def left(self) -> list[str]:
        """Return the entries that should have been used and were not, in words."""
        with self._lock:
            return [entry.usage() for entry in self._entries if entry.is_left()]

    def refused(self) -> int:
        """Return how many requests never arrived, because their connection was dropped before."""
        with self._lock:
            return sum(entry.used for entry in self._entries if entry.fault.drop == "sending")
