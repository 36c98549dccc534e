"""The URL, headers and body of requests. One suite for both clients."""

import contextlib
import uuid
from typing import Any

import pytest

import navai_client
from navai_client import (
    NavaiHTTPError,
)
from navai_client.wire._operations import OPERATIONS as TABLE
from tests.backends import BASE, OPERATIONS, SECRET, SPEECH, Backend, Clients, answer, call


class TestUrls:
    """The URL and the method."""

    @pytest.mark.parametrize(
        ("operation", "method", "path"), [(each.name, each.method, each.path) for each in TABLE]
    )
    def test_each_operation_has_its_method_and_default_path(
        self, clients: Clients, operation: str, method: str, path: str
    ) -> None:
        backend = Backend(answer(b"", 418))
        client = clients.make(backend, BASE)
        with contextlib.suppress(NavaiHTTPError):
            call(client, operation)
        assert (backend.request.method, str(backend.request.url)) == (method, BASE + path)

    @pytest.mark.parametrize(
        ("base_url", "env", "expected"),
        [
            (None, {}, "http://localhost:3000"),
            (None, {"NAVAI_API_URL": "https://env.example"}, "https://env.example"),
            ("https://arg.example", {"NAVAI_API_URL": "https://env.example"}, "https://arg.example"),
            ("", {"NAVAI_API_URL": "https://env.example"}, "https://env.example"),
            (" \ufeff\u00a0\n", {"NAVAI_API_URL": "https://env.example"}, "https://env.example"),
            ("  ", {"NAVAI_API_URL": "\t\u2028"}, "http://localhost:3000"),
            (None, {"NAVAI_API_URL": None}, "http://localhost:3000"),
            (None, {"NAVAI_API_URL": " https://env.example/ \n"}, "https://env.example"),
            ("\ufeff https://arg.example/api//\u3000", {}, "https://arg.example/api"),
            ("HTTP://arg.example:8080", {}, "http://arg.example:8080"),
        ],
    )
    def test_the_argument_takes_precedence_over_the_environment_and_that_over_the_default(
        self, clients: Clients, base_url: str | None, env: dict[str, str | None], expected: str
    ) -> None:
        backend = Backend(answer({}))
        clients.make(backend, base_url, env=env).list_functions()
        assert str(backend.request.url) == f"{expected}/navai/functions"

    def test_without_env_the_environment_of_the_process_is_read(
        self, clients: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NAVAI_API_URL", " https://process.example ")
        backend = Backend(answer({}))
        clients.make(backend, env=None).list_functions()
        assert backend.request.url.host == "process.example"

    def test_a_given_env_replaces_that_of_the_process(
        self, clients: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NAVAI_API_URL", "https://process.example")
        backend = Backend(answer({}))
        clients.make(backend, env={}).list_functions()
        assert backend.request.url.host == "localhost"

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize(
        ("path", "url"),
        [
            ("/api/voice", f"{BASE}/v1/api/voice"),
            ("api/voice", f"{BASE}/v1/api/voice"),
            ("/api/voice/", f"{BASE}/v1/api/voice/"),
            ("/api?tenant=7", f"{BASE}/v1/api?tenant=7"),
            ("", f"{BASE}/v1/"),
        ],
    )
    def test_a_path_can_be_set_and_gets_a_leading_slash(
        self, clients: Clients, operation: str, path: str, url: str
    ) -> None:
        (option,) = (each.path_option for each in TABLE if each.name == operation)
        backend = Backend(answer(b"", 418))
        client = clients.make(backend, f"{BASE}/v1/", **{option: path})
        with contextlib.suppress(NavaiHTTPError):
            call(client, operation)
        assert str(backend.request.url) == url


class TestBodiesAndHeaders:
    """Bodies and headers."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_every_request_accepts_json_and_names_the_package(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer(b"", 418))
        with contextlib.suppress(NavaiHTTPError):
            call(clients.make(backend, BASE), operation)
        assert backend.request.headers["Accept"] == "application/json"
        assert backend.request.headers["User-Agent"] == f"navai-client/{navai_client.__version__} (Python)"
        (with_body,) = (bool(each.fields) for each in TABLE if each.name == operation)
        assert backend.request.headers.get("Content-Type") == ("application/json" if with_body else None)
        assert bool(backend.request.content) == with_body

    def test_the_users_headers_are_sent_and_take_precedence(self, clients: Clients) -> None:
        backend = Backend(answer({}))
        headers = {
            "Authorization": "Bearer gateway",
            "user-agent": "mine/1",
            "ACCEPT": "application/vnd.x+json",
        }
        clients.make(backend, BASE, headers=headers).list_functions()
        sent = backend.request.headers
        assert sent["Authorization"] == "Bearer gateway"
        assert sent.get_list("User-Agent") == ["mine/1"]
        assert sent.get_list("Accept") == ["application/vnd.x+json"]

    def test_a_request_for_a_client_secret_has_only_the_given_options(self, clients: Clients) -> None:
        backend = Backend(answer(SECRET))
        clients.make(backend, BASE).create_client_secret()
        assert backend.request.content == b"{}"

    def test_none_counts_as_absent(self, clients: Clients) -> None:
        backend = Backend(answer(SECRET))
        clients.make(backend, BASE).create_client_secret(model=None, voice="", api_key=None)
        assert backend.request.content == b'{"voice":""}'

    def test_session_options_are_sent_under_their_wire_names(self, clients: Clients) -> None:
        backend = Backend(answer(SECRET))
        clients.make(backend, BASE).create_client_secret(
            model="gpt-realtime",
            voice="marin",
            instructions="Be kind.",
            language="Español",
            voice_accent="neutral",
            voice_tone="warm",
            api_key="sk-test",
        )
        assert backend.body == {
            "model": "gpt-realtime",
            "voice": "marin",
            "instructions": "Be kind.",
            "language": "Español",
            "voiceAccent": "neutral",
            "voiceTone": "warm",
            "apiKey": "sk-test",
        }

    @pytest.mark.parametrize(
        ("args", "payload"),
        [
            ((), b"null"),
            ((None,), b"null"),
            (({},), b"{}"),
            (({"args": [1, 2.5, True, None, "x"]},), b'{"args":[1,2.5,true,null,"x"]}'),
            (({"t": (1, 2)},), b'{"t":[1,2]}'),
            (([1],), b"[1]"),
            (("text",), b'"text"'),
            ((False,), b"false"),
            ((2**70,), b"1180591620717411303424"),
            (({"città": "Forlì"},), '{"città":"Forlì"}'.encode()),
            (("\ud800 \udfff",), rb'"\ud800 \udfff"'),
            (({"\udc00": 1},), rb'{"\udc00":1}'),
        ],
    )
    def test_the_payload_is_sent_unchanged(
        self, clients: Clients, args: tuple[Any, ...], payload: bytes
    ) -> None:
        backend = Backend(answer({"ok": True}))
        clients.make(backend, BASE).execute_function("get_weather", *args)
        assert backend.request.content == b'{"function_name":"get_weather","payload":%b}' % payload

    def test_the_function_name_is_sent_unchanged(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True}))
        clients.make(backend, BASE).execute_function(' Get "Weather"\ud800 ')
        assert backend.request.content == rb'{"function_name":" Get \"Weather\"\ud800 ","payload":null}'

    def test_an_idempotency_key_is_a_new_uuid_unless_one_is_given(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True}))
        client = clients.make(backend, BASE)
        client.execute_function("f")
        client.execute_function("f")
        client.execute_function("f", idempotency_key="order-7")
        first, second, third = (request.headers["Idempotency-Key"] for request in backend.requests)
        assert uuid.UUID(first) != uuid.UUID(second)
        assert (uuid.UUID(first).version, uuid.UUID(first).variant) == (4, uuid.RFC_4122)
        assert str(uuid.UUID(first)) == first
        assert third == "order-7"

    def test_speech_options_are_sent_under_their_wire_names(self, clients: Clients) -> None:
        backend = Backend(answer(SPEECH))
        clients.make(backend, BASE).synthesize_speech(
            "Hello",
            voice_id="v",
            model_id="m",
            output_format="mp3_44100_128",
            optimize_streaming_latency=2,
            stability=0.5,
            similarity_boost=1,
            style=0.0,
            use_speaker_boost=False,
        )
        assert backend.body == {
            "text": "Hello",
            "voiceId": "v",
            "modelId": "m",
            "outputFormat": "mp3_44100_128",
            "optimizeStreamingLatency": 2,
            "voiceSettings": {
                "stability": 0.5,
                "similarityBoost": 1,
                "style": 0.0,
                "useSpeakerBoost": False,
            },
        }

    def test_a_request_for_speech_has_only_the_given_options(self, clients: Clients) -> None:
        backend = Backend(answer(SPEECH))
        clients.make(backend, BASE).synthesize_speech(" Hello ", stability=None)
        assert backend.request.content == b'{"text":" Hello "}'
