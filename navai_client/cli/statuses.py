"""Exit statuses, and what an error becomes: one line with its remedy, and a status."""

from difflib import get_close_matches
from enum import IntEnum

import attrs

from navai_client.errors import (
    FunctionFailedError,
    InvalidResponseError,
    NavaiError,
    NavaiHTTPError,
    NavaiTransportError,
    UnknownFunctionError,
)

__all__ = ["Explanation", "Status", "explain"]

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_NAMES_SHOWN = 10


class Status(IntEnum):
    """What the shell is told."""

    OK = 0
    FAILED = 1  # the backend answered: the function failed, or it refused, or it is no Navai backend
    USAGE = 2  # nothing was sent: the command, an option, a setting or the installation cannot work
    UNREACHABLE = 3  # no answer, and certainly nothing was done
    UNCERTAIN = 4  # no whole answer: the backend may have done what it was asked
    INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT, as shells count
    PIPE_CLOSED = 141  # whoever read our output left: 128 + SIGPIPE


@attrs.frozen(kw_only=True)
class Explanation:
    """What an error becomes.

    Attributes:
        message: What went wrong.
        remedy: What to do about it, or None.
        status: What the shell is told.
    """

    message: str
    remedy: str | None = None
    status: Status = Status.FAILED

    def __str__(self) -> str:
        return f"{self.message.rstrip('. ')}. {self.remedy}" if self.remedy else self.message


def explain(error: NavaiError, *, acts: bool) -> Explanation:
    """Return what to say of *error*, and the status to end with.

    Args:
        error: What a call raised.
        acts: Whether the call does something when it arrives, so that "no answer" leaves that open.
    """
    message, remedy, status = str(error), None, Status.FAILED
    match error:
        case NavaiTransportError() if acts and error.may_have_executed:
            remedy, status = (
                "It may have been done all the same: look before you ask again.",
                Status.UNCERTAIN,
            )
        case NavaiTransportError():
            remedy, status = "`navai doctor` says why.", Status.UNREACHABLE
        case UnknownFunctionError():
            message, remedy = f"The backend has no function {error.function_name}", _names(error)
        case FunctionFailedError():
            message = f"{error.function_name} failed: {message}"
        case NavaiHTTPError():
            message, remedy = _http(error), _of_status(error.status_code)
        case InvalidResponseError():
            remedy = "Is this a Navai backend? `navai doctor` looks closer."
        case _:  # what cannot be sent
            status = Status.USAGE
    return Explanation(message=message, remedy=remedy, status=status)


def _http(error: NavaiHTTPError) -> str:
    text = error.error if isinstance(error.error, str) else str(error)
    if isinstance(error.details, str):
        text = f"{text.rstrip('.')}: {error.details}"
    status = f"HTTP {error.status_code}"
    return text if text == status else f"{status}: {text}"


def _of_status(status: int) -> str | None:
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return "Credentials go with --header 'Authorization: Bearer @env:NAME'."
    if status == _NOT_FOUND:
        return "Is there a Navai backend at this --url? `navai doctor` looks closer."
    return None


def _names(error: UnknownFunctionError) -> str:
    names = error.available_functions
    if close := get_close_matches(error.function_name, names, n=1):
        return f"Did you mean {close[0]}?"
    more = ", ..." if len(names) > _NAMES_SHOWN else "."
    return f"There are: {', '.join(names[:_NAMES_SHOWN])}{more}" if names else "The backend has no functions."
