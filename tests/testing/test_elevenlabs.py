"""The fake of ElevenLabs, as a backend and a test see it."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from navai_client.testing.realtime import FakeElevenLabs


def ask(voices: FakeElevenLabs, path: str, body: bytes) -> bytes:
    request = Request(voices.env["ELEVENLABS_BASE_URL"] + path, body, method="POST")
    with urlopen(request, timeout=10) as response:
        content: bytes = response.read()
    return content


def test_each_text_has_a_sound_of_its_own_that_takes_as_long_as_saying_it() -> None:
    with FakeElevenLabs() as voices:
        path = "/v1/text-to-speech/fake?output_format=pcm_8000"
        assert ask(voices, path, json.dumps({"text": "Hello."}).encode()) == voices.sound("Hello.", 8000)
        assert voices.texts == ["Hello."]
    assert len(voices.sound("Hello.")) == 2 * 24_000 * 6 * 6 // 100
    assert voices.sound("Hello!") != voices.sound("Hello.")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/text-to-speech/fake?output_format=mp3_44100_128", b'{"text": "a"}'),
        ("/v1/text-to-speech/fake", b'{"text": "a"}'),
        ("/v1/voices?output_format=pcm_24000", b'{"text": "a"}'),
        ("/v1/text-to-speech/fake?output_format=pcm_24000", b'{"text": 1}'),
        ("/v1/text-to-speech/fake?output_format=pcm_24000", b"[]"),
        ("/v1/text-to-speech/fake?output_format=pcm_24000", b"no JSON"),
    ],
)
def test_what_it_cannot_say_is_refused_with_the_reason(path: str, body: bytes) -> None:
    with FakeElevenLabs() as voices:
        with pytest.raises(HTTPError) as refused:
            ask(voices, path, body)
        with refused.value as error:
            assert error.code == 422
            assert b"pcm_24000 and a text" in error.read()
        assert voices.texts == []


def test_a_text_that_never_comes_is_not_waited_for_without_end() -> None:
    with FakeElevenLabs() as voices, pytest.raises(TimeoutError, match="0 of 1 texts"):
        voices.wait_for(1, timeout=0.01)
