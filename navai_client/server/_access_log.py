"""The access log: one record for each response, without secrets, and safe against forged lines.

The method and path come from outside. They are written as JSON strings in ASCII, so that no line break or
control character in them reaches a log. Headers, queries, payloads and results are never written.
"""

import asyncio
import datetime as dt
import functools
import json
import logging
import time
from typing import Any, Final, Protocol, TextIO

from navai_client.server._http import BackendRequest, BackendResponse

_log: Final = logging.getLogger("navai_client.server.access")

LONGEST_PATH: Final = 200  # characters: beyond them, a path from outside would only fill the log
_DELAY_S: Final = 0.1  # unnoticeable to a person who watches the log
# POSIX keeps a write of up to PIPE_BUF bytes, 4096 on Linux, apart from those of other processes.
_MAX_BUFFERED_BYTES: Final = 4096


class AccessLog(Protocol):
    """Records responses."""

    def write(self, request: BackendRequest, response: BackendResponse, seconds: float) -> None:
        """Record that *request* got *response* after *seconds*."""
        ...

    def flush(self) -> None:
        """Write what is buffered."""
        ...


class AccessRecords:
    """Writes to the logger ``navai_client.server.access`` at INFO: ``name=value``, and ``extra`` fields."""

    def write(self, request: BackendRequest, response: BackendResponse, seconds: float) -> None:
        if not _log.isEnabledFor(logging.INFO):
            return
        fields = _fields(request, response, seconds)
        _log.info(
            "method=%s path=%s status=%d duration_ms=%s request_id=%s function=%s%s",
            _quoted(request.method),
            _quoted(request.path),
            response.status,
            fields["duration_ms"],
            request.request_id,
            response.function or "-",
            _principal_of(request),
            extra={"navai": fields},
        )

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


class JsonFormatter(logging.Formatter):
    """Makes one JSON object of a record, in the form of the lines of ``AccessLines``.

    Args:
        messages: Makes the message, with the traceback if there is one.
    """

    def __init__(self, messages: logging.Formatter) -> None:
        super().__init__()
        self._messages = messages

    def format(self, record: logging.LogRecord) -> str:
        return _json_line(
            record.created, record.levelname, record.name, {"message": self._messages.format(record)}
        )


class AccessLines:
    """Writes the same as lines of text, several at once: for a process whose log is one stream.

    A line is buffered for at most a tenth of a second. Lines in the buffer are lost if the process is killed.
    """

    def __init__(self, stream: TextIO, *, as_json: bool = False) -> None:
        """Write to *stream*, as ``name=value`` or as JSON objects."""
        self._stream = stream
        self._line_of = self._json if as_json else self._text
        self._lines: list[str] = []
        self._bytes = 0
        self._timed = False
        self._second = -1
        self._stamp = ""

    def write(self, request: BackendRequest, response: BackendResponse, seconds: float) -> None:
        line = self._line_of(request, response, seconds)
        if self._bytes + len(line) > _MAX_BUFFERED_BYTES:
            self.flush()
        if not self._timed:
            self._timed = True
            asyncio.get_running_loop().call_later(_DELAY_S, self._flush_in_time)
        self._lines.append(line)
        self._bytes += len(line)

    @staticmethod
    def _json(request: BackendRequest, response: BackendResponse, seconds: float) -> str:
        fields = _fields(request, response, seconds)
        return _json_line(time.time(), "INFO", _log.name, fields) + "\n"

    def _text(self, request: BackendRequest, response: BackendResponse, seconds: float) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return "%s,%03d%s%.2f request_id=%s function=%s%s\n" % (  # noqa: UP031 - the fastest way by far
            self._stamp,
            (now - second) * 1000,
            _beginning(request.method, request.path, response.status),
            seconds * 1000,
            request.request_id,
            response.function or "-",
            _principal_of(request),
        )

    def _flush_in_time(self) -> None:
        self._timed = False
        self.flush()

    def flush(self) -> None:
        if not self._lines:
            return
        text = "".join(self._lines)
        self._lines.clear()
        self._bytes = 0
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return  # a log without a reader does not stop the server


def _fields(request: BackendRequest, response: BackendResponse, seconds: float) -> dict[str, Any]:
    return {
        "method": request.method[:LONGEST_PATH],
        "path": request.path[:LONGEST_PATH],
        "status": response.status,
        "duration_ms": round(seconds * 1000, 2),
        "request_id": request.request_id,
        "function": response.function,
        "principal": request.principal and request.principal.id[:LONGEST_PATH],
    }


def _json_line(when: float, level: str, logger: str, fields: dict[str, Any]) -> str:
    stamp = dt.datetime.fromtimestamp(when, dt.UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": stamp, "level": level, "logger": logger, **fields}, separators=(",", ":"))


@functools.lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return json.dumps(text[:LONGEST_PATH])


def _principal_of(request: BackendRequest) -> str:
    return "" if request.principal is None else f" principal={_quoted(request.principal.id)}"


@functools.lru_cache(maxsize=256)
def _beginning(method: str, path: str, status: int) -> str:
    return f" INFO {_log.name} method={_quoted(method)} path={_quoted(path)} status={status} duration_ms="
