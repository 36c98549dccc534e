"""The fake Realtime API refuses what OpenAI's API refuses, and accepts what its published types accept."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.realtime import ClientSecretCreateResponse
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from navai_client.testing.realtime import Call, FakeRealtimeServer
from navai_client.testing.realtime._validation import refusal_of_client_secret, refusal_of_event
from tests.testing import openai_schema

SECRET = "ek_" + "s" * 40
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather.",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}},
}


CHOICE: dict[str, Any] = {"type": "function", "name": "tell_time"}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def api() -> Iterator[FakeRealtimeServer]:
    with FakeRealtimeServer(secrets=[SECRET], strict=False) as api:
        yield api


@pytest.fixture
def socket(api: FakeRealtimeServer) -> Iterator[Connection]:
    with connect(api.url, additional_headers={"Authorization": f"Bearer {SECRET}"}) as socket:
        socket.recv(timeout=30)  # session.created
        yield socket


def sent(socket: Connection, event: Any) -> dict[str, Any]:
    """Send *event*, and return the first event that comes back."""
    socket.send(json.dumps(event))
    came: dict[str, Any] = json.loads(socket.recv(timeout=30))
    return came


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **session}}


def detection(**members: Any) -> dict[str, Any]:
    return update(audio={"input": {"turn_detection": members}})


REFUSED: list[tuple[Any, str | None, str]] = [
    ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
    ({"type": "session.update", "session": {"type": "banana"}}, "invalid_value", "session.type"),
    ({"type": "session.update"}, "missing_required_parameter", "session"),
    ({"type": "session.update", "session": [1]}, "invalid_type", "session"),
    (update(tools=[{**TOOL, "name": "bad name!"}]), "invalid_value", "session.tools[0].name"),
    (update(tools=[{**TOOL, "name": "x" * 65}]), "invalid_value", "session.tools[0].name"),
    (update(tools=[{"type": "function"}]), "invalid_value", "session.tools[0].name"),
    (update(tools=[{**TOOL, "strict": True}]), "unknown_parameter", "session.tools[0].strict"),
    (update(tools=[{**TOOL, "type": "banana"}]), "invalid_value", "session.tools[0].type"),
    (update(tools=[TOOL, TOOL]), "invalid_value", "session.tools[1].name"),
    (update(tools={"a": TOOL}), "invalid_type", "session.tools"),
    (
        update(tools=[{**TOOL, "parameters": {"type": "object", "oneOf": []}}]),
        "invalid_function_parameters",
        "session.tools[0].parameters",
    ),
    (
        update(tools=[{**TOOL, "parameters": {"type": "string"}}]),
        "invalid_function_parameters",
        "session.tools[0].parameters",
    ),
    (update(output_modalities=["text", "audio"]), "invalid_value", "session.output_modalities"),
    (update(output_modalities=["video"]), "invalid_value", "session.output_modalities[0]"),
    (update(output_modalities=[]), "invalid_value", "session.output_modalities"),
    (update(audio=None), "invalid_type", "session.audio"),
    (update(voice="marin"), "unknown_parameter", "session.voice"),
    (update(audio={"output": {"speed": True}}), "invalid_type", "session.audio.output.speed"),
    (detection(type="banana"), "invalid_value", "session.audio.input.turn_detection.type"),
    (detection(), "missing_required_parameter", "session.audio.input.turn_detection.type"),
    (
        detection(type="server_vad", eagerness="low"),
        "unknown_parameter",
        "session.audio.input.turn_detection.eagerness",
    ),
    (update(max_output_tokens="many"), "invalid_value", "session.max_output_tokens"),
    (update(max_output_tokens=1.5), "invalid_type", "session.max_output_tokens"),
    (update(prompt={"id": "pmpt_1", "variables": {"a": 1}}), "invalid_type", "session.prompt.variables.a"),
    ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value", "session.type"),
    (
        {"type": "response.create", "response": {"output_modalities": ["text", "audio"]}},
        "invalid_value",
        "response.output_modalities",
    ),
    ({"type": "response.create", "response": {"voice": "marin"}}, "unknown_parameter", "response.voice"),
    (update(tools=[TOOL], tool_choice=CHOICE), None, "session.tool_choice"),
    (update(tool_choice=CHOICE), None, "session.tool_choice"),
    (
        update(tools=[TOOL], tool_choice={"type": "mcp", "server_label": "get_weather"}),
        None,
        "session.tool_choice",
    ),
    ({"type": "response.create", "response": {"tool_choice": CHOICE}}, None, "response.tool_choice"),
    (
        {"type": "response.create", "response": {"tools": [TOOL], "tool_choice": CHOICE}},
        None,
        "response.tool_choice",
    ),
    ({"type": "response.create", "retry": True}, "unknown_parameter", "retry"),
    ({"type": "banana"}, "invalid_value", "type"),
    ({"audio": "AAAA"}, "missing_required_parameter", "type"),
    ({"type": "output_audio_buffer.clear"}, "invalid_value", "type"),
    ({"type": "conversation.item.create"}, "missing_required_parameter", "item"),
    ({"type": "conversation.item.create", "item": {"type": "banana"}}, "invalid_value", "item.type"),
    (
        {"type": "conversation.item.create", "item": {"type": "message", "role": "robot", "content": []}},
        "invalid_value",
        "item.role",
    ),
    (
        {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": "c", "output": {}},
        },
        "invalid_type",
        "item.output",
    ),
    ({"type": "conversation.item.delete"}, "missing_required_parameter", "item_id"),
    ({"type": "input_audio_buffer.append", "audio": 7}, "invalid_type", "audio"),
]

ACCEPTED: list[Any] = [
    update(),
    update(tools=[TOOL, {"type": "mcp", "server_label": "a"}, {"type": "function", "name": "no-parameters"}]),
    update(output_modalities=["text"], tools=[TOOL], tool_choice={"type": "function", "name": "get_weather"}),
    update(
        tools=[{"type": "mcp", "server_label": "a"}],
        tool_choice={"type": "mcp", "server_label": "a", "name": "any"},
    ),
    update(tool_choice="required"),
    update(audio={"input": {"turn_detection": None, "noise_reduction": None, "transcription": None}}),
    update(audio={"input": {"format": {"type": "audio/pcmu"}}, "output": {"voice": {"id": "v"}, "speed": 1}}),
    update(tracing=None, truncation="auto", max_output_tokens="inf", reasoning={"effort": "low"}),
    update(
        tracing={"metadata": {"any": ["thing"]}}, max_output_tokens=100, prompt={"id": "p", "variables": {}}
    ),
    {"type": "response.create", "event_id": "e1"},
    {"type": "response.create", "response": {"metadata": {"a": "b"}, "tools": [TOOL]}},
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    },
]


@pytest.mark.parametrize(("event", "code", "param"), REFUSED, ids=str)
def test_an_event_that_the_api_refuses_is_an_error_that_says_where(
    event: Any, code: str | None, param: str, api: FakeRealtimeServer, socket: Connection
) -> None:
    came = sent(socket, {"event_id": "mine", **event})

    assert came["type"] == "error"
    assert (came["error"]["code"], came["error"]["param"]) == (code, param)
    assert came["error"]["event_id"] == "mine"
    assert api.session.refused == [came["error"]["message"]]


def test_a_chosen_tool_is_one_of_the_response_or_else_of_the_session(
    api: FakeRealtimeServer, socket: Connection
) -> None:
    chosen = {"type": "function", "name": "get_weather"}
    assert sent(socket, update(tools=[TOOL]))["type"] == "session.updated"
    assert sent(socket, update(tool_choice=chosen))["type"] == "session.updated"
    refused = sent(socket, {"type": "response.create", "response": {"tools": [], "tool_choice": chosen}})
    assert refused["error"]["message"] == "Tool choice 'get_weather' not found in 'tools' parameter."
    assert sent(socket, {"type": "response.create", "response": {"tool_choice": chosen}})["type"] == (
        "response.created"
    )


def test_a_refused_update_changes_nothing_and_stands_in_the_story(
    api: FakeRealtimeServer, socket: Connection
) -> None:
    came = sent(socket, update(tools=[TOOL], voice="marin"))

    assert came["error"]["message"] == "Unknown parameter: 'session.voice'."
    assert api.session.tool_names == []
    with pytest.raises(AssertionError, match=r"session 1 refused: Unknown parameter: 'session\.voice'\."):
        api.wait_for("response.create", timeout=0.01)


@pytest.mark.parametrize("event", ACCEPTED, ids=str)
def test_an_event_that_the_api_accepts_is_accepted(event: Any) -> None:
    assert refusal_of_event(event) is None
    if event["type"] == "session.update":
        assert refusal_of_client_secret({"session": event["session"]}) is None


def minted(api: FakeRealtimeServer, body: Any) -> Any:
    request = urllib.request.Request(
        f"{api.openai_base_url}/realtime/client_secrets",
        json.dumps(body).encode(),
        {"Authorization": "Bearer k"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 99999}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"session": {}}, "session.type"),
        ({"session": {"type": "realtime", "tools": [TOOL, TOOL]}}, "session.tools[1].name"),
        ({"session": {"type": "realtime", "tools": [TOOL], "tool_choice": CHOICE}}, "session.tool_choice"),
        ({"ttl": 60}, "ttl"),
        ([1], ""),
    ],
    ids=str,
)
def test_a_request_for_a_client_secret_that_the_api_refuses_is_400(
    body: Any, param: str, api: FakeRealtimeServer
) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        minted(api, body)

    with caught.value as response:
        error = json.load(response)["error"]
    assert response.code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert api.minted == []


@pytest.mark.parametrize(
    "session", [None, {"type": "realtime", "model": "gpt-realtime-2.1", "tools": [TOOL]}]
)
def test_the_response_with_a_client_secret_has_the_form_of_the_openai_package(
    session: Any, api: FakeRealtimeServer
) -> None:
    ClientSecretCreateResponse.model_validate(minted(api, {} if session is None else {"session": session}))


class TestOfferedTools:
    """A scripted call must be of a tool that the session offers."""

    def played(self, call: Call, *events: Any) -> FakeRealtimeServer:
        with FakeRealtimeServer([call], secrets=[SECRET], strict=False) as api:
            with connect(api.url, additional_headers={"Authorization": f"Bearer {SECRET}"}) as socket:
                for event in (*events, {"type": "response.create"}):
                    socket.send(json.dumps(event))
                for message in socket:
                    event = json.loads(message)
                    if event["type"] == "response.function_call_arguments.done":
                        item = {"type": "function_call_output", "call_id": event["call_id"], "output": "1"}
                        socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
                    if event["type"] == "response.done":
                        break
            api.wait_for("response.create")
        return api

    def test_a_call_of_a_tool_that_was_not_offered_fails_the_test(self) -> None:
        api = self.played(Call("get_wether"), update(tools=[TOOL]))

        with pytest.raises(AssertionError) as caught:
            api.check()
        assert "Call(name='get_wether'" in str(caught.value)
        assert "was not offered; the session offered: get_weather. If the model makes up the name" in str(
            caught.value
        )

    def test_without_any_tool_it_says_so(self) -> None:
        with pytest.raises(AssertionError, match="the session offered: no tools"):
            self.played(Call("get_weather")).check()

    def test_a_call_of_an_offered_tool_passes(self) -> None:
        self.played(Call("get_weather"), update(tools=[TOOL])).check()

    def test_a_name_that_the_model_makes_up_can_be_scripted(self) -> None:
        self.played(Call("get_wether", offered=False)).check()

    def test_the_tools_of_one_response_count_for_it(self) -> None:
        response = {"type": "response.create", "response": {"tools": [TOOL]}}
        with FakeRealtimeServer([Call("get_weather")], secrets=[SECRET], strict=False) as api:
            with connect(api.url, additional_headers={"Authorization": f"Bearer {SECRET}"}) as socket:
                socket.send(json.dumps(response))
                while json.loads(socket.recv(timeout=30))["type"] != "response.done":
                    pass
            assert api.session.unoffered == []


def test_the_schema_is_that_of_the_installed_openai_package() -> None:
    assert openai_schema.FILE.read_text(encoding="utf-8") == openai_schema.text(), (
        "Run: python -m tests.testing.openai_schema"
    )
