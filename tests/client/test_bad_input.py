"""Arguments that are refused before anything is sent. One suite for both clients."""

import datetime as dt
import decimal
import math
from typing import Any

import pytest

from navai_client import (
    NavaiConfigError,
    NavaiPayloadError,
)
from tests.backends import BASE, SECRET, SPEECH, Backend, Clients, answer


def _cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {"list": []}
    cycle["list"].append(cycle)
    return cycle


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


HOOK = ", or give the client a json_default to convert it."


class TestBadInput:
    """Arguments that are refused before anything is sent."""

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
            ({"tags": {1}}, f"payload['tags'] is a set, which is not JSON; send a list{HOOK}"),
            (
                {"when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
                f"payload['when'] is a datetime, which is not JSON; send its isoformat(){HOOK}",
            ),
            ((dt.date(2026, 1, 1),), f"payload[0] is a date, which is not JSON; send its isoformat(){HOOK}"),
            (b"x", f"payload is bytes, which is not JSON; decode it, or send base64 text{HOOK}"),
            (
                [{"a": decimal.Decimal(1)}],
                f"payload[0]['a'] is a Decimal, which is not JSON; send str() or float() of it{HOOK}",
            ),
            (
                {"a": object()},
                (
                    "payload['a'] is an object, which is not JSON; "
                    f"send dicts, lists, strings, numbers, bools or None{HOOK}"
                ),
            ),
            ({1: "a"}, "payload has the key 1; JSON keys are strings."),
            (
                [{"a": {None: 1}}],
                "payload[0]['a'] has the key None; JSON keys are strings.",
            ),
            ({(1, 2): 3}, "payload has the key (1, 2); JSON keys are strings."),
            ({math.nan: 3}, "payload has the key nan; JSON keys are strings."),
            (_cycle(), "payload['list'][0] contains itself; JSON has no cycles."),
            (_deep(), "payload is nested too deep to be sent as JSON."),
            (
                {"n": [10**5000]},
                "payload['n'][0] is an integer of more digits than Python writes; send it as a string.",
            ),
        ],
    )
    def test_a_payload_must_be_json_and_the_error_names_the_invalid_part(
        self, clients: Clients, payload: object, message: str
    ) -> None:
        backend = Backend(answer({"ok": True}))
        with pytest.raises(NavaiPayloadError) as caught:
            clients.make(backend, BASE).execute_function("f", payload)
        assert str(caught.value) == message
        assert backend.requests == []

    @pytest.mark.parametrize("key", ["", "a b", "é", "a\nb", "x" * 256, 5, b"k"])
    def test_an_idempotency_key_must_be_valid_in_a_header(self, clients: Clients, key: object) -> None:
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
            ({"voice_id": 5}, "voice_id must be a string; it is an int."),
            ({"stability": "high"}, "stability must be a number; it is a str."),
            ({"stability": True}, "stability must be a number; it is a bool."),
            ({"use_speaker_boost": 1}, "use_speaker_boost must be a bool; it is an int."),
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
        with pytest.raises(NavaiPayloadError, match=r"^model must be a string; it is an int\.$"):
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
