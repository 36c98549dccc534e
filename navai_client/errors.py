"""Everything that a Navai call can raise, and nothing else.

::

    NavaiError
    ├── NavaiConfigError (ValueError)      a base URL, path, header or option that cannot work
    ├── NavaiPayloadError (TypeError)      an argument that cannot be sent, such as a payload that is not JSON
    ├── NavaiStateError (RuntimeError)     a client used after close() or from a second event loop
    ├── NavaiTransportError (OSError)      no whole answer came
    │   └── NavaiTimeoutError (TimeoutError)
    ├── NavaiHTTPError                     an answer outside 200..299
    │   └── UnknownFunctionError           404 that lists the functions that are available
    ├── InvalidResponseError               a 2xx answer that breaks the contract or is too large
    └── FunctionFailedError                an answer whose "ok" is not true

The first three are raised before anything is sent. ``str(error)`` is the message of the contract, the
same that the JavaScript clients give. All of them can be pickled and copied without losing an attribute.
"""

from typing import Any

__all__ = [
    "FunctionFailedError",
    "InvalidResponseError",
    "NavaiConfigError",
    "NavaiError",
    "NavaiHTTPError",
    "NavaiPayloadError",
    "NavaiStateError",
    "NavaiTimeoutError",
    "NavaiTransportError",
    "UnknownFunctionError",
]


class NavaiError(Exception):
    """The base of all errors of this package."""


class NavaiConfigError(NavaiError, ValueError):
    """A base URL, path, header or option that cannot work. Raised where it is given."""


class NavaiPayloadError(NavaiError, TypeError):
    """An argument of a call that cannot be sent. Raised before anything is sent."""


class NavaiStateError(NavaiError, RuntimeError):
    """A client was used after ``close()``, or from an event loop that it does not belong to."""


class NavaiTransportError(NavaiError, OSError):
    """No whole answer came from the backend.

    Attributes:
        may_have_executed: Whether the backend may have acted on the call. False only when it is certain
            that no byte of any attempt was sent.
    """

    def __init__(self, message: str = "", *, may_have_executed: bool = True) -> None:
        super().__init__(message)
        self.may_have_executed = may_have_executed


class NavaiTimeoutError(NavaiTransportError, TimeoutError):
    """No whole answer came within the call's timeout."""


class NavaiHTTPError(NavaiError):
    """The backend answered with a status outside 200..299.

    The message is the text of the answer, or ``HTTP {status}`` where there is none.

    Attributes:
        status_code: The HTTP status.
        body: The text of the answer.
        error: The ``error`` of a JSON answer, else None.
        details: The ``details`` of a JSON answer, else None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int = 0,
        body: str = "",
        error: Any = None,
        details: Any = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body = body
        self.error = error
        self.details = details


class UnknownFunctionError(NavaiHTTPError):
    """The backend does not have the function, or does not allow it: 404 with the functions it has.

    Attributes:
        function_name: The name that was asked for.
        available_functions: The names that the backend offers instead.
    """

    def __init__(
        self,
        message: str = "",
        *,
        function_name: str = "",
        available_functions: tuple[str, ...] = (),
        status_code: int = 404,
        body: str = "",
        error: Any = None,
        details: Any = None,
    ) -> None:
        super().__init__(message, status_code=status_code, body=body, error=error, details=details)
        self.function_name = function_name
        self.available_functions = available_functions


class InvalidResponseError(NavaiError):
    """The backend answered 2xx with something that the contract does not know, or with too much.

    Attributes:
        status_code: The HTTP status.
    """

    def __init__(self, message: str = "", *, status_code: int = 0) -> None:
        super().__init__(message)
        self.status_code = status_code


class FunctionFailedError(NavaiError):
    """The function was found but failed: the answer's ``ok`` is not true.

    The message is the answer's ``details``, else its ``error``, else ``Backend function failed.``

    Attributes:
        function_name: The name of the function.
        error: The answer's ``error``, else None.
        details: The answer's ``details``, else None.
    """

    def __init__(
        self, message: str = "", *, function_name: str = "", error: Any = None, details: Any = None
    ) -> None:
        super().__init__(message)
        self.function_name = function_name
        self.error = error
        self.details = details
