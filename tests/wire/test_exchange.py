"""An exchange, driven with literals and with random sequences of outcomes and clock steps."""

import contextlib
import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from navai_client import (
    ApprovalPendingError,
    FunctionList,
    InvalidResponseError,
    NavaiError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
    OutcomeUnknownError,
)
from navai_client.wire._exchange import Exchange
from navai_client.wire._operations import EXECUTE_FUNCTION, OPERATIONS, Paths
from navai_client.wire._requests import Invocation, Invocations
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import (
    LONGEST_BODY,
    ClientHeaders,
    Done,
    Response,
    Send,
    TransportFailure,
)
from tests.properties import PROPERTY

CALLS = Invocations("http://x", Paths(), lambda: "key")
HEADERS = ClientHeaders()
GOOD = Response(
    200,
    {},
    json.dumps(
        {
            "ok": True,
            "value": "ek",
            "items": [],
            "provider": "elevenlabs",
            "mimeType": "audio/mpeg",
            "audioBase64": "",
        }
    ).encode(),
)


def invocations() -> list[Invocation[Any]]:
    return [
        CALLS.prepare(each, {field.name: "f" for field in each.fields if field.required})
        for each in OPERATIONS
    ]


def exchange_of(
    invocation: Invocation[Any], policy: RetryPolicy, timeout: float | None, headers: ClientHeaders = HEADERS
) -> Exchange[Any]:
    return Exchange(invocation, policy, timeout, headers, lambda: "request-1", print)


def policy(max_retries: int = 2, jitter: float = 1.0) -> RetryPolicy:
    return RetryPolicy(max_retries=max_retries, jitter=lambda: jitter, unix_time=lambda: 784_111_777.0)


FAILURES = st.builds(TransportFailure, st.just("why"), sent=st.booleans(), timed_out=st.booleans())
ANSWERS = st.builds(
    Response,
    st.sampled_from([200, 302, 400, 408, 418, 429, 500, 502, 503, 504]),
    st.just({})
    | st.sampled_from(["0", "1", "29", "100", "9" * 30, "-1", "soon", "Sun, 06 Nov 1994 08:49:57 GMT"]).map(
        lambda value: {"retry-after": value}
    ),
    st.sampled_from([b"", b"{}", b"text", GOOD.content]),
)


def may_have_arrived(outcome: Response | TransportFailure) -> bool:
    return isinstance(outcome, Response) or outcome.sent


@pytest.mark.parametrize("invocation", invocations(), ids=lambda invocation: invocation.operation.name)
@PROPERTY
@given(
    timeout=st.none() | st.floats(0.001, 100.0),
    max_retries=st.integers(0, 5),
    jitter=st.floats(0.0, 1.0),
    now=st.floats(0.0, 1e6),
    steps=st.lists(st.tuples(FAILURES | ANSWERS, st.floats(0.0, 40.0)), min_size=8, max_size=8),
)
def test_an_exchange_keeps_its_promises_for_any_outcomes(  # noqa: PLR0917 - what hypothesis draws
    invocation: Invocation[Any],
    timeout: float | None,
    max_retries: int,
    jitter: float,
    now: float,
    steps: list[tuple[Response | TransportFailure, float]],
) -> None:
    exchange = exchange_of(invocation, policy(max_retries, jitter), timeout)
    deadline = None if timeout is None else now + timeout
    step = exchange.start(now)
    sends = 0
    outcomes: list[Response | TransportFailure] = []
    try:
        for outcome, took in steps:
            if isinstance(step, Done):
                break
            sends += 1
            # No more than max_retries, never past the deadline, always with the remaining time.
            assert sends == step.attempt <= max_retries + 1
            assert step.delay >= 0.0
            now += step.delay
            if deadline is not None:
                assert step.timeout is not None
                assert step.timeout > 0.0
                assert now + step.timeout == pytest.approx(deadline)
            assert (step.timeout is None) == (timeout is None)
            assert step.request.endpoint is invocation.endpoint
            assert step.request.content is invocation.content
            assert bool(step.reason) == (sends > 1)
            if outcomes and not invocation.operation.repeatable and may_have_arrived(outcomes[-1]):
                last = outcomes[-1]
                assert isinstance(last, Response)
                assert last.status in {429, 503}
                assert "retry-after" in last.headers
            outcomes.append(outcome)
            now += took
            step = exchange.receive(outcome, now)
        assert isinstance(step, Done)
    except NavaiError as error:
        raised = error
    else:
        return
    assert invocation.operation.recover is None
    if isinstance(raised, NavaiTransportError):
        assert raised.may_have_executed == any(map(may_have_arrived, outcomes))
        assert isinstance(raised, NavaiTimeoutError) == getattr(outcomes[-1], "timed_out", None)


def test_the_first_step_is_to_send_with_the_whole_timeout() -> None:
    step = exchange_of(invocations()[2], policy(), 30.0).start(1000.0)
    assert isinstance(step, Send)
    assert (step.attempt, step.delay, step.timeout, step.reason) == (1, 0.0, 30.0, "")


