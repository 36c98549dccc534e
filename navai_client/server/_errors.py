"""What can go wrong in a backend outside its functions: each error knows the status that it is answered with.

::

    BackendError                     .status_code, .retry_after
    ├── BackendOptionsError          400  (ValueError) options that cannot work; at construction
    ├── RequestFieldError            400  (ValueError) a field of a request: missing, or of the wrong type
    ├── MissingApiKeyError           401  no API key anywhere
    ├── ApiKeyNotAllowedError        403  the request brings a key, and may not
    └── UpstreamError                502  OpenAI or ElevenLabs refused, did not answer, or broke its contract
        └── UpstreamTimeoutError     504  (TimeoutError) no answer in time

``str(error)`` is the text that the contract gives it. No error holds a key.
"""


class BackendError(Exception):
    """The root of what the server's library functions raise.

    Attributes:
        status_code: The HTTP status that tells it to a client.
        retry_after: The ``Retry-After`` header to send along, as it came from upstream, or None.
    """

    status_code: int = 500
    retry_after: str | None = None


class BackendOptionsError(BackendError, ValueError):
    """Options that no backend can work with."""

    status_code: int = 400


class RequestFieldError(BackendError, ValueError):
    """A field of a request is missing or has the wrong type; the message names it."""

    status_code: int = 400


class MissingApiKeyError(BackendError):
    """Neither the backend nor the request has an API key."""

    status_code: int = 401


class ApiKeyNotAllowedError(BackendError):
    """The request brings an API key, and this backend takes none from requests."""

    status_code: int = 403


class UpstreamError(BackendError):
    """The upstream refused, could not be reached, or gave an answer that breaks its contract."""

    status_code: int = 502

    def __init__(self, message: str, *, status_code: int = 502, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after


class UpstreamTimeoutError(UpstreamError, TimeoutError):
    """The upstream did not answer in time."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status_code=504)
