"""An exchange, driven with literals and with random sequences of outcomes and clock steps."""

import contextlib
import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from navai_client import (
    FunctionList,
    NavaiError,
    NavaiTimeoutError,
    NavaiTransportError,
    OutcomeUnknownError,
)
from navai_client.wire._exchange import Exchange
from navai_client.wire._operations import EXECUTE_FUNCTION, OPERATIONS, Paths
from navai_client.wire._requests import Invocation, Invocations
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import ClientHeaders, Done, Response, Send, TransportFailure
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
    exchange.start(0.0)
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