def test_waiting_counts_against_the_deadline() -> None:
    exchange = exchange_of(invocations()[0], policy(), 10.0)
    exchange.start(1000.0)
    step = exchange.receive(Response(503, {"retry-after": "3"}, b""), 1002.0)
    assert isinstance(step, Send)
    assert (step.attempt, step.delay, step.timeout, step.reason) == (2, 3.0, 5.0, "HTTP 503")
    step = exchange.receive(TransportFailure("reset by peer"), 1009.4)
    assert isinstance(step, Send)
    assert (step.attempt, step.delay, step.reason) == (3, 0.5, "reset by peer")
    assert step.timeout == pytest.approx(0.1)


@pytest.mark.parametrize("retry_after", ["8", "9", "3600"])
def test_a_retry_that_would_begin_after_the_deadline_is_not_made(retry_after: str) -> None:
    exchange = exchange_of(invocations()[0], policy(), 10.0)
    exchange.start(1000.0)
    with pytest.raises(NavaiError, match=r"(?m)^HTTP 503$"):
        exchange.receive(Response(503, {"retry-after": retry_after}, b""), 1002.0)


def test_without_a_timeout_there_is_no_deadline() -> None:
    exchange = exchange_of(invocations()[0], policy(), None)
    first = exchange.start(0.0)
    assert isinstance(first, Send)
    assert (first.delay, first.timeout) == (0.0, None)
    step = exchange.receive(Response(503, {"retry-after": "86400"}, b""), 1e9)
    assert isinstance(step, Send)
    assert (step.delay, step.timeout) == (86_400.0, None)


def test_a_response_counts_even_if_it_arrives_late() -> None:
    exchange = exchange_of(invocations()[2], policy(), 10.0)
    exchange.start(0.0)
    assert isinstance(exchange.receive(GOOD, 11.0), Done)


@pytest.mark.parametrize(
    ("failures", "may_have_executed"),
    [
        ([TransportFailure("a", sent=False)] * 3, False),
        ([TransportFailure("a", sent=False), TransportFailure("b")], True),
        ([Response(429, {"retry-after": "0"}, b""), *[TransportFailure("a", sent=False)] * 2], True),
    ],
)
def test_whether_a_call_may_have_been_executed_is_remembered(
    failures: list[Response | TransportFailure], may_have_executed: bool
) -> None:
    exchange = exchange_of(invocations()[2], policy(), 100.0)
    exchange.start(0.0)
    for failure in failures[:-1]:
        assert isinstance(exchange.receive(failure, 0.0), Send)
    with pytest.raises(NavaiTransportError) as caught:
        exchange.receive(failures[-1], 0.0)
    assert caught.value.may_have_executed is may_have_executed


def test_the_cause_of_a_failure_is_kept() -> None:
    cause = OSError("reset")
    exchange = exchange_of(invocations()[2], policy(), None)
    exchange.start(0.0)
    with pytest.raises(NavaiTransportError) as caught:
        exchange.receive(TransportFailure("reset", cause=cause), 0.0)
    assert caught.value.__cause__ is cause


def test_a_known_list_younger_than_max_age_needs_no_request() -> None:
    backend = Invocations("http://x", Paths(), lambda: "key")
    first = exchange_of(backend.list_functions(60.0), policy(), 30.0)
    assert isinstance(first.start(1000.0), Send)
    done = first.receive(Response(200, {}, b'{"items":[{"name":"a"}]}'), 1001.0)
    assert isinstance(done, Done)
    again = exchange_of(backend.list_functions(60.0), policy(), 30.0)
    known = again.start(1060.9)
    assert isinstance(known, Done)
    assert known.value is done.value
    assert exchange_of(backend.list_functions(60.0), policy(), 30.0).attempts == 1
    recalled = exchange_of(backend.list_functions(60.0), policy(), 30.0)
    recalled.start(1060.9)
    assert recalled.attempts == 0
    assert isinstance(exchange_of(backend.list_functions(60.0), policy(), 30.0).start(1061.0), Send)
    assert isinstance(exchange_of(backend.list_functions(None), policy(), 30.0).start(1002.0), Send)


def test_a_list_never_raises() -> None:
    for outcome in (TransportFailure("a"), Response(500, {}, b""), Response(200, {}, b"x"), GOOD):
        exchange = exchange_of(invocations()[1], policy(0), None)
        exchange.start(0.0)
        done = exchange.receive(outcome, 0.0)
        assert isinstance(done, Done)
        assert isinstance(done.value, FunctionList)


def test_a_programming_error_is_not_caught() -> None:
    def decode(response: Response) -> None:
        raise ZeroDivisionError

    call = invocations()[0]
    call = evolve(call, operation=evolve(call.operation, read=decode), secrets=("a-secret",))
    exchange = exchange_of(call, policy(), None)
    exchange.start(0.0)
    with pytest.raises(ZeroDivisionError), contextlib.suppress(NavaiError):
        exchange.receive(GOOD, 0.0)


