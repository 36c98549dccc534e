"""The settings of a client: which source takes precedence, and what is refused."""

import itertools
import math
import os
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import example, given, strategies as st

from navai_client import NavaiBackendClient, NavaiConfigError, NavaiError, resolve_navai_env
from navai_client._headers import resolve_headers
from navai_client.config import (
    DEFAULT_BASE_URL,
    ENV_KEYS,
    ClientConfig,
    checked_timeout,
    resolve_base_url,
    resolve_paths,
)
from navai_client.wire._values import ClientHeaders
from tests.properties import PROPERTY

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOD = st.sampled_from(["https://a.example", "http://b.example/api", "HTTPS://[::1]:8443"])
BLANK = st.text(" \t\n\r\f\v\u00a0\ufeff\u2028\u3000", max_size=4)


def config(**options: Any) -> ClientConfig:
    defaults: dict[str, Any] = {
        "base_url": DEFAULT_BASE_URL,
        "paths": resolve_paths(),
        "headers": ClientHeaders(),
        "timeout": 30.0,
        "max_retries": 2,
        "max_response_bytes": 100,
    }
    return ClientConfig(**{**defaults, **options})


@PROPERTY
@given(argument=st.none() | BLANK, env=st.none() | BLANK, url=GOOD, before=BLANK, after=BLANK)
def test_the_first_base_url_that_is_not_blank_wins(
    argument: str | None, env: str | None, url: str, before: str, after: str
) -> None:
    padded = f"{before}{url}//{after}"
    assert resolve_base_url(padded, {"NAVAI_API_URL": "https://lower.example"}) == url
    assert resolve_base_url(argument, {"NAVAI_API_URL": padded}) == url
    assert resolve_base_url(argument, {"NAVAI_API_URL": env}) == DEFAULT_BASE_URL
    assert resolve_base_url(argument, {}) == DEFAULT_BASE_URL


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAVAI_API_URL", raising=False)
    assert resolve_base_url(None, None) == "http://localhost:3000"
    monkeypatch.setenv("NAVAI_API_URL", "https://process.example")
    assert resolve_base_url(None, None) == resolve_base_url(None, os.environ) == "https://process.example"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("backend.example", "base_url must begin with http:// or https://; it is 'backend.example'."),
        ("localhost:3000", "base_url must begin with http:// or https://; it is 'localhost:3000'."),
        ("/api", "base_url must begin with http:// or https://; it is '/api'."),
        ("//backend.example", "base_url must begin with http:// or https://; it is '//backend.example'."),
        ("ftp://x", "base_url must begin with http:// or https://; it is 'ftp://x'."),
        ("ws://x", "base_url must begin with http:// or https://; it is 'ws://x'."),
        ("\x1chttp://x", r"base_url must begin with http:// or https://; it is '\x1chttp://x'."),
        (
            "user:pw@x",
            "base_url must begin with http:// or https://; it is one with a user (not shown).",
        ),
        *(
            (url, f"base_url is not a URL with a host, such as http://localhost:3000; it is {url!r}.")
            for url in (
                "http://",
                "http:///path",
                "http:x",
                "https://:80",
                "http://x:0",
                "http://a b",
                "http://x/a\tb",
                "http://x/\x00",
                "http://x/\x85y",
                "http://x/\ud800",
                "http://xn--abc",
                "http://a..b",
                "http://.",
                "http://..",
                "http://.a",
                f"http://{'a' * 64}.test",
                f"http://{'a.' * 127}a",
                "http://[v1.a]",
                "http://XN--ABC:80/path",
                "http://xn--a-ecp.test",
                "http://a\u0301\u0301..test",
            )
        ),
        *(
            (url, f"base_url is not a URL; it is {url!r}.")
            for url in ("http://[::1", "http://x:99999", "http://x:y", "http://exa\u2100mple")
        ),
        (
            "http://user:p/w@x",
            "base_url is not a URL; it is one with a user (not shown).",
        ),
        *(
            (
                url,
                (
                    "base_url must have no query and no fragment (not shown), because paths are added to it; "
                    "what comes before is 'http://x/a'."
                ),
            )
            for url in ("http://x/a?b=1", "http://x/a#b", "http://x/a?", "http://x/a#", "http://x/a#b?c")
        ),
        *(
            (
                url,
                "base_url has a user or password; send them with headers={'Authorization': ...} instead.",
            )
            for url in ("http://user@x", "https://user:pw@x", "http://:pw@x", "http://@x")
        ),
    ],
)
def test_a_base_url_that_cannot_work_is_refused_with_its_own_message(url: str, message: str) -> None:
    with pytest.raises(NavaiConfigError) as caught:
        resolve_base_url(url, {})
    assert str(caught.value) == message
    with pytest.raises(NavaiConfigError) as caught:
        resolve_base_url(" ", {"NAVAI_API_URL": url})
    assert str(caught.value) == message.replace("base_url", "NAVAI_API_URL", 1)


