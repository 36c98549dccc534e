"""Waiting for what another thread or process does."""

import asyncio
import time
from collections.abc import Callable
from typing import IO, Any, Final

__all__ = ["PATIENCE_S", "SHORT_S", "Clock", "pass_time", "until", "until_async", "until_line"]

PATIENCE_S: Final = 60.0  # for what takes one second on an idle machine
SHORT_S: Final = 2.0  # for a deadline that a test waits for, after something that takes milliseconds


class Clock:
    """``time.monotonic``, some seconds ahead: a deadline that passes when a test says so.

    Attributes:
        ahead: The seconds.
    """

    def __init__(self) -> None:
        self.ahead = 0.0
        self._read = time.monotonic

    def __call__(self) -> float:
        """Return the time."""
        return self._read() + self.ahead


def pass_time(seconds: float) -> None:
    """Put the clock of the running event loop forward by *seconds*.

    So a time limit passes when the test says so, and before that nothing is too slow for it.
    """
    loop = asyncio.get_running_loop()
    real = loop.time
    loop.time = lambda: real() + seconds  # type: ignore[method-assign]


def until(condition: Callable[[], Any]) -> None:
    """Block, including the event loop, until *condition* returns something true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "It did not happen in time."
        time.sleep(0.005)


async def until_async(condition: Callable[[], Any]) -> None:
    """Let the event loop run until *condition* returns something true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what it waits for signals nothing
            await asyncio.sleep(0.001)


def until_line(stream: IO[str], text: str) -> str:
    """Read what a process writes to *stream*, up to the first line with *text*, and return that line."""
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"The process ended before it wrote {text!r}.")