def test_a_transport_message_that_ends_in_a_full_stop_gets_no_second_one() -> None:
    exchange = exchange_of(invocations()[2], RetryPolicy(max_retries=0), None)
    exchange.start(0.0)
    with pytest.raises(NavaiTransportError, match=r"(?m)execute: refused\.$"):
        exchange.receive(TransportFailure("refused.", sent=False), 0.0)


LOST = TransportFailure("reset")
SHARED = Response(200, {"navai-idempotency": "shared"}, b'{"ok": true, "result": 7}')


def execution(backend: Invocations, headers: ClientHeaders = HEADERS) -> Exchange[Any]:
    execution = backend.prepare(EXECUTE_FUNCTION, {"function_name": "f"}, "key")
    return exchange_of(execution, policy(jitter=0.0), None, headers)


def asks_again(backend: Invocations, now: float, headers: ClientHeaders = HEADERS) -> bool:
    """Whether a call whose response is lost at *now* is sent again, as the same request."""
    exchange = execution(backend, headers)
    first = exchange.start(now)
    assert isinstance(first, Send)
    with contextlib.suppress(NavaiTransportError):
        again = exchange.receive(LOST, now)
        assert isinstance(again, Send)
        assert again.request is first.request
        return True
    return False


def finished(exchange: Exchange[Any], response: Response, now: float) -> Any:
    exchange.start(now)
    done = exchange.receive(response, now)
    assert isinstance(done, Done)
    return done.value


@pytest.mark.parametrize("said", ["shared", " shared\t"])
def test_shared_keys_are_trusted_for_ten_minutes_after_the_last_response_that_says_so(said: str) -> None:
    backend = Invocations("http://x", Paths(), lambda: "key")
    assert not asks_again(backend, 0.0)
    assert finished(execution(backend), evolve(SHARED, headers={"navai-idempotency": said}), 100.0) == 7
    assert asks_again(backend, 699.9)
    assert not asks_again(backend, 700.0)
    finished(execution(backend), SHARED, 800.0)
    finished(exchange_of(backend.list_functions(None), policy(), None), SHARED, 1300.0)
    assert asks_again(backend, 1899.9)


@pytest.mark.parametrize("headers", [{}, {"navai-idempotency": "memory"}, {"navai-idempotency": "Shared"}])
def test_an_execution_that_says_something_else_ends_the_trust(headers: dict[str, str]) -> None:
    backend = Invocations("http://x", Paths(), lambda: "key")
    finished(execution(backend), SHARED, 0.0)
    finished(exchange_of(backend.list_functions(None), policy(), None), evolve(SHARED, headers=headers), 0.0)
    assert asks_again(backend, 1.0)
    finished(execution(backend), evolve(SHARED, headers=headers), 0.0)
    assert not asks_again(backend, 1.0)


def test_the_trust_of_a_hundred_identities_is_kept() -> None:
    backend = Invocations("http://x", Paths(), lambda: "key")
    identities = [ClientHeaders((("Authorization", str(number)),)) for number in range(101)]
    for headers in identities:
        finished(execution(backend, headers), SHARED, 0.0)
    assert [asks_again(backend, 1.0, each) for each in identities] == [False, *[True] * 100]


def test_a_timeout_is_never_asked_again() -> None:
    backend = Invocations("http://x", Paths(), lambda: "key")
    exchange = execution(backend)
    finished(execution(backend), SHARED, 0.0)
    exchange.start(0.0)
    with pytest.raises(NavaiTimeoutError) as caught:
        exchange.receive(TransportFailure("late", timed_out=True), 1.0)
    assert caught.value.may_have_executed


def test_a_401_that_says_that_it_may_have_executed_is_not_repeated_with_new_headers() -> None:
    exchange = execution(Invocations("http://x", Paths(), lambda: "key"))
    exchange.source = object()
    exchange.start(0.0)
    with pytest.raises(OutcomeUnknownError):
        exchange.receive(Response(401, {}, b'{"error": "no", "may_have_executed": true}'), 0.0)


SECRET_HEADERS = ClientHeaders(secrets=("a-secret-of-ours",))
SLOW = "a-secret-of-ours " + "%41&#65;" * 120_000  # takes a fraction of a second to search
NOT_SHOWN = "[not shown: the search for secrets in it took too long]"


def error_at(now: float, response: Response, timeout: float | None = 10.0) -> Any:
    """Return the error of an execution whose *response* arrives at *now*."""
    exchange = exchange_of(invocations()[2], policy(0), timeout, SECRET_HEADERS)
    exchange.start(0.0)
    with pytest.raises(NavaiError) as caught:
        exchange.receive(response, now)
    return caught.value


@pytest.mark.parametrize("now", [9.999, 10.0, 11.0])
def test_the_search_for_secrets_counts_against_the_deadline(now: float) -> None:
    error = error_at(now, Response(500, {}, SLOW.encode()))
    assert (str(error), error.body) == (NOT_SHOWN, NOT_SHOWN)
    error = error_at(now, Response(200, {}, json.dumps({"ok": False, "details": SLOW}).encode()))
    assert (str(error), error.details) == (NOT_SHOWN, NOT_SHOWN)


