"""How responses are read. One suite for both clients."""

import json
import math
from typing import Any

import pytest

from navai_client import (
    BackendFunction,
    FunctionFailedError,
    FunctionList,
    InvalidResponseError,
    NavaiHTTPError,
)
from tests.backends import BASE, EVERY_WAY, SPEECH, Backend, Clients, answer


class TestResponses:
    """The rules of reading, and the value of each operation."""

    @pytest.mark.parametrize("status", [200, 201, 204, 226, 299])
    def test_any_status_of_2xx_is_success(self, mocked: Clients, status: int) -> None:
        client = mocked.make(Backend(answer({"ok": True, "result": 1}, status)), BASE)
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
    @EVERY_WAY
    def test_a_result_is_returned_unchanged(self, clients: Clients, body: bytes, result: object) -> None:
        client = clients.make(Backend(answer(body)), BASE)
        assert client.execute_function("f") == result

    @EVERY_WAY
    def test_the_charset_is_ignored(self, clients: Clients) -> None:
        body = '{"ok":true,"result":"é"}'.encode()
        headers = {"Content-Type": "text/html; charset=iso-8859-1"}
        client = clients.make(Backend(answer(body, headers=headers)), BASE)
        assert client.execute_function("f") == "é"

    @EVERY_WAY
    def test_the_charset_of_an_error_is_ignored_too(self, clients: Clients) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-16"}
        client = clients.make(Backend(answer("\ufeffdéjà".encode() + b"\xff", 500, headers)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.execute_function("f")
        assert str(caught.value) == caught.value.body == "déjà\ufffd"

    @pytest.mark.parametrize("digits", [4301, 30_000])
    @EVERY_WAY
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
    def test_a_body_that_is_not_a_record_is_an_invalid_response(self, clients: Clients, body: bytes) -> None:
        client = clients.make(Backend(answer(body)), BASE)
        with pytest.raises(InvalidResponseError) as caught:
            client.execute_function("f")
        assert str(caught.value) == "Invalid backend function response."
        assert caught.value.status_code == 200
        with pytest.raises(InvalidResponseError, match=r"(?m)^Invalid client-secret response\.$"):
            client.create_client_secret()
        with pytest.raises(InvalidResponseError, match=r"(?m)^Invalid speech synthesis response\.$"):
            client.synthesize_speech("Hello")
        assert client.list_functions() == FunctionList(
            warnings=("[navai] Failed to parse backend functions response.",)
        )

    def test_an_array_is_a_record_without_fields(self, clients: Clients) -> None:
        client = clients.make(Backend(answer([{"ok": True}])), BASE)
        assert client.list_functions() == FunctionList()
        with pytest.raises(FunctionFailedError, match=r"(?m)^Backend function failed\.$"):
            client.execute_function("f")
        with pytest.raises(InvalidResponseError, match=r"(?m)^Invalid client-secret response\.$"):
            client.create_client_secret()
        with pytest.raises(InvalidResponseError, match=r"(?m)^Invalid speech synthesis response\.$"):
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

    def test_a_secret_whose_expiry_is_infinite_never_expires(self, clients: Clients) -> None:
        for digits in (b"1e400", b"9" * 400, b"9" * 5000):
            backend = Backend(answer(b'{"value":"ek","expires_at":%b}' % digits))
            secret = clients.make(backend, BASE).create_client_secret()
            assert secret.expires_in(now=0.0) == math.inf
            assert not secret.is_expired(now=0.0)

    @EVERY_WAY
    def test_functions_are_read_and_invalid_items_are_left_out(self, clients: Clients) -> None:
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
                BackendFunction(name="c", parameters={}),  # PHP writes an empty object so
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

    @EVERY_WAY
    def test_speech_is_returned_as_bytes(self, clients: Clients) -> None:
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
    def test_an_invalid_speech_response_is_refused(self, clients: Clients, change: dict[str, Any]) -> None:
        client = clients.make(Backend(answer({**SPEECH, **change})), BASE)
        with pytest.raises(InvalidResponseError) as caught:
            client.synthesize_speech("Hello")
        assert str(caught.value) == "Invalid speech synthesis response."

    def test_empty_audio_is_valid(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({**SPEECH, "audioBase64": ""})), BASE)
        assert client.synthesize_speech("Hello").audio == b""

    @EVERY_WAY
    def test_a_response_that_is_too_large_is_refused(self, clients: Clients) -> None:
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
