"""Access tokens and headers that are asked for at each call. One suite for both clients."""

import asyncio
import contextlib
import logging
from typing import Any

import httpx
import pytest

from navai_client import (
    AsyncNavaiBackendClient,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from tests.backends import BASE, EVERY_WAY, OPERATIONS, RAISING, Backend, Clients, answer, call, shown_by
from tests.waiting import Clock

TOKEN = "token-0123456789abcdef"
GOOD = answer({"ok": True, "result": 1, "value": "ek", "items": []})
REFUSED = answer({"error": "expired"}, 401)


def sent(backend: Backend, name: str = "Authorization") -> list[str | None]:
    """Return the header *name* of each request."""
    return [request.headers.get(name) for request in backend.requests]


class Tokens:
    """Returns the next of *tokens* each time, the last one again and again; async for an async client."""

    def __init__(self, clients: Clients, *tokens: Any) -> None:
        self.tokens = list(tokens)
        self.asked = 0
        self._is_async = clients.kind == "async"

    def __call__(self) -> Any:
        self.asked += 1
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        return self._later(token) if self._is_async else token

    async def _later(self, token: Any) -> Any:
        await asyncio.sleep(0)
        return token


class TestAccessToken:
    """``access_token=``."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    @EVERY_WAY
    def test_a_text_is_sent_as_a_bearer_token(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer(b"", 418))
        client = clients.make(backend, BASE, access_token=TOKEN, headers={"X-A": "1"})
        with contextlib.suppress(NavaiHTTPError):
            call(client, operation)
        assert sent(backend) == [f"Bearer {TOKEN}"]
        assert sent(backend, "X-A") == ["1"]

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_function_is_asked_at_each_call(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer(b"", 418))
        tokens = Tokens(clients, "a", "b")
        client = clients.make(backend, BASE, access_token=tokens, headers={"X-A": "1"})
        assert tokens.asked == 0
        for _ in range(3):
            with contextlib.suppress(NavaiHTTPError):
                call(client, operation)
        assert sent(backend) == ["Bearer a", "Bearer b", "Bearer b"]
        assert sent(backend, "X-A") == ["1", "1", "1"]

    def test_an_async_client_takes_a_plain_function_too(self, clients: Clients) -> None:
        backend = Backend(GOOD)
        clients.make(backend, BASE, access_token=lambda: TOKEN).execute_function("f")
        assert sent(backend) == [f"Bearer {TOKEN}"]

    def test_a_sync_client_refuses_an_async_function(self) -> None:
        async def token() -> str:
            return TOKEN

        class Later:
            def __await__(self) -> Any:
                raise AssertionError

        for options in ({"access_token": token}, {"headers": token}, {"access_token": Later}):
            made: Any = NavaiBackendClient
            client = made(BASE, transport=httpx.MockTransport(Backend(GOOD)), **options)
            with (
                client,
                pytest.raises(NavaiConfigError, match=r" is async; use AsyncNavaiBackendClient with"),
            ):
                client.execute_function("f")

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_after_a_401_to_the_first_attempt_the_function_is_asked_once_more(
        self, clients: Clients, operation: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "navai_client")
        backend = Backend(REFUSED, answer(b"", 418))
        client = clients.make(backend, BASE, access_token=Tokens(clients, "old", "new"), max_retries=0)
        with contextlib.suppress(NavaiHTTPError):
            call(client, operation)
        assert sent(backend) == ["Bearer old", "Bearer new"]
        assert len({*sent(backend, "Idempotency-Key")}) == 1
        assert len({*sent(backend, "X-Request-ID")}) == 1
        assert "HTTP 401" in caplog.text

    @pytest.mark.parametrize("operation", RAISING)
    def test_a_second_401_is_the_answer(self, clients: Clients, operation: str) -> None:
        backend = Backend(REFUSED)
        tokens = Tokens(clients, "a", "b", "c")
        client = clients.make(backend, BASE, access_token=tokens)
        with pytest.raises(NavaiHTTPError, match="expired"):
            call(client, operation)
        assert sent(backend) == ["Bearer a", "Bearer b"]
        assert tokens.asked == 2

    @pytest.mark.parametrize("operation", RAISING)
    def test_the_same_token_is_not_sent_again(self, clients: Clients, operation: str) -> None:
        backend = Backend(REFUSED)
        tokens = Tokens(clients, TOKEN)
        with pytest.raises(NavaiHTTPError, match="expired"):
            call(clients.make(backend, BASE, access_token=tokens), operation)
        assert (len(backend.requests), tokens.asked) == (1, 2)

    def test_a_refused_list_has_its_warning(self, clients: Clients) -> None:
        client = clients.make(Backend(REFUSED), BASE, access_token=Tokens(clients, TOKEN))
        assert client.list_functions().warnings == ("[navai] Failed to load backend functions (401).",)

    @pytest.mark.parametrize("operation", RAISING)
    def test_a_text_is_not_asked_for_again(self, clients: Clients, operation: str) -> None:
        backend = Backend(REFUSED)
        with pytest.raises(NavaiHTTPError, match="expired"):
            call(clients.make(backend, BASE, access_token=TOKEN), operation)
        assert len(backend.requests) == 1

    @pytest.mark.parametrize("operation", RAISING)
    def test_after_an_attempt_that_may_have_arrived_the_token_stays(
        self, clients: Clients, operation: str
    ) -> None:
        backend = Backend(answer(b"", 503, {"Retry-After": "0"}), REFUSED)
        tokens = Tokens(clients, "a", "b")
        with pytest.raises(NavaiHTTPError, match="expired"):
            call(clients.make(backend, BASE, access_token=tokens), operation)
        assert sent(backend) == ["Bearer a", "Bearer a"]
        assert tokens.asked == 1

    @pytest.mark.parametrize("operation", RAISING)
    def test_after_an_attempt_that_was_never_sent_the_401_is_the_first(
        self, mocked: Clients, operation: str
    ) -> None:
        backend = Backend(httpx.ConnectError("refused"), REFUSED, answer(b"", 418))
        tokens = Tokens(mocked, "a", "b")
        with pytest.raises(NavaiHTTPError, match="418"):
            call(mocked.make(backend, BASE, access_token=tokens), operation)
        assert sent(backend) == ["Bearer a", "Bearer a", "Bearer b"]

    def test_the_attempt_after_a_401_is_no_retry(self, clients: Clients) -> None:
        busy = answer(b"", 503, {"Retry-After": "0"})
        backend = Backend(REFUSED, busy, busy, GOOD)
        client = clients.make(backend, BASE, access_token=Tokens(clients, "a", "b"), max_retries=2)
        assert client.execute_function("f") == 1
        assert sent(backend) == ["Bearer a", "Bearer b", "Bearer b", "Bearer b"]

    def test_a_refused_call_that_is_then_not_sent_has_not_run(self, mocked: Clients) -> None:
        backend = Backend(REFUSED, httpx.ConnectError("refused"))
        client = mocked.make(backend, BASE, access_token=Tokens(mocked, "a", "b"), max_retries=0)
        with pytest.raises(NavaiTransportError) as caught:
            client.execute_function("f")
        assert not caught.value.may_have_executed

    @pytest.mark.parametrize("operation", RAISING)
    def test_neither_token_is_shown(self, clients: Clients, operation: str) -> None:
        tokens = Tokens(clients, f"{TOKEN}-old", f"{TOKEN}-new")
        backend = Backend(REFUSED, answer(f"not {TOKEN}-old nor {TOKEN}-new".encode(), 403))
        client = clients.make(backend, BASE, access_token=tokens)
        with pytest.raises(NavaiHTTPError) as caught:
            call(client, operation)
        assert str(caught.value) == "not *** nor ***"
        assert TOKEN not in shown_by(caught.value)
        assert TOKEN not in repr(client.real)

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_what_the_function_raises_is_raised_and_nothing_is_sent(
        self, clients: Clients, operation: str
    ) -> None:
        def token() -> str:
            raise ZeroDivisionError

        backend = Backend(GOOD)
        with pytest.raises(ZeroDivisionError):
            call(clients.make(backend, BASE, access_token=token), operation)
        assert backend.requests == []

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("token", ["", f"Bearer {TOKEN}", f"{TOKEN}\n", f"{TOKEN}é", TOKEN.encode()])
    def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(
        self, clients: Clients, operation: str, token: Any
    ) -> None:
        backend = Backend(GOOD)
        with pytest.raises(NavaiConfigError, match=r"^access_token must be ") as caught:
            clients.make(backend, BASE, access_token=token)
        assert TOKEN not in shown_by(caught.value)
        client = clients.make(backend, BASE, access_token=Tokens(clients, token))
        with pytest.raises(NavaiConfigError, match=r"^access_token must be ") as caught:
            call(client, operation)
        assert TOKEN not in shown_by(caught.value)
        assert backend.requests == []

    @pytest.mark.parametrize("token", [TOKEN, lambda: TOKEN], ids=["token", "asked token"])
    @pytest.mark.parametrize(
        "headers", [{"authorization": "x"}, lambda: {"Authorization": "x"}], ids=["headers", "asked headers"]
    )
    def test_a_token_and_an_authorization_header_exclude_each_other(
        self, clients: Clients, token: Any, headers: Any
    ) -> None:
        backend = Backend(GOOD)
        with pytest.raises(
            NavaiConfigError, match=r"^access_token and a header Authorization were both given"
        ):
            clients.make(backend, BASE, access_token=token, headers=headers).execute_function("f")
        assert backend.requests == []

    def test_the_authorization_of_a_call_replaces_the_token_which_is_not_asked_for(
        self, clients: Clients
    ) -> None:
        backend = Backend(REFUSED)
        tokens = Tokens(clients, TOKEN)
        for token in (tokens, TOKEN):
            client = clients.make(backend, BASE, access_token=token)
            with pytest.raises(NavaiHTTPError):
                client.execute_function("f", headers={"authorization": "Basic abc"})
        assert sent(backend) == ["Basic abc", "Basic abc"]
        assert tokens.asked == 0

    def test_the_headers_of_a_call_are_added_to_those_that_are_asked_for(self, clients: Clients) -> None:
        backend = Backend(GOOD)
        client = clients.make(
            backend, BASE, access_token=Tokens(clients, "a"), headers={"X-A": "1", "X-B": "1"}
        )
        client.execute_function("f", headers={"x-b": "2"}, timeout=5)
        assert (sent(backend), sent(backend, "X-A"), sent(backend, "X-B")) == (["Bearer a"], ["1"], ["2"])

    def test_a_closed_client_asks_for_nothing(self, clients: Clients) -> None:
        tokens = Tokens(clients, TOKEN)
        client = clients.make(Backend(GOOD), BASE, access_token=tokens)
        client.close()
        with pytest.raises(NavaiError, match="closed"):
            client.execute_function("f")
        assert tokens.asked == 0

    def test_a_list_belongs_to_the_token_that_it_was_requested_with(self, clients: Clients) -> None:
        backend = Backend(GOOD)
        client = clients.make(backend, BASE, access_token=Tokens(clients, "a", "a", "b"))
        first = client.list_functions(max_age=3600)
        assert client.list_functions(max_age=3600) is first
        assert client.list_functions(max_age=3600) is not first
        assert sent(backend) == ["Bearer a", "Bearer b"]


class TestTheTimeOfAsking:
    """The deadline of a call includes what its functions take."""

    def test_an_async_function_that_takes_too_long_ends_the_call(self) -> None:
        async def token() -> str:
            await asyncio.Event().wait()
            return TOKEN

        async def main() -> None:
            backend = Backend(GOOD)
            async with AsyncNavaiBackendClient(
                BASE, access_token=token, timeout=0.01, transport=httpx.MockTransport(backend)
            ) as client:
                with pytest.raises(NavaiTimeoutError, match=r"^No headers within 0\.01 s: ") as caught:
                    await client.execute_function("f")
                assert not caught.value.may_have_executed
                assert backend.requests == []

        asyncio.run(main())

    def test_a_timeout_of_the_function_itself_is_its_own(self) -> None:
        async def token() -> str:
            raise TimeoutError("the token service")

        async def main() -> None:
            transport = httpx.MockTransport(Backend(GOOD))
            async with AsyncNavaiBackendClient(BASE, access_token=token, transport=transport) as client:
                with pytest.raises(TimeoutError, match="the token service") as caught:
                    await client.execute_function("f")
                assert not isinstance(caught.value, NavaiError)

        asyncio.run(main())

    @pytest.mark.parametrize("operation", RAISING)
    def test_what_a_function_takes_is_part_of_the_timeout(
        self, clients: Clients, operation: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = Backend(GOOD)
        clock = Clock()

        def token() -> str:
            clock.ahead += 3600
            return TOKEN

        client = clients.make(backend, BASE, access_token=token, timeout=60, max_retries=0)
        monkeypatch.setattr("time.monotonic", clock)
        with pytest.raises(NavaiTimeoutError, match="within 60 s") as caught:
            call(client, operation)
        monkeypatch.undo()
        assert not caught.value.may_have_executed
        assert backend.requests == []


class TestHeadersOfAFunction:
    """``headers=`` that is a function."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_it_is_asked_at_each_call_and_once_more_after_a_401(
        self, clients: Clients, operation: str
    ) -> None:
        backend = Backend(REFUSED, answer(b"", 418))
        headers = Tokens(clients, {"X-Key": "old", "Accept": "a/b"}, {"X-Key": "new"})
        client = clients.make(backend, BASE, headers=headers)
        with contextlib.suppress(NavaiHTTPError):
            call(client, operation)
        assert sent(backend, "X-Key") == ["old", "new"]
        assert sent(backend, "Accept") == ["a/b", "application/json"]

    def test_it_can_be_asked_beside_the_token(self, clients: Clients) -> None:
        backend = Backend(GOOD)
        client = clients.make(
            backend, BASE, headers=Tokens(clients, {"X-A": "1"}), access_token=Tokens(clients, "a")
        )
        client.execute_function("f")
        assert (sent(backend), sent(backend, "X-A")) == (["Bearer a"], ["1"])

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("headers", [None, [TOKEN], {"X-Key": f"{TOKEN}\n"}, {"Connection": TOKEN}])
    def test_what_cannot_be_sent_is_refused_and_not_shown(
        self, clients: Clients, operation: str, headers: Any
    ) -> None:
        backend = Backend(GOOD)
        client = clients.make(backend, BASE, headers=Tokens(clients, headers))
        with pytest.raises(NavaiConfigError) as caught:
            call(client, operation)
        assert TOKEN not in shown_by(caught.value)
        assert backend.requests == []


