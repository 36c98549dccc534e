"""Which outcome is tried again, and after what delay. A pure decision: nothing here waits or sends."""

import random
import re
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, final

from attrs import Attribute, field, frozen

from navai_client.errors import NavaiConfigError
from navai_client.wire._decode import http_date, trim
from navai_client.wire._values import Response, TransportFailure

_DOUBLINGS: Final = 40  # after which any backoff is at its longest; more would overflow a float
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_A_DAY: Final = 86_400.0  # seconds; no call waits longer, and much longer delays overflow sleep()
_NOT_EXECUTED_STATUSES: Final = frozenset({429, 503})


def _check_number(_: object, attribute: "Attribute[int]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise NavaiConfigError(f"{attribute.name} must be a whole number, 0 or more; it is {value!r}.")


def _check_seconds(_: object, attribute: "Attribute[float]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _A_DAY:
        raise NavaiConfigError(f"{attribute.name} must be a number of seconds, up to a day; it is {value!r}.")


def _checked_statuses(value: Any) -> frozenset[int]:
    """Return *value* as statuses of errors (RFC 9110, sections 15.5 and 15.6)."""
    statuses = list(value) if isinstance(value, Iterable) else [value]
    for status in statuses:
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:  # noqa: PLR2004
            raise NavaiConfigError(f"statuses must be numbers from 400 to 599; one is {status!r}.")
    return frozenset(statuses)


@final
@frozen(kw_only=True)
class RetryPolicy:
    """When a call is tried again, and after what delay. Pass it as ``max_retries`` to a client or a call.

    A request that was certainly not sent is tried again, unless the failure is permanent. Beyond that,
    ``create_client_secret`` and ``list_functions``, which can be repeated safely, are tried again after any
    failure but a timeout, and after one of *statuses*. ``execute_function`` and ``synthesize_speech`` are
    tried again only after 429 and 503 with ``Retry-After``, by which a backend says that it has not executed
    the request. A policy can forbid such a retry, but cannot cause one that is not safe.

    Attributes:
        max_retries: The largest number of retries.
        base_delay: Seconds of the first backoff, which doubles with each retry. OpenAI's and Stripe's SDKs
            begin with 0.5; a person who talks to a voice agent does not wait that long.
        longest_delay: Seconds of the longest backoff.
        longest_retry_after: Seconds. A longer ``Retry-After`` ends the call.
        statuses: The statuses of responses after which a call may be tried again, from 400 to 599.
        jitter: Returns numbers from 0 to 1: the share of the backoff to wait ("full jitter").
        unix_time: Returns the seconds since the Unix epoch, to read a ``Retry-After`` that is a date.

    Raises:
        NavaiConfigError: If a value cannot work.
    """

    max_retries: int = field(default=2, validator=_check_number)
    base_delay: float = field(default=0.25, validator=_check_seconds)
    longest_delay: float = field(default=4.0, validator=_check_seconds)
    longest_retry_after: float = field(default=_A_DAY, validator=_check_seconds)
    statuses: Collection[int] = field(default=(408, 429, 502, 503, 504), converter=_checked_statuses)
    jitter: Callable[[], float] = field(default=random.random, repr=False)
    unix_time: Callable[[], float] = field(default=time.time, repr=False)

    def delay(self, outcome: Response | TransportFailure, *, attempt: int, repeatable: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there must be none.

        Args:
            outcome: The outcome of the attempt.
            attempt: Its number: 1 for the first.
            repeatable: Whether the operation may be sent again when an earlier attempt may have arrived.
        """
        if attempt > self.max_retries:
            return None
        if isinstance(outcome, TransportFailure):
            is_safe = not outcome.sent or (repeatable and not outcome.timed_out)
            return self._backoff(attempt) if is_safe and not outcome.permanent else None
        if outcome.status not in self.statuses:
            return None
        retry_after = self.retry_after(outcome)
        if retry_after is not None and retry_after > self.longest_retry_after:
            return None
        if repeatable:
            return self._backoff(attempt) if retry_after is None else retry_after
        return retry_after if outcome.status in _NOT_EXECUTED_STATUSES else None

    def _backoff(self, attempt: int) -> float:
        return self.jitter() * min(self.longest_delay, self.base_delay * 2.0 ** min(attempt - 1, _DOUBLINGS))

    def retry_after(self, response: Response) -> float | None:
        """Return the seconds that ``Retry-After`` asks for (RFC 9110, section 10.2.3), or None.

        Some services send fractions of a second; OpenAI also sends ``retry-after-ms``, which its SDKs prefer.
        """
        milliseconds = trim(response.headers.get("retry-after-ms", ""))
        if _NUMBER.fullmatch(milliseconds):
            return float(milliseconds) / 1000
        value = trim(response.headers.get("retry-after", ""))
        if _NUMBER.fullmatch(value):
            return float(value)
        when = http_date(value)
        return None if when is None else max(0.0, when - self.unix_time())
