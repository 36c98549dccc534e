"""Our clients against the published Express backend: functions, calls, client secrets."""

from typing import Any

import pytest

from navai_client import (
    FunctionList,
    NavaiHTTPError,
    UnknownFunctionError,
)
from tests.clients import make_client
from tests.interop.conftest import FUNCTIONS
from tests.interop.node import Node

MINTED = '{"value": "ek_minted", "expires_at": 1800000000, "session": {"ignored": true}}'
UPSTREAM = "https://api.openai.com/v1/realtime/client_secrets"


@pytest.fixture(autouse=True)
def _upstream(node: Node) -> None:
    node.ask("upstream", answer={"text": MINTED})


def serve(node: Node, env: dict[str, str] | None = None, **options: Any) -> str:
    options = {"functionsBaseDir": str(FUNCTIONS), "functionsFolders": "src/tools", **options}
    url: str = node.ask("serve", options=options, env=env or {})
    return url


def sent(node: Node) -> dict[str, Any]:
    (request,) = node.ask("asked")
    assert isinstance(request, dict)
    return request


@pytest.mark.covers("list.request", "list.items", "list.warnings", "url.default-paths")
def test_the_list_has_every_function_with_its_description_and_source(client: Any) -> None:
    listed = client.list_functions()

    assert isinstance(listed, FunctionList)
    assert [function.name for function in listed] == [
        "echo",
        "kind_of",
        "later",
        "none",
        "nothing",
        "one",
        "two",
        "echo_2",
        "get_httpstatus2",
        "fails",
        "fails_later",
        "calculator_add_to",
        "calculator_total",
        "units_to_miles",
        "units_to_kilometres",
    ]
    add_to, to_miles, two = (listed.get(name) for name in ("calculator_add_to", "units_to_miles", "two"))
    assert add_to is not None
    assert add_to.description == "Call class method Calculator.addTo()."
    assert add_to.source == "src/tools/objects.js#Calculator.addTo"
    assert to_miles is not None
    assert to_miles.description == "Call exported object member units.toMiles()."
    assert two is not None
    assert two.description == "Call exported function two."
    assert two.parameters is None
    assert listed.warnings == (
        "[navai] Failed to load src/tools/broken.js: this module is broken on purpose",
        '[navai] Renamed duplicated function "echo" to "echo_2".',
        "[navai] Ignored src/tools/empty.js: module has no exports.",
        "[navai] Ignored src/tools/objects.js#Idle: class has no callable instance methods.",
        "[navai] Ignored src/tools/objects.js#settings: exported object has no callable members.",
        "[navai] Ignored src/tools/values.js: module has no callable exports.",
    )


@pytest.mark.covers("list.request")
def test_an_old_list_is_revalidated_with_the_etag_of_express(client: Any) -> None:
    first = client.list_functions(max_age=0)

    assert client.list_functions(max_age=0) is first


@pytest.mark.covers("execute.request", "execute.result")
@pytest.mark.parametrize(
    ("function", "payload", "expected"),
    [
        ("echo", {"args": [1, "zwei", None, [3], {"vier": 4.5}]}, [1, "zwei", None, [3], {"vier": 4.5}]),
        ("echo", {"arguments": ["a", "b"]}, ["a", "b"]),
        ("echo", {"args": ["wins"], "arguments": ["loses"]}, ["wins"]),
        ("echo", {"args": [], "value": 7}, [7]),
        ("echo", {"args": []}, [{"args": []}]),
        ("echo", {"args": None, "arguments": [1]}, [1]),
        ("echo", {"value": {"deep": [True, False, None]}}, [{"deep": [True, False, None]}]),
        ("echo", {"value": None}, [None]),
        ("echo", {"city": "Málaga", "days": 3}, [{"city": "Málaga", "days": 3}]),
        ("echo", {}, []),
        ("echo", None, []),
        ("echo", [1, 2], [[1, 2]]),
        ("echo", "text is no record", []),
        ("echo", {"value": "🦊 \ud800 \u2028 \x00"}, ["🦊 \ud800 \u2028 \x00"]),
        ("one", {"value": 1}, {"value": 1}),
        ("one", {"args": [1, 2, 3]}, {"value": 1}),
        ("two", {"args": ["a", "b"]}, {"first": "a", "second": "b"}),
        ("none", None, "nothing was needed"),
        ("none", {"surplus": True}, "nothing was needed"),
        ("later", {"args": [[]]}, {"later": []}),
        ("nothing", None, None),
        ("kind_of", None, "context"),
        ("kind_of", {"value": 3}, "number"),
        (" ECHO ", {"args": [1]}, [1]),
        ("echo_2", {"args": [1]}, ["the second", 1]),
        ("get_httpstatus2", None, 204),
        ("calculator_add_to", {"constructorArgs": [40], "methodArgs": [2]}, 42),
        ("calculator_add_to", {"methodArgs": [2]}, 2),
        ("calculator_add_to", {"constructorArgs": [1], "args": [2]}, 3),
        ("calculator_total", {"constructorArgs": [1], "methodArgs": [2, 3]}, 6),
        ("units_to_miles", {"value": 10}, 5),
    ],
)
def test_a_payload_becomes_the_arguments_that_express_makes_of_it(
    client: Any, function: str, payload: Any, expected: Any
) -> None:
    assert client.execute_function(function, payload) == expected


