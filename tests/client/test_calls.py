"""Opening and closing, timeouts, retries, cached lists. One suite for both clients."""

import asyncio
import contextlib
import logging
import math
import re
from typing import Any

import httpx
import pytest

from navai_client import (
    AsyncNavaiBackendClient,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from tests.backends import (
    BASE,
    EVERY_WAY,
    OPERATIONS,
    Backend,
    Clients,
    answer,
    call,
)


class TestLifecycle:
    """Opening, closing, event loops."""

    @EVERY_WAY
    def test_a_client_is_a_context_manager(self, clients: Clients) -> None:
        with clients.make(Backend(answer({"ok": True, "result": 1})), BASE) as client:
            assert client.execute_function("f") == 1
        with pytest.raises(NavaiStateError, match="closed"):
            client.execute_function("f")

    def test_an_exception_inside_the_with_block_is_not_swallowed(self, clients: Clients) -> None:
        with pytest.raises(ZeroDivisionError), clients.make(Backend(answer({})), BASE):
            raise ZeroDivisionError

    @pytest.mark.parametrize("operation", OPERATIONS)
    @EVERY_WAY
    def test_a_closed_client_raises_and_sends_nothing(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer({}))
        client = clients.make(backend, BASE)
        client.close()
        client.close()
        with pytest.raises(NavaiStateError, match=r"^This client is closed; make a new one\.$"):
            call(client, operation)
        assert backend.requests == []

    def test_close_closes_a_given_transport_once(self, mocked: Clients) -> None:
        closed = []

        class Watched(httpx.MockTransport):
            def close(self) -> None:
                closed.append("sync")

            async def aclose(self) -> None:
                closed.append("async")

        client = mocked.make(Backend(answer({})), BASE, transport=Watched(Backend(answer({}))))
        client.list_functions()
        client.close()
        client.close()
        assert len(closed) == 1

    def test_the_async_client_belongs_to_one_event_loop(self) -> None:
        transport = httpx.MockTransport(Backend(answer({})))
        client = AsyncNavaiBackendClient(BASE, transport=transport)
        asyncio.run(client.list_functions())
        with pytest.raises(NavaiStateError, match=r"^This client belongs to another event loop"):
            asyncio.run(client.list_functions())

    def test_the_async_client_needs_an_event_loop(self) -> None:
        transport = httpx.MockTransport(Backend(answer({})))
        coroutine = AsyncNavaiBackendClient(BASE, transport=transport).list_functions()
        with pytest.raises(
            NavaiStateError, match=r"^AsyncNavaiBackendClient needs a running asyncio event loop"
        ):
            coroutine.send(None)


class TestTimeouts:
    """The deadline of a call."""

    @pytest.fixture
    def seen(self) -> list[float | None]:
        return []

    def client(self, mocked: Clients, seen: list[float | None], **options: Any) -> Any:
        def backend(request: httpx.Request) -> httpx.Response:
            seen.append(request.extensions["timeout"].get("read"))
            return answer(b"", 418)

        return mocked.make(backend, BASE, **options)

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (({}, {}), 30.0),
            (({"timeout": 9000.5}, {}), 9000.5),
            (({"timeout": 9000.5}, {"timeout": 700}), 700.0),
            (({"timeout": 9000.5}, {"timeout": None}), None),
            (({"timeout": None}, {}), None),
            (({"timeout": None}, {"timeout": 700}), 700.0),
            (({"timeout": math.inf}, {}), None),
            (({"timeout": 10**400}, {}), None),
            (({"timeout": 1e300}, {}), None),
            (({"timeout": 1e7}, {}), None),
        ],
    )
    def test_the_timeout_of_a_call_takes_precedence_over_that_of_the_client(
        self,
        mocked: Clients,
        seen: list[float | None],
        operation: str,
        given: tuple[dict[str, Any], dict[str, Any]],
        expected: float | None,
    ) -> None:
        of_client, of_call = given
        client = self.client(mocked, seen, **of_client)
        with contextlib.suppress(NavaiHTTPError):
            call(client, operation, **of_call)
        (timeout,) = seen
        if expected is None or timeout is None:
            assert timeout is expected
        else:  # the remaining time by then
            assert expected / 2 < timeout <= expected

    @pytest.mark.parametrize("timeout", [0, -1, -1.0, 0.0, math.nan, -math.inf, True, "5", [5]])
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_an_invalid_timeout_is_refused(
        self, mocked: Clients, seen: list[float | None], operation: str, timeout: object
    ) -> None:
        with pytest.raises(NavaiConfigError, match=r"^timeout \(seconds\) must be a number above 0; it is"):
            self.client(mocked, seen, timeout=timeout)
        with pytest.raises(NavaiConfigError, match=r"^timeout \(seconds\) must be a number above 0; it is"):
            call(self.client(mocked, seen), operation, timeout=timeout)
        assert seen == []

    def test_a_passed_deadline_raises_its_own_error(self, mocked: Clients) -> None:
        backend = Backend(httpx.ReadTimeout(""))
        client = mocked.make(backend, BASE, timeout=12.5)
        with pytest.raises(NavaiTimeoutError) as caught:
            client.execute_function("f")
        place = f"POST {BASE}/navai/functions/execute"
        assert str(caught.value) == f"No response from {place} within 12.5 s: ReadTimeout: time ran out."
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(
            NavaiTimeoutError, match=re.escape(f"{place} in time: ReadTimeout: time ran out.")
        ):
            client.execute_function("f", timeout=None)
        assert len(backend.requests) == 2