def test_a_response_that_arrives_with_the_deadline_is_still_shown_without_secrets() -> None:
    assert str(error_at(10.0, Response(500, {"a": "b"}, b"a-secret-of-ours %41"))) == "*** %41"


@pytest.mark.parametrize(
    "shown",
    [
        ("why a-secret-of-ours", "why ***"),
        ({"a": ["a-secret-of-ours", 1, None]}, {"a": ["***", 1, None]}),
        (["\ud800 a-secret-of-ours"], ["\ud800 ***"]),
        (5, 5),
        (None, None),
        ("", ""),
    ],
)
def test_what_a_function_says_of_its_failure_is_masked_string_by_string(shown: tuple[Any, Any]) -> None:
    given, expected = shown
    body = json.dumps({"ok": False, "error": given, "details": given})
    error = error_at(1.0, Response(200, {}, body.encode()))
    assert (error.error, error.details) == (expected, expected)
    assert str(error) == (expected if isinstance(expected, str) else "Backend function failed.")


def test_objects_in_a_long_failure_are_left_out() -> None:
    body = json.dumps({"ok": False, "error": "why a-secret-of-ours", "details": {"a": "x" * 4 * 2**20}})
    error = error_at(1.0, Response(200, {}, body.encode()))
    assert (str(error), error.error, error.details) == ("why ***", "why ***", None)


def test_a_failure_that_is_nested_too_deep_to_be_masked_is_not_shown() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    response = Response(200, {}, b"{}")
    response.parsed = {"ok": False, "details": deep}  # as a parser may that has no limit
    assert error_at(1.0, response).details == (
        "[not shown: The value is nested too deep to be sent as JSON.]"
    )


@pytest.mark.parametrize(
    ("warnings", "shown"),
    [
        (["a-secret-of-ours", "odd"], ("***", "odd")),
        ([SLOW], (NOT_SHOWN,)),
        (["x" * 2**20, "y"], ("[navai] The warnings of the backend are not shown: they are too long.",)),
    ],
    ids=["short", "slow", "long"],
)
def test_warnings_are_masked_within_one_limit(warnings: list[str], shown: tuple[str, ...]) -> None:
    exchange = exchange_of(invocations()[1], policy(0), 10.0, SECRET_HEADERS)
    exchange.start(0.0)
    done = exchange.receive(Response(200, {}, json.dumps({"warnings": warnings}).encode()), 9.999)
    assert isinstance(done, Done)
    assert done.value.warnings == shown


BUSY = Response(503, {"retry-after": "1"}, b"")
UNAUTHORIZED = Response(401, {}, b'{"error": "expired"}')


def bearer(token: str) -> ClientHeaders:
    """Return the headers of a client with an access token."""
    pairs = (("Authorization", f"Bearer {token}"),)
    return ClientHeaders(pairs, secrets=(token,))


def renewable(timeout: float | None = 10.0, *, max_retries: int = 2) -> Exchange[Any]:
    """Return a started call of a client that can ask for its headers once more."""
    exchange = exchange_of(invocations()[2], policy(max_retries), timeout, bearer("first-token"))
    exchange.source = object()
    exchange.start(0.0)
    return exchange


def test_a_401_asks_for_new_headers_and_the_request_is_sent_with_them() -> None:
    exchange = renewable()
    step = exchange.receive(UNAUTHORIZED, 1.0)
    assert isinstance(step, Send)
    assert (step.renews, step.attempt, step.delay, step.timeout) == (True, 1, 0.0, 9.0)
    assert step.request.content == invocations()[2].content
    step = exchange.renew(bearer("second-token"), 2.0)
    assert isinstance(step, Send)
    assert (step.renews, step.attempt, step.delay, step.timeout) == (False, 2, 0.0, 8.0)
    assert ("Authorization", "Bearer second-token") in step.request.headers
    assert not any("first-token" in value for _, value in step.request.headers)
    assert step.request.content == invocations()[2].content
    assert step.request.call_headers[-1] == ("X-Request-ID", "request-1")
    done = exchange.receive(GOOD, 3.0)
    assert isinstance(done, Done)
    assert (exchange.attempts, exchange.elapsed) == (2, 3.0)


def test_a_request_without_a_body_is_renewed_without_its_headers() -> None:
    exchange = exchange_of(invocations()[1], policy(), None, bearer("first-token"))
    exchange.source = object()
    exchange.start(0.0)
    exchange.receive(UNAUTHORIZED, 0.0)
    step = exchange.renew(bearer("second-token"), 0.0)
    assert isinstance(step, Send)
    assert step.request.headers == bearer("second-token").plain


def test_an_attempt_that_was_refused_for_its_credentials_is_no_retry() -> None:
    exchange = renewable()
    exchange.receive(UNAUTHORIZED, 0.0)
    exchange.renew(bearer("second-token"), 0.0)
    for attempt in (3, 4):
        step = exchange.receive(BUSY, 0.0)
        assert isinstance(step, Send)
        assert (step.attempt, step.delay) == (attempt, 1.0)
    with pytest.raises(NavaiHTTPError) as caught:
        exchange.receive(BUSY, 0.0)
    assert caught.value.status_code == 503