@pytest.mark.covers("execute.http-error", "error.fields")
@pytest.mark.parametrize("function", ["fails", "fails_later"])
def test_a_function_that_throws_is_an_http_error_with_the_text_of_the_response(
    client: Any, function: str
) -> None:
    with pytest.raises(NavaiHTTPError) as caught:
        client.execute_function(function, {"args": ["no such luck"]})

    assert str(caught.value) == '{"error":"no such luck"}'
    assert caught.value.status_code == 500
    assert caught.value.error == "no such luck"
    assert caught.value.details is None


@pytest.mark.covers("execute.http-error", "error.unknown-function")
def test_an_unknown_function_says_which_there_are(client: Any) -> None:
    with pytest.raises(UnknownFunctionError) as caught:
        client.execute_function("No_Such")

    assert caught.value.error == "Unknown or disallowed function."
    assert caught.value.function_name == "No_Such"
    assert caught.value.available_functions == tuple(f.name for f in client.list_functions())


@pytest.mark.covers("secret.request", "secret.result")
def test_a_client_secret_is_minted_with_the_defaults(client: Any, node: Node) -> None:
    secret = client.create_client_secret()

    assert (secret.value, secret.expires_at, secret.speech_provider) == ("ek_minted", 1800000000, "openai")
    request = sent(node)
    assert (request["url"], request["method"]) == (UPSTREAM, "POST")
    assert request["headers"]["authorization"] == "Bearer sk-of-the-backend"
    assert request["body"] == {
        "expires_after": {"anchor": "created_at", "seconds": 600},
        "session": {
            "type": "realtime",
            "model": "gpt-realtime",
            "instructions": "You are a helpful assistant.",
            "audio": {"output": {"voice": "marin"}},
        },
    }


@pytest.mark.covers("secret.request", "secret.api-key")
def test_every_override_of_a_session_reaches_the_upstream(kind: str, node: Node) -> None:
    client = make_client(kind, base_url=serve(node), max_retries=0)

    client.create_client_secret(
        model="gpt-realtime-2",
        voice="cedar",
        instructions="  Be brief. ",
        language="Español",
        voice_accent="Rioplatense",
        voice_tone="warm 🌞",
        api_key=" sk-of-the-caller ",
    )
    client.close()

    request = sent(node)
    assert request["headers"]["authorization"] == "Bearer sk-of-the-caller"
    assert request["body"]["session"] == {
        "type": "realtime",
        "model": "gpt-realtime-2",
        "instructions": "Be brief.\nAlways reply in Español.\nUse a Rioplatense accent while speaking.\n"
        "Use a warm 🌞 tone while speaking.",
        "audio": {"output": {"voice": "cedar"}},
    }


@pytest.mark.covers("secret.request")
@pytest.mark.parametrize(
    ("option", "read"),
    [
        ("model", lambda session: session["model"]),
        ("voice", lambda session: session["audio"]["output"]["voice"]),
        ("instructions", lambda session: session["instructions"]),
        ("language", lambda session: session["instructions"].partition("Always reply in ")[2].rstrip(".")),
        ("voice_accent", lambda session: session["instructions"].split("Use a ")[1].split(" accent")[0]),
        ("voice_tone", lambda session: session["instructions"].split("Use a ")[1].split(" tone")[0]),
    ],
)
def test_each_override_stands_alone(client: Any, node: Node, option: str, read: Any) -> None:
    client.create_client_secret(**{option: "its own"})

    assert read(sent(node)["body"]["session"]) == "its own"


@pytest.mark.covers("secret.http-error")
def test_an_error_of_the_upstream_is_reported_with_its_text(client: Any, node: Node) -> None:
    node.ask("upstream", answer={"status": 429, "text": "slow down"})

    with pytest.raises(NavaiHTTPError) as caught:
        client.create_client_secret()

    assert caught.value.status_code == 500
    assert caught.value.error == "OpenAI client_secrets failed (429): slow down"


@pytest.mark.covers("secret.http-error", "secret.api-key")
def test_a_backend_without_a_key_says_what_is_missing(kind: str, node: Node) -> None:
    client = make_client(kind, base_url=serve(node), max_retries=0)

    with pytest.raises(NavaiHTTPError, match="Missing API key") as caught:
        client.create_client_secret()
    client.close()

    assert caught.value.error == "Missing API key. Configure openaiApiKey or send apiKey in request."
    assert node.ask("asked") == []


