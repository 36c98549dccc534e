"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable
from typing import Any, Final

__all__ = ["PATIENCE_S", "until"]

PATIENCE_S: Final = 60.0  # for what takes one second on an idle machine


def until(condition: Callable[[], Any]) -> None:
    """Block, including the event loop, until *condition* returns something true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "It did not happen in time."
        time.sleep(0.005)
