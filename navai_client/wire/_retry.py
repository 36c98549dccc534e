"""Which outcome may be tried again, and after how long: a pure decision. Nothing here waits or sends."""

import random
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from attrs import frozen

from navai_client.wire._decode import trim
from navai_client.wire._values import Response, TransportFailure

_BASE_DELAY: Final = 0.25  # seconds
_LONGEST_DELAY: Final = 4.0  # seconds
_DOUBLINGS: Final = 4  # from the base delay to the longest
_LONGEST_RETRY_AFTER: Final = 86_400.0  # seconds; nobody waits longer than a day, and sleep() overflows
_PASSING_STATUSES: Final = frozenset({408, 429, 502, 503, 504})
_NOT_DONE_STATUSES: Final = frozenset({429, 503})


@frozen(kw_only=True)
class RetryPolicy:
    """When to try again.

    What certainly never left is always tried again. Beyond that, an operation that may be replayed is tried
    again after any failure but a timeout, and after 408, 429, 502, 503 and 504; one that may not, only after
    429 and 503 that carry ``Retry-After``, because such a backend says that it did nothing yet. Who asks to
    be left alone for more than a day is not asked again.

    Attributes:
        max_retries: How often at most.
        jitter: Gives numbers from 0 to 1: the share of the longest delay to wait ("full jitter").
        unix_time: Gives the seconds since the Unix epoch, to read a ``Retry-After`` that is a date.
    """

    max_retries: int
    jitter: Callable[[], float] = random.random
    unix_time: Callable[[], float] = time.time

    def delay(self, outcome: Response | TransportFailure, *, attempt: int, repeatable: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there must be none.

        Args:
            outcome: What came of the attempt.
            attempt: Which it was: 1 for the first.
            repeatable: Whether the operation may be sent again when it may have arrived.
        """
        if attempt > self.max_retries:
            return None
        if isinstance(outcome, TransportFailure):
            may = not outcome.sent or (repeatable and not outcome.timed_out)
            return self._backoff(attempt) if may else None
        if outcome.status not in _PASSING_STATUSES:
            return None
        retry_after = self._retry_after(outcome)
        if retry_after is not None and retry_after > _LONGEST_RETRY_AFTER:
            return None
        if repeatable:
            return self._backoff(attempt) if retry_after is None else retry_after
        return retry_after if outcome.status in _NOT_DONE_STATUSES else None

    def _backoff(self, attempt: int) -> float:
        return self.jitter() * min(_LONGEST_DELAY, _BASE_DELAY * 2.0 ** min(attempt - 1, _DOUBLINGS))

    def _retry_after(self, response: Response) -> float | None:
        """Return the seconds that ``Retry-After`` asks for (RFC 9110, section 10.2.3), or None."""
        value = trim(response.headers.get("retry-after", ""))
        if value.isascii() and value.isdigit():
            return float(value)
        try:
            when = parsedate_to_datetime(value)
            if when.tzinfo is None:  # the oldest form names no zone, and means GMT like the others
                when = when.replace(tzinfo=UTC)
            return max(0.0, when.timestamp() - self.unix_time())
        except (ValueError, OverflowError):
            return None
