"""Secrets are never shown. One suite for both clients."""

import json
import logging
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from navai_client import (
    FunctionFailedError,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiTransportError,
)
from tests.backends import BASE, RAISING, SECRET, Backend, Clients, answer, call, shown_by


class TestSecrets:
    """Secrets that no error, log line, repr or variable of a traceback shows."""

    KEY = "sk-proj-abcdefghij0123456789/+=="

    def spelled(self) -> list[str]:
        """The spellings of the key by JSON encoders of several languages."""
        return [
            self.KEY,
            self.KEY.replace("/", "\\/"),
            self.KEY.replace("/", "\\u002F").replace("+", "\\u002b"),
            "".join(f"\\u{ord(character):04x}" for character in self.KEY),
        ]

    def test_a_key_that_the_backend_repeats_is_masked(self, clients: Clients) -> None:
        for key in self.spelled():
            body = f'{{"error":"Incorrect API key: {key}.","details":["{key}"]}}'.encode()
            client = clients.make(Backend(answer(body, 401)), BASE)
            with pytest.raises(NavaiHTTPError) as caught:
                client.create_client_secret(api_key=self.KEY)
            assert str(caught.value) == '{"error":"Incorrect API key: ***.","details":["***"]}'
            assert (caught.value.error, caught.value.details) == ("Incorrect API key: ***.", ["***"])
            assert key not in shown_by(caught.value)
            assert self.KEY not in shown_by(caught.value)

    def test_blanks_around_a_key_do_not_unmask_it(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(f"Wrong key {self.KEY}!".encode(), 401)), BASE)
        with pytest.raises(NavaiHTTPError, match=r"(?m)^Wrong key \*\*\*!$"):
            client.create_client_secret(api_key=f" {self.KEY}\n")

    def test_a_blank_key_masks_nothing(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"Wrong key", 401)), BASE)
        for key in ("", " "):
            with pytest.raises(NavaiHTTPError, match=r"(?m)^Wrong key$"):
                client.create_client_secret(api_key=key)

    @pytest.mark.parametrize(
        "key", ['"', "{", "e", "error", ":", '": "', "refused", '"error": "', '{"error":']
    )
    @pytest.mark.parametrize("body", [b'{"error": "refused: e"}', b'{"ok": false, "error": "refused: e"}'])
    def test_what_is_no_secret_text_of_the_backend_stays_as_it_is(
        self, clients: Clients, key: str, body: bytes
    ) -> None:
        client = clients.make(Backend(answer(body, 400)), BASE, headers={"X-Api-Key": key})
        with pytest.raises(NavaiHTTPError) as caught:
            client.create_client_secret(api_key=key)
        assert (str(caught.value), caught.value.error) == (body.decode(), "refused: e")

    @pytest.mark.parametrize("operation", RAISING)
    @pytest.mark.parametrize(
        ("headers", "secrets"),
        [
            ({"Authorization": f"Bearer {KEY}"}, [KEY]),
            ({"X-Api-Key": KEY}, [KEY]),
            ({"X-Gateway-Token": KEY}, [KEY]),
            ({"X-Password": KEY}, [KEY]),
            ({"Cookie": "sid=0123456789abcdef; theme=dark-and-wide"}, ["0123456789abcdef", "dark-and-wide"]),
        ],
    )
    def test_header_values_that_the_backend_repeats_are_masked(
        self, clients: Clients, operation: str, headers: dict[str, str], secrets: list[str]
    ) -> None:
        (value,) = headers.values()
        text = " and ".join([value, *secrets])
        client = clients.make(Backend(answer({"error": text}, 403)), BASE, headers=headers)
        with pytest.raises(NavaiHTTPError) as caught:
            call(client, operation)
        shown = shown_by(caught.value)
        assert "***" in str(caught.value)
        for secret in (value, *secrets):
            assert secret not in shown

    def test_the_error_of_a_failed_function_shows_no_header_value(self, clients: Clients) -> None:
        said = {"ok": False, "error": self.KEY, "details": f"called with {self.KEY}"}
        client = clients.make(Backend(answer(said)), BASE, headers={"X-Api-Key": self.KEY})
        with pytest.raises(FunctionFailedError) as caught:
            client.execute_function("f")
        assert str(caught.value) == "called with ***"
        assert self.KEY not in shown_by(caught.value)

    def test_a_warning_of_the_backend_shows_no_header_value(self, clients: Clients) -> None:
        said = {"items": [{"name": "a"}], "warnings": [f"[navai] Called with {self.KEY}.", "other"]}
        client = clients.make(Backend(answer(said)), BASE, headers={"X-Api-Key": self.KEY})
        for _ in range(2):
            assert client.list_functions(max_age=0).warnings == ("[navai] Called with ***.", "other")

    def test_a_key_in_the_query_of_a_path_is_in_no_variable_and_no_message(self, clients: Clients) -> None:
        for outcome in (httpx.ConnectError("refused"), answer(b"no", 401)):
            client = clients.make(Backend(outcome), BASE, functions_execute_path=f"/execute?key={self.KEY}")
            with pytest.raises(NavaiError) as caught:
                client.execute_function("f")
            assert self.KEY not in shown_by(caught.value)

    def test_results_are_not_masked(self, clients: Clients) -> None:
        client = clients.make(
            Backend(answer({"ok": True, "result": self.KEY})), BASE, headers={"X-Key": self.KEY}
        )
        assert client.execute_function("f") == self.KEY

    def test_a_key_in_the_target_of_a_redirect_is_masked(self, clients: Clients) -> None:
        key = "sk-proj-abcdefghij0123456789"
        backend = Backend(answer(b"", 302, {"Location": f"https://other.example/{key}/x"}))
        with pytest.raises(
            NavaiHTTPError, match=r"the redirect to https://other\.example/\*\*\*/x was"
        ) as caught:
            clients.make(backend, BASE).create_client_secret(api_key=key)
        assert key not in shown_by(caught.value)

    def test_a_transport_failure_shows_no_header_value(
        self, mocked: Clients, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        backend = Backend(httpx.ReadError(f"cannot send {self.KEY}"))
        client = mocked.make(backend, BASE, headers={"X-Api-Key": self.KEY})
        for operation in RAISING:
            with pytest.raises(NavaiTransportError, match=r"cannot send \*\*\*") as caught:
                call(client, operation)
            assert self.KEY not in shown_by(caught.value)
        assert "cannot send ***" in client.list_functions().warnings[0]
        assert "trying again" in caplog.text
        assert self.KEY not in caplog.text

    @pytest.mark.parametrize(
        "outcome",
        [
            answer(b"no", 401),
            answer(b"not JSON"),
            answer({"value": 5, "client_secret": {"value": "ek_0123456789"}}),
            answer(b'{"value": 5, "apiKey": "%b"}' % KEY.encode()),
            httpx.ConnectError("refused"),
            httpx.ReadTimeout("late"),
        ],
    )
    def test_no_frame_of_the_package_has_a_key_when_an_error_is_raised(
        self, clients: Clients, outcome: httpx.Response | Exception
    ) -> None:
        client = clients.make(Backend(outcome), BASE, headers={"Authorization": "Bearer gateway-secret"})
        with pytest.raises(NavaiError) as caught:
            client.create_client_secret(api_key=self.KEY, instructions="Be kind.")
        shown = shown_by(caught.value)
        assert "_run: self" in shown
        for secret in (self.KEY, "gateway-secret", "ek_0123456789"):
            assert secret not in shown

    @pytest.mark.parametrize(
        "options", [{"model": 5}, {"modell": "x"}, {"timeout": -5}, {"api_key": KEY.encode()}]
    )
    def test_no_frame_of_the_package_has_a_key_when_an_argument_is_invalid(
        self, clients: Clients, options: dict[str, Any]
    ) -> None:
        client = clients.make(Backend(answer(SECRET)), BASE)
        options = {"api_key": self.KEY, "voice": "marin", **options}
        with pytest.raises((NavaiError, TypeError)) as caught:
            client.create_client_secret(**options)
        assert self.KEY not in shown_by(caught.value)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "options",
        [
            {"headers": {"Authorization": f"Bearer {KEY}\n"}},
            {"headers": {"Authorization": f"Bearer {KEY}\r\nX-Other: 1"}},
            {"headers": {"Authorization": f"Bearer {KEY}\x00"}},
            {"headers": {"Authorization": f" Bearer {KEY}"}},
            {"headers": {"Authorization": f"Bearer {KEY}é"}},
            {"headers": {"Authorization": KEY.encode()}},
            {"headers": {f"Authorization: Bearer {KEY}": ""}},
            {"headers": {f"X\nAuthorization: {KEY}": "x"}},
            {"headers": {KEY.encode(): "x"}},
            {"headers": [("Authorization", KEY)]},
            {"headers": {"Authorization": KEY}, "timeout": -1},
            {"headers": {"Authorization": KEY}, "transport": 5},
            {"headers": {"Authorization": KEY}, "base_url": "ftp://x"},
            {"base_url": f"http://user:{KEY}@backend.example"},
            {"base_url": f"user:{KEY}@backend.example"},
            {"base_url": f"http:user:{KEY}@backend.example"},
            {"base_url": f"http://backend.example?key={KEY}"},
            {"base_url": f"http://backend.example/#{KEY}"},
            {"base_url": f"http://user:{KEY}@exa\u2100mple"},
            {"env": {"NAVAI_API_URL": f"ftp://user:{KEY}@backend.example"}},
        ],
    )
    def test_no_frame_of_the_package_has_a_key_when_a_client_cannot_be_constructed(
        self, mocked: Clients, options: dict[str, Any]
    ) -> None:
        with pytest.raises(NavaiConfigError) as caught:
            mocked.make(Backend(answer({})), **options)
        assert "sk-proj" not in shown_by(caught.value)
        assert "0123456789" not in shown_by(caught.value)

    def test_the_repr_of_a_client_shows_its_base_url_and_no_header(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({})), f"{BASE}/api/", headers={"Authorization": self.KEY})
        name = type(client.real).__name__
        assert repr(client) == f"<{name} base_url='{BASE}/api'>"
        assert self.KEY not in repr(client.real._config)
        client.close()
        assert repr(client) == f"<{name} base_url='{BASE}/api' closed>"


