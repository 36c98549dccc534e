"""Which outcome is tried again, and after what delay. A pure decision: nothing here waits or sends."""

import random
import re
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from attrs import frozen

from navai_client.wire._decode import trim
from navai_client.wire._values import Response, TransportFailure

# Exponential backoff as in the SDKs of OpenAI and Stripe, which begin with 0.5 s and end with 8 s and 5 s. A
# person who talks to a voice agent does not wait that long.
_BASE_DELAY: Final = 0.25  # seconds
_LONGEST_DELAY: Final = 4.0  # seconds
_DOUBLINGS: Final = 4  # from the base delay to the longest
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_LONGEST_RETRY_AFTER: Final = 86_400.0  # seconds; no call waits longer than a day, and sleep() overflows
_TRANSIENT_STATUSES: Final = frozenset({408, 429, 502, 503, 504})
_NOT_EXECUTED_STATUSES: Final = frozenset({429, 503})


@frozen(kw_only=True)
class RetryPolicy:
    """When to try again.

    A request that was certainly not sent is tried again, unless the failure is permanent. Beyond that, a
    repeatable operation is tried again after any failure but a timeout, and after 408, 429, 502, 503 and 504.
    Any other operation is tried again only after 429 and 503 with ``Retry-After``, by which a backend says
    that it has not executed the request. A ``Retry-After`` of more than a day ends the call.

    Attributes:
        max_retries: The largest number of retries.
        jitter: Returns numbers from 0 to 1: the share of the backoff to wait ("full jitter").
        unix_time: Returns the seconds since the Unix epoch, to read a ``Retry-After`` that is a date.
    """

    max_retries: int
    jitter: Callable[[], float] = random.random
    unix_time: Callable[[], float] = time.time

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
        if outcome.status not in _TRANSIENT_STATUSES:
            return None
        retry_after = self.retry_after(outcome)
        if retry_after is not None and retry_after > _LONGEST_RETRY_AFTER:
            return None
        if repeatable:
            return self._backoff(attempt) if retry_after is None else retry_after
        return retry_after if outcome.status in _NOT_EXECUTED_STATUSES else None

    def _backoff(self, attempt: int) -> float:
        return self.jitter() * min(_LONGEST_DELAY, _BASE_DELAY * 2.0 ** min(attempt - 1, _DOUBLINGS))

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
        try:
            when = parsedate_to_datetime(value)
            if when.tzinfo is None:  # the obsolete asctime form names no zone and means GMT (RFC 9110, 5.6.7)
                when = when.replace(tzinfo=UTC)
            return max(0.0, when.timestamp() - self.unix_time())
        except (ValueError, OverflowError):
            return None
