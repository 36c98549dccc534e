"""All exceptions that a Navai call can raise.

::

    NavaiError
    ├── NavaiConfigError (ValueError)      a base URL, path, header or option that cannot work
    ├── NavaiPayloadError (TypeError)      an argument that cannot be sent, such as a payload that is not JSON
    ├── NavaiStateError (RuntimeError)     a client used after close() or from a second event loop
    ├── NavaiTransportError (OSError)      no complete response
    │   └── NavaiTimeoutError (TimeoutError)
    ├── NavaiHTTPError                     a response outside 200..299
    │   └── UnknownFunctionError           404 that lists the available functions
    ├── InvalidResponseError               a 2xx response that breaks the contract or is too large
    └── FunctionFailedError                a response whose "ok" is not true

The first three are raised before anything is sent. ``str(error)`` is the contract's message, the same as in
the JavaScript clients. All of them can be pickled and copied without losing an attribute.
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
    """The base class of all errors of this package."""


class NavaiConfigError(NavaiError, ValueError):
    """A base URL, path, header or option cannot work. Raised where it is given."""


class NavaiPayloadError(NavaiError, TypeError):
    """An argument of a call cannot be sent. Raised before anything is sent."""


class NavaiStateError(NavaiError, RuntimeError):
    """A client was used after ``close()``, or from an event loop that it does not belong to."""


class NavaiTransportError(NavaiError, OSError):
    """No complete response arrived from the backend.

    Attributes:
        may_have_executed: Whether the backend may have acted on the call. False only if certainly no byte of
            any attempt was sent.
    """

    def __init__(self, message: str = "", *, may_have_executed: bool = True) -> None:
        super().__init__(message)
        self.may_have_executed = may_have_executed


class NavaiTimeoutError(NavaiTransportError, TimeoutError):
    """No complete response arrived within the call's timeout."""


class NavaiHTTPError(NavaiError):
    """The backend responded with a status outside 200..299.

    The message is the text of the response, or ``HTTP {status}`` if it is empty.

    Attributes:
        status_code: The HTTP status.
        body: The text of the response.
        error: The ``error`` of a JSON response, else None.
        details: The ``details`` of a JSON response, else None.
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
    """The backend does not have the function, or does not allow it: 404 with the available functions.

    Attributes:
        function_name: The name that was called.
        available_functions: The names that the backend offers.
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
    """The backend responded with 2xx, but the response breaks the contract or is too large.

    Attributes:
        status_code: The HTTP status.
    """

    def __init__(self, message: str = "", *, status_code: int = 0) -> None:
        super().__init__(message)
        self.status_code = status_code


class FunctionFailedError(NavaiError):
    """The function failed: the response's ``ok`` is not true.

    The message is the response's ``details``, else its ``error``, else ``Backend function failed.``

    Attributes:
        function_name: The name of the function.
        error: The response's ``error``, else None.
        details: The response's ``details``, else None.
    """

    def __init__(
        self, message: str = "", *, function_name: str = "", error: Any = None, details: Any = None
    ) -> None:
        super().__init__(message)
        self.function_name = function_name
        self.error = error
        self.details = details
