"""Which outcomes are tried again, and after what delay; with literals."""

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from navai_client import NavaiConfigError, RetryPolicy
from navai_client.wire._values import Response, TransportFailure
from tests.properties import PROPERTY

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT
POLICY = RetryPolicy(max_retries=3, jitter=lambda: 1.0, unix_time=lambda: NOW)
NEVER_SENT = TransportFailure("refused", sent=False)
NEVER_SENT_IN_TIME = TransportFailure("refused", sent=False, timed_out=True)
CUT_OFF = TransportFailure("reset")
TIMED_OUT = TransportFailure("late", timed_out=True)


def response(status: int, retry_after: str | None = None) -> Response:
    return Response(status, {} if retry_after is None else {"retry-after": retry_after}, b"")


def delay(outcome: Response | TransportFailure, *, repeatable: bool, attempt: int = 1) -> float | None:
    return POLICY.delay(outcome, attempt=attempt, repeatable=repeatable)


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("failure", [NEVER_SENT, NEVER_SENT_IN_TIME])
def test_a_request_that_was_not_sent_is_tried_again(failure: TransportFailure, repeatable: bool) -> None:
    assert delay(failure, repeatable=repeatable) == 0.25


def test_a_request_that_may_have_arrived_is_tried_again_only_if_repeatable() -> None:
    assert delay(CUT_OFF, repeatable=True) == 0.25
    assert delay(CUT_OFF, repeatable=False) is None


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_timeout_after_sending_is_not_tried_again(repeatable: bool) -> None:
    assert delay(TIMED_OUT, repeatable=repeatable) is None


def test_only_transient_statuses_are_tried_again() -> None:
    for status in range(100, 600):
        passing = status in {408, 429, 502, 503, 504}
        assert delay(response(status), repeatable=True) == (0.25 if passing else None), status
        assert delay(response(status), repeatable=False) is None, status
        assert delay(response(status, "7"), repeatable=True) == (7.0 if passing else None), status
        after = 7.0 if status in {429, 503} else None
        assert delay(response(status, "7"), repeatable=False) == after, status


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5\t", 5.0),
        ("007", 7.0),
        ("0.5", 0.5),
        ("1.5", 1.5),
        ("86400", 86_400.0),
        ("Sun, 06 Nov 1994 08:49:57 GMT", 20.0),
        ("Sunday, 06-Nov-94 08:49:57 GMT", 20.0),
        ("Sun Nov  6 08:49:57 1994", 20.0),
        ("Sun, 06 Nov 1994 08:49:57 -0000", 20.0),
        ("Sun, 06 Nov 1994 09:49:57 +0100", 20.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_parsed(value: str, seconds: float) -> None:
    assert delay(response(503, value), repeatable=True) == seconds
    assert delay(response(503, value), repeatable=False) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "500"}, 0.5),
        ({"retry-after-ms": "0"}, 0.0),
        ({"retry-after-ms": "12.5"}, 0.0125),
        ({"retry-after-ms": "500", "retry-after": "1"}, 0.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after-ms": "-1", "retry-after": "2"}, 2.0),
    ],
)
def test_milliseconds_take_precedence_over_seconds(headers: dict[str, str], seconds: float) -> None:
    assert delay(Response(503, headers, b""), repeatable=False) == seconds


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_permanent_failure_is_not_tried_again(repeatable: bool) -> None:
    failure = TransportFailure("CERTIFICATE_VERIFY_FAILED", sent=False, permanent=True)
    assert delay(failure, repeatable=repeatable) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-5",
        "+5",
        "1.",
        ".5",
        "1e3",
        "soon",
        "٣",
        "²",
        "5 seconds",
        "NaN",
        "Sun, 99 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +9999999999",
        "\ud800",
    ],
)
def test_an_invalid_retry_after_counts_as_absent(value: str) -> None:
    assert delay(response(503, value), repeatable=True) == 0.25
    assert delay(response(503, value), repeatable=False) is None


