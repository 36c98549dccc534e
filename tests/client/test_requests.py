"""The URL, headers and body of requests. One suite for both clients."""

import contextlib
import dataclasses
import datetime as dt
import decimal
import itertools
import math
import types
import uuid
from typing import Any

import attrs
import pydantic
import pydantic_core
import pytest

import navai_client
from navai_client import NavaiConfigError, NavaiHTTPError, NavaiPayloadError, ObservedCall
from navai_client.wire._operations import OPERATIONS as TABLE
from tests.backends import BASE, EVERY_WAY, OPERATIONS, SECRET, SPEECH, Backend, Clients, answer, call


@dataclasses.dataclass
class DataPoint:
    """A point in time, as a data class."""

    at: Any


@attrs.define
class AttrsPoint:
    """A point in time, as attrs knows it."""

    at: Any


class ModelPoint(pydantic.BaseModel):
    """A point in time, as Pydantic knows it."""

    at: Any


class Endless:
    """What is converted to a list of what is not JSON."""


def convert(value: Any) -> Any:
    """Convert a value that is not JSON."""
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump()
    if isinstance(value, DataPoint):
        return dataclasses.asdict(value)
    if isinstance(value, AttrsPoint):
        return attrs.asdict(value)
    if isinstance(value, Endless):
        return [Endless()]
    raise TypeError(f"no {type(value).__name__}")


class TestUrls:
    """The URL and the method."""

    @pytest.mark.parametrize(
        ("operation", "method", "path"), [(each.name, each.method, each.path) for each in TABLE]
    )
    @EVERY_WAY
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
    @EVERY_WAY
    def test_every_request_accepts_json_and_names_the_package(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer(b"", 418))
        with contextlib.suppress(NavaiHTTPError):
            call(clients.make(backend, BASE), operation)
        assert backend.request.headers["Accept"] == "application/json"
        assert backend.request.headers["User-Agent"] == f"navai-client/{navai_client.__version__} (Python)"
        (with_body,) = (bool(each.fields) for each in TABLE if each.name == operation)
        assert backend.request.headers.get("Content-Type") == ("application/json" if with_body else None)
        assert bool(backend.request.content) == with_body

    @EVERY_WAY
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
    @EVERY_WAY
    def test_the_payload_is_sent_unchanged(
        self, clients: Clients, args: tuple[Any, ...], payload: bytes
    ) -> None:
        backend = Backend(answer({"ok": True}))
        clients.make(backend, BASE).execute_function("get_weather", *args)
        assert backend.request.content == b'{"function_name":"get_weather","payload":%b}' % payload

    @EVERY_WAY
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


class TestJsonDefault:
    """``json_default=``: a function that converts what is not JSON."""

    @pytest.mark.parametrize(
        ("payload", "content"),
        [
            (dt.date(2026, 11, 28), b'"2026-11-28"'),
            ({"at": [dt.datetime(2026, 11, 28, tzinfo=dt.UTC)]}, b'{"at":["2026-11-28T00:00:00+00:00"]}'),
            ({"price": decimal.Decimal("1.50")}, b'{"price":"1.50"}'),
            (DataPoint(dt.date(2026, 11, 28)), b'{"at":"2026-11-28"}'),
            ([AttrsPoint(decimal.Decimal(1))], b'[{"at":"1"}]'),
            ({"p": ModelPoint(at=dt.date(2026, 11, 28))}, b'{"p":{"at":"2026-11-28"}}'),
            ({"a": 1, "b": [None, True, 1.5, "x"]}, b'{"a":1,"b":[null,true,1.5,"x"]}'),
        ],
        ids=itertools.count(),
    )
    def test_it_converts_what_is_not_json(self, clients: Clients, payload: Any, content: bytes) -> None:
        backend = Backend(answer({"ok": True}))
        clients.make(backend, BASE, json_default=convert).execute_function("f", payload)
        assert backend.request.content == b'{"function_name":"f","payload":%b}' % content

    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            ({"a": {1}}, "payload['a'] is a set, which json_default did not convert: no set"),
            (
                DataPoint({1}),
                "a part of payload is a set, which json_default did not convert: no set",
            ),
            ({"n": [math.nan]}, "payload['n'][0] is nan; JSON has only finite numbers."),
            ([dt.date(2026, 1, 1), math.nan], "payload[1] is nan; JSON has only finite numbers."),
            (DataPoint(math.nan), "payload is not JSON, not after json_default either: Out of range float"),
            ({1: "a"}, "payload has the key 1; JSON keys are strings."),
            (DataPoint({1: "a"}), "what json_default returned['at'] has the key 1; JSON keys are strings."),
            ([Endless()], "payload is nested too deep to be sent as JSON."),
        ],
        ids=itertools.count(),
    )
    def test_what_is_not_json_after_it_is_refused(self, clients: Clients, payload: Any, message: str) -> None:
        backend = Backend(answer({"ok": True}))
        with pytest.raises(NavaiPayloadError) as caught:
            clients.make(backend, BASE, json_default=convert).execute_function("f", payload)
        assert str(caught.value).startswith(message)
        assert caught.value.__cause__ is None
        assert backend.requests == []

    def test_the_function_of_pydantic_is_one(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True}))
        client = clients.make(backend, BASE, json_default=pydantic_core.to_jsonable_python)
        client.execute_function(
            "f", {"a": [DataPoint(dt.date(2026, 1, 1)), ModelPoint(at={1})], "b": uuid.UUID(int=0)}
        )
        assert backend.body["payload"] == {
            "a": [{"at": "2026-01-01"}, {"at": [1]}],
            "b": "00000000-0000-0000-0000-000000000000",
        }

    def test_other_exceptions_of_it_are_raised(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({"ok": True})), BASE, json_default=lambda value: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            client.execute_function("f", {"a": {1}})

    def test_a_derived_client_and_tracing_have_it_too(self, clients: Clients) -> None:
        backend = Backend(answer({"ok": True}))
        seen: list[str] = []

        def observe(call: ObservedCall) -> Any:
            seen.append(call.text(call.payload))
            return contextlib.nullcontext(types.SimpleNamespace(headers={}, succeeded=lambda _: None))

        watcher = types.SimpleNamespace(observe=observe)
        client = clients.make(backend, BASE, json_default=convert, instrumentation=watcher)
        client.derive(timeout=5).execute_function("f", {"on": dt.date(2026, 11, 28)})
        assert backend.body["payload"] == {"on": "2026-11-28"}
        assert seen == ['{"on":"2026-11-28"}']

    @pytest.mark.parametrize("value", [5, "str", {}])
    def test_what_cannot_be_called_is_refused(self, clients: Clients, value: Any) -> None:
        with pytest.raises(NavaiConfigError, match=r"^json_default must be a function; it is an? "):
            clients.make(Backend(answer({})), BASE, json_default=value)