ELEVENLABS = {
    "OPENAI_API_KEY": "sk-of-the-backend",
    "NAVAI_TTS_PROVIDER": "elevenlabs",
    "ELEVENLABS_API_KEY": "xi-of-the-backend",
    "ELEVENLABS_VOICE_ID": "voice-1",
}


@pytest.mark.covers("secret.speech-provider")
def test_a_secret_says_that_elevenlabs_speaks(kind: str, node: Node) -> None:
    client = make_client(kind, base_url=serve(node, ELEVENLABS), max_retries=0)

    assert client.create_client_secret().speech_provider == "elevenlabs"
    client.close()

    assert sent(node)["body"]["session"]["output_modalities"] == ["text"]


@pytest.mark.covers("speech.request", "speech.result")
def test_speech_is_returned_as_bytes_and_all_settings_reach_the_upstream(kind: str, node: Node) -> None:
    client = make_client(kind, base_url=serve(node, ELEVENLABS), max_retries=0)
    node.ask("upstream", answer={"text": "not really sound", "headers": {"content-type": "audio/mpeg"}})

    audio = client.synthesize_speech(
        "Hello.",
        voice_id="v2",
        model_id="m1",
        output_format="pcm_16000",
        optimize_streaming_latency=3,
        stability=0.25,
        similarity_boost=0.5,
        style=1,
        use_speaker_boost=False,
    )
    client.close()

    assert (audio.audio, audio.mime_type) == (b"not really sound", "audio/mpeg")
    request = sent(node)
    assert request["url"] == (
        "https://api.elevenlabs.io/v1/text-to-speech/v2?output_format=pcm_16000&optimize_streaming_latency=3"
    )
    assert request["body"] == {
        "text": "Hello.",
        "model_id": "m1",
        "voice_settings": {
            "stability": 0.25,
            "similarity_boost": 0.5,
            "style": 1,
            "use_speaker_boost": False,
        },
    }


@pytest.mark.covers("speech.http-error")
def test_a_backend_that_does_not_speak_says_so(client: Any) -> None:
    with pytest.raises(NavaiHTTPError, match="Speech synthesis is only available"):
        client.synthesize_speech("Hello.")


@pytest.mark.covers("url.custom-paths", "url.trailing-slashes", "url.leading-slash")
def test_custom_paths_and_trailing_slashes_find_their_routes(kind: str, node: Node) -> None:
    url = serve(
        node,
        ELEVENLABS,
        clientSecretPath="/api/voice/secret",
        functionsListPath="/api/voice/functions",
        functionsExecutePath="/api/voice/execute",
        speechSynthesizePath="/api/voice/speech",
    )
    client = make_client(
        kind,
        base_url=f" {url}/api///",
        client_secret_path="voice/secret",
        functions_list_path="/voice/functions",
        functions_execute_path="voice/execute",
        speech_synthesize_path="/voice/speech",
        max_retries=0,
    )

    assert client.create_client_secret().value == "ek_minted"
    assert "echo" in client.list_functions()
    assert client.execute_function("echo", {"value": 1}) == [1]
    assert client.synthesize_speech("Hello.").audio == MINTED.encode()
    client.close()


@pytest.mark.covers("url.env")
def test_the_environment_says_where_express_is(kind: str, express: str) -> None:
    client = make_client(kind, base_url=" ", env={"NAVAI_API_URL": f" {express}/ "})

    assert "echo" in client.list_functions()
    client.close()


@pytest.mark.covers("list.http-error")
def test_a_backend_without_function_routes_lists_nothing_and_warns(kind: str, node: Node) -> None:
    client = make_client(kind, base_url=serve(node, includeFunctionsRoutes=False), max_retries=0)

    assert client.list_functions() == FunctionList(
        warnings=("[navai] Failed to load backend functions (404).",)
    )
    client.close()


@pytest.mark.covers("list.warnings")
def test_folders_that_match_nothing_are_warned_of(kind: str, node: Node) -> None:
    client = make_client(kind, base_url=serve(node, functionsFolders="src/no-such"))

    assert client.list_functions().warnings == (
        (
            '[navai] NAVAI_FUNCTIONS_FOLDERS did not match any module: "src/no-such". '
            'Falling back to "src/ai/functions-modules".'
        ),
    )
    client.close()


def test_a_listener_for_progress_changes_nothing_for_express(client: Any) -> None:
    heard: list[str] = []
    result = client.execute_function("echo", {"args": [1, 2]}, on_progress=heard.append)
    assert result == client.execute_function("echo", {"args": [1, 2]})
    assert heard == []
