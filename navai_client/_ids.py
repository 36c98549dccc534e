"""Ids that no other process makes: of requests, which logs show, and of executions, which run once."""

import itertools
import os
from typing import Final

_numbers: Final = itertools.count(1)  # threads can share it
_process = os.urandom(8).hex()


def new_request_id() -> str:
    """Return an ``X-Request-ID``: the random digits of this process, and the number of the request in it."""
    return f"{_process}-{next(_numbers)}"


def new_uuid() -> str:
    """Return a UUID of version 4 (RFC 9562, section 5.4). ``uuid.uuid4()`` takes four times as long."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _start_anew() -> None:
    """Give a child of fork() digits of its own."""
    global _process  # noqa: PLW0603 - it was the parent's
    _process = os.urandom(8).hex()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork()
    os.register_at_fork(after_in_child=_start_anew)