@pytest.mark.parametrize(("url", "kind"), [(5, "an int"), (b"http://x", "bytes"), (["http://x"], "a list")])
def test_a_base_url_must_be_a_string(url: Any, kind: str) -> None:
    with pytest.raises(NavaiConfigError, match=rf"^base_url must be a string; it is {kind}\.$"):
        resolve_base_url(url, {})
    with pytest.raises(NavaiConfigError, match=rf"^NAVAI_API_URL must be a string; it is {kind}\.$"):
        resolve_base_url(None, {"NAVAI_API_URL": url})


@PROPERTY
@given(st.text() | st.tuples(GOOD, st.text()).map("".join) | st.text().map("http://{}".format))
@example("http://a..b")
@example("http://xn--a")
@example("http://" + "a" * 300)
@example("http://%zz")
@example("http://<x>")
def test_any_text_as_base_url_is_refused_at_once_or_leads_to_a_value_or_a_navai_error(url: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"ok": True, "result": 1}))
    try:
        with NavaiBackendClient(url, env={}, transport=transport, max_retries=0) as client:
            assert client.execute_function("f") == 1
    except NavaiError as error:
        message = str(error)
        assert message


def test_paths_get_a_leading_slash() -> None:
    paths = resolve_paths(client_secret_path="a", functions_list_path="/b", functions_execute_path="")
    assert paths.client_secret_path == "/a"
    assert paths.functions_list_path == "/b"
    assert paths.functions_execute_path == "/"
    assert paths.speech_synthesize_path == "/navai/speech/synthesize"


@pytest.mark.parametrize("path", ["/a b", "/a\n", "/a#b", "/\x00", "/\ud800", "/\u2028"])
def test_a_path_that_cannot_work_is_refused(path: str) -> None:
    with pytest.raises(NavaiConfigError) as caught:
        resolve_paths(functions_list_path=path)
    assert str(caught.value) == (
        f"functions_list_path must have no white space, control characters or fragment; it is {path!r}."
    )


@pytest.mark.parametrize("path", [None, 5, b"/a"])
def test_a_path_must_be_a_string(path: Any) -> None:
    with pytest.raises(
        NavaiConfigError, match=r"^client_secret_path must be a string; it is (None|an int|bytes)"
    ):
        resolve_paths(client_secret_path=path)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"X-Key": "secret\n"},
            (
                "The header X-Key has a line break or another control character (not shown); "
                "a key that was read from a file often ends with one: strip it."
            ),
        ),
        ({"X-Key": 5}, "The header X-Key must be a string; it is an int."),
        (
            {"X-Key": "sécret"},
            "The header X-Key has characters outside ASCII, or blanks around its value (not shown).",
        ),
        (
            {"X-Key": " secret"},
            "The header X-Key has characters outside ASCII, or blanks around its value (not shown).",
        ),
        (
            {"X-Key": "secret\t"},
            "The header X-Key has characters outside ASCII, or blanks around its value (not shown).",
        ),
        (
            {"X-Key: secret": ""},
            (
                "headers has a name that begins with 'X-Key' and cannot be sent (the rest is not shown); "
                "a name is letters, digits and hyphens."
            ),
        ),
        (
            {"": "secret"},
            (
                "headers has a name that begins with '' and cannot be sent (the rest is not shown); "
                "a name is letters, digits and hyphens."
            ),
        ),
        ({b"X-Key": "secret"}, "headers has a name that is not a string; it is bytes."),
        ([("X-Key", "secret")], "headers must be a mapping of names to values; it is a list."),
        ("X-Key: secret", "headers must be a mapping of names to values; it is a str."),
        ({"content-TYPE": "text/plain"}, "headers must not set content-TYPE: the contract fixes it."),
        ({"Connection": "close"}, "headers must not set Connection: the transport manages its connections."),
        (
            {"Idempotency-Key": "secret"},
            (
                "headers must not set Idempotency-Key: "
                "every call needs its own; pass idempotency_key= to execute_function."
            ),
        ),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_and_never_shown(headers: Any, message: str) -> None:
    with pytest.raises(NavaiConfigError) as caught:
        resolve_headers(headers)
    assert str(caught.value) == message


@PROPERTY
@given(st.sampled_from([chr(code) for code in (*range(9), *range(10, 32), 127)]), st.text(max_size=5))
def test_a_header_with_a_control_character_is_refused(control: str, text: str) -> None:
    with pytest.raises(NavaiConfigError) as caught:
        resolve_headers({"X-A": f"before{control}{text}after"})
    assert "before" not in str(caught.value)
    assert "after" not in str(caught.value)


