"""Errors of a call -> what a model is told of them, and what only a log is told."""

import logging
from typing import Any, Final

from navai_client.errors import (
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
    UnknownFunctionError,
)

__all__ = ["FAILED", "UNKNOWN_FUNCTION", "UNKNOWN_ROUTE", "cancelled", "failure_of", "timed_out"]

FAILED: Final = "Function execution failed."
UNKNOWN_FUNCTION: Final = "Unknown or disallowed function."
UNKNOWN_ROUTE: Final = "Unknown or disallowed route."
_LATE: Final = "The function did not answer in time."
_MAY_HAVE: Final = "It may have been executed nevertheless: do not repeat it before you have checked."
_HAS_NOT: Final = "It was not executed."

_SERVER_ERRORS: Final = 500

_log: Final = logging.getLogger("navai_client")


def failure_of(error: NavaiError) -> dict[str, Any]:
    """Return what the outcome of a call that raised *error* says."""
    told: dict[str, Any] = {"details": str(error)}
    match error:
        case UnknownFunctionError():
            told |= {
                "error": UNKNOWN_FUNCTION,
                "error_type": "unknown_function",
                "available_functions": error.available_functions,
            }
        case NavaiTransportError(may_have_executed=may_have):
            late = isinstance(error, NavaiTimeoutError)
            what = _LATE if late else "The backend gave no answer."
            told |= {
                "error": f"{what} {_MAY_HAVE if may_have else _HAS_NOT}",
                "error_type": "timeout" if late else "unavailable",
                "may_have_executed": may_have,
            }
        case NavaiPayloadError():
            told |= {"error": f"Invalid arguments: {error}", "error_type": "invalid_arguments"}
        case NavaiStateError():
            _log.error("A tool was called with a client that cannot be used: %s", error)
            told |= {"error": FAILED, "error_type": "unavailable"}
        case NavaiHTTPError(status_code=status) if status < _SERVER_ERRORS:
            told |= {"error": FAILED, "error_type": "failed"}
        case _:
            told |= {"error": FAILED, "error_type": "failed", "may_have_executed": True}
    return told


def timed_out(*, begun: bool) -> dict[str, Any]:
    """Return what the outcome of a call says whose time is over."""
    return {
        "error": f"{_LATE} {_MAY_HAVE if begun else _HAS_NOT}",
        "error_type": "timeout",
        "may_have_executed": begun,
    }


def cancelled(*, begun: bool) -> dict[str, Any]:
    """Return what the outcome of a call says that was ended before it gave anything."""
    return {
        "error": f"The call was cancelled. {_MAY_HAVE if begun else _HAS_NOT}",
        "error_type": "cancelled",
        "may_have_executed": begun,
    }
