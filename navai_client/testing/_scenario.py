"""What happens to each request that a backend under test gets: it is noted, then answered or made to fail."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import final

from attrs import frozen

from navai_client.server._http import BackendResponse
from navai_client.server._settings import ServerSettings
from navai_client.testing._failures import Fault, Script
from navai_client.testing._journal import Journal, read_request
from navai_client.testing._recording import RecordedRequest


@frozen(eq=False)
class Arrival:
    """A request, and what the script has in store for it."""

    request: RecordedRequest
    fault: Fault

    @property
    def is_refused(self) -> bool:
        """Whether it never reaches the backend."""
        return self.fault.drop == "sending"


@final
class Scenario:
    """The script of one backend, and the journal of what came.

    Attributes:
        journal: Every request that arrived.
        script: What shall go wrong.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.journal: Journal = Journal()
        self.script: Script = Script()

    def receive(self, method: str, path: str, headers: Mapping[bytes, bytes], content: bytes) -> Arrival:
        """Note a request, and take from the script what shall happen to it."""
        request = read_request(self._settings, method, path, headers, content)
        arrival = Arrival(request, self.script.take(request))
        if not arrival.is_refused:
            self.journal.write(request)
        return arrival

    async def play(
        self, arrival: Arrival, answer: Callable[[], Awaitable[BackendResponse]]
    ) -> BackendResponse | None:
        """Return what *answer* gives, or what the script says; None when that drops the connection."""
        request, fault = arrival.request, arrival.fault
        if fault.delay:
            await asyncio.sleep(fault.delay)
        given = None
        if fault.drop != "executing":
            given = await answer() if fault.answer is None else fault.answer
        if given is None or fault.drop is not None:
            request.outcome = f"connection dropped before {fault.drop} (scripted)"
            return None
        request.status = given.status
        request.outcome = f"{given.status}{' (scripted)' if fault.answer is not None else ''}"
        return given
