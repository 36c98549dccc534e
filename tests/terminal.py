"""Commands where standard output and error are a terminal, as a person runs them."""

import contextlib
import os
import pty
import select
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.waiting import PATIENCE_S

# Makes standard input the terminal that controls the process, whose keys send signals.
IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


class Screen(NamedTuple):
    """A terminal with a running command.

    Attributes:
        process: The command.
        until: Reads until a text was printed, or to the end for None, and returns all that was printed.
    """

    process: subprocess.Popen[bytes]
    until: Callable[[str | None], str]


@contextlib.contextmanager
def terminal(*command: str, columns: int = 100, **environment: str) -> Iterator[Screen]:
    """Run *command* on a terminal of its own, and end it with the block if it has not ended."""
    ours, theirs = pty.openpty()
    given = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns)} | environment
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=given)
    os.close(theirs)
    printed = b""

    def until(text: str | None) -> str:
        nonlocal printed
        while text is None or text.encode() not in printed:
            assert select.select([ours], [], [], PATIENCE_S)[0], printed
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # how Linux reports that no process has the other side open
                chunk = b""
            if not chunk:
                assert text is None, printed
                break
            printed += chunk
        return printed.decode().replace("\r\n", "\n")

    try:
        yield Screen(process, until)
    finally:
        os.close(ours)  # which hangs up
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
