"""Failures that a test scripts are seen by every kind of client as a real backend's would be."""

import gzip
import threading
from collections.abc import Iterator

import pytest

from navai_client import (
    FunctionFailedError,
    InvalidResponseError,
    NavaiConfigError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.testing import FakeBackend
from tests.testing.kinds_of_client import KINDS, client_of
from tests.waiting import SHORT_S

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    with FakeBackend() as backend:

        @backend.function
        def double(n: int) -> int:
            return 2 * n

        yield backend


@every_kind
def test_a_scripted_status_is_used_once_and_then_the_function_runs(kind: str, backend: FakeBackend) -> None:
    backend.fail_next(409, error="Already done.")

    with client_of(kind, backend) as client:
        with pytest.raises(NavaiHTTPError) as caught:
            client.execute_function("double", {"n": 1})
        assert client.execute_function("double", {"n": 21}) == 42

    assert (caught.value.status_code, caught.value.error) == (409, "Already done.")
    assert [request.outcome for request in backend.requests] == ["409 (scripted)", "200"]
    backend.assert_failures_used()


@every_kind
def test_the_client_retries_after_503_with_retry_after(kind: str, backend: FakeBackend) -> None:
    backend.fail_next(retry_after=0, times=2)

    with client_of(kind, backend) as client:
        assert client.execute_function("double", {"n": 21}) == 42

    assert [request.status for request in backend.requests] == [503, 503, 200]
    backend.assert_called_once_with("double", {"n": 21})
    (call,) = backend.calls
    assert call.outcome == "503 (scripted), then 503 (scripted), then 200"


@every_kind
def test_without_retry_after_a_function_is_not_retried(kind: str, backend: FakeBackend) -> None:
    backend.fail_next()

    with (
        client_of(kind, backend) as client,
        pytest.raises(NavaiHTTPError, match="Service Unavailable") as caught,
    ):
        client.execute_function("double", {"n": 1})

    assert caught.value.status_code == 503
    assert len(backend.requests) == 1


@every_kind
def test_a_delay_longer_than_the_timeout_is_a_timeout(kind: str, backend: FakeBackend) -> None:
    backend.delay_next(3600)

    with (
        client_of(kind, backend) as client,
        pytest.raises(NavaiTimeoutError, match=r"within 2 s") as caught,
    ):
        client.execute_function("double", {"n": 1}, timeout=SHORT_S)

    assert caught.value.may_have_executed
    assert [request.outcome for request in backend.requests] == ["no response"]


@every_kind
def test_a_delay_shorter_than_the_timeout_only_delays(kind: str, backend: FakeBackend) -> None:
    backend.delay_next(0.01)

    with client_of(kind, backend) as client:
        assert client.execute_function("double", {"n": 21}) == 42


@every_kind
def test_a_connection_dropped_before_sending_has_executed_nothing(kind: str, backend: FakeBackend) -> None:
    backend.drop_next(before="sending", times=None)

    with (
        client_of(kind, backend, max_retries=1) as client,
        pytest.raises(NavaiTransportError, match="refused") as caught,
    ):
        client.execute_function("double", {"n": 1})

    assert not caught.value.may_have_executed
    assert backend.requests == []
    backend.assert_not_called()


@every_kind
def test_a_request_that_was_never_sent_is_retried(kind: str, backend: FakeBackend) -> None:
    backend.drop_next(before="sending")

    with client_of(kind, backend) as client:
        assert client.execute_function("double", {"n": 21}) == 42

    assert len(backend.requests) == 1


@every_kind
@pytest.mark.parametrize(("before", "runs"), [("executing", 0), ("answering", 1)])
def test_a_connection_dropped_after_sending_may_have_executed(
    kind: str, before: str, runs: int, backend: FakeBackend
) -> None:
    ran: list[str] = []

    @backend.function
    def charge(card: str) -> None:
        ran.append(card)

    backend.drop_next(before=before)  # type: ignore[arg-type]

    with client_of(kind, backend) as client, pytest.raises(NavaiTransportError, match="dropped") as caught:
        client.execute_function("charge", {"card": "c"})

    assert caught.value.may_have_executed
    assert len(ran) == runs
    assert [request.outcome for request in backend.requests] == [
        f"connection dropped before {before} (scripted)"
    ]


@every_kind
def test_a_lost_response_is_replayed_by_its_key(kind: str, backend: FakeBackend) -> None:
    ran: list[str] = []

    @backend.function
    def charge(card: str) -> str:
        ran.append(card)
        return "charged"

    backend.drop_next()

    with client_of(kind, backend) as client:
        with pytest.raises(NavaiTransportError):
            client.execute_function("charge", {"card": "c"}, idempotency_key="k")
        assert client.execute_function("charge", {"card": "c"}, idempotency_key="k") == "charged"

    assert ran == ["c"]
    backend.assert_called_once_with("charge", {"card": "c"})


@every_kind
def test_responses_of_any_form_can_be_scripted(kind: str, backend: FakeBackend) -> None:
    backend.answer_next("<html>", headers={"Content-Type": "text/html"}, function="double")
    backend.answer_next(b"\xff", operation="create_client_secret")
    backend.answer_next(json={"ok": False, "details": "No."}, function="double")
    backend.answer_next("Moved.", status=302, headers={"Location": "https://elsewhere.test/"})

    with client_of(kind, backend) as client:
        with pytest.raises(InvalidResponseError):
            client.execute_function("double", {"n": 1})
        with pytest.raises(InvalidResponseError):
            client.create_client_secret()
        with pytest.raises(FunctionFailedError, match=r"(?m)^No\.$"):
            client.execute_function("double", {"n": 1})
        with pytest.raises(NavaiHTTPError, match="elsewhere") as caught:
            client.execute_function("double", {"n": 1})

    assert caught.value.status_code == 302
    backend.assert_failures_used()


@every_kind
def test_a_response_over_the_limit_is_refused(kind: str, backend: FakeBackend) -> None:
    backend.answer_next(json={"ok": True, "result": "x" * 1000})

    with (
        client_of(kind, backend, max_response_bytes=500) as client,
        pytest.raises(InvalidResponseError, match="larger than"),
    ):
        client.execute_function("double", {"n": 1})


@every_kind
def test_compressed_responses_are_read_and_damaged_ones_reported(kind: str, backend: FakeBackend) -> None:
    body = gzip.compress(b'{"ok": true, "result": 1}')
    backend.answer_next(body, headers={"Content-Encoding": "gzip"})
    backend.answer_next(body[:-9], headers={"Content-Encoding": "gzip"})

    with client_of(kind, backend) as client:
        assert client.execute_function("double", {"n": 1}) == 1
        # MockTransport decompresses the body itself, and takes the part before the cut for the whole.
        expected = NavaiTransportError if kind in {"sync", "async"} else InvalidResponseError
        with pytest.raises(expected):
            client.execute_function("double", {"n": 1})


def test_a_failure_applies_to_the_requests_that_it_names(backend: FakeBackend) -> None:
    backend.fail_next(500, function=" Double ")
    backend.fail_next(400, operation="synthesize_speech")
    backend.fail_next(501, error="")

    with client_of("sync", backend, max_retries=0) as client:
        assert client.list_functions().warnings == ("[navai] Failed to load backend functions (501).",)
        assert client.create_client_secret().value
        with pytest.raises(NavaiHTTPError) as caught:
            client.execute_function("double", {"n": 1})
        assert caught.value.status_code == 500
        with pytest.raises(NavaiHTTPError) as caught:
            client.synthesize_speech("hello")
        assert caught.value.status_code == 400

    backend.assert_failures_used()


def test_failures_are_used_in_the_order_in_which_they_were_scripted(backend: FakeBackend) -> None:
    backend.fail_next(500)
    backend.fail_next(501, times=2)

    with client_of("sync", backend) as client:
        seen = []
        for _ in range(3):
            with pytest.raises(NavaiHTTPError) as caught:
                client.execute_function("double", {"n": 1})
            seen.append(caught.value.status_code)

    assert seen == [500, 501, 501]


def test_a_status_without_a_name_can_be_scripted(backend: FakeBackend) -> None:
    backend.fail_next(599)

    with client_of("sync", backend) as client, pytest.raises(NavaiHTTPError, match="Scripted failure"):
        client.execute_function("double", {"n": 1})


def test_each_failure_is_used_once_among_many_threads(backend: FakeBackend) -> None:
    backend.fail_next(409, times=5)
    failed: list[int] = []

    def call(client: FakeBackend) -> None:
        for _ in range(10):
            try:
                client.execute_function("double", {"n": 1})  # type: ignore[attr-defined]
            except NavaiHTTPError as error:
                failed.append(error.status_code)

    with client_of("sync", backend) as client:
        threads = [threading.Thread(target=call, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert failed == [409] * 5
    assert len(backend.requests) == len(backend.calls) == 40


def test_a_failure_that_no_request_fits_is_refused_where_it_is_scripted(backend: FakeBackend) -> None:
    with pytest.raises(NavaiConfigError, match="takes a status from 400 to 599, answer_next"):
        backend.fail_next(200)
    with pytest.raises(NavaiConfigError, match="takes a status from 200 to 599"):
        backend.answer_next("", status=101)
    with pytest.raises(NavaiConfigError, match="content and json were both given"):
        backend.answer_next("", json=[])
    with pytest.raises(NavaiConfigError, match="operation is one of create_client_secret, list_functions"):
        backend.fail_next(operation="mint")
    with pytest.raises(NavaiConfigError, match="list_functions executes no function"):
        backend.delay_next(1, function="double", operation="list_functions")
    with pytest.raises(NavaiConfigError, match="times is 1 or more"):
        backend.drop_next(times=0)
    with pytest.raises(NavaiConfigError, match=r"A delay is a number of seconds.*-1"):
        backend.delay_next(-1)
    with pytest.raises(NavaiConfigError, match="before is one of sending, executing, answering"):
        backend.drop_next(before="sleeping")  # type: ignore[arg-type]
    with pytest.raises(NavaiPayloadError):
        backend.answer_next(json=object())
    backend.assert_failures_used()


def test_unused_failures_are_reported(backend: FakeBackend) -> None:
    backend.fail_next(503, function="doubel", times=2)
    backend.delay_next(1, operation="list_functions")
    backend.drop_next(function="treble", times=None)
    backend.fail_next(500, function="perhaps", optional=True)

    with pytest.raises(AssertionError) as before:
        backend.assert_failures_used()
    with client_of("sync", backend) as client:
        client.execute_function("double", {"n": 1})
        client.create_client_secret(api_key="sk-verysecret")
    with pytest.raises(AssertionError) as after:
        backend.assert_failures_used()

    left = (
        "Scripted failures that did not come to pass:\n"
        "  fail_next(status=503, function='doubel'): 0 of 2 used\n"
        "  delay_next(seconds=1, operation='list_functions'): 0 of 1 used\n"
        "  drop_next(before='answering', function='treble'): 0 of any number used\n"
    )
    loosen = "If that is fine in this test, script them with optional=True."
    assert str(before.value) == f"{left}No request came.\n{loosen}"
    came = 'Requests that came:\n  1. double({"n": 1}) -> 200\n  2. create_client_secret -> 200\n'
    assert str(after.value) == f"{left}{came}{loosen}"
