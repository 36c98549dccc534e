"""The errors of a backend outside its functions. Each has the HTTP status that reports it to a client.

::

    BackendError                     .status_code, .retry_after
    ├── BackendOptionsError          400  (ValueError) a setting that cannot work; at construction
    ├── RequestFieldError            400  (ValueError) a field of a request is missing or has the wrong type
    ├── MissingApiKeyError           401  neither the backend nor the request has an API key
    ├── ApiKeyNotAllowedError        403  the request brings a key, and this backend accepts none
    └── UpstreamError                502  OpenAI or ElevenLabs refused, did not respond, or broke its contract
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


class BackendOptionsError(BackendError, ValueError):
    """A setting that cannot work; the message names it."""

    status_code: int = 400


class RequestFieldError(BackendError, ValueError):
    """A field of a request is missing or has the wrong type; the message names it."""

    status_code: int = 400


class MissingApiKeyError(BackendError):
    """Neither the backend nor the request has an API key."""

    status_code: int = 401


class ApiKeyNotAllowedError(BackendError):
    """The request brings an API key, and this backend accepts none from requests."""

    status_code: int = 403


class UpstreamError(BackendError):
    """The upstream refused, could not be reached, or broke its contract."""

    status_code: int = 502

    def __init__(self, message: str, *, status_code: int = 502, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after


class UpstreamTimeoutError(UpstreamError, TimeoutError):
    """The upstream did not respond in time."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status_code=504)