class TestTheVariable:
    """``NAVAI_ACCESS_TOKEN``."""

    @pytest.mark.parametrize(
        ("base_url", "url"),
        [
            (None, None),
            ("http://localhost:3000/api", None),
            ("HTTP://LocalHost:3000", " "),
            (None, BASE),
            (f"{BASE}:443/v1", f"{BASE}/other"),
            ("https://b\u00fccher.example", "https://xn--bcher-kva.example:443"),
        ],
    )
    def test_it_is_sent_to_the_origin_of_the_environment(
        self, clients: Clients, base_url: str | None, url: str | None
    ) -> None:
        backend = Backend(GOOD)
        env = {"NAVAI_API_URL": url, "NAVAI_ACCESS_TOKEN": f" {TOKEN}\n"}
        clients.make(backend, base_url, env=env).execute_function("f")
        assert sent(backend) == [f"Bearer {TOKEN}"]

    @pytest.mark.parametrize(
        ("base_url", "url"),
        [
            (BASE, None),
            ("https://localhost:3000", None),
            ("http://localhost", None),
            ("http://backend.example", BASE),
            (f"{BASE}:8443", BASE),
            ("https://evil.example", BASE),
            (f"{BASE}.evil.example", BASE),
            ("http://localhost:3000", BASE),
            (BASE, "backend.example"),
        ],
    )
    def test_it_is_sent_to_no_other_origin(
        self, clients: Clients, base_url: str | None, url: str | None
    ) -> None:
        backend = Backend(GOOD)
        env = {"NAVAI_API_URL": url, "NAVAI_ACCESS_TOKEN": TOKEN}
        clients.make(backend, base_url, env=env).execute_function("f")
        assert sent(backend) == [None]

    @pytest.mark.parametrize("value", [None, "", " \n"])
    def test_a_blank_one_counts_as_absent(self, clients: Clients, value: str | None) -> None:
        backend = Backend(GOOD)
        clients.make(backend, env={"NAVAI_ACCESS_TOKEN": value}).execute_function("f")
        assert sent(backend) == [None]

    @pytest.mark.parametrize("value", [f"Bearer {TOKEN}", TOKEN.encode(), f"{TOKEN}é"])
    def test_one_that_cannot_be_sent_is_refused_and_not_shown(self, clients: Clients, value: Any) -> None:
        with pytest.raises(NavaiConfigError, match=r"^NAVAI_ACCESS_TOKEN must be ") as caught:
            clients.make(Backend(GOOD), env={"NAVAI_ACCESS_TOKEN": value})
        assert TOKEN not in shown_by(caught.value)

    @pytest.mark.parametrize(
        "options",
        [{"base_url": BASE}, {"access_token": "other"}, {"headers": {"Authorization": "Bearer other"}}],
        ids=["another origin", "token", "header"],
    )
    def test_one_that_is_not_used_is_not_checked(self, clients: Clients, options: dict[str, Any]) -> None:
        backend = Backend(GOOD)
        client = clients.make(backend, env={"NAVAI_ACCESS_TOKEN": f"'{TOKEN} '"}, **options)
        client.execute_function("f")
        assert sent(backend) == [None if "base_url" in options else "Bearer other"]

    def test_the_environment_of_the_process_is_the_default(
        self, clients: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NAVAI_ACCESS_TOKEN", TOKEN)
        monkeypatch.delenv("NAVAI_API_URL", raising=False)
        backend = Backend(GOOD)
        clients.make(backend, env=None).execute_function("f")
        clients.make(backend, BASE, env=None).execute_function("f")
        assert sent(backend) == [f"Bearer {TOKEN}", None]

    @pytest.mark.parametrize(
        "options",
        [
            {"access_token": "explicit"},
            {"access_token": lambda: "explicit"},
            {"headers": {"authorization": "Bearer explicit"}},
            {"headers": lambda: {"Authorization": "Bearer explicit"}},
        ],
        ids=["token", "asked token", "header", "asked header"],
    )
    def test_what_is_given_takes_precedence(self, clients: Clients, options: dict[str, Any]) -> None:
        backend = Backend(GOOD)
        clients.make(backend, env={"NAVAI_ACCESS_TOKEN": TOKEN}, **options).execute_function("f")
        assert sent(backend) == ["Bearer explicit"]

    def test_it_is_sent_beside_other_headers_that_are_asked_for(self, clients: Clients) -> None:
        backend = Backend(GOOD)
        client = clients.make(backend, env={"NAVAI_ACCESS_TOKEN": TOKEN}, headers=lambda: {"X-A": "1"})
        client.execute_function("f")
        assert (sent(backend), sent(backend, "X-A")) == ([f"Bearer {TOKEN}"], ["1"])


class TestAnHttpClientOfItsOwner:
    """``http_client=`` with an authentication of its own."""

    @pytest.mark.parametrize(
        "options",
        [{"auth": httpx.BasicAuth("me", "pw")}, {"headers": {"authorization": "Basic bWU6cHc="}}],
        ids=["auth", "header"],
    )
    def test_it_takes_precedence_over_the_variable_and_excludes_a_token(
        self, options: dict[str, Any]
    ) -> None:
        backend = Backend(GOOD)
        with httpx.Client(transport=httpx.MockTransport(backend), **options) as http_client:
            with NavaiBackendClient(env={"NAVAI_ACCESS_TOKEN": TOKEN}, http_client=http_client) as client:
                client.execute_function("f")
            assert sent(backend) == ["Basic bWU6cHc="]
            with pytest.raises(NavaiConfigError, match=r"^access_token and a header Authorization were both"):
                NavaiBackendClient(env={}, access_token=TOKEN, http_client=http_client)

    def test_without_one_the_variable_is_sent(self) -> None:
        backend = Backend(GOOD)
        env = {"NAVAI_ACCESS_TOKEN": TOKEN}
        with (
            httpx.Client(transport=httpx.MockTransport(backend)) as http_client,
            NavaiBackendClient(env=env, http_client=http_client) as client,
        ):
            client.execute_function("f")
        assert sent(backend) == [f"Bearer {TOKEN}"]
