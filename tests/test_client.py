"""What both clients promise on the wire and to their callers: one suite over the two."""

import asyncio
import base64
import contextlib
import datetime as dt
import decimal
import json
import logging
import math
import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import navai_client
from navai_client import (
    AsyncNavaiBackendClient,
    BackendFunction,
    FunctionFailedError,
    FunctionList,
    InvalidResponseError,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
    UnknownFunctionError,
)
from tests.both_clients import Backend, Clients, answer, either_client, shown_by

BASE = "https://backend.example"
SECRET = {"value": "ek_abc", "expires_at": 1_900_000_000}
SPEECH = {
    "provider": "elevenlabs",
    "mimeType": "audio/mpeg",
    "audioBase64": base64.b64encode(b"ID3").decode(),
}
OPERATIONS: dict[str, tuple[Any, ...]] = {
    "create_client_secret": (),
    "list_functions": (),
    "execute_function": ("get_weather",),
    "synthesize_speech": ("Hello",),
}
RAISING = ["create_client_secret", "execute_function", "synthesize_speech"]


@pytest.fixture(params=["sync", "async"])
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    yield from either_client(request.param)


def call(client: Any, operation: str, **options: Any) -> Any:
    return getattr(client, operation)(*OPERATIONS[operation], **options)


class TestWhereRequestsGo:
    """The URL and the method."""

    @pytest.mark.parametrize(
        ("operation", "method", "path"),
        [
            ("create_client_secret", "POST", "/navai/realtime/client-secret"),
            ("list_functions", "GET", "/navai/functions"),
            ("execute_function", "POST", "/navai/functions/execute"),
            ("synthesize_speech", "POST", "/navai/speech/synthesize"),
        ],
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
    def test_the_argument_wins_over_the_environment_and_that_over_the_default(
        self, clients: Clients, base_url: str | None, env: dict[str, str | None], expected: str
    ) -> None:
        backend = Backend(answer({}))
        clients.make(backend, base_url, env=env).list_functions()
        assert str(backend.request.url) == f"{expected}/navai/functions"

    def test_without_env_the_environment_of_the_process_is_asked(
        self, clients: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NAVAI_API_URL", " https://process.example ")
        backend = Backend(answer({}))
        clients.make(backend, env=None).list_functions()
        assert backend.request.url.host == "process.example"

    def test_an_env_that_is_given_hides_that_of_the_process(
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
        option = {
            "create_client_secret": "client_secret_path",
            "list_functions": "functions_list_path",
            "execute_function": "functions_execute_path",
            "synthesize_speech": "speech_synthesize_path",
        }[operation]
        backend = Backend(answer(b"", 418))
        client = clients.make(backend, f"{BASE}/v1/", **{option: path})
        with contextlib.suppress(NavaiHTTPError):
            call(client, operation)
        assert str(backend.request.url) == url


class TestWhatRequestsSay:
    """Bodies and headers."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_every_request_asks_for_json_and_names_us(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer(b"", 418))
        with contextlib.suppress(NavaiHTTPError):
            call(clients.make(backend, BASE), operation)
        assert backend.request.headers["Accept"] == "application/json"
        assert backend.request.headers["User-Agent"] == f"navai-client/{navai_client.__version__} (Python)"
        with_body = operation != "list_functions"
        assert backend.request.headers.get("Content-Type") == ("application/json" if with_body else None)
        assert bool(backend.request.content) == with_body

    def test_the_users_headers_go_along_and_win_over_ours(self, clients: Clients) -> None:
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

    def test_a_client_secret_asks_for_nothing_that_was_not_given(self, clients: Clients) -> None:
        backend = Backend(answer(SECRET))
        clients.make(backend, BASE).create_client_secret()
        assert backend.request.content == b"{}"

    def test_none_counts_as_not_given(self, clients: Clients) -> None:
        backend = Backend(answer(SECRET))
        clients.make(backend, BASE).create_client_secret(model=None, voice="", api_key=None)
        assert backend.request.content == b'{"voice":""}'

    def test_the_session_options_have_their_names_of_the_wire(self, clients: Clients) -> None:
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
    def test_a_function_gets_its_payload_as_it_is(
        self, clients: Clients, args: tuple[Any, ...], payload: bytes
    ) -> None:
        backend = Backend(answer({"ok": True}))
        clients.make(backend, BASE).execute_function("get_weather", *args)
        assert backend.request.content == b'{"function_name":"get_weather","payload":%b}' % payload

    def test_a_name_is_sent_as_it_is(self, clients: Clients) -> None:
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
        assert third == "order-7"

    def test_speech_has_the_names_of_the_wire(self, clients: Clients) -> None:
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

    def test_speech_asks_for_nothing_that_was_not_given(self, clients: Clients) -> None:
        backend = Backend(answer(SPEECH))
        clients.make(backend, BASE).synthesize_speech(" Hello ", stability=None)
        assert backend.request.content == b'{"text":" Hello "}'


class TestHowAnswersAreRead:
    """The rules of reading, and what each operation makes of a good answer."""

    @pytest.mark.parametrize("status", [200, 201, 204, 226, 299])
    def test_any_status_of_2xx_is_success(self, clients: Clients, status: int) -> None:
        client = clients.make(Backend(answer({"ok": True, "result": 1}, status)), BASE)
        assert client.execute_function("f") == 1

    @pytest.mark.parametrize(
        ("body", "result"),
        [
            (b'\xef\xbb\xbf{"ok":true,"result":"bom"}', "bom"),
            (b'{"ok":true,"result":"\xff\xc3\xa9"}', "\ufffdé"),
            (b'{"ok":true,"result":"\\ud800"}', "\ud800"),
            (b'{"ok":true,"result":123456789012345678901234567890}', 123456789012345678901234567890),
            (b'{"ok":true,"result":1e400}', math.inf),
            (b'{"ok":true,"result":[1.5,null,false]}', [1.5, None, False]),
            (b'{"ok":true,"result":null}', None),
            (b'{"ok":true}', None),
            (b' {"ok":true, "more": 1, "result": {"a": 1}} \n', {"a": 1}),
            (b'{"ok":false,"ok":true,"result":"last"}', "last"),
        ],
    )
    def test_a_result_comes_as_the_backend_said_it(
        self, clients: Clients, body: bytes, result: object
    ) -> None:
        client = clients.make(Backend(answer(body)), BASE)
        assert client.execute_function("f") == result

    def test_the_charset_is_ignored(self, clients: Clients) -> None:
        body = '{"ok":true,"result":"é"}'.encode()
        headers = {"Content-Type": "text/html; charset=iso-8859-1"}
        client = clients.make(Backend(answer(body, headers=headers)), BASE)
        assert client.execute_function("f") == "é"

    def test_the_charset_of_an_error_is_ignored_too(self, clients: Clients) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-16"}
        client = clients.make(Backend(answer("\ufeffdéjà".encode() + b"\xff", 500, headers)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.execute_function("f")
        assert str(caught.value) == caught.value.body == "déjà\ufffd"

    @pytest.mark.parametrize("digits", [4301, 30_000])
    def test_a_number_of_very_many_digits_does_not_raise(self, clients: Clients, digits: int) -> None:
        body = b'{"ok":true,"result":%b}' % (b"7" * digits)
        assert clients.make(Backend(answer(body)), BASE).execute_function("f") == math.inf

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"true",
            b"12",
            b'"text"',
            b"not JSON",
            b"<html></html>",
            b'{"ok":true,"result":NaN}',
            b'{"ok":true,"result":[Infinity]}',
            b'{"ok":true,"result":-Infinity}',
            b"{'ok':true}",
            b'{"ok":true} trailing',
            b'{"ok":true,}',
            b'{"ok":true,"result":"line\nbreak"}',
            b'{"ok":true,"result":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
            b'{"ok":true,"result":[' + b"7" * 5000 + b",NaN]}",
            b'{"ok":true,"result":[' + b"7" * 5000,
            b"7" * 5000 + b"[" * 200_000,
            b"\xef\xbb\xbf\xef\xbb\xbf{}",
        ],
    )
    def test_what_is_not_a_record_is_no_answer(self, clients: Clients, body: bytes) -> None:
        client = clients.make(Backend(answer(body)), BASE)
        with pytest.raises(InvalidResponseError) as caught:
            client.execute_function("f")
        assert str(caught.value) == "Invalid backend function response."
        assert caught.value.status_code == 200
        with pytest.raises(InvalidResponseError, match=r"^Invalid client-secret response\.$"):
            client.create_client_secret()
        with pytest.raises(InvalidResponseError, match=r"^Invalid speech synthesis response\.$"):
            client.synthesize_speech("Hello")
        assert client.list_functions() == FunctionList(
            warnings=("[navai] Failed to parse backend functions response.",)
        )

    def test_an_array_is_a_record_without_fields(self, clients: Clients) -> None:
        client = clients.make(Backend(answer([{"ok": True}])), BASE)
        assert client.list_functions() == FunctionList()
        with pytest.raises(FunctionFailedError, match=r"^Backend function failed\.$"):
            client.execute_function("f")
        with pytest.raises(InvalidResponseError, match=r"^Invalid client-secret response\.$"):
            client.create_client_secret()
        with pytest.raises(InvalidResponseError, match=r"^Invalid speech synthesis response\.$"):
            client.synthesize_speech("Hello")

    @pytest.mark.parametrize(
        ("said", "expires_at", "provider"),
        [
            ({}, None, "openai"),
            ({"expires_at": 1234567890}, 1234567890, "openai"),
            ({"expires_at": 1234567890.5}, 1234567890.5, "openai"),
            ({"expires_at": True}, None, "openai"),
            ({"expires_at": "1234567890"}, None, "openai"),
            ({"expires_at": None}, None, "openai"),
            ({"speech": {"provider": "elevenlabs"}}, None, "elevenlabs"),
            ({"speech": {"provider": "openai"}}, None, "openai"),
            ({"speech": {"provider": "other"}}, None, "openai"),
            ({"speech": {"provider": ["elevenlabs"]}}, None, "openai"),
            ({"speech": "elevenlabs"}, None, "openai"),
            ({"speech": ["elevenlabs"]}, None, "openai"),
            ({"unknown": 1}, None, "openai"),
        ],
    )
    def test_a_client_secret_is_read(
        self, clients: Clients, said: dict[str, Any], expires_at: float | None, provider: str
    ) -> None:
        secret = clients.make(Backend(answer({"value": "ek_1", **said})), BASE).create_client_secret()
        assert (secret.value, secret.expires_at, secret.speech_provider) == ("ek_1", expires_at, provider)

    @pytest.mark.parametrize("value", [None, 1, True, ["ek"], {"value": "ek"}])
    def test_a_client_secret_needs_a_string(self, clients: Clients, value: object) -> None:
        client = clients.make(Backend(answer({"value": value})), BASE)
        with pytest.raises(InvalidResponseError) as caught:
            client.create_client_secret()
        assert str(caught.value) == "Invalid client-secret response."

    def test_a_number_without_end_as_expiry_never_expires(self, clients: Clients) -> None:
        for digits in (b"1e400", b"9" * 400, b"9" * 5000):
            backend = Backend(answer(b'{"value":"ek","expires_at":%b}' % digits))
            secret = clients.make(backend, BASE).create_client_secret()
            assert secret.expires_in(now=0.0) == math.inf
            assert not secret.is_expired(now=0.0)

    def test_the_functions_are_read_and_what_is_none_is_left_out(self, clients: Clients) -> None:
        items = [
            {"name": "a", "description": "A.", "source": "a.js#a", "parameters": {"type": "object"}, "x": 1},
            {"name": " b "},
            {"name": "c", "description": 1, "source": None, "parameters": []},
            {"name": ""},
            {"name": " \ufeff\u2029"},
            {"name": "\x1c"},  # blank to Python, not to JavaScript
            {"name": 5},
            {"description": "no name"},
            ["name"],
            "d",
            None,
        ]
        warnings = ["[navai] first", 2, None, ["x"], ""]
        listed = clients.make(Backend(answer({"items": items, "warnings": warnings})), BASE).list_functions()
        assert listed == FunctionList(
            functions=(
                BackendFunction(name="a", description="A.", source="a.js#a", parameters={"type": "object"}),
                BackendFunction(name=" b "),
                BackendFunction(name="c"),
                BackendFunction(name="\x1c"),
            ),
            warnings=("[navai] first", ""),
        )

    @pytest.mark.parametrize(
        "said",
        [{}, {"items": None, "warnings": None}, {"items": {"name": "a"}, "warnings": "w"}, {"items": "a"}],
    )
    def test_without_arrays_there_are_no_functions_and_no_warnings(
        self, clients: Clients, said: dict[str, Any]
    ) -> None:
        assert clients.make(Backend(answer(said)), BASE).list_functions() == FunctionList()

    def test_speech_is_handed_out_as_bytes(self, clients: Clients) -> None:
        audio = clients.make(Backend(answer(SPEECH)), BASE).synthesize_speech("Hello")
        assert (audio.audio, audio.mime_type, audio.provider) == (b"ID3", "audio/mpeg", "elevenlabs")

    @pytest.mark.parametrize(
        "change",
        [
            {"provider": "openai"},
            {"provider": None},
            {"mimeType": None},
            {"mimeType": 1},
            {"audioBase64": None},
            {"audioBase64": 1},
            {"audioBase64": "QQ"},
            {"audioBase64": "QQ="},
            {"audioBase64": "Q"},
            {"audioBase64": "=="},
            {"audioBase64": "QUJD="},
            {"audioBase64": "QQ==QQ=="},
            {"audioBase64": "Q Q=="},
            {"audioBase64": "QQ==\n"},
            {"audioBase64": "Q-_="},
            {"audioBase64": "éé=="},
            {"audioBase64": "\ud800"},
        ],
    )
    def test_speech_that_is_none_is_refused(self, clients: Clients, change: dict[str, Any]) -> None:
        client = clients.make(Backend(answer({**SPEECH, **change})), BASE)
        with pytest.raises(InvalidResponseError) as caught:
            client.synthesize_speech("Hello")
        assert str(caught.value) == "Invalid speech synthesis response."

    def test_silence_is_speech(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({**SPEECH, "audioBase64": ""})), BASE)
        assert client.synthesize_speech("Hello").audio == b""

    def test_an_answer_that_is_too_large_is_refused(self, clients: Clients) -> None:
        body = json.dumps({"ok": True, "result": "x" * 100}).encode()
        for limit, fits in ((len(body), True), (len(body) - 1, False)):
            client = clients.make(Backend(answer(body)), BASE, max_response_bytes=limit)
            if fits:
                assert client.execute_function("f") == "x" * 100
                continue
            with pytest.raises(
                InvalidResponseError, match=r"^The response is larger than max_response_bytes"
            ):
                client.execute_function("f")
            (warning,) = client.list_functions().warnings
            assert warning.startswith("[navai] Failed to load backend functions: The response is larger")


class TestWhatFailuresSay:
    """Messages and attributes."""

    @pytest.mark.parametrize("operation", RAISING)
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "HTTP 400"),
            (b" ", " "),
            (b"\xef\xbb\xbf", "HTTP 400"),
            (b"Bad things\n", "Bad things\n"),
            (b'{"error": "Missing"}', '{"error": "Missing"}'),
        ],
    )
    def test_the_message_is_the_text_of_the_answer_or_its_status(
        self, clients: Clients, operation: str, body: bytes, message: str
    ) -> None:
        client = clients.make(Backend(answer(body, 400)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            call(client, operation)
        assert type(caught.value) is NavaiHTTPError
        assert str(caught.value) == message
        assert caught.value.status_code == 400

    @pytest.mark.parametrize(
        ("body", "error", "details"),
        [
            (b'{"error":"E","details":"D"}', "E", "D"),
            (b'{"error":{"code":1},"details":[2]}', {"code": 1}, [2]),
            (b'{"error":"E"}', "E", None),
            (b'["error"]', None, None),
            (b'"error"', None, None),
            (b"error", None, None),
            (b"", None, None),
        ],
    )
    def test_an_error_carries_what_the_body_said(
        self, clients: Clients, body: bytes, error: object, details: object
    ) -> None:
        client = clients.make(Backend(answer(body, 422)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.create_client_secret()
        assert (caught.value.error, caught.value.details) == (error, details)
        assert caught.value.body == body.decode()

    @pytest.mark.parametrize("status", [199, 300, 304, 400, 401, 403, 404, 500, 599])
    def test_what_is_not_2xx_is_a_failure(self, clients: Clients, status: int) -> None:
        client = clients.make(Backend(answer({"ok": True, "value": "ek", "result": 1}, status)), BASE)
        for operation in RAISING:
            with pytest.raises(NavaiHTTPError) as caught:
                call(client, operation)
            assert caught.value.status_code == status
        assert client.list_functions() == FunctionList(
            warnings=(f"[navai] Failed to load backend functions ({status}).",)
        )

    def test_an_unknown_function_comes_with_those_that_are_known(self, clients: Clients) -> None:
        said = {"error": "Unknown or disallowed function.", "available_functions": ["a", 1, "b", None]}
        client = clients.make(Backend(answer(said, 404)), BASE)
        with pytest.raises(UnknownFunctionError) as caught:
            client.execute_function("c")
        error = caught.value
        assert (error.function_name, error.available_functions) == ("c", ("a", "b"))
        assert (error.status_code, error.error, error.details) == (
            404,
            "Unknown or disallowed function.",
            None,
        )
        assert str(error) == error.body == json.dumps(said)

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (404, {"error": "No such page."}),
            (403, {"available_functions": ["a"]}),
            (404, ["available_functions"]),
        ],
    )
    def test_other_refusals_are_no_unknown_function(
        self, clients: Clients, status: int, said: object
    ) -> None:
        client = clients.make(Backend(answer(said, status)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.execute_function("c")
        assert type(caught.value) is NavaiHTTPError

    def test_only_an_execution_knows_unknown_functions(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({"available_functions": ["a"]}, 404)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.create_client_secret()
        assert type(caught.value) is NavaiHTTPError

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"ok": False, "error": "E", "details": "D"}, "D"),
            ({"ok": False, "error": "E", "details": {"why": "D"}}, "E"),
            ({"ok": False, "error": "E"}, "E"),
            ({"ok": False, "error": "E", "details": ""}, ""),
            ({"ok": False, "error": ["E"], "details": 5}, "Backend function failed."),
            ({"ok": 1, "result": 1}, "Backend function failed."),
            ({"ok": "true"}, "Backend function failed."),
            ({"result": 1}, "Backend function failed."),
            ({}, "Backend function failed."),
        ],
    )
    def test_a_function_that_failed_says_why(
        self, clients: Clients, said: dict[str, Any], message: str
    ) -> None:
        client = clients.make(Backend(answer(said)), BASE)
        with pytest.raises(FunctionFailedError) as caught:
            client.execute_function("get_weather")
        assert str(caught.value) == message
        assert caught.value.function_name == "get_weather"
        assert (caught.value.error, caught.value.details) == (said.get("error"), said.get("details"))

    def test_no_answer_to_a_list_is_a_warning(self, clients: Clients) -> None:
        backend = Backend(httpx.ConnectError("refused"))
        client = clients.make(backend, BASE, max_retries=0)
        assert client.list_functions() == FunctionList(
            warnings=(
                (
                    "[navai] Failed to load backend functions: "
                    f"No answer from GET {BASE}/navai/functions: ConnectError: refused."
                ),
            )
        )

    @pytest.mark.parametrize("operation", RAISING)
    def test_no_answer_names_the_place_and_the_reason(self, clients: Clients, operation: str) -> None:
        options = {
            "client_secret_path": "/p?key=1",
            "functions_execute_path": "/p",
            "speech_synthesize_path": "p",
        }
        client = clients.make(Backend(httpx.ReadError("reset by peer")), BASE, max_retries=0, **options)
        with pytest.raises(NavaiTransportError) as caught:
            call(client, operation)
        assert str(caught.value) == f"No answer from POST {BASE}/p: ReadError: reset by peer."
        assert caught.value.may_have_executed
        assert isinstance(caught.value.__cause__, httpx.ReadError)


class TestRedirects:
    """Answers that point elsewhere."""

    @pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 399])
    @pytest.mark.parametrize("operation", RAISING)
    def test_they_are_not_followed_and_the_target_is_named(
        self, clients: Clients, operation: str, status: int
    ) -> None:
        headers = {"Location": "https://user:pw@other.example:8443/api/x?token=t0p#frag"}
        backend = Backend(answer({"error": "moved"}, status, headers))
        with pytest.raises(NavaiHTTPError) as caught:
            call(clients.make(backend, BASE), operation)
        assert str(caught.value) == (
            f"HTTP {status}: the redirect to https://other.example:8443/api/x was not followed; "
            "if it is right, use it as the base URL."
        )
        assert (caught.value.status_code, caught.value.error) == (status, "moved")
        assert len(backend.requests) == 1

    @pytest.mark.parametrize(
        ("location", "named"),
        [
            ("/login?next=/x", "/login"),
            ("//user@other.example/x", "//other.example/x"),
            ("https://[bad", "an address that is none"),
            ("https:user:pw@other.example", "an address that is none"),
            ("/@name/x", "/@name/x"),
        ],
    )
    def test_the_target_is_named_without_secrets(self, clients: Clients, location: str, named: str) -> None:
        client = clients.make(Backend(answer(b"", 302, {"Location": location})), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.execute_function("f")
        assert f"the redirect to {named} was not" in str(caught.value)

    def test_a_list_warns_of_the_status(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"", 301, {"Location": "/x"})), BASE)
        assert client.list_functions().warnings == ("[navai] Failed to load backend functions (301).",)

    def test_one_without_a_target_is_an_error_like_any(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"", 302)), BASE)
        with pytest.raises(NavaiHTTPError, match=r"^HTTP 302$"):
            client.execute_function("f")


def _cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {"list": []}
    cycle["list"].append(cycle)
    return cycle


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


class TestBadInput:
    """What is refused before anything is sent."""

    @pytest.mark.parametrize("name", ["", " ", "\ufeff\u2028\n", None, 5, b"f", ["f"]])
    def test_a_function_needs_a_name(self, clients: Clients, name: object) -> None:
        backend = Backend(answer({"ok": True}))
        with pytest.raises(NavaiPayloadError, match=r"^function_name must be a string that is not blank"):
            clients.make(backend, BASE).execute_function(name)
        assert backend.requests == []

    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            (math.nan, "payload is nan; JSON has only finite numbers."),
            ({"x": [1, -math.inf]}, "payload['x'][1] is -inf; JSON has only finite numbers."),
            ({"tags": {1}}, "payload['tags'] is a set, which is not JSON; send a list."),
            (
                {"when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
                "payload['when'] is a datetime, which is not JSON; send its isoformat().",
            ),
            ((dt.date(2026, 1, 1),), "payload[0] is a date, which is not JSON; send its isoformat()."),
            (b"x", "payload is a bytes, which is not JSON; decode it, or send base64 text."),
            (
                [{"a": decimal.Decimal(1)}],
                "payload[0]['a'] is a Decimal, which is not JSON; send str() or float() of it.",
            ),
            (
                {"a": object()},
                (
                    "payload['a'] is a object, which is not JSON; "
                    "send dicts, lists, strings, numbers, bools or None."
                ),
            ),
            ({1: "a"}, "payload has the key 1, a int; JSON keys are strings."),
            ([{"a": {None: 1}}], "payload[0]['a'] has the key None, a NoneType; JSON keys are strings."),
            ({(1, 2): 3}, "payload has the key (1, 2), a tuple; JSON keys are strings."),
            ({math.nan: 3}, "payload has the key nan, a float; JSON keys are strings."),
            (_cycle(), "payload['list'][0] contains itself; JSON has no cycles."),
            (_deep(), "payload is nested too deep to be sent as JSON."),
            (
                {"n": [10**5000]},
                "payload['n'][0] is a whole number of more digits than Python writes; send it as a string.",
            ),
        ],
    )
    def test_a_payload_must_be_json_and_the_error_names_the_place(
        self, clients: Clients, payload: object, message: str
    ) -> None:
        backend = Backend(answer({"ok": True}))
        with pytest.raises(NavaiPayloadError) as caught:
            clients.make(backend, BASE).execute_function("f", payload)
        assert str(caught.value) == message
        assert backend.requests == []

    @pytest.mark.parametrize("key", ["", "a b", "é", "a\nb", "x" * 256, 5, b"k"])
    def test_an_idempotency_key_must_be_fit_for_a_header(self, clients: Clients, key: object) -> None:
        backend = Backend(answer({"ok": True}))
        with pytest.raises(NavaiPayloadError, match=r"^idempotency_key must be 1 to 255 printable ASCII"):
            clients.make(backend, BASE).execute_function("f", idempotency_key=key)
        assert backend.requests == []

    @pytest.mark.parametrize("text", ["", " \n", None, 5, b"Hello"])
    def test_speech_needs_text(self, clients: Clients, text: object) -> None:
        backend = Backend(answer(SPEECH))
        with pytest.raises(NavaiPayloadError, match=r"^text must be a string that is not blank\.$"):
            clients.make(backend, BASE).synthesize_speech(text)
        assert backend.requests == []

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"voice_id": 5}, "voice_id must be a string; it is a int."),
            ({"stability": "high"}, "stability must be a number; it is a str."),
            ({"stability": True}, "stability must be a number; it is a bool."),
            ({"use_speaker_boost": 1}, "use_speaker_boost must be a bool; it is a int."),
            ({"style": math.nan}, "style must be a finite number; it is nan."),
            (
                {"optimize_streaming_latency": math.inf},
                "optimize_streaming_latency must be a finite number; it is inf.",
            ),
        ],
    )
    def test_options_of_speech_must_have_their_types(
        self, clients: Clients, options: dict[str, Any], message: str
    ) -> None:
        backend = Backend(answer(SPEECH))
        with pytest.raises(NavaiPayloadError) as caught:
            clients.make(backend, BASE).synthesize_speech("Hello", **options)
        assert str(caught.value) == message
        assert backend.requests == []

    def test_options_of_a_session_must_be_strings(self, clients: Clients) -> None:
        backend = Backend(answer(SECRET))
        with pytest.raises(NavaiPayloadError, match=r"^model must be a string; it is a int\.$"):
            clients.make(backend, BASE).create_client_secret(model=5)
        assert backend.requests == []

    def test_options_that_do_not_exist_are_a_type_error(self, clients: Clients) -> None:
        backend = Backend(answer(SECRET))
        client = clients.make(backend, BASE)
        with pytest.raises(TypeError, match=r"^unexpected keyword argument 'modell'; there are model, voice"):
            client.create_client_secret(modell="gpt-realtime")
        with pytest.raises(TypeError, match=r"^unexpected keyword argument 'volume'; there are voice_id"):
            client.synthesize_speech("Hello", volume=5)
        assert backend.requests == []

    @pytest.mark.parametrize("max_age", [-1, math.nan, True, "60"])
    def test_a_max_age_must_be_a_number(self, clients: Clients, max_age: object) -> None:
        backend = Backend(answer({}))
        with pytest.raises(NavaiConfigError, match=r"^max_age \(seconds\) must be a number, 0 or more"):
            clients.make(backend, BASE).list_functions(max_age=max_age)
        assert backend.requests == []


class TestSecrets:
    """What no error, log line, repr or variable of a traceback shows."""

    KEY = "sk-proj-abcdefghij0123456789/+=="

    def spelled(self) -> list[str]:
        """Ways in which JSON writers of several languages spell the key."""
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
        with pytest.raises(NavaiHTTPError, match=r"^Wrong key \*\*\*!$"):
            client.create_client_secret(api_key=f" {self.KEY}\n")

    def test_a_blank_key_masks_nothing(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"Wrong key", 401)), BASE)
        for key in ("", " "):
            with pytest.raises(NavaiHTTPError, match=r"^Wrong key$"):
                client.create_client_secret(api_key=key)

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
        told = " and ".join([value, *secrets])
        client = clients.make(Backend(answer({"error": told}, 403)), BASE, headers=headers)
        with pytest.raises(NavaiHTTPError) as caught:
            call(client, operation)
        shown = shown_by(caught.value)
        assert "***" in str(caught.value)
        for secret in (value, *secrets):
            assert secret not in shown

    def test_a_function_that_fails_cannot_show_header_values_either(self, clients: Clients) -> None:
        said = {"ok": False, "error": self.KEY, "details": f"called with {self.KEY}"}
        client = clients.make(Backend(answer(said)), BASE, headers={"X-Api-Key": self.KEY})
        with pytest.raises(FunctionFailedError) as caught:
            client.execute_function("f")
        assert str(caught.value) == "called with ***"
        assert self.KEY not in shown_by(caught.value)

    def test_a_warning_of_the_backend_cannot_show_them_either(self, clients: Clients) -> None:
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

    def test_results_are_left_as_they_are(self, clients: Clients) -> None:
        client = clients.make(
            Backend(answer({"ok": True, "result": self.KEY})), BASE, headers={"X-Key": self.KEY}
        )
        assert client.execute_function("f") == self.KEY

    def test_a_redirect_to_a_place_with_a_key_is_masked(self, clients: Clients) -> None:
        key = "sk-proj-abcdefghij0123456789"
        backend = Backend(answer(b"", 302, {"Location": f"https://other.example/{key}/x"}))
        with pytest.raises(
            NavaiHTTPError, match=r"the redirect to https://other\.example/\*\*\*/x was"
        ) as caught:
            clients.make(backend, BASE).create_client_secret(api_key=key)
        assert key not in shown_by(caught.value)

    def test_a_failure_to_send_cannot_show_them(
        self, clients: Clients, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        backend = Backend(httpx.ReadError(f"cannot send {self.KEY}"))
        client = clients.make(backend, BASE, headers={"X-Api-Key": self.KEY})
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
    def test_no_frame_of_ours_holds_a_key_when_an_error_is_raised(
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
    def test_nor_when_the_call_is_wrong(self, clients: Clients, options: dict[str, Any]) -> None:
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
    def test_nor_when_a_client_cannot_be_made(self, clients: Clients, options: dict[str, Any]) -> None:
        with pytest.raises(NavaiConfigError) as caught:
            clients.make(Backend(answer({})), **options)
        assert "sk-proj" not in shown_by(caught.value)
        assert "0123456789" not in shown_by(caught.value)

    def test_the_repr_of_a_client_shows_where_it_goes_and_no_header(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({})), f"{BASE}/api/", headers={"Authorization": self.KEY})
        name = clients.cls.__name__
        assert repr(client) == f"<{name} base_url='{BASE}/api'>"
        assert self.KEY not in repr(client.real._core.config)
        client.close()
        assert repr(client) == f"<{name} base_url='{BASE}/api' closed>"


class TestLifecycle:
    """Opening, closing, event loops."""

    def test_a_client_is_a_context_manager(self, clients: Clients) -> None:
        with clients.make(Backend(answer({"ok": True, "result": 1})), BASE) as client:
            assert client.execute_function("f") == 1
        with pytest.raises(NavaiStateError, match="closed"):
            client.execute_function("f")

    def test_the_error_of_the_block_goes_through(self, clients: Clients) -> None:
        with pytest.raises(ZeroDivisionError), clients.make(Backend(answer({})), BASE):
            raise ZeroDivisionError

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_closed_client_says_so_and_sends_nothing(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer({}))
        client = clients.make(backend, BASE)
        client.close()
        client.close()
        with pytest.raises(NavaiStateError, match=r"^This client is closed; make a new one\.$"):
            call(client, operation)
        assert backend.requests == []

    def test_closing_closes_a_transport_that_was_given_once(self, clients: Clients) -> None:
        closed = []

        class Watched(httpx.MockTransport):
            def close(self) -> None:
                closed.append("sync")

            async def aclose(self) -> None:
                closed.append("async")

        client = clients.make(Backend(answer({})), BASE, transport=Watched(Backend(answer({}))))
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
    """How long a call may take."""

    @pytest.fixture
    def seen(self) -> list[float | None]:
        return []

    def client(self, clients: Clients, seen: list[float | None], **options: Any) -> Any:
        def backend(request: httpx.Request) -> httpx.Response:
            seen.append(request.extensions["timeout"].get("read"))
            return answer(b"", 418)

        return clients.make(backend, BASE, **options)

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
    def test_that_of_the_call_wins_over_that_of_the_client(
        self,
        clients: Clients,
        seen: list[float | None],
        operation: str,
        given: tuple[dict[str, Any], dict[str, Any]],
        expected: float | None,
    ) -> None:
        of_client, of_call = given
        client = self.client(clients, seen, **of_client)
        with contextlib.suppress(NavaiHTTPError):
            call(client, operation, **of_call)
        (timeout,) = seen
        if expected is None or timeout is None:
            assert timeout is expected
        else:  # what is left of it by then
            assert expected / 2 < timeout <= expected

    @pytest.mark.parametrize("timeout", [0, -1, -1.0, 0.0, math.nan, -math.inf, True, "5", [5]])
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_bad_one_is_refused(
        self, clients: Clients, seen: list[float | None], operation: str, timeout: object
    ) -> None:
        with pytest.raises(NavaiConfigError, match=r"^timeout \(seconds\) must be a number above 0; it is"):
            self.client(clients, seen, timeout=timeout)
        with pytest.raises(NavaiConfigError, match=r"^timeout \(seconds\) must be a number above 0; it is"):
            call(self.client(clients, seen), operation, timeout=timeout)
        assert seen == []

    def test_running_out_of_time_is_its_own_error(self, clients: Clients) -> None:
        backend = Backend(httpx.ReadTimeout(""))
        client = clients.make(backend, BASE, timeout=12.5)
        with pytest.raises(NavaiTimeoutError) as caught:
            client.execute_function("f")
        place = f"POST {BASE}/navai/functions/execute"
        assert str(caught.value) == f"No answer from {place} within 12.5 s: ReadTimeout: time ran out."
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(
            NavaiTimeoutError, match=re.escape(f"{place} in time: ReadTimeout: time ran out.")
        ):
            client.execute_function("f", timeout=None)
        assert len(backend.requests) == 2


class TestRetries:
    """What is tried again."""

    @pytest.mark.parametrize("operation", ["create_client_secret", "list_functions"])
    @pytest.mark.parametrize(
        "failure",
        [
            httpx.ConnectError("refused"),
            httpx.ReadError("reset"),
            *(answer(b"", status) for status in (408, 429, 502, 503, 504)),
        ],
    )
    def test_what_may_be_repeated_is_tried_again(
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
    def test_it_ends_after_max_retries(self, clients: Clients, max_retries: int) -> None:
        backend = Backend(answer(b"busy", 503))
        with pytest.raises(NavaiHTTPError, match=r"^busy$"):
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
    def test_what_may_have_happened_is_not_done_again(
        self, clients: Clients, operation: str, failure: httpx.Response | Exception
    ) -> None:
        backend = Backend(failure)
        with pytest.raises(NavaiError) as caught:
            call(clients.make(backend, BASE), operation)
        assert len(backend.requests) == 1
        assert getattr(caught.value, "may_have_executed", True)

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_backend_that_says_when_to_come_back_is_asked_again_with_the_same_request(
        self, clients: Clients, status: int
    ) -> None:
        backend = Backend(answer(b"", status, {"Retry-After": "0"}), answer({"ok": True, "result": 1}))
        assert clients.make(backend, BASE).execute_function("f", {"a": 1}) == 1
        first, second = backend.requests
        assert first.content == second.content
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]

    def test_what_never_left_is_sent_again_and_did_not_happen(self, clients: Clients) -> None:
        backend = Backend(httpx.ConnectError("refused"))
        client = clients.make(backend, BASE)
        with pytest.raises(NavaiTransportError) as caught:
            client.execute_function("f")
        assert len(backend.requests) == 3
        assert not caught.value.may_have_executed


class TestFunctionListsThatAreKept:
    """What ``max_age`` does."""

    LISTED = {"items": [{"name": "a"}]}  # noqa: RUF012 - never changed

    def test_a_list_is_given_again_while_it_is_young_enough(self, clients: Clients) -> None:
        backend = Backend(answer(self.LISTED))
        client = clients.make(backend, BASE)
        assert client.list_functions(max_age=3600) is client.list_functions(max_age=3600)
        assert len(backend.requests) == 1
        client.list_functions()
        client.list_functions(max_age=0)
        assert len(backend.requests) == 3

    def test_an_older_one_is_asked_after_by_its_etag(self, clients: Clients) -> None:
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
    def test_an_etag_that_is_none_is_not_sent_back(self, clients: Clients, etag: str) -> None:
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


class TestClientSecretsThatAreKept:
    """``client_secrets()``, as far as the client is concerned."""

    def test_a_good_secret_is_handed_out_again(self, clients: Clients) -> None:
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
        with pytest.raises(NavaiHTTPError, match=r"^no$"):
            secrets.get()
        assert secrets.get().value == "ek"

    def test_no_frame_of_ours_holds_the_key_when_minting_fails(self, clients: Clients) -> None:
        secrets = clients.make(Backend(answer(b"no", 401)), BASE).client_secrets(api_key=TestSecrets.KEY)
        with pytest.raises(NavaiHTTPError) as caught:
            secrets.get()
        assert TestSecrets.KEY not in shown_by(caught.value)


def test_the_sync_client_needs_no_event_loop_and_works_inside_one() -> None:
    async def main() -> Any:
        client = NavaiBackendClient(
            BASE, transport=httpx.MockTransport(Backend(answer({"ok": True, "result": 1})))
        )
        return client.execute_function("f")

    assert asyncio.run(main()) == 1
