"""The settings of a client and of a single call. One suite for both clients."""

import contextlib
import types
from typing import Any, ClassVar

import httpx
import pytest

from navai_client import (
    ClientSecret,
    FunctionList,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiStateError,
    NavaiTransportError,
    RetryPolicy,
    SpeechAudio,
)
from tests.backends import (
    BASE,
    EVERY_WAY,
    OPERATIONS,
    SECRET,
    SPEECH,
    Backend,
    Clients,
    answer,
    call,
    shown_by,
)
from tests.clients import THROUGH, make_client
from tests.faults.server import FaultServer, Peer, answer as http_answer


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

    @pytest.mark.parametrize("arguments", [("f", {1: 2}), ("f", None, "key"), (" ",), ("f", {"a": {1}})])
    def test_no_frame_has_a_key_when_an_argument_is_invalid(
        self, clients: Clients, arguments: tuple[Any, ...]
    ) -> None:
        client = clients.make(Backend(answer({})), BASE)
        options = {"idempotency_key": "a b"} if arguments[2:] else {}
        with pytest.raises(NavaiPayloadError) as caught:
            client.execute_function(*arguments[:2], headers={"X-Key": self.KEY}, **options)
        assert self.KEY not in shown_by(caught.value)

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


class TestWithOptions:
    """``with_options()``."""

    def test_it_has_other_settings_and_the_rest_of_the_original(self, clients: Clients) -> None:
        backend = Backend(answer(b"", 503))
        original = clients.make(
            backend, BASE, timeout=7, max_retries=1, headers={"X-A": "1", "X-B": "1"}, access_token="token"
        )
        other = original.derive(timeout=None, max_retries=0, headers={"x-a": "2"})
        for client, attempts, value in ((original, 2, "1"), (other, 1, "2")):
            with pytest.raises(NavaiHTTPError):
                client.create_client_secret()
            sent = [request.headers for request in backend.requests]
            assert [(each["X-A"], each["X-B"], each["Authorization"]) for each in sent] == [
                (value, "1", "Bearer token")
            ] * attempts
            backend.requests.clear()
        assert (original.real.timeout, other.real.timeout) == (7.0, None)
        assert (other.real.base_url, type(other.real)) == (BASE, type(original.real))
        assert "X-A" not in repr(other)

    def test_it_can_be_made_again_and_a_call_can_have_its_own(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True}))
        first = clients.make(backend, BASE, headers={"X-A": "1"})
        third = first.derive(headers={"X-B": "2"}).derive(timeout=5, headers={"X-C": "3"})
        third.execute_function("f", headers={"X-B": "4"})
        sent = backend.request.headers
        assert (sent["X-A"], sent["X-B"], sent["X-C"]) == ("1", "4", "3")
        assert third.real.timeout == 5.0

    def test_its_headers_are_added_to_those_that_are_asked_for(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True}))
        client = clients.make(backend, BASE, access_token=lambda: "token", headers={"X-A": "1"})
        client.derive(headers={"X-B": "2"}).derive(max_retries=0).execute_function("f")
        sent = backend.request.headers
        assert (sent["X-A"], sent["X-B"], sent["Authorization"]) == ("1", "2", "Bearer token")

    def test_its_authorization_replaces_the_access_token(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True}))
        client = clients.make(backend, BASE, access_token=lambda: "token")
        client.derive(headers={"Authorization": "Basic abc"}).execute_function("f")
        assert backend.request.headers["Authorization"] == "Basic abc"

    @pytest.mark.parametrize("operation", OPERATIONS)
    @EVERY_WAY
    def test_only_closing_the_original_closes_it(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer({"ok": True, **SECRET, **SPEECH}))
        original = clients.make(backend, BASE)
        with original.derive(timeout=5) as other:
            call(other, operation)
        call(other, operation)
        assert not other.real.is_closed
        original.run(original.real.close())
        assert other.real.is_closed
        assert repr(other).endswith(" closed>")
        with pytest.raises(NavaiStateError, match="closed"):
            call(other, operation)
        assert len(backend.requests) == 2

    @pytest.mark.parametrize("through", THROUGH)
    def test_its_calls_use_the_connections_of_the_original(self, kind: str, through: str) -> None:
        with FaultServer(answers) as server, make_client(kind, server.url, through=through) as original:
            other = original.derive(timeout=5)
            for client in (original, other, other.derive(max_retries=0), original):
                assert client.execute_function("f") == 1
        assert (server.connections, len(server.arrived)) == (1, 4)

    def test_its_lists_belong_to_its_headers(self, clients: Clients) -> None:
        backend = Backend(answer({"items": []}))
        original = clients.make(backend, BASE)
        same, other = original.derive(timeout=5), original.derive(headers={"Authorization": "Bearer bob"})
        ours = original.list_functions(max_age=3600)
        assert same.list_functions(max_age=3600) is ours
        assert other.list_functions(max_age=3600) is not ours
        assert len(backend.requests) == 2

    def test_a_setting_that_cannot_work_is_refused_and_no_frame_has_a_key(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({})), BASE)
        for options in ({"timeout": -1}, {"max_retries": -1}, {"headers": {"Connection": "x"}}):
            with pytest.raises(NavaiConfigError) as caught:
                client.derive(**{"headers": {"X-Key": TestOptionsOfACall.KEY}, **options})
            assert TestOptionsOfACall.KEY not in shown_by(caught.value)
        with pytest.raises(TypeError, match="unexpected keyword argument 'proxy'"):
            client.derive(proxy="http://x")


