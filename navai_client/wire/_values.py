"""What travels between the stepper and whoever does the I/O: values only.

A shell drives an exchange: it takes ``Send`` values from it, lets a transport send the request, and hands
back what came of it, a ``Response`` or a ``TransportFailure``, until it gets ``Done``.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

from attrs import field, frozen

T = TypeVar("T")


@frozen(eq=False)
class Endpoint:
    """What every request to one endpoint shares. Compared and hashed by identity: transports key on it.

    Attributes:
        method: The HTTP method.
        url: The absolute URL.
        headers: Names and values; the values may be secret.
    """

    method: str
    url: str = field(repr=lambda url: repr(url.partition("?")[0]))  # a query can hold a key
    headers: tuple[tuple[str, str], ...] = field(repr=False)


@frozen(eq=False)
class Request:
    """One HTTP request.

    Attributes:
        endpoint: Where it goes, and the headers that it shares with others.
        content: The body, or None.
        headers: What is added to the endpoint's headers for this request alone.
    """

    endpoint: Endpoint
    content: bytes | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@frozen(eq=False)
class Response:
    """One HTTP response, read to its end.

    Attributes:
        status: The HTTP status.
        headers: By name in lower case.
        content: The body, decompressed.
        truncated: Whether the body was larger than allowed; *content* is then its beginning.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    truncated: bool = False


@frozen(eq=False)
class TransportFailure:
    """Why there is no whole response.

    Attributes:
        message: What went wrong, for a person. Holds no header value and no part of a body.
        sent: Whether any byte of the request may have left. False only when that is certain.
        timed_out: Whether time ran out.
        cause: The exception behind it, if there is one worth showing.
    """

    message: str
    sent: bool = True
    timed_out: bool = False
    cause: BaseException | None = None


@frozen(eq=False)
class Send:
    """The next step: wait, then send.

    Attributes:
        request: What to send.
        attempt: 1 for the first, 2 for the first retry, and so on.
        delay: Seconds to wait before.
        timeout: Seconds that the attempt may then take, or None for no limit.
        reason: Why it is sent again; empty for the first attempt.
    """

    request: Request
    attempt: int
    delay: float
    timeout: float | None
    reason: str = ""


@frozen(eq=False)
class Done(Generic[T]):
    """The last step.

    Attributes:
        value: What the operation gives.
    """

    value: T
