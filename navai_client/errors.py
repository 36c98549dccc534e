"""All exceptions that a Navai call can raise.

::

    NavaiError
    ├── NavaiConfigError (ValueError)      a base URL, path, header or option that cannot work
    ├── NavaiPayloadError (TypeError)      an argument that cannot be sent, such as a payload that is not JSON
    ├── NavaiStateError (RuntimeError)     a client used after close() or from a second event loop
    ├── NavaiTransportError (OSError)      no complete response
    │   └── NavaiTimeoutError (TimeoutError)
    ├── NavaiHTTPError                     a response outside 200..299
    │   ├── UnknownFunctionError           404 that lists the available functions
    │   └── OutcomeUnknownError            the function may have been executed, but there is no result
    ├── ApprovalPendingError               the call waits for the approval of a person; it has not run
    ├── InvalidResponseError               a 2xx response that breaks the contract, is too large or foreign
    └── FunctionFailedError                a response whose "ok" is not true

The first three are raised before anything is sent. ``str(error)`` is the contract's message, the same as in
the JavaScript clients; over 8,192 characters it is cut, and says so. All of them can be pickled and copied
without losing an attribute.

What a call raises has notes (``__notes__``, PEP 678), which tracebacks show below the message: the request,
its status, its attempts and its id, and what a response looks like that no Navai backend sends.
"""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = [
    "ApprovalPendingError",
    "FunctionFailedError",
    "InvalidResponseError",
    "NavaiConfigError",
    "NavaiError",
    "NavaiHTTPError",
    "NavaiPayloadError",
    "NavaiStateError",
    "NavaiTimeoutError",
    "NavaiTransportError",
    "OutcomeUnknownError",
    "UnknownFunctionError",
]


class Headers(Mapping[str, str]):
    """The headers of a response. Names are case-insensitive (RFC 9110, section 5.1).

    The repr does not show the values, because they can be secret.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name.lower(): value for name, value in values.items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Headers: {', '.join(self._values)}>"


class NavaiError(Exception):
    """The base class of all errors of this package.

    Attributes:
        request_id: The ``X-Request-ID`` that identifies the call in the backend's log: the id in the
            response, or else the one that was sent. None if nothing was sent.
    """

    request_id: str | None = None


class NavaiConfigError(NavaiError, ValueError):
    """A base URL, path, header or option cannot work. Raised where you pass it."""


class NavaiPayloadError(NavaiError, TypeError):
    """An argument of a call cannot be sent. Raised before anything is sent."""


class NavaiStateError(NavaiError, RuntimeError):
    """A client was used after ``close()``, or from an event loop that it does not belong to."""


class NavaiTransportError(NavaiError, OSError):
    """No complete response arrived from the backend.

    Attributes:
        may_have_executed: Whether the backend may have acted on the call. It is False only if certainly no
            byte was sent, in any attempt.
    """

    def __init__(
        self, message: str = "", *, may_have_executed: bool = True, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.may_have_executed = may_have_executed
        self.request_id = request_id


class NavaiTimeoutError(NavaiTransportError, TimeoutError):
    """No complete response arrived within the call's timeout."""


class NavaiHTTPError(NavaiError):
    """The backend responded with a status outside 200..299.

    The message is the text of the response, or ``HTTP {status}`` if it is empty.

    Attributes:
        status_code: The HTTP status.
        body: The text of the response, up to 4 MiB.
        error: The ``error`` of a JSON response, else its ``message``, as WordPress sends it, else None.
        details: The ``details`` of a JSON response, else None.
        code: The ``code`` of a JSON response, such as ``rest_forbidden`` of WordPress, else None.
        validation_errors: What is wrong with the payload, if a JSON response has such a list.
        headers: The headers of the response; names are case-insensitive.
        retry_after: Seconds after which the backend asks to be called again (``Retry-After``), or None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int = 0,
        body: str = "",
        error: Any = None,
        details: Any = None,
        code: str | None = None,
        validation_errors: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body = body
        self.error = error
        self.details = details
        self.code = code
        self.validation_errors = validation_errors
        self.headers: Mapping[str, str] = Headers(headers or {})
        self.request_id = request_id
        self.retry_after = retry_after


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
        **response: Any,
    ) -> None:
        super().__init__(message, status_code=status_code, **response)
        self.function_name = function_name
        self.available_functions = available_functions


class OutcomeUnknownError(NavaiHTTPError):
    """The function may have been executed, but its result is lost. Check before you call it again.

    Either the response says so (``"may_have_executed": true``, usually with 409), or it is an error after an
    attempt whose response was lost. The client never retries such a call.

    Attributes:
        function_name: The name of the function.
        may_have_executed: Always True.
    """

    may_have_executed = True

    def __init__(
        self, message: str = "", *, function_name: str = "", status_code: int = 409, **response: Any
    ) -> None:
        super().__init__(message, status_code=status_code, **response)
        self.function_name = function_name


class ApprovalPendingError(NavaiError):
    """The call waits for a person's approval, and has not run. Do not repeat it.

    The message is the response's ``message``. The client never repeats such a call by itself. At the bundled
    server, a person decides in the inspector, or by ``GET`` and ``POST /navai/approvals``.

    Attributes:
        function_name: The name of the function.
        approval_id: The id of the approval, as text, or None if the response has none.
        trace_id: The id of the call in the backend's traces, or None if the response has none.
        idempotency_key: The key to get the outcome: repeat the same call with this ``idempotency_key``. The
            function runs once, after the approval. None if the backend does not support keys, such as Navai's
            WordPress plugin, where a repeated call is another request for approval.
    """

    def __init__(
        self,
        message: str = "",
        *,
        function_name: str = "",
        approval_id: str | None = None,
        trace_id: str | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.function_name = function_name
        self.approval_id = approval_id
        self.trace_id = trace_id
        self.idempotency_key = idempotency_key
        self.request_id = request_id


class InvalidResponseError(NavaiError):
    """The backend responded with 2xx, but the response breaks the contract or is too large.

    Also raised for a response that belongs to another call, whatever its status, and for a result that is not
    of the ``result_type`` that the caller asked for.

    Attributes:
        status_code: The HTTP status.
        may_have_executed: Whether the backend may have acted on the call.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int = 0,
        may_have_executed: bool = True,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.may_have_executed = may_have_executed
        self.request_id = request_id


class FunctionFailedError(NavaiError):
    """The function failed: ``ok`` in the response is not true, and the status is 2xx or 500.

    The message is the response's ``details``, else its ``error``, else ``Backend function failed.``

    Attributes:
        function_name: The name of the function.
        error: The response's ``error``, else None.
        details: The response's ``details``, else None.
        details_for_model: Whether the response says that its ``details`` were written for the caller, so that
            an agent shows them to its model: the message of a ``ToolError``, or what is wrong with the
            arguments.
        status_code: The HTTP status.
        may_have_executed: Whether the response says that the function may still run or has acted anyway, for
            example after its timeout.
    """

    def __init__(
        self,
        message: str = "",
        *,
        function_name: str = "",
        error: Any = None,
        details: Any = None,
        details_for_model: bool = False,
        status_code: int = 0,
        may_have_executed: bool = False,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.function_name = function_name
        self.error = error
        self.details = details
        self.details_for_model = details_for_model
        self.status_code = status_code
        self.may_have_executed = may_have_executed
        self.request_id = request_id
