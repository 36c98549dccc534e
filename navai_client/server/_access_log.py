"""The access log: one record for each answer, with nothing secret in it and nothing forged.

Method and path come from outside: they are written as JSON texts in ASCII, so that no line break or control
character of theirs reaches a log. Headers, queries, payloads and results are never written.
"""

import asyncio
import functools
import json
import logging
import time
from typing import Final, Protocol, TextIO

from navai_client.server._http import BackendRequest, BackendResponse

_log: Final = logging.getLogger("navai_client.server.access")

_LONGEST_PATH: Final = 200
_DELAY_S: Final = 0.1
_MOST_BYTES: Final = 3500
"""A text of up to 4096 bytes (PIPE_BUF), written at once, is never mixed with other processes' in a pipe."""


class AccessLog(Protocol):
    """Keeps a record of answers."""

    def write(self, request: BackendRequest, answer: BackendResponse, seconds: float) -> None:
        """Record that *request* was given *answer* after *seconds*."""
        ...

    def flush(self) -> None:
        """Hand over what is held back."""
        ...


class AccessRecords:
    """Writes to the logger ``navai_client.server.access`` at INFO: ``name=value``, and ``extra`` fields."""

    def write(self, request: BackendRequest, answer: BackendResponse, seconds: float) -> None:
        """Record that *request* was given *answer* after *seconds*."""
        if not _log.isEnabledFor(logging.INFO):
            return
        duration_ms = round(seconds * 1000, 2)
        fields = {
            "method": request.method[:_LONGEST_PATH],
            "path": request.path[:_LONGEST_PATH],
            "status": answer.status,
            "duration_ms": duration_ms,
            "request_id": request.request_id,
            "function": answer.function,
        }
        _log.info(
            "method=%s path=%s status=%d duration_ms=%s request_id=%s function=%s",
            _quoted(request.method),
            _quoted(request.path),
            answer.status,
            duration_ms,
            request.request_id,
            answer.function or "-",
            extra={"navai": fields},
        )

    def flush(self) -> None:
        """Hold nothing back."""


class AccessLines:
    """The same as lines of text, several written at once: for a process whose log is one stream.

    A line is held back for at most a tenth of a second. What is held back when the process is killed is lost.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to *stream*."""
        self._stream = stream
        self._lines: list[str] = []
        self._bytes = 0
        self._timed = False
        self._second = -1
        self._stamp = ""

    def write(self, request: BackendRequest, answer: BackendResponse, seconds: float) -> None:
        """Record that *request* was given *answer* after *seconds*."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        line = "%s,%03d%s%.2f request_id=%s function=%s\n" % (  # noqa: UP031 - the fastest way by far
            self._stamp,
            (now - second) * 1000,
            _beginning(request.method, request.path, answer.status),
            seconds * 1000,
            request.request_id,
            answer.function or "-",
        )
        if not self._timed:
            self._timed = True
            asyncio.get_running_loop().call_later(_DELAY_S, self._flush_in_time)
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes > _MOST_BYTES:
            self.flush()

    def _flush_in_time(self) -> None:
        self._timed = False
        self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        if not self._lines:
            return
        text = "".join(self._lines)
        self._lines.clear()
        self._bytes = 0
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return  # nobody reads the log any more: no reason to stop serving


@functools.lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return json.dumps(text[:_LONGEST_PATH])


@functools.lru_cache(maxsize=256)
def _beginning(method: str, path: str, status: int) -> str:
    return f" INFO {_log.name} method={_quoted(method)} path={_quoted(path)} status={status} duration_ms="