def test_a_second_401_is_final() -> None:
    exchange = renewable()
    exchange.receive(UNAUTHORIZED, 0.0)
    exchange.renew(bearer("second-token"), 0.0)
    with pytest.raises(NavaiHTTPError, match="expired") as caught:
        exchange.receive(UNAUTHORIZED, 0.0)
    assert caught.value.status_code == 401


@pytest.mark.parametrize(
    ("token", "now"), [("first-token", 1.0), ("second-token", 10.0), ("second-token", 11.0)]
)
def test_the_401_stands_where_the_headers_are_the_same_or_no_time_is_left(token: str, now: float) -> None:
    exchange = renewable()
    exchange.receive(UNAUTHORIZED, 0.5)
    with pytest.raises(NavaiHTTPError, match="expired") as caught:
        exchange.renew(bearer(token), now)
    assert caught.value.status_code == 401
    assert exchange.attempts == 1


@pytest.mark.parametrize("first", [LOST, BUSY])
def test_a_401_after_an_attempt_that_may_have_arrived_is_not_renewed(
    first: Response | TransportFailure,
) -> None:
    exchange = exchange_of(invocations()[0], policy(), None, bearer("first-token"))
    exchange.source = object()
    exchange.start(0.0)
    assert isinstance(exchange.receive(first, 0.0), Send)
    with pytest.raises(NavaiHTTPError, match="expired"):
        exchange.receive(UNAUTHORIZED, 0.0)


def test_after_a_renewal_nothing_may_have_executed_yet_and_the_secrets_of_both_headers_are_masked() -> None:
    exchange = renewable(max_retries=0)
    exchange.receive(UNAUTHORIZED, 0.0)
    exchange.renew(bearer("second-token"), 0.0)
    with pytest.raises(NavaiTransportError) as caught:
        exchange.receive(TransportFailure("first-token, second-token", sent=False), 0.0)
    assert not caught.value.may_have_executed
    assert "***, ***" in str(caught.value)


def test_an_operation_that_calls_a_response_final_is_asked_with_the_response_and_its_json() -> None:
    asked: list[tuple[Response, Any]] = []

    def is_final(response: Response, value: Any) -> bool:
        asked.append((response, value))
        return response.status == 429

    def step(response: Response) -> Send | Done[Any]:
        exchange = exchange_of(evolve(invocations()[2], is_final=is_final), policy(), None)
        exchange.start(0.0)
        return exchange.receive(response, 0.0)

    busy = evolve(BUSY, content=b'{"code": "later"}')
    assert isinstance(step(busy), Send)
    assert asked == [(busy, {"code": "later"})]
    with pytest.raises(NavaiHTTPError):
        step(evolve(busy, status=429))


@pytest.mark.parametrize("says", ['{"may_have_executed": true}', '{"pending_approval": true}'])
def test_a_response_that_says_something_of_the_function_is_not_followed_by_an_attempt(says: str) -> None:
    exchange = exchange_of(invocations()[2], policy(), None)
    exchange.start(0.0)
    with pytest.raises(NavaiError):
        exchange.receive(evolve(BUSY, content=says.encode()), 0.0)
    assert exchange.attempts == 1


def test_who_asks_again_for_a_lost_response_is_known_as_the_second() -> None:
    backend = Invocations("http://x", Paths(), lambda: "key")
    finished(execution(backend), SHARED, 0.0)
    exchange = execution(backend)
    exchange.start(0.0)
    before = exchange.invocation.context
    assert isinstance(exchange.receive(LOST, 0.0), Send)
    assert exchange.invocation.context == {**before, "is_second": True}
    exchange = execution(backend)
    exchange.start(0.0)
    assert isinstance(exchange.receive(BUSY, 0.0), Send)
    assert exchange.invocation.context == before


def test_each_attempt_is_logged_with_its_outcome_and_the_seconds_since_it_was_sent() -> None:
    logged: list[tuple[int, str, float]] = []
    exchange = Exchange(
        invocations()[2],
        policy(),
        None,
        bearer("first-token"),
        lambda: "request-1",
        print,
        lambda call, outcome, seconds: logged.append((call.attempts, outcome, seconds)),
    )
    exchange.source = object()
    exchange.start(100.0)
    exchange.receive(BUSY, 103.0)
    step = exchange.receive(TransportFailure("no first-token", sent=False), 106.0)  # sent at 104
    assert isinstance(step, Send)
    exchange.receive(GOOD, 110.0 + step.delay)
    assert logged == [(1, "HTTP 503", 3.0), (2, "no ***", 2.0), (3, "HTTP 200", 4.0)]


def test_the_deadline_began_before_the_start_if_headers_took_time() -> None:
    exchange = exchange_of(invocations()[2], policy(), 10.0)
    exchange.spent = 4.0
    step = exchange.start(100.0)
    assert isinstance(step, Send)
    assert step.timeout == 6.0
    exchange.receive(GOOD, 101.0)
    assert exchange.elapsed == 5.0
    late = exchange_of(invocations()[2], policy(), 10.0)
    late.spent = 10.0
    with pytest.raises(NavaiTimeoutError, match="within 10 s: its headers arrived too late") as caught:
        late.start(100.0)
    assert not caught.value.may_have_executed


