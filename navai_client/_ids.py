"""Ids that no other process makes: of requests, which logs show, and of executions, which run once."""

import itertools
import os
from collections.abc import Iterator


def _numbered() -> Iterator[str]:
    # Not a generator: threads share this, and a generator refuses a second one.
    return map(f"{os.urandom(8).hex()}-{{}}".format, itertools.count(1))


_request_ids = _numbered()


def new_request_id() -> str:
    """Return an ``X-Request-ID``: the random digits of this process, and the number of the request in it."""
    return next(_request_ids)


def new_uuid() -> str:
    """Return a UUID of version 4 (RFC 9562, section 5.4). ``uuid.uuid4()`` takes four times as long."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _start_anew() -> None:
    """Do not repeat the ids of the parent in a child of fork()."""
    global _request_ids  # noqa: PLW0603 - of this process alone
    _request_ids = _numbered()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork()
    os.register_at_fork(after_in_child=_start_anew)