class TestRawResponse:
    """``with_raw_response``."""

    VALUES: ClassVar[dict[str, type]] = {
        "create_client_secret": ClientSecret,
        "list_functions": FunctionList,
        "execute_function": int,
        "synthesize_speech": SpeechAudio,
    }

    @pytest.mark.parametrize("operation", OPERATIONS)
    @EVERY_WAY
    def test_an_operation_returns_its_value_and_its_response(self, clients: Clients, operation: str) -> None:
        headers = {"X-RateLimit-Remaining": "7", "X-Request-ID": "theirs"}
        said = answer({"ok": True, "result": 5, **SECRET, **SPEECH}, 203, headers)
        backend = Backend(answer(b"", 503, {"Retry-After": "0"}), said)
        client = clients.make(backend, BASE)
        raw = call(client.raw, operation, headers={"X-A": "1"})
        assert type(raw.value) is self.VALUES[operation]
        assert raw.value == call(client, operation)
        assert (raw.status_code, raw.request_id, raw.attempts) == (203, "theirs", 2)
        assert raw.headers["x-ratelimit-remaining"] == raw.headers["X-RateLimit-Remaining"] == "7"
        assert 0 <= raw.elapsed < 60
        assert backend.requests[0].headers["X-A"] == "1"

    def test_without_an_id_of_the_backend_it_has_that_of_the_request(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True}))
        raw = clients.make(backend, BASE).raw.execute_function("f")
        assert raw.request_id == backend.request.headers["X-Request-ID"]

    def test_a_list_from_memory_has_no_response(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({"items": []})), BASE)
        known = client.list_functions()
        raw = client.raw.list_functions(max_age=3600)
        assert raw.value is known
        assert (raw.status_code, raw.attempts, raw.elapsed, raw.request_id, dict(raw.headers)) == (
            None,
            0,
            0.0,
            "",
            {},
        )

    def test_a_list_that_failed_has_the_response(self, clients: Clients) -> None:
        raw = clients.make(Backend(answer(b"", 500, {"X-Why": "broken"})), BASE).raw.list_functions()
        assert (raw.status_code, raw.headers["x-why"]) == (500, "broken")
        assert raw.value.error.status_code == 500

    def test_a_list_without_a_response_has_no_status(self, mocked: Clients) -> None:
        client = mocked.make(Backend(httpx.ConnectError("refused")), BASE, max_retries=0)
        raw = client.raw.list_functions()
        assert (raw.status_code, raw.attempts) == (None, 1)

    def test_errors_are_raised_as_by_the_client(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"no", 403)), BASE)
        with pytest.raises(NavaiHTTPError, match="no"):
            client.raw.execute_function("f")

    def test_it_has_the_settings_of_its_client(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True, "result": 5}))
        client = clients.make(backend, BASE, access_token=lambda: "token").derive(headers={"X-A": "1"})
        assert client.raw.execute_function("f", timeout=5).value == 5
        sent = backend.request.headers
        assert (sent["X-A"], sent["Authorization"]) == ("1", "Bearer token")
        client.run(client.real.close())

    def test_its_repr_shows_no_header_and_no_secret(self, clients: Clients) -> None:
        key = "ek_0123456789012345678901234567"
        headers = {"X-Request-ID": "id-1", "Set-Cookie": "sid=0123456789"}
        backend = Backend(answer({"value": key}, 200, headers))
        raw = clients.make(backend, BASE).raw.create_client_secret()
        shown = repr(raw)
        assert "id-1" in shown
        assert "0123456789" not in shown

    def test_an_instrumentation_sees_the_value(self, clients: Clients) -> None:
        seen: list[Any] = []

        class Watching:
            headers: ClassVar[dict[str, str]] = {}

            def succeeded(self, value: Any) -> None:
                seen.append(value)

        watcher = types.SimpleNamespace(observe=lambda _: contextlib.nullcontext(Watching()))
        client = clients.make(Backend(answer({"ok": True, "result": 5})), BASE, instrumentation=watcher)
        assert client.raw.execute_function("f").value == 5
        assert seen == [5]


class TestSecretsOfOneCaller:
    """``client_secrets()`` of a client that asks who its caller is."""

    def test_a_caller_gets_no_secret_of_another(self, clients: Clients) -> None:
        backend = Backend(*(answer({"value": f"ek_{n}", "expires_at": 1e12}) for n in range(5)))
        tokens = iter(["ana", "ana", "ana", "bob", "bob", "ana", "ana", "ana"])
        client = clients.make(backend, BASE, access_token=lambda: next(tokens))
        source = client.client_secrets(voice="marin")
        assert [source.get().value for _ in range(4)] == ["ek_0", "ek_0", "ek_1", "ek_0"]
        sent = [request.headers["Authorization"] for request in backend.requests]
        assert sent == ["Bearer ana", "Bearer bob"]
        source._real.invalidate()
        assert source.get().value == "ek_2"

    def test_only_so_many_callers_are_remembered_and_the_oldest_goes_first(self, mocked: Clients) -> None:
        backend = Backend(answer({"value": "ek", "expires_at": 1e12}))
        caller = ["ana"]
        source = mocked.make(backend, BASE, access_token=lambda: caller[0]).client_secrets()
        for number in range(101):
            caller[0] = str(number)
            source.get()
        for number, minted in ((100, 101), (1, 101), (0, 102)):
            caller[0] = str(number)
            source.get()
            assert len(backend.requests) == minted


def answers(peer: Peer) -> None:
    """Respond to each request of a connection."""
    while peer.request() is not None:
        peer.send(http_answer(b'{"ok": true, "result": 1}'))