def test_default_headers_are_added_where_the_user_has_none() -> None:
    assert resolve_headers(None).plain == resolve_headers({}).plain
    assert resolve_headers({"x-a": "1\t2", "X-A": ""}).plain[2:] == (("x-a", "1\t2"), ("X-A", ""))
    assert resolve_headers({"user-AGENT": "u", "accept": "a"}).plain == (("user-AGENT", "u"), ("accept", "a"))
    assert resolve_headers(httpx.Headers({"X-A": "1"})).plain[2:] == (("x-a", "1"),)


def test_the_secrets_of_headers_are_their_values_and_the_parts_of_these() -> None:
    headers = {
        "Authorization": "Bearer abcdefgh",
        "Cookie": 'sid=0123456789; short=1; other="abcdefghij"',
        "X-Tenant": "not-a-secret",
        "X-Api-Key": "1234567",
    }
    secrets = resolve_headers(headers).secrets
    assert set(secrets) >= {"Bearer abcdefgh", "abcdefgh", "0123456789", "abcdefghij", headers["Cookie"]}
    assert "not-a-secret" not in secrets
    assert all(len(secret) >= 8 for secret in secrets)
    assert list(secrets) == sorted(secrets, key=len, reverse=True)


def test_the_repr_of_settings_shows_no_header() -> None:
    assert "abcdefgh" not in repr(config(headers=resolve_headers({"Authorization": "abcdefgh"})))


@pytest.mark.parametrize("value", [None, math.inf, 10**400, 1e308, 2_000_000])
def test_a_timeout_beyond_any_clock_means_no_limit(value: Any) -> None:
    assert checked_timeout(value) is None


@pytest.mark.parametrize("value", [1, 0.001, 1_999_999.5])
def test_a_timeout_is_in_seconds(value: float) -> None:
    checked = checked_timeout(value)
    assert checked == value
    assert type(checked) is float


@pytest.mark.parametrize(
    ("option", "values", "message"),
    [
        ("timeout", [0, -0.5, math.nan, False, "1", 1j], "timeout (seconds) must be a number above 0; it is"),
        ("max_retries", [-1, 1.0, True, None, "1"], "max_retries must be a whole number, 0 or more; it is"),
        (
            "max_response_bytes",
            [0, -1, 1.5, True, None, math.inf],
            "max_response_bytes must be a whole number above 0; it is",
        ),
    ],
)
def test_an_invalid_limit_is_refused(option: str, values: list[Any], message: str) -> None:
    for value in values:
        with pytest.raises(NavaiConfigError) as caught:
            config(**{option: value})
        assert str(caught.value) == f"{message} {value!r}."


def test_limits_can_have_any_size() -> None:
    made = config(max_retries=10**30, max_response_bytes=10**30)
    assert made.max_retries.max_retries == 10**30
    assert made.max_response_bytes < sys.maxsize


def test_of_several_sources_the_first_value_that_is_not_blank_is_used() -> None:
    sources: list[Mapping[str, object]] = [
        {"NAVAI_API_URL": " \ufeff", "NAVAI_ROUTES_FILE": None, "OTHER": "x", "NAVAI_REALTIME_MODEL": 5},
        {"NAVAI_API_URL": " https://a.example\n", "NAVAI_REALTIME_MODEL": "gpt-realtime"},
        {"NAVAI_API_URL": "https://b.example", "NAVAI_FUNCTIONS_FOLDERS": "a,b", "NAVAI_AGENTS_FOLDERS": "c"},
    ]
    assert (
        resolve_navai_env(sources)
        == resolve_navai_env(iter(sources))
        == {
            "NAVAI_API_URL": "https://a.example",
            "NAVAI_FUNCTIONS_FOLDERS": "a,b",
            "NAVAI_AGENTS_FOLDERS": "c",
            "NAVAI_REALTIME_MODEL": "gpt-realtime",
        }
    )
    assert resolve_navai_env([]) == {}


def test_every_setting_of_the_contract_is_resolved() -> None:
    assert set(ENV_KEYS) == {
        "NAVAI_API_URL",
        "NAVAI_FUNCTIONS_FOLDERS",
        "NAVAI_AGENTS_FOLDERS",
        "NAVAI_ROUTES_FILE",
        "NAVAI_REALTIME_MODEL",
    }
    for order in itertools.permutations([{key: f"1{key}" for key in ENV_KEYS}, {}]):
        assert resolve_navai_env(order) == {key: f"1{key}" for key in ENV_KEYS}


def test_a_client_accepts_resolved_settings_as_env() -> None:
    env = resolve_navai_env([{"NAVAI_API_URL": "https://a.example"}])
    with NavaiBackendClient(env=env) as client:
        assert "https://a.example" in repr(client)


def test_one_mapping_instead_of_several_is_refused() -> None:
    with pytest.raises(NavaiConfigError, match=r"^sources must be a list of mappings; put the one"):
        resolve_navai_env({"NAVAI_API_URL": "https://a.example"})  # type: ignore[dict-item]
