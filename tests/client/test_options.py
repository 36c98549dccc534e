"""The settings of a client and of a single call. One suite for both clients."""

import contextlib
from typing import Any

import httpx
import pytest

from navai_client import NavaiConfigError, NavaiError, NavaiHTTPError, NavaiTransportError, RetryPolicy
from tests.backends import BASE, OPERATIONS, SECRET, SPEECH, Backend, Clients, answer, call, shown_by


class TestProperties:
    """What a client says about itself."""

    def test_a_client_has_its_base_url_its_timeout_and_whether_it_is_closed(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({})), f"{BASE}/api/", timeout=5).real
        assert (client.base_url, client.timeout, client.is_closed) == (f"{BASE}/api", 5.0, False)
        assert clients.make(Backend(answer({})), BASE, timeout=None).real.timeout is None

    def test_a_closed_client_says_so(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({})), BASE)
        client.close()
        assert client.real.is_closed

    @pytest.mark.parametrize("name", ["base_url", "timeout", "is_closed"])
    def test_none_of_it_can_be_set(self, mocked: Clients, name: str) -> None:
        client = mocked.make(Backend(answer({})), BASE).real
        with pytest.raises(AttributeError):
            setattr(client, name, getattr(client, name))


class TestOptionsOfACall:
    """``headers=`` and ``max_retries=`` of a call."""

    KEY = "0123456789abcdef"

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_the_headers_of_a_call_replace_those_of_the_client(
        self, clients: Clients, operation: str
    ) -> None:
        backend = Backend(answer(b"", 418))
        client = clients.make(backend, BASE, headers={"X-A": "client", "X-B": "client", "Accept": "a/b"})
        for headers in ({"x-a": "call", "X-C": "call", "user-agent": "mine"}, None):
            with contextlib.suppress(NavaiHTTPError):
                call(client, operation, headers=headers)
        first, second = (request.headers for request in backend.requests)
        assert first.get_list("X-A") == ["call"]
        assert (first["X-B"], first["X-C"], first["User-Agent"], first["Accept"]) == (
            "client",
            "call",
            "mine",
            "a/b",
        )
        assert (second["X-A"], second["X-B"], "X-C" in second) == ("client", "client", False)

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_call_has_its_own_number_of_retries(self, mocked: Clients, operation: str) -> None:
        backend = Backend(httpx.ConnectError("refused"))
        client = mocked.make(backend, BASE)
        for max_retries, attempts in ((0, 1), (5, 6), (RetryPolicy(max_retries=1, jitter=lambda: 0.0), 2)):
            with contextlib.suppress(NavaiTransportError):
                call(client, operation, max_retries=max_retries)
            assert len(backend.requests) == attempts
            backend.requests.clear()

    def test_a_number_keeps_the_rest_of_the_clients_policy(self, clients: Clients) -> None:
        backend = Backend(answer(b"", 500))
        policy = RetryPolicy(max_retries=0, statuses={500}, jitter=lambda: 0.0)
        client = clients.make(backend, BASE, max_retries=policy)
        with pytest.raises(NavaiHTTPError):
            client.create_client_secret(max_retries=1)
        assert len(backend.requests) == 2

    @pytest.mark.parametrize("operation", ["execute_function", "synthesize_speech"])
    def test_no_policy_repeats_a_call_that_may_have_run(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer(b"", 500))
        client = clients.make(backend, BASE)
        with pytest.raises(NavaiHTTPError):
            call(client, operation, max_retries=RetryPolicy(max_retries=9, statuses=range(400, 600)))
        assert len(backend.requests) == 1

    def test_a_policy_with_rules_of_its_own_is_refused(self, clients: Clients) -> None:
        class Always(RetryPolicy):  # type: ignore[misc] # final
            def delay(self, *_: Any, **__: Any) -> float:
                return 0.0

        backend = Backend(answer(b"", 500))
        client = clients.make(backend, BASE)
        with pytest.raises(NavaiConfigError, match=r"^max_retries must be a whole number, 0 or more; it is "):
            client.execute_function("f", max_retries=Always())
        assert backend.requests == []

    def test_a_policy_can_forbid_what_is_safe(self, clients: Clients) -> None:
        backend = Backend(answer(b"", 503, {"Retry-After": "0"}))
        client = clients.make(backend, BASE, max_retries=RetryPolicy(statuses=()))
        with pytest.raises(NavaiHTTPError):
            client.execute_function("f")
        assert len(backend.requests) == 1

    def test_all_settings_of_a_call_can_be_given_with_its_arguments(self, clients: Clients) -> None:
        backend = Backend(answer({**SECRET, **SPEECH}))
        client = clients.make(backend, BASE)
        settings: dict[str, Any] = {"timeout": 5, "max_retries": 0, "headers": {"X-A": "1"}}
        client.create_client_secret(voice="marin", **settings)
        client.synthesize_speech("Hello", voice_id="v", **settings)
        client.client_secrets(voice="cedar", headers={"X-A": "1"}).get()
        assert [request.headers["X-A"] for request in backend.requests] == ["1", "1", "1"]
        assert [request.content for request in backend.requests] == [
            b'{"voice":"marin"}',
            b'{"text":"Hello","voiceId":"v"}',
            b'{"voice":"cedar"}',
        ]

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_an_option_that_does_not_exist_is_refused_and_no_frame_has_the_others(
        self, clients: Clients, operation: str
    ) -> None:
        client = clients.make(Backend(answer({})), BASE)
        with pytest.raises(TypeError, match=r"^unexpected keyword argument 'retries'; there are ") as caught:
            call(client, operation, retries=2, headers={"Authorization": f"Bearer {self.KEY}"})
        assert self.KEY not in shown_by(caught.value)  # type: ignore[arg-type]

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize(
        "options",
        [
            {"headers": {"Authorization": f"Bearer {KEY}\n"}},
            {"headers": {"Idempotency-Key": KEY}},
            {"headers": [KEY]},
            {"headers": {"Authorization": KEY}, "max_retries": -1},
            {"headers": {"Authorization": KEY}, "max_retries": None},
            {"headers": {"Authorization": KEY}, "timeout": 0},
        ],
    )
    def test_an_option_that_cannot_work_is_refused_and_no_frame_has_a_key(
        self, clients: Clients, operation: str, options: dict[str, Any]
    ) -> None:
        backend = Backend(answer({}))
        client = clients.make(backend, BASE)
        with pytest.raises(NavaiConfigError) as caught:
            call(client, operation, **options)
        assert self.KEY not in shown_by(caught.value)
        assert backend.requests == []

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_key_among_the_headers_of_a_call_is_shown_nowhere(
        self, clients: Clients, operation: str
    ) -> None:
        client = clients.make(Backend(answer(f"no {self.KEY}".encode(), 403)), BASE)
        try:
            error = call(client, operation, headers={"Authorization": f"Bearer {self.KEY}"}).error
        except NavaiError as raised:
            error = raised
        assert str(error) == "no ***"
        assert self.KEY not in shown_by(error)
