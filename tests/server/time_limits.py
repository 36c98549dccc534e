"""Time limits of calls that pass when a test says so.

One that is short enough to wait for could pass before a busy machine has begun the function in its thread.
"""

import math

from navai_client.server import NavaiBackend
from navai_client.server._calls import RunningCall
from tests.waiting import until

__all__ = ["NEVER_S", "end_time_limits"]

NEVER_S = 3600.0  # a limit that no test waits for


def end_time_limits(backend: NavaiBackend, callers: int = 1) -> None:
    """Once that many *callers* wait for calls with a time limit, let the time of these calls be over.

    It is for every thread but that of the event loop.
    """
    invoker = backend.invoker

    def limited() -> list[RunningCall]:
        return [call for call in tuple(invoker._running) if call.deadline < math.inf]

    def end() -> None:
        for call in limited():
            call.deadline = call.loop.time()
        invoker._end_late_calls()

    until(lambda: sum(len(call._waiting or ()) for call in limited()) == callers)
    limited()[0].loop.call_soon_threadsafe(end)