@pytest.mark.parametrize(
    ("failure", "timeout", "text"),
    [
        (TransportFailure("late", timed_out=True), 2.5, "within 2.5 s: late."),
        (TransportFailure("late.", timed_out=True), None, "in time: late."),
        (TransportFailure("reset"), 2.5, ": reset."),
    ],
)
def test_a_failure_names_the_address_and_what_happened(
    failure: TransportFailure, timeout: float | None, text: str
) -> None:
    exchange = exchange_of(invocations()[2], policy(0), timeout)
    exchange.start(0.0)
    with pytest.raises(NavaiTransportError) as caught:
        exchange.receive(failure, 1.0)
    between = "" if text.startswith(":") else " "
    assert str(caught.value) == f"No response from POST http://x/navai/functions/execute{between}{text}"
    assert caught.value.may_have_executed


def test_an_error_has_notes_for_whoever_looks_for_the_call() -> None:
    exchange = exchange_of(invocations()[2], policy(), None)
    exchange.start(0.0)
    exchange.receive(BUSY, 0.0)
    answer = Response(404, {"x-request-id": "theirs", "server": "nginx"}, b"<html>nginx</html>")
    with pytest.raises(NavaiHTTPError) as caught:
        exchange.receive(answer, 0.0)
    assert caught.value.__notes__[0] == (
        "POST http://x/navai/functions/execute ('f'): HTTP 404, 2 attempts, "
        "request id theirs (sent: request-1)"
    )
    assert caught.value.request_id == exchange.answered_id == "theirs"
    assert caught.value.headers["X-Request-ID"] == "theirs"


@pytest.mark.parametrize("theirs", ["", "with blank", "ü", "x" * 256])
def test_an_id_that_no_log_line_can_show_is_replaced_by_the_one_that_was_sent(theirs: str) -> None:
    exchange = exchange_of(invocations()[2], policy(0), None)
    exchange.start(0.0)
    with pytest.raises(NavaiHTTPError) as caught:
        exchange.receive(Response(500, {"x-request-id": theirs}, b""), 0.0)
    assert caught.value.request_id == "request-1"
    assert caught.value.__notes__[0].endswith("HTTP 500, 1 attempt, request id request-1")


FOREIGN = Response(200, {}, b'{"ok": true, "function_name": "other", "result": 1}')


def test_a_response_of_another_call_is_lost_where_its_connection_is_closed() -> None:
    exchange = execution(Invocations("http://x", Paths(), lambda: "key"))
    exchange.start(0.0)
    assert not exchange.accepts(FOREIGN)
    with pytest.raises(
        InvalidResponseError, match=r"belongs to another call: .*The connection was closed"
    ) as caught:
        exchange.receive(FOREIGN, 0.0)
    assert caught.value.status_code == 200
    assert exchange.answered_id == "request-1"


def test_a_response_of_another_call_is_a_warning_where_no_transport_asked() -> None:
    warned: list[str] = []
    call = CALLS.prepare(EXECUTE_FUNCTION, {"function_name": "f"}, "key")
    exchange = Exchange(call, policy(0), None, HEADERS, lambda: "request-1", warned.append)
    exchange.start(0.0)
    done = exchange.receive(FOREIGN, 0.0)
    assert isinstance(done, Done)
    assert done.value == 1
    assert len(warned) == 1
    assert warned[0].startswith("The response belongs to another call: ")


def test_an_attempt_after_a_foreign_response_is_checked_anew() -> None:
    backend = Invocations("http://x", Paths(), lambda: "key")
    finished(execution(backend), SHARED, 0.0)
    exchange = execution(backend)
    exchange.start(0.0)
    assert not exchange.accepts(FOREIGN)
    again = exchange.receive(FOREIGN, 0.0)
    assert isinstance(again, Send)
    assert again.reason == "the response belongs to another call"
    assert exchange.accepts(SHARED)
    done = exchange.receive(SHARED, 0.0)
    assert isinstance(done, Done)
    assert done.value == 7


def test_headers_and_texts_of_a_failure_are_kept_without_secrets() -> None:
    response = Response(500, {"x-echo": "a-secret-of-ours!"}, b'{"error": "a-secret-of-ours!"}')
    exchange = exchange_of(invocations()[2], policy(0), None, SECRET_HEADERS)
    exchange.start(0.0)
    with pytest.raises(NavaiHTTPError, match=r'"error": "\*\*\*!"') as caught:
        exchange.receive(response, 0.0)
    assert exchange.response is not None
    assert exchange.response.headers == {"x-echo": "***!"}
    assert exchange.response.content == b'{"error": "***!"}'
    assert exchange.response.status == 500
    assert caught.value.headers["x-echo"] == "***!"


