"""Calls to OpenAI and ElevenLabs, against a raw socket: deadlines, limits, connections, failures."""

import asyncio
import contextlib
import gc
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from navai_client import ClientSecret, NavaiStateError
from navai_client.server import (
    BackendError,
    BackendOptions,
    BackendOptionsError,
    ClientSecretRequest,
    MintPolicy,
    NavaiBackend,
    SpeechRequest,
    Upstream,
    UpstreamError,
    create_realtime_client_secret,
    create_realtime_client_secret_sync,
    synthesize_speech,
    synthesize_speech_sync,
)
from navai_client.server._errors import UpstreamTimeoutError
from tests.waiting import PATIENCE_S

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def against(peer: Peer, scenario: Callable[[str], Coroutine[Any, Any, Any]]) -> Any:
    """Run *scenario* with the URL of a server whose connections *peer* handles, and wait until they end."""

    async def run() -> Any:
        ends: list[asyncio.Future[None]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            end = asyncio.get_running_loop().create_future()
            ends.append(end)
            try:
                await peer(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()
                end.set_result(None)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            result = await scenario(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*ends)
        finally:
            server.close()
        return result

    return asyncio.run(run())


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


def responding(body: bytes, requests: list[bytes] | None = None) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                request = await read_request(reader)
            except asyncio.IncompleteReadError:
                return
            if requests is not None:
                requests.append(request)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    return peer


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the other side goes away


async def dripping(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def post(upstream: Upstream, url: str, seconds: float = PATIENCE_S, body: object = None) -> bytes:
    return (await upstream.post("OpenAI", url, body, headers=(), timeout=seconds)).content


def elevenlabs(url: str) -> BackendOptions:
    return BackendOptions(
        tts_provider="elevenlabs", elevenlabs_api_key="k", elevenlabs_voice_id="v", elevenlabs_base_url=url
    )


@pytest.mark.parametrize("peer", [silent, dripping])
def test_a_call_ends_at_its_deadline_and_closes_its_connection(peer: Peer) -> None:
    async def scenario(url: str) -> None:
        upstream = Upstream()
        with pytest.raises(UpstreamTimeoutError, match=r"OpenAI did not respond within 0\.1 seconds\."):
            await post(upstream, url, 0.1)

    against(peer, scenario)


def test_a_call_under_way_ends_when_the_upstream_is_closed() -> None:
    connected = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await silent(reader, writer)

    async def scenario(url: str) -> None:
        upstream = Upstream()
        calling = asyncio.create_task(post(upstream, url))
        await connected.wait()
        await upstream.aclose()
        with pytest.raises(asyncio.CancelledError):
            await calling

    against(peer, scenario)


def stale_after_one(requests: list[bytes], kept_open: asyncio.Event) -> Peer:
    """Respond to the first request of each connection, and close it instead of responding to a second."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            requests.append(await read_request(reader))
            content = b'{"value":"ek_1"}'
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content))
            await read_request(reader)
            kept_open.set()

    return peer


def test_a_client_secret_is_asked_for_once_more_if_its_connection_was_stale() -> None:
    requests: list[bytes] = []
    was_reused = asyncio.Event()

    async def scenario(url: str) -> None:
        options = BackendOptions(openai_api_key="sk-1", openai_base_url=url)
        async with Upstream() as upstream:
            for _ in range(2):
                secret = await create_realtime_client_secret(options, upstream=upstream)
                assert secret.value == "ek_1"

    against(stale_after_one(requests, was_reused), scenario)
    assert was_reused.is_set()
    assert len(requests) == 2


def test_speech_is_asked_for_once_because_it_costs_twice() -> None:
    requests: list[bytes] = []
    was_reused = asyncio.Event()

    async def scenario(url: str) -> None:
        options = elevenlabs(url)
        async with Upstream() as upstream:
            await synthesize_speech(options, {"text": "Hi"}, upstream=upstream)
            with pytest.raises(UpstreamError, match="ElevenLabs could not be reached"):
                await synthesize_speech(options, {"text": "Hi"}, upstream=upstream)

    against(stale_after_one(requests, was_reused), scenario)
    assert was_reused.is_set()
    assert len(requests) == 1


def test_a_cancelled_caller_does_not_disturb_the_next_call() -> None:
    async def scenario(url: str) -> None:
        async with Upstream() as upstream:
            calling = asyncio.create_task(post(upstream, url, 0.1))
            await asyncio.sleep(0)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            assert await post(upstream, url) == b"fine"

    against(responding(b"fine"), scenario)


def test_a_response_that_is_too_large_is_refused_while_it_is_read() -> None:
    async def scenario(url: str) -> None:
        async with Upstream(max_response_bytes=3) as upstream, Upstream(max_response_bytes=4) as other:
            assert await post(other, url) == b"four"
            with pytest.raises(UpstreamError, match="too large") as caught:
                await post(upstream, url)
            assert caught.value.status_code == 502

    against(responding(b"four"), scenario)


def test_one_upstream_keeps_its_connection_and_sends_lone_surrogates() -> None:
    requests: list[bytes] = []

    async def scenario(url: str) -> None:
        async with Upstream() as upstream:
            await post(upstream, url, body={"a": "b"})
            await post(upstream, url, body={"a": "\ud800"})

    against(responding(b"{}", requests), scenario)
    assert [json.loads(each) for each in requests] == [{"a": "b"}, {"a": "\ud800"}]


def test_the_library_functions_work_without_a_given_upstream() -> None:
    async def mint(url: str) -> Any:
        options = BackendOptions(openai_api_key="k", openai_base_url=url)
        return await create_realtime_client_secret(options, ClientSecretRequest(voice="cedar"))

    async def speak(url: str) -> Any:
        options = elevenlabs(url)
        return await synthesize_speech(options, SpeechRequest(text="hi"))

    requests: list[bytes] = []
    secret = against(responding(b'{"value":"ek_1","expires_at":true}', requests), mint)
    assert secret == ClientSecret(value="ek_1")
    assert json.loads(requests.pop())["session"]["audio"] == {"output": {"voice": "cedar"}}
    assert against(responding(b"abc", requests), speak).audio == b"abc"
    assert json.loads(requests[0]) == {"text": "hi"}


def test_no_print_of_a_minted_secret_shows_it() -> None:
    minted = (
        b'{"value":"ek_68af296e8e408191a1120ab6383263c2","expires_at":1,"session":{"instructions":"mine"}}'
    )

    async def mint(url: str) -> Any:
        return await create_realtime_client_secret(BackendOptions(openai_api_key="k", openai_base_url=url))

    secret = against(responding(minted), mint)
    assert secret.value == "ek_68af296e8e408191a1120ab6383263c2"
    assert secret.session == {"instructions": "mine"}
    for shown in (str(secret), repr(secret), f"{secret}", repr({"secret": [secret]})):
        assert secret.value not in shown
        assert "mine" not in shown


@pytest.mark.parametrize(
    "request_",
    [
        {"voice_accent": "Irish", "voice_tone": "calm", "api_key": "sk-1"},
        {"voiceAccent": "Irish", "voice_tone": "calm", "apiKey": "sk-1"},
    ],
)
def test_fields_are_called_as_in_python_or_as_in_the_contract(request_: dict[str, str]) -> None:
    requests: list[bytes] = []

    async def mint(url: str) -> Any:
        options = BackendOptions(openai_base_url=url, allow_api_key_from_request=True)
        return await create_realtime_client_secret(options, request_)

    against(responding(b'{"value":"ek_1"}', requests), mint)
    lines = json.loads(requests.pop())["session"]["instructions"].split("\n")
    assert lines[1:] == ["Use a Irish accent while speaking.", "Use a calm tone while speaking."]


def test_fields_of_speech_are_called_as_in_python_too() -> None:
    requests: list[bytes] = []

    async def speak(url: str) -> Any:
        settings = {"similarity_boost": 0.5, "useSpeakerBoost": True}
        wanted = {"text": "hi", "model_id": "m", "voice_settings": settings}
        return await synthesize_speech(elevenlabs(url), wanted)

    against(responding(b"abc", requests), speak)
    sent = json.loads(requests.pop())
    assert sent["model_id"] == "m"
    assert sent["voice_settings"] == {"similarity_boost": 0.5, "use_speaker_boost": True}


def test_a_field_by_both_names_is_refused() -> None:
    both = {"voice_accent": "Irish", "voiceAccent": "Scottish"}
    with pytest.raises(BackendError, match=r"voiceAccent is given twice\."):
        create_realtime_client_secret_sync(BackendOptions(openai_api_key="k"), both)


def test_over_http_only_the_names_of_the_contract_count() -> None:
    requests: list[bytes] = []

    async def ask(url: str) -> Any:
        backend: Any = NavaiBackend(
            BackendOptions(openai_api_key="k", openai_base_url=url),
            env={},
            discover=False,
            mint_policy=MintPolicy(instructions=False),  # which a second name would evade
        )
        async with AsyncClient(transport=ASGITransport(app=backend), base_url="http://t") as client:
            await client.post("/navai/realtime/client-secret", json={"voice_accent": "Irish"})
        await backend.aclose()

    against(responding(b'{"value":"ek_1"}', requests), ask)
    assert "Irish" not in json.loads(requests.pop())["session"]["instructions"]


def test_speech_reaches_clients_in_base64() -> None:
    async def ask(url: str) -> Any:
        backend: Any = NavaiBackend(elevenlabs(url), env={}, discover=False)
        async with AsyncClient(transport=ASGITransport(app=backend), base_url="http://t") as client:
            answer = await client.post("/navai/speech/synthesize", json={"text": "hi"})
        await backend.aclose()
        return answer.json()

    assert against(responding(b"abc"), ask) == {
        "provider": "elevenlabs",
        "mimeType": "audio/mpeg",
        "audioBase64": "YWJj",
    }


def test_what_is_not_async_mints_and_speaks_too() -> None:
    async def scenario(url: str) -> Any:
        options = BackendOptions(openai_api_key="k", openai_base_url=url)
        return (
            await asyncio.to_thread(create_realtime_client_secret_sync, options, {"voice": "cedar"}),
            await asyncio.to_thread(synthesize_speech_sync, elevenlabs(url), {"text": "hi"}),
        )

    secret, spoken = against(responding(b'{"value":"ek_1"}'), scenario)
    assert secret.value == "ek_1"
    assert (spoken.provider, spoken.audio) == ("elevenlabs", b'{"value":"ek_1"}')


def test_in_an_event_loop_they_say_what_to_await() -> None:
    async def scenario() -> None:
        with pytest.raises(NavaiStateError, match=r"await create_realtime_client_secret instead\."):
            create_realtime_client_secret_sync(BackendOptions(openai_api_key="k"))
        with pytest.raises(NavaiStateError, match=r"await synthesize_speech instead\."):
            synthesize_speech_sync(elevenlabs("http://127.0.0.1"), {"text": "hi"})

    asyncio.run(scenario())


@pytest.mark.parametrize("ttl", [600, 600.0, "600.0", "6e2", " 600 "])
def test_the_lifetime_may_be_a_float_without_a_fraction(ttl: Any) -> None:
    requests: list[bytes] = []

    async def mint(url: str) -> Any:
        options = BackendOptions(openai_api_key="k", openai_base_url=url)
        if isinstance(ttl, str):
            env = {"OPENAI_REALTIME_CLIENT_SECRET_TTL": ttl}
            return await create_realtime_client_secret(
                BackendOptions.from_env(env, openai_api_key="k", openai_base_url=url)
            )
        assert MintPolicy(ttl_seconds=ttl).ttl_seconds == 600
        return await create_realtime_client_secret(options, ttl_seconds=ttl)

    against(responding(b'{"value":"ek_1"}', requests), mint)
    assert b'"seconds":600}' in requests.pop()


@pytest.mark.parametrize("ttl", [600.5, 9.0, float("nan"), float("inf"), True, "600"])
def test_other_lifetimes_are_refused(ttl: Any) -> None:
    with pytest.raises(BackendOptionsError, match="must be between 10 and 7200"):
        BackendOptions(client_secret_ttl_seconds=ttl)
    with pytest.raises(BackendOptionsError, match="must be from 10 to 7200"):
        MintPolicy(ttl_seconds=ttl)


def test_an_upstream_may_be_used_in_one_event_loop_after_another() -> None:
    upstream = Upstream()

    async def ask(url: str) -> bytes:
        return await post(upstream, url)

    async def leave_open(url: str) -> bytes:
        return await post(Upstream(), url)  # dropped without being closed: no warning

    async def ask_in_another(url: str) -> bytes:
        answer = await post(upstream, url)
        await asyncio.to_thread(asyncio.run, ask(url))
        await upstream.aclose()
        return answer

    for scenario in (ask, ask, leave_open, ask_in_another, leave_open):
        assert against(responding_once(b"fine"), scenario) == b"fine"
    asyncio.run(upstream.aclose())
    gc.collect()


def responding_once(body: bytes) -> Peer:
    """Respond once and close the connection."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        writer.write(head + body)

    return peer


def test_an_upstream_that_is_garbage_collected_closes_its_connections() -> None:
    async def scenario(url: str) -> bytes:
        return await post(Upstream(), url)

    assert against(responding(b"fine"), scenario) == b"fine"  # which waits until the peer sees the end


def test_the_proxy_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(url: str) -> Any:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "direct.example")
        async with Upstream() as upstream:
            through = await post(upstream, "http://upstream.example/v1")
            with pytest.raises(UpstreamError):
                await post(upstream, "http://direct.example:1/", 0.2)
            return through

    assert against(responding_once(b"from the proxy"), scenario) == b"from the proxy"


async def mute(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


@pytest.mark.parametrize(
    ("peer", "timeout", "status", "said"),
    [
        (silent, 0.1, 504, "OpenAI did not respond within 0.1 seconds."),
        (
            mute,
            PATIENCE_S,
            502,
            "OpenAI could not be reached (the connection was closed without a response).",
        ),
        (responding(b"[]"), PATIENCE_S, 502, "The response of OpenAI has no client secret."),
    ],
)
def test_each_failure_of_the_upstream_has_its_status_and_message(
    peer: Peer, timeout: float, status: int, said: str
) -> None:
    async def scenario(url: str) -> Any:
        backend: Any = NavaiBackend(
            BackendOptions(openai_api_key="k", openai_base_url=url, timeout=timeout), env={}, discover=False
        )
        async with AsyncClient(transport=ASGITransport(app=backend), base_url="http://t") as client:
            answer = await client.post("/navai/realtime/client-secret", json={})
        await backend.aclose()
        return answer.status_code, answer.json()

    assert against(peer, scenario) == (status, {"error": said})