class TestRetries:
    """Retries."""

    @pytest.mark.parametrize("operation", ["create_client_secret", "list_functions"])
    @pytest.mark.parametrize(
        "failure",
        [
            httpx.ConnectError("refused"),
            httpx.ReadError("reset"),
            *(answer(b"", status) for status in (408, 429, 502, 503, 504)),
        ],
    )
    def test_a_repeatable_operation_is_tried_again(
        self,
        clients: Clients,
        operation: str,
        failure: httpx.Response | Exception,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, logger="navai_client")
        backend = Backend(failure, failure, answer({"value": "ek", "items": [{"name": "a"}]}))
        assert call(clients.make(backend, BASE), operation)
        assert len(backend.requests) == 3
        assert [
            record.getMessage().partition(" (")[0]
            for record in caplog.records
            if record.name == "navai_client"
        ] == [
            f"{operation}: trying again in 0.00 s, retry 1 of 2",
            f"{operation}: trying again in 0.00 s, retry 2 of 2",
        ]

    @pytest.mark.parametrize("max_retries", [0, 1, 3])
    def test_there_are_no_more_than_max_retries(self, clients: Clients, max_retries: int) -> None:
        backend = Backend(answer(b"busy", 503))
        with pytest.raises(NavaiHTTPError, match=r"(?m)^busy$"):
            clients.make(backend, BASE, max_retries=max_retries).create_client_secret()
        assert len(backend.requests) == max_retries + 1

    @pytest.mark.parametrize("operation", ["execute_function", "synthesize_speech"])
    @pytest.mark.parametrize(
        "failure",
        [
            httpx.ReadError("reset"),
            httpx.ReadTimeout("late"),
            *(answer(b"", status) for status in (408, 429, 500, 502, 503, 504)),
            answer(b"", 502, {"Retry-After": "0"}),
            answer(b"", 503, {"Retry-After": "soon"}),
        ],
    )
    def test_a_call_that_may_have_executed_is_not_repeated(
        self, clients: Clients, operation: str, failure: httpx.Response | Exception
    ) -> None:
        backend = Backend(failure)
        with pytest.raises(NavaiError) as caught:
            call(clients.make(backend, BASE), operation)
        assert len(backend.requests) == 1
        assert getattr(caught.value, "may_have_executed", True)

    @pytest.mark.parametrize("status", [429, 503])
    @EVERY_WAY
    def test_after_retry_after_the_same_request_is_sent_again(self, clients: Clients, status: int) -> None:
        backend = Backend(answer(b"", status, {"Retry-After": "0"}), answer({"ok": True, "result": 1}))
        assert clients.make(backend, BASE).execute_function("f", {"a": 1}) == 1
        first, second = backend.requests
        assert first.content == second.content
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]

    def test_a_request_that_was_not_sent_is_tried_again_and_may_not_have_executed(
        self, mocked: Clients
    ) -> None:
        backend = Backend(httpx.ConnectError("refused"))
        client = mocked.make(backend, BASE)
        with pytest.raises(NavaiTransportError) as caught:
            client.execute_function("f")
        assert len(backend.requests) == 3
        assert not caught.value.may_have_executed


class TestCachedFunctionLists:
    """The ``max_age`` of a list."""

    LISTED = {"items": [{"name": "a"}]}  # noqa: RUF012 - never changed

    def test_a_list_younger_than_max_age_is_returned_without_a_request(self, clients: Clients) -> None:
        backend = Backend(answer(self.LISTED))
        client = clients.make(backend, BASE)
        assert client.list_functions(max_age=3600) is client.list_functions(max_age=3600)
        assert len(backend.requests) == 1
        client.list_functions()
        client.list_functions(max_age=0)
        assert len(backend.requests) == 3

    @EVERY_WAY
    def test_an_older_list_is_revalidated_by_its_etag(self, clients: Clients) -> None:
        etag = {"ETag": 'W/"1"'}
        backend = Backend(answer(self.LISTED, 200, etag), answer(b"", 304, etag))
        client = clients.make(backend, BASE)
        first = client.list_functions(max_age=0)
        assert client.list_functions(max_age=0) is client.list_functions(max_age=0) is first
        assert [request.headers.get("If-None-Match") for request in backend.requests] == [
            None,
            'W/"1"',
            'W/"1"',
        ]

    def test_an_etag_is_kept_when_the_backend_does_not_repeat_it(self, clients: Clients) -> None:
        backend = Backend(answer(self.LISTED, 200, {"ETag": '"1"'}), answer(b"", 304))
        client = clients.make(backend, BASE)
        for _ in range(3):
            assert "a" in client.list_functions(max_age=0)
        assert [request.headers.get("If-None-Match") for request in backend.requests] == [None, '"1"', '"1"']

    @pytest.mark.parametrize("etag", ["", '"\u00e9"', "1 2", '"' + "x" * 2000 + '"'])
    def test_an_invalid_etag_is_not_sent_back(self, clients: Clients, etag: str) -> None:
        response = httpx.Response(200, json=self.LISTED, headers=[(b"ETag", etag.encode("latin-1"))])
        backend = Backend(response)
        client = clients.make(backend, BASE)
        for _ in range(2):
            assert "a" in client.list_functions(max_age=0)
        assert all("If-None-Match" not in request.headers for request in backend.requests)

    def test_a_failure_is_never_kept(self, clients: Clients) -> None:
        backend = Backend(answer(b"", 500), answer(b"x"), answer(self.LISTED))
        client = clients.make(backend, BASE)
        assert [len(client.list_functions(max_age=3600)) for _ in range(4)] == [0, 0, 1, 1]
        assert len(backend.requests) == 3


def test_the_sync_client_needs_no_event_loop_and_works_inside_one() -> None:
    async def main() -> Any:
        client = NavaiBackendClient(
            BASE, transport=httpx.MockTransport(Backend(answer({"ok": True, "result": 1})))
        )
        return client.execute_function("f")

    assert asyncio.run(main()) == 1