@pytest.mark.parametrize(
    "value",
    [
        "86401",
        "9" * 20,
        "9" * 400,
        "9" * 5000,
        "Mon, 07 Nov 1994 08:49:38 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
def test_a_retry_after_of_more_than_a_day_ends_the_call(value: str) -> None:
    assert delay(response(429, value), repeatable=True) is None
    assert delay(response(429, value), repeatable=False) is None


def test_the_backoff_doubles_up_to_four_seconds() -> None:
    policy = RetryPolicy(max_retries=10**9, jitter=lambda: 1.0)
    attempts = (1, 2, 3, 4, 5, 6, 100, 10_000, 10**9)
    delays = [policy.delay(NEVER_SENT, attempt=attempt, repeatable=False) for attempt in attempts]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0]


def test_the_backoff_has_full_jitter() -> None:
    shares = iter((0.0, 0.5))
    policy = RetryPolicy(max_retries=3, jitter=lambda: next(shares))
    assert [policy.delay(NEVER_SENT, attempt=2, repeatable=True) for _ in range(2)] == [0.0, 0.25]


@pytest.mark.parametrize("outcome", [NEVER_SENT, CUT_OFF, response(503), response(503, "0")])
def test_there_are_max_retries_at_most(outcome: Any) -> None:
    assert [delay(outcome, repeatable=True, attempt=attempt) is None for attempt in (1, 3, 4, 5)] == [
        False,
        False,
        True,
        True,
    ]
    none = RetryPolicy(max_retries=0)
    assert none.delay(outcome, attempt=1, repeatable=True) is None


def test_a_policy_sets_numbers_delays_and_statuses() -> None:
    policy = RetryPolicy(
        max_retries=5,
        base_delay=1,
        longest_delay=3,
        longest_retry_after=60,
        statuses=[500],
        jitter=lambda: 1.0,
    )
    assert [policy.delay(NEVER_SENT, attempt=n, repeatable=False) for n in range(1, 7)] == [
        1,
        2,
        3,
        3,
        3,
        None,
    ]
    assert policy.delay(response(500), attempt=1, repeatable=True) == 1
    assert policy.delay(response(503), attempt=1, repeatable=True) is None
    assert policy.delay(response(500, "60"), attempt=1, repeatable=True) == 60
    assert policy.delay(response(500, "61"), attempt=1, repeatable=True) is None
    assert RetryPolicy(base_delay=0).delay(NEVER_SENT, attempt=1, repeatable=False) == 0


def test_a_policy_can_forbid_a_retry_and_never_allow_one_that_is_not_safe() -> None:
    every, none = RetryPolicy(statuses=range(400, 600)), RetryPolicy(statuses=())
    for status in range(400, 600):
        for retry_after in (None, "1"):
            outcome = response(status, retry_after)
            assert none.delay(outcome, attempt=1, repeatable=True) is None, status
            assert none.delay(outcome, attempt=1, repeatable=False) is None, status
            if retry_after is None or status not in {429, 503}:
                assert every.delay(outcome, attempt=1, repeatable=False) is None, status
    assert every.delay(CUT_OFF, attempt=1, repeatable=False) is None
    assert every.delay(TIMED_OUT, attempt=1, repeatable=True) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_retries": -1}, "max_retries must be a whole number, 0 or more; it is -1."),
        ({"statuses": [600]}, "statuses must be numbers from 400 to 599; one is 600."),
        ({"max_retries": "2"}, "max_retries must be a whole number, 0 or more; it is '2'."),
        ({"base_delay": "1"}, "base_delay must be a number of seconds, up to a day; it is '1'."),
        ({"longest_delay": math.nan}, "longest_delay must be a number of seconds, up to a day; it is nan."),
        ({"longest_delay": True}, "longest_delay must be a number of seconds, up to a day; it is True."),
        (
            {"longest_retry_after": 86_401},
            "longest_retry_after must be a number of seconds, up to a day; it is 8",
        ),
        ({"statuses": [429, 200]}, "statuses must be numbers from 400 to 599; one is 200."),
        ({"statuses": [[503]]}, "statuses must be numbers from 400 to 599; one is [503]."),
        ({"statuses": 503.0}, "statuses must be numbers from 400 to 599; one is 503.0."),
        ({"statuses": "503"}, "statuses must be numbers from 400 to 599; one is '5'."),
    ],
)
def test_a_policy_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NavaiConfigError) as caught:
        RetryPolicy(**options)
    assert str(caught.value).startswith(message)


@PROPERTY
@given(
    st.integers(100, 599),
    st.none()
    | st.text(max_size=40)
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} (Jan|Nov|Foo) \d{1,6} \d\d:\d\d(:\d\d)?( [+-]?\w{0,6})?"),
    st.booleans(),
)
def test_any_response_gives_a_delay_within_a_day_or_none(
    status: int, retry_after: str | None, repeatable: bool
) -> None:
    policy = RetryPolicy(max_retries=1)
    wait = policy.delay(response(status, retry_after), attempt=1, repeatable=repeatable)
    assert wait is None or 0.0 <= wait <= 86_400.0
    assert wait is None or not math.isnan(wait)
