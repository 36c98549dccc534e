"""Requests, responses and the steps between them: values without behaviour.

A client drives an exchange: for each ``Send`` it lets a transport send the request, and hands back the
outcome, a ``Response`` or a ``TransportFailure``, until the exchange returns ``Done``.
"""

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from attrs import define, field, frozen

T = TypeVar("T")

UNPARSED: Final = object()
# Bytes of a response outside 2xx that an error keeps. Pages of gateways have kilobytes, and an error may name
# all functions. Anything longer was made to keep the search for secrets busy.
LONGEST_BODY: Final = 4 * 2**20


# Headers that say nothing about the caller: W3C's Trace Context and Baggage, and ids of calls.
_OF_A_CALL = frozenset({"baggage", "traceparent", "tracestate", "x-request-id"})


@frozen(eq=False)
class Endpoint:
    """Where requests of one kind go. Compared and hashed by identity, so that transports can cache by it.

    Attributes:
        method: The HTTP method.
        url: The absolute URL. Its query can be secret.
        path: The end of the URL, which the path option of its operation sets; the rest is the base URL.
    """

    method: str
    url: str = field(repr=lambda url: repr(url.partition("?")[0]))
    path: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The method and the URL without its query."""
        return f"{self.method} {self.url.partition('?')[0]}"


@frozen(eq=False)
class ClientHeaders:
    """A client's headers, resolved for a call. Calls with the same headers share one of these.

    Attributes:
        plain: The headers of requests without a body.
        json: The headers of requests with a JSON body: the same, and ``Content-Type``.
        secrets: The texts among their values that no error may show, longest first.
        request_id: The value of ``X-Request-ID`` among them. Without one, each call sends its own.
        identity: All headers by which a backend can tell callers apart.
    """

    plain: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    json: tuple[tuple[str, str], ...] = field(init=False, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False, kw_only=True)
    request_id: str | None = field(default=None, kw_only=True)
    identity: frozenset[tuple[str, str]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        lower = ((name.lower(), value) for name, value in self.plain)
        object.__setattr__(self, "identity", frozenset(each for each in lower if each[0] not in _OF_A_CALL))
        object.__setattr__(self, "json", (*self.plain, ("Content-Type", "application/json")))


@define(eq=False)  # not frozen: that costs half a microsecond for each call
class Request:
    """One HTTP request. Never changed once it is made.

    Attributes:
        endpoint: The method and the URL.
        headers: The client's headers, as resolved for this call. Usually many calls share one tuple, so that
            transports can cache its encoded form by identity. The values may be secret.
        content: The body, or None.
        call_headers: The headers of this call alone, such as ``Idempotency-Key``.
    """

    endpoint: Endpoint
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    content: bytes | None = field(default=None, repr=False)
    call_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@define(eq=False)  # not frozen, as a request
class Response:
    """One HTTP response with its whole body. Never changed once it is made, except for *parsed*.

    Attributes:
        status: The HTTP status.
        headers: The headers, by their names in lower case.
        content: The body, decompressed.
        truncated: Whether the body exceeded the limit; *content* is then its beginning.
        parsed: The JSON value of the body, kept when it was first parsed.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    truncated: bool = False
    parsed: Any = field(default=UNPARSED, init=False, repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success (RFC 9110, section 15.3)."""
        return 200 <= self.status <= 299  # noqa: PLR2004

    @property
    def is_long_error(self) -> bool:
        """Whether it is an error of which only the beginning is read."""
        return len(self.content) > LONGEST_BODY and not self.is_success


@frozen(eq=False)
class TransportFailure:
    """Why there is no whole response.

    Attributes:
        message: What went wrong, for people. It holds no header value and no part of a body.
        sent: Whether any byte of the request may have left. False only when that is certain.
        timed_out: Whether the deadline passed.
        cause: The exception behind it, if one is worth showing.
        permanent: Whether another attempt would fail in the same way, such as an untrusted certificate.
    """

    message: str
    sent: bool = True
    timed_out: bool = False
    cause: BaseException | None = None
    permanent: bool = False


@define(eq=False)
class Send:
    """The next step: wait, then send.

    Attributes:
        request: What to send.
        attempt: 1 for the first attempt, 2 for the first retry, and so on.
        delay: Seconds to wait first.
        timeout: Seconds that the attempt may take after that, or None for no limit.
        reason: Why it is sent again; empty for the first attempt.
        renews: Whether to ask for the headers once more instead, and to give them to ``renew()``.
    """

    request: Request
    attempt: int
    delay: float
    timeout: float | None
    reason: str = ""
    renews: bool = False


@define(eq=False)
class Done(Generic[T]):
    """The last step.

    Attributes:
        value: The result of the operation.
    """

    value: T