class TestCachedClientSecrets:
    """``client_secrets()`` of a client."""

    def test_a_valid_secret_is_handed_out_again(self, clients: Clients) -> None:
        backend = Backend(answer({"value": "ek_good", "expires_at": 1e12}))
        secrets = clients.make(backend, BASE).client_secrets(voice="marin")
        assert secrets.get() is secrets.get()
        assert secrets() == "ek_good"
        assert backend.body == {"voice": "marin"}

    @pytest.mark.parametrize("said", [{}, {"expires_at": 1}, {"expires_at": -5}])
    def test_another_one_is_minted_with_the_same_options(
        self, clients: Clients, said: dict[str, Any]
    ) -> None:
        backend = Backend(answer({"value": "ek", **said}))
        secrets = clients.make(backend, BASE).client_secrets(api_key="sk-test", voice="marin")
        assert secrets() == secrets() == "ek"
        first, second = (json.loads(request.content) for request in backend.requests)
        assert first == second == {"apiKey": "sk-test", "voice": "marin"}

    def test_a_failure_is_raised_and_not_kept(self, clients: Clients) -> None:
        backend = Backend(answer(b"no", 401), answer({"value": "ek", "expires_at": 1e12}))
        secrets = clients.make(backend, BASE).client_secrets()
        with pytest.raises(NavaiHTTPError, match=r"(?m)^no$"):
            secrets.get()
        assert secrets.get().value == "ek"

    @pytest.mark.parametrize("ahead", [15 * 60, -20 * 60])
    def test_a_wrong_clock_neither_mints_for_each_call_nor_hands_out_dead_secrets(
        self, clients: Clients, caplog: pytest.LogCaptureFixture, ahead: float
    ) -> None:
        theirs = time.time() - ahead  # the backend's clock, which the client's is ahead of
        date = {"Date": formatdate(theirs, usegmt=True)}
        fresh = answer({"value": "ek_fresh", "expires_at": theirs + 600}, headers=date)
        nearly_dead = answer({"value": "ek_old", "expires_at": theirs + 25}, headers=date)
        backend = Backend(nearly_dead, fresh)
        secrets = clients.make(backend, BASE).client_secrets()
        assert secrets.get().issued_at == int(theirs)
        assert [secrets(), secrets(), secrets()] == ["ek_fresh"] * 3
        assert len(backend.requests) == 2
        (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert "Set this machine's clock" in warning

    @pytest.mark.parametrize(
        ("date", "is_date"),
        [
            ("", False),
            ("yesterday", False),
            ("9" * 400, False),
            ("Thu, 01 Jan 1970 00:00:01 GMT", True),  # of a machine without a clock
            ("Fri, 31 Dec 9999 23:59:59 GMT", True),
        ],
    )
    def test_a_date_that_cannot_be_right_is_ignored(
        self, clients: Clients, date: str, is_date: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        dead = answer({"value": "ek_dead", "expires_at": time.time() + 25}, headers={"Date": date})
        fresh = answer({"value": "ek", "expires_at": time.time() + 600}, headers={"Date": date})
        secrets = clients.make(Backend(dead, fresh), BASE).client_secrets()
        assert (secrets.get().issued_at is not None) == is_date
        assert [secrets(), secrets()] == ["ek", "ek"]
        assert not [each for each in caplog.records if each.levelname == "WARNING"]

    def test_a_secret_that_openai_refused_is_replaced(self, clients: Clients) -> None:
        backend = Backend(*(answer({"value": f"ek_{each}", "expires_at": 1e12}) for each in "ab"))
        secrets = clients.make(backend, BASE).client_secrets()
        refused = secrets.get()
        secrets._real.invalidate(refused)
        assert secrets() == "ek_b"

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"leeway": "30"}, NavaiConfigError),
            ({"leeway": -1}, NavaiConfigError),
            ({"modell": "x"}, TypeError),
            ({"voice": 5}, NavaiPayloadError),
            ({"max_retries": -1}, NavaiConfigError),
            ({"headers": {"Bad Name": "x"}}, NavaiConfigError),
        ],
    )
    def test_options_that_cannot_work_are_refused_when_the_source_is_made(
        self, clients: Clients, options: dict[str, Any], error: type[Exception]
    ) -> None:
        backend = Backend(answer({"value": "ek"}))
        client = clients.make(backend, BASE)
        with pytest.raises(error, match=next(iter(options)).split("s")[0]) as caught:
            client.client_secrets(api_key=TestSecrets.KEY, **options)
        assert TestSecrets.KEY not in shown_by(caught.value)  # type: ignore[arg-type]
        assert not backend.requests

    def test_no_frame_of_the_package_has_the_key_when_minting_fails(self, clients: Clients) -> None:
        secrets = clients.make(Backend(answer(b"no", 401)), BASE).client_secrets(api_key=TestSecrets.KEY)
        with pytest.raises(NavaiHTTPError) as caught:
            secrets.get()
        assert TestSecrets.KEY not in shown_by(caught.value)
