"""Exit statuses, and what an error becomes: one line with a remedy, and a status."""

import re
from difflib import get_close_matches
from enum import IntEnum
from http import HTTPStatus

import attrs

from navai_client.errors import (
    ApprovalPendingError,
    FunctionFailedError,
    InvalidResponseError,
    NavaiError,
    NavaiHTTPError,
    NavaiTransportError,
    OutcomeUnknownError,
    UnknownFunctionError,
)

_REDIRECTS = range(300, 400)
_PAGE = re.compile(
    r"\A\s*<(?:!doctype html|html)\b(?:.{0,2000}?<title>(?P<title>[^<]{1,200})</title>)?",
    re.IGNORECASE | re.DOTALL,
)
_UNCERTAIN = "It may have been executed all the same: check before you try again"
_KEYLESS = "Missing API key."  # the contract's text for a backend without a key
KEYLESS = "The backend has no OpenAI key"
GIVE_IT_ONE = "Set OPENAI_API_KEY where the backend runs, and start it again."
_NAMES_SHOWN = 10  # of the backend's functions, when none is close to the one asked for


class Status(IntEnum):
    """The exit statuses."""

    OK = 0
    FAILED = 1  # the backend responded: the function failed, it refused, or it is not a Navai backend
    USAGE = 2  # nothing was sent: the command, an option, a setting or the installation cannot work
    UNREACHABLE = 3  # no response, and certainly nothing was executed
    UNCERTAIN = 4  # there is no result, and the backend may have executed the call
    WAITING = 5  # a person has to approve the call first; nothing was executed
    INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT, as shells count
    PIPE_CLOSED = 141  # the reader of the output is gone: 128 + SIGPIPE


@attrs.frozen(kw_only=True)
class Explanation:
    """What an error becomes.

    Attributes:
        message: What went wrong.
        remedy: What to do about it, or None.
        status: The exit status.
    """

    message: str
    remedy: str | None = None
    status: Status = Status.FAILED

    def __str__(self) -> str:
        return f"{self.message.rstrip('. ')}. {self.remedy}" if self.remedy else self.message


def uncertain(key: str | None) -> str:
    """Return what to do about a call that may have been executed, sent with an idempotency *key* or None."""
    if key is None:
        return f"{_UNCERTAIN}."
    return (
        f"{_UNCERTAIN}. The same command with --idempotency-key {key} asks what came of it; a backend that "
        "does not know such keys executes it once more."
    )


def explain(error: NavaiError, *, acts: bool, key: str | None = None) -> Explanation:
    """Return what to say about *error*, and the exit status.

    Args:
        error: What a call raised.
        acts: Whether the call has an effect, so that without a response its outcome is unknown.
        key: The idempotency key of the call, if it has one.
    """
    message, remedy, status = str(error), None, Status.FAILED
    match error:
        case NavaiTransportError() if acts and error.may_have_executed:
            remedy, status = uncertain(key), Status.UNCERTAIN
        case OutcomeUnknownError():
            message, remedy, status = _http(error), uncertain(key), Status.UNCERTAIN
        case ApprovalPendingError():
            message, remedy, status = f"{error.function_name}: {message}", _waiting(error), Status.WAITING
        case FunctionFailedError(may_have_executed=True):
            message, remedy, status = f"{error.function_name}: {message}", uncertain(key), Status.UNCERTAIN
        case NavaiTransportError():
            remedy, status = "`navai doctor` says why.", Status.UNREACHABLE
        case UnknownFunctionError():
            message, remedy = f"The backend has no function {error.function_name}", _names(error)
        case FunctionFailedError():
            message = f"{error.function_name} failed: {message}"
        case NavaiHTTPError():
            message, remedy = _http(error), _http_remedy(error)
        case InvalidResponseError():
            remedy = "Is this a Navai backend? `navai doctor` looks closer."
        case _:  # what cannot be sent
            status = Status.USAGE
    return Explanation(message=message, remedy=remedy, status=status)


def _waiting(error: ApprovalPendingError) -> str:
    which = "" if error.approval_id is None else f" {error.approval_id}"
    if error.idempotency_key is None:
        return f"It waits for approval{which}. Do not repeat it: that would be another request."
    key = f"--idempotency-key {error.idempotency_key}"
    return f"It waits for approval{which}. The same command with {key} prints what came of it."


def _is_keyless(error: NavaiHTTPError) -> bool:
    return isinstance(error.error, str) and error.error.startswith(_KEYLESS)


def _http(error: NavaiHTTPError) -> str:
    if _is_keyless(error):
        return KEYLESS
    if error.status_code in _REDIRECTS and "location" in error.headers:
        return str(error).replace("base_url", "--url").replace("in headers", "in --header")
    text = error.error if isinstance(error.error, str) else str(error)
    if page := _PAGE.search(error.body):  # its markup says nothing to a person
        text = f"a page of HTML{', ' if page['title'] else ''}{page['title'] or ''}"
    if isinstance(error.details, str):
        text = f"{text.rstrip('.')}: {error.details}"
    status = f"HTTP {error.status_code}"
    return text if text == status else f"{status}: {text}"


def _http_remedy(error: NavaiHTTPError) -> str | None:
    status = error.status_code
    if _is_keyless(error):
        return GIVE_IT_ONE
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "Credentials go with --header 'Authorization: Bearer @env:NAME'."
    if status == HTTPStatus.NOT_FOUND or _PAGE.match(error.body):
        return "Is there a Navai backend at this --url? `navai doctor` looks closer."
    return None


def _names(error: UnknownFunctionError) -> str:
    names = error.available_functions
    if close := get_close_matches(error.function_name, names, n=1):
        return f"Did you mean {close[0]}?"
    more = ", ..." if len(names) > _NAMES_SHOWN else "."
    return f"It has: {', '.join(names[:_NAMES_SHOWN])}{more}" if names else "It has no functions."