def test_a_failure_without_secrets_keeps_its_cause_and_one_with_them_does_not() -> None:
    for message, kept in (("reset", True), ("reset a-secret-of-ours", False)):
        exchange = exchange_of(invocations()[2], policy(0), None, SECRET_HEADERS)
        exchange.start(0.0)
        with pytest.raises(NavaiTransportError) as caught:
            exchange.receive(TransportFailure(message, cause=OSError(message)), 0.0)
        assert (caught.value.__cause__ is not None) is kept
        assert "a-secret-of-ours" not in str(caught.value)


@pytest.mark.parametrize(("status", "is_redirect"), [(300, True), (302, True), (399, True), (400, False)])
def test_a_redirect_says_where_it_leads_and_which_option_is_meant(status: int, is_redirect: bool) -> None:
    exchange = exchange_of(invocations()[2], policy(0), None)
    exchange.start(0.0)
    moved = Response(status, {"location": "http://x/navai/functions/execute/"}, b"moved")
    with pytest.raises(NavaiHTTPError) as caught:
        exchange.receive(moved, 0.0)
    assert ("functions_execute_path" in str(caught.value)) is is_redirect
    assert (f"HTTP {status}" in str(caught.value)) is is_redirect
    assert (str(caught.value) == "moved") is not is_redirect


def test_an_error_says_when_to_ask_again() -> None:
    exchange = exchange_of(invocations()[2], policy(0), None)
    exchange.start(0.0)
    with pytest.raises(NavaiHTTPError) as caught:
        exchange.receive(evolve(BUSY, headers={"retry-after": "7"}), 0.0)
    assert caught.value.retry_after == 7.0


def test_a_long_error_is_masked_before_it_is_cut() -> None:
    secret = b"a-secret-of-ours"
    content = b"x" * (LONGEST_BODY - 5) + secret + b"\xff" * LONGEST_BODY
    exchange = exchange_of(invocations()[2], policy(0), None, SECRET_HEADERS)
    exchange.start(0.0)
    with pytest.raises(NavaiHTTPError):
        exchange.receive(Response(500, {}, content), 0.0)
    assert exchange.response is not None
    shown = exchange.response.content
    assert b"a-sec" not in shown
    assert shown.startswith(b"x" * (LONGEST_BODY - 200))
    assert len(shown) <= LONGEST_BODY + 200


def test_only_full_stops_are_taken_from_the_end_of_what_a_transport_says() -> None:
    exchange = exchange_of(invocations()[2], policy(0), None)
    exchange.start(0.0)
    with pytest.raises(NavaiTransportError, match=r"(?m): no MX\.$"):
        exchange.receive(TransportFailure("no MX.."), 0.0)


def test_each_attempt_is_checked_for_a_response_of_another_call() -> None:
    warned: list[str] = []
    call = CALLS.prepare(EXECUTE_FUNCTION, {"function_name": "f"}, "key")
    for outcome in (BUSY, UNAUTHORIZED):
        exchange = Exchange(call, policy(2), None, bearer("first-token"), lambda: "request-1", warned.append)
        exchange.source = object()
        exchange.start(0.0)
        exchange.accepts(outcome)
        exchange.receive(outcome, 0.0)
        if outcome is UNAUTHORIZED:
            exchange.renew(bearer("second-token"), 0.0)
        assert isinstance(exchange.receive(FOREIGN, 0.0), Done)
    assert len(warned) == 2


def test_a_renewed_request_goes_on_as_one_with_the_new_headers() -> None:
    logged: list[float] = []
    backend = Invocations("http://x", Paths(), lambda: "key")
    call = backend.prepare(EXECUTE_FUNCTION, {"function_name": "f"}, "key")
    new = bearer("a-token-that-is-longer")
    exchange = Exchange(
        call,
        policy(jitter=0.0),
        10.0,
        bearer("a-token"),
        lambda: "request-1",
        print,
        lambda _call, _outcome, seconds: logged.append(seconds),
    )
    exchange.source = object()
    exchange.start(0.0)
    exchange.receive(UNAUTHORIZED, 1.0)
    step = exchange.renew(new, 9.5)
    assert isinstance(step, Send)
    assert step.timeout == 0.5
    assert step.request.headers == new.json
    exchange.receive(SHARED, 9.75)
    assert logged == [1.0, 0.25]
    assert asks_again(backend, 10.0, new)
    assert not asks_again(backend, 10.0, bearer("a-token"))


def test_of_the_secrets_of_both_headers_the_longest_is_masked_first() -> None:
    for first, second in (
        ("a-long-token", "a-long-token-and-more"),
        ("a-long-token-and-more", "a-long-token"),
    ):
        exchange = exchange_of(invocations()[2], policy(0), None, bearer(first))
        exchange.source = object()
        exchange.start(0.0)
        exchange.receive(UNAUTHORIZED, 0.0)
        exchange.renew(bearer(second), 0.0)
        with pytest.raises(NavaiTransportError, match=r"(?m): no \*\*\*\.$"):
            exchange.receive(TransportFailure("no a-long-token-and-more", sent=False), 0.0)


