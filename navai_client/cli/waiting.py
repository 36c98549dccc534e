"""A sign of life on the terminal while something takes long. Scripts never see it."""

import contextlib
import sys
import threading
from collections.abc import Iterator

from navai_client.cli.output import is_terminal

__all__ = ["waiting"]

_PATIENCE = 0.5  # seconds before it shows: what is fast needs no spinner, nor the library that draws it


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show *text* with a spinner on standard error, if it is a terminal and the block takes long."""
    if not is_terminal(sys.stderr):
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_show, args=(text, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()  # what is printed next comes after the spinner's line is wiped


def _show(text: str, done: threading.Event) -> None:
    if done.wait(_PATIENCE):
        return
    from rich.console import Console  # noqa: PLC0415 - costs more than most calls take

    with Console(stderr=True).status(text):
        done.wait()
