"""Settings for OpenAI and ElevenLabs that cannot work are refused at the start, or named in the log."""

import asyncio
import logging

import httpx
import pytest

from navai_client.server import (
    BackendOptions,
    BackendOptionsError,
    NavaiBackend,
    UpstreamError,
    create_realtime_client_secret,
    synthesize_speech,
)
from tests.server.conftest import Stub
from tests.serving import Serve, Start

SECRET = "/navai/realtime/client-secret"
KEY = "sk-live-not-to-be-shown"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("api.openai.com/v1", "must begin with http:// or https://"),
        ("ftp://api.example/v1", "must begin with http:// or https://"),
        ('"https://api.example/v1"', "must begin with http:// or https://"),
        ("https://me:not-to-be-shown@api.example/v1", "has a user or password; leave them out."),
        ("https://not-to-be-shown@api.example/v1", "has a user or password; leave them out."),
        ("https://api.example/v1#not-to-be-shown", "must have no fragment (not shown)"),
        ("https://api.example/v1?key=not-to-be-shown#x", "must have no fragment (not shown)"),
        ("https:///v1", "is not a URL with a host"),
        ("https://api.example:x/v1", "is not a URL"),
        ("https://api example/v1", "is not a URL with a host"),
        ("https://api.example/v1?a=b c", "is not a URL with a host"),
    ],
)
def test_a_base_url_that_cannot_be_meant_stops_the_start_by_name(url: str, said: str) -> None:
    for name, attribute in (
        ("OPENAI_BASE_URL", "openai_base_url"),
        ("ELEVENLABS_BASE_URL", "elevenlabs_base_url"),
    ):
        with pytest.raises(BackendOptionsError) as refused:
            BackendOptions.from_env({name: url})
        assert str(refused.value).startswith(f"{attribute} ({name}) {said}")
        assert "not-to-be-shown" not in str(refused.value)


@pytest.mark.parametrize(
    "proxy", ["//proxy.example:3128", "ftp://proxy:1", '"http://proxy:1"', "http://[::1"]
)
def test_a_proxy_that_cannot_be_meant_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(BackendOptionsError, match=r"^HTTPS_PROXY is not a proxy's URL: "):
        NavaiBackend(env={"OPENAI_API_KEY": KEY}, discover=False)


def test_a_proxy_that_cannot_be_meant_stops_the_start_by_name(start: Start) -> None:
    status, said = start(OPENAI_API_KEY=KEY, https_proxy="//proxy.example:3128", no_proxy="")
    assert status == 2
    assert said.startswith("navai serve: HTTPS_PROXY is not a proxy's URL: ")
    assert said.count("\n") == 1


def test_a_proxy_of_elevenlabs_is_checked_if_it_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "ftp://proxy:1")
    env = {
        "ELEVENLABS_API_KEY": "k",
        "ELEVENLABS_VOICE_ID": "v",
        "ELEVENLABS_BASE_URL": "http://speech.example",
    }
    NavaiBackend(env=env, discover=False)
    with pytest.raises(BackendOptionsError, match=r"^HTTP_PROXY is not a proxy's URL"):
        NavaiBackend(env={**env, "NAVAI_TTS_PROVIDER": "elevenlabs"}, discover=False)


def test_a_proxy_that_was_broken_later_is_an_error_of_the_upstream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "ftp://proxy:1")
    monkeypatch.setenv("no_proxy", "")
    options = BackendOptions(openai_api_key="k", openai_base_url="http://api.example")
    with pytest.raises(UpstreamError, match=r"OpenAI could not be reached \(HTTP_PROXY is not a proxy's URL"):
        asyncio.run(create_realtime_client_secret(options))