def test_a_list_that_fails_is_one_warning_with_what_went_wrong_and_its_notes() -> None:
    warned: list[str] = []
    exchange = Exchange(
        CALLS.list_functions(None), policy(0), None, SECRET_HEADERS, lambda: "request-1", warned.append
    )
    exchange.start(0.0)
    text = "why\n  a-secret-of-ours  " + "x" * 2000
    done = exchange.receive(Response(500, {}, text.encode()), 0.0)
    assert isinstance(done, Done)
    begin = "list_functions: why *** xxx"
    end = " (GET http://x/navai/functions: HTTP 500, 1 attempt, request id request-1)"
    (warning,) = warned
    assert warning.startswith(begin)
    assert warning.endswith(end)
    assert 1000 <= len(warning.removesuffix(end)) < 1200


def test_notes_say_that_there_was_no_response_or_that_it_looks_like_that_of_another_service() -> None:
    exchange = exchange_of(invocations()[2], policy(0), None)
    exchange.start(0.0)
    with pytest.raises(NavaiTransportError) as caught:
        exchange.receive(LOST, 0.0)
    assert caught.value.__notes__ == [
        "POST http://x/navai/functions/execute ('f'): no response, 1 attempt, request id request-1"
    ]
    exchange = exchange_of(invocations()[2], policy(0), None)
    exchange.start(0.0)
    page = Response(404, {"content-type": "text/html"}, b"<!doctype html><title>Not Found</title>")
    with pytest.raises(NavaiHTTPError) as wrong:
        exchange.receive(page, 0.0)
    assert len(wrong.value.__notes__) == 2
    assert wrong.value.__notes__[1].endswith(" Check base_url and functions_execute_path.")


def test_what_a_redirect_says_has_the_address_and_the_target() -> None:
    exchange = exchange_of(invocations()[2], policy(0), None)
    exchange.start(0.0)
    moved = Response(308, {"location": "https://other.test/navai/functions/execute"}, b"")
    with pytest.raises(NavaiHTTPError) as caught:
        exchange.receive(moved, 0.0)
    assert "https://other.test" in str(caught.value)
    assert "http://x" in str(caught.value) or "base_url" in str(caught.value)


def test_the_ids_of_a_call_that_waits_are_masked_too() -> None:
    body = {
        "ok": False,
        "pending_approval": True,
        "function_name": "f",
        "approval": {"id": "a-secret-of-ours-1"},
        "trace_id": "a-secret-of-ours-2",
    }
    exchange = exchange_of(invocations()[2], policy(0), None, SECRET_HEADERS)
    exchange.start(0.0)
    response = Response(202, {"x-echo": "a-secret-of-ours"}, json.dumps(body).encode())
    with pytest.raises(ApprovalPendingError) as caught:
        exchange.receive(response, 0.0)
    assert (caught.value.approval_id, caught.value.trace_id) == ("***-1", "***-2")
    assert exchange.response is not None
    assert exchange.response.headers == {"x-echo": "***"}


def test_an_error_about_a_result_keeps_its_text_without_secrets() -> None:
    error = error_at(1.0, Response(200, {}, b'a-secret-of-ours {"ok"'))
    assert isinstance(error, InvalidResponseError)
    assert "a-secret" not in str(error)
    assert len(str(error)) > 10


def test_only_the_secrets_of_the_call_are_searched_for_in_what_a_function_says() -> None:
    """What looks like a secret of others is the backend's own text, and stays."""
    error = error_at(1.0, Response(200, {}, b'{"ok": false, "error": "sk-proj-abcdefghijklmnopqrstu"}'))
    assert error.error == "sk-proj-abcdefghijklmnopqrstu"


def test_a_request_has_the_headers_of_its_kind_and_an_id() -> None:
    for invocation, headers in ((invocations()[1], HEADERS.plain), (invocations()[2], HEADERS.json)):
        step = exchange_of(invocation, policy(), None).start(0.0)
        assert isinstance(step, Send)
        assert step.request.headers == headers
        assert step.request.call_headers[-1] == ("X-Request-ID", "request-1")
    own = exchange_of(invocations()[2], policy(), None, ClientHeaders(request_id="mine"))
    step = own.start(0.0)
    assert isinstance(step, Send)
    assert own.request_id == "mine"
    assert all(name != "X-Request-ID" for name, _ in step.request.call_headers)


def test_the_key_of_a_request_is_masked_beside_the_secrets_of_its_headers() -> None:
    call = CALLS.prepare(OPERATIONS[0], {"api_key": "sk-of-the-request"})
    exchange = exchange_of(call, policy(0), None, SECRET_HEADERS)
    exchange.start(0.0)
    with pytest.raises(NavaiHTTPError) as caught:
        exchange.receive(Response(400, {}, b"sk-of-the-request a-secret-of-ours"), 0.0)
    assert str(caught.value) == "*** ***"


def test_a_failed_list_warns_with_each_of_its_notes() -> None:
    warned: list[str] = []
    call = CALLS.list_functions(None)
    exchange = Exchange(call, policy(0), None, HEADERS, lambda: "request-1", warned.append)
    exchange.start(0.0)
    exchange.receive(Response(404, {}, b"<html></html>"), 0.0)
    assert "request id request-1. The response is a page" in warned[0]
