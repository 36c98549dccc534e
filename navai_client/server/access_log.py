"""The access log: one record for each answer, with nothing secret in it and nothing forged."""

import json
import logging
from typing import Final

from navai_client.server.messages import Answer, BackendRequest

__all__ = ["AccessLog"]

_log: Final = logging.getLogger("navai_client.server.access")

_LONGEST_PATH: Final = 200


class AccessLog:
    """Writes to the logger ``navai_client.server.access`` at INFO, as ``name=value`` and as ``extra`` fields.

    Method and path come from outside: they are written as JSON texts in ASCII, so that no line break or
    control character of theirs reaches a log. Headers, queries, payloads and results are never written.
    """

    def write(self, request: BackendRequest, answer: Answer, seconds: float) -> None:
        """Record that *request* was given *answer* after *seconds*."""
        if not _log.isEnabledFor(logging.INFO):
            return
        path = json.dumps(request.path[:_LONGEST_PATH])
        method = json.dumps(request.method[:_LONGEST_PATH])
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
            method,
            path,
            answer.status,
            duration_ms,
            request.request_id,
            answer.function or "-",
            extra={"navai": fields},
        )