def test_a_proxy_without_a_scheme_is_understood(serve: Serve, stub: Stub) -> None:
    server = serve(
        OPENAI_API_KEY=KEY,
        OPENAI_BASE_URL="http://api.example/v1",
        http_proxy=stub.url.removeprefix("http://").removesuffix("/v1"),
        no_proxy="",
    )
    assert httpx.post(server.url + SECRET, json={}, timeout=60).json()["value"] == "ek_1"
    assert stub.got[0] == "http://api.example/v1/realtime/client_secrets"


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("/openai?api-version=preview", "/v1/openai/realtime/client_secrets?api-version=preview"),
        ("/?a=1&b=2/", "/v1/realtime/client_secrets?a=1&b=2/"),
        ("?", "/v1/realtime/client_secrets"),
    ],
)
def test_a_query_of_the_base_url_is_that_of_each_request(
    serve: Serve, stub: Stub, base: str, path: str
) -> None:
    server = serve(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=stub.url + base)
    assert httpx.post(server.url + SECRET, json={}, timeout=60).status_code == 200
    assert stub.got[0] == path


def test_speech_keeps_the_query_beside_its_own(stub: Stub) -> None:
    options = BackendOptions(
        tts_provider="elevenlabs",
        elevenlabs_api_key="k",
        elevenlabs_voice_id="v",
        elevenlabs_base_url=stub.url + "?region=eu",
    )
    asyncio.run(synthesize_speech(options, {"text": "hi"}))
    assert stub.got[0] == "/v1/v1/text-to-speech/v?region=eu&output_format=mp3_44100_128"


def test_organization_and_project_are_sent_as_openais_packages_do(serve: Serve, stub: Stub) -> None:
    base = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": stub.url}
    server = serve(**base, OPENAI_ORG_ID=" org-1 ", OPENAI_PROJECT_ID="proj_1")
    assert httpx.post(server.url + SECRET, json={}, timeout=60).status_code == 200
    assert (stub.asked.get("OpenAI-Organization"), stub.asked.get("OpenAI-Project")) == ("org-1", "proj_1")
    server.stop()
    server = serve(**base, OPENAI_ORG_ID="")
    assert httpx.post(server.url + SECRET, json={}, timeout=60).status_code == 200
    assert (stub.asked.get("OpenAI-Organization"), stub.asked.get("OpenAI-Project")) == (None, None)


@pytest.mark.parametrize("value", ["org 1", '"org-1"', "org\n1"])
def test_an_organization_that_no_header_can_carry_is_refused(value: str) -> None:
    with pytest.raises(BackendOptionsError, match=r"^openai_organization \(OPENAI_ORG_ID\) must "):
        BackendOptions.from_env({"OPENAI_ORG_ID": value})


def test_what_is_wrong_upstream_is_in_the_log_with_the_request(serve: Serve, stub: Stub) -> None:
    stub.status, stub.answer = 401, f"Incorrect API key: {KEY}\nFORGED line"
    server = serve(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=stub.url)
    refused = httpx.post(server.url + SECRET, json={}, headers={"x-request-id": "r-401"}, timeout=60)
    assert refused.status_code == 401
    log = server.stop()
    (line,) = [each for each in log.splitlines() if "r-401" in each and "WARNING" in each]
    assert "Request r-401: OpenAI client_secrets failed (401): " in line
    assert "Incorrect API key: ***" in line
    assert KEY not in log


def test_an_unreachable_upstream_is_in_the_log_with_the_proxy_that_was_used(serve: Serve) -> None:
    server = serve(
        OPENAI_API_KEY=KEY, OPENAI_BASE_URL="http://api.example", http_proxy="http://127.0.0.1:1", no_proxy=""
    )
    answer = httpx.post(server.url + SECRET, json={}, headers={"x-request-id": "r-502"}, timeout=60)
    assert answer.status_code == 502
    assert "127.0.0.1" not in answer.text
    log = server.stop()
    (line,) = [each for each in log.splitlines() if "Request r-502: OpenAI could not be reached (" in each]
    assert "through the proxy http://127.0.0.1:1, from HTTP_PROXY" in line


def test_a_model_without_an_announced_shutdown_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="navai_client.server")
    options = BackendOptions(openai_api_key="k", default_model="gpt-realtime-2")
    NavaiBackend(options, env={}, discover=False).start()
    assert caplog.records == []


def test_a_timeout_of_zero_is_refused() -> None:
    with pytest.raises(BackendOptionsError, match=r"timeout .* greater than 0\. Received: 0"):
        BackendOptions(timeout=0)
