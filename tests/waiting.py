"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable
from typing import IO, Any, Final

__all__ = ["PATIENCE_S", "until", "until_line"]

PATIENCE_S: Final = 60.0  # for what takes one second on an idle machine


def until(condition: Callable[[], Any]) -> None:
    """Block, including the event loop, until *condition* returns something true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "It did not happen in time."
        time.sleep(0.005)


def until_line(stream: IO[str], text: str) -> str:
    """Read what a process writes to *stream*, up to the first line with *text*, and return that line."""
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"The process ended before it wrote {text!r}.")
