"""The errors of a backend outside its functions. Each has the HTTP status that reports it to a client.

::

    BackendError                     .status_code, .retry_after
    ├── BackendOptionsError          400  (ValueError) a setting that cannot work; at construction
    ├── RequestError                 400  (ValueError) a field of a request is missing or has the wrong type
    │                                401, 403  there is no API key, or one from a request is not accepted
    ├── StoreError                   503  the store of idempotency keys cannot be used, or has no room
    └── UpstreamError                502  OpenAI or ElevenLabs refused, did not respond, or broke its contract
        │                            503  it was not called, because too many other calls had not ended
        └── UpstreamTimeoutError     504  (TimeoutError) no response in time

``str(error)`` is the text of the contract. No error holds a key.
"""


class BackendError(Exception):
    """The base class of the errors that the server's library functions raise.

    Attributes:
        status_code: The HTTP status.
        retry_after: The ``Retry-After`` header of the upstream, or None.
    """

    status_code: int = 500
    retry_after: str | None = None

    def __init__(
        self, message: str, *, status_code: int | None = None, retry_after: str | None = None
    ) -> None:
        super().__init__(message)
        if status_code is not None:
            self.status_code = status_code
        self.retry_after = retry_after


class BackendOptionsError(BackendError, ValueError):
    """A setting that cannot work; the message names it."""

    status_code: int = 400


class RequestError(BackendError, ValueError):
    """A request that cannot be served as it is; the message says why."""

    status_code: int = 400


class StoreError(BackendError):
    """The store of idempotency keys cannot be reached or has no room; what it did is not known."""

    status_code: int = 503


class UpstreamError(BackendError):
    """The upstream refused, could not be reached, or broke its contract.

    Attributes:
        detail: What only the log has: the cause, which can contain internal addresses.
        brief: The message without the words of the upstream.
    """

    status_code: int = 502

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        retry_after: str | None = None,
        detail: str | None = None,
        brief: str | None = None,
    ) -> None:
        super().__init__(message, status_code=status_code, retry_after=retry_after)
        self.detail = detail
        self.brief = message if brief is None else brief


class UpstreamTimeoutError(UpstreamError, TimeoutError):
    """The upstream did not respond in time."""

    status_code: int = 504
