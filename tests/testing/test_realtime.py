"""The fake Realtime API: which connections it accepts, what it plays, and the messages of its assertions."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from navai_client.testing.realtime import (
    Action,
    BargeIn,
    Call,
    Disconnect,
    FakeRealtimeServer,
    Raw,
    Say,
    Until,
)

SECRET = "ek_" + "s" * 40
EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def connected(api: FakeRealtimeServer, secret: str = SECRET, path: str = "") -> Connection:
    return connect(api.url + path, additional_headers={"Authorization": f"Bearer {secret}"})


def tell(socket: Connection, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


def offer(socket: Connection, *names: str) -> None:
    tools = [{"type": "function", "name": name} for name in names]
    tell(socket, "session.update", session={"type": "realtime", "tools": tools})


def events(socket: Connection, until: str = "response.done") -> Iterator[dict[str, Any]]:
    """Yield events up to one of type *until*; each is valid by OpenAI's own types."""
    while True:
        event = json.loads(socket.recv(timeout=30))
        EVENT.validate_python({**event, "previous_item_id": ""} if "previous_item_id" in event else event)
        yield event
        if event["type"] == until:
            return


def last(socket: Connection, until: str) -> dict[str, Any]:
    return list(events(socket, until))[-1]


def minted(
    api: FakeRealtimeServer, body: bytes = b"{}", path: str = "/realtime/client_secrets", key: str = "k"
) -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(api.openai_base_url + path, body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class TestAdmission:
    """Which connections are accepted."""

    def test_a_given_secret_is_accepted_until_it_is_revoked(self) -> None:
        with FakeRealtimeServer(secrets=[SECRET]) as api:
            with connected(api) as socket:
                assert last(socket, "session.created")["session"]["type"] == "realtime"
            api.revoke(SECRET)
            with pytest.raises(InvalidStatus, match="401"):
                connected(api)
            api.accept("another")
            with connected(api, "another"):
                pass
            assert len(api.refused) == 1
            assert SECRET not in api.refused[0]

    def test_a_minted_secret_opens_the_session_that_it_was_minted_for(self) -> None:
        session = {"type": "realtime", "model": "m", "audio": {"output": {"voice": "cedar"}}}
        asked = {"session": session, "expires_after": {"anchor": "created_at", "seconds": 60}}
        with FakeRealtimeServer() as api:
            answer = minted(api, json.dumps(asked).encode(), key="sk-1")
            with connected(api, answer["value"]) as socket:
                created = last(socket, "session.created")["session"]
            assert (created["model"], created["audio"]["output"]["voice"]) == ("m", "cedar")
            assert created["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
            (secret,) = api.minted
            assert (secret.value, secret.api_key, secret.session) == (answer["value"], "sk-1", session)
            assert "sk-1" not in repr(secret)
            assert answer["value"] not in repr(secret)
            assert answer["expires_at"] == secret.expires_at

    def test_the_model_of_the_url_is_used_if_the_secret_has_none(self) -> None:
        with FakeRealtimeServer(secrets=[SECRET]) as api:
            with connected(api, path="?model=m2") as socket:
                assert last(socket, "session.created")["session"]["model"] == "m2"
            assert api.session.model == "m2"

    @pytest.mark.parametrize(
        ("body", "path", "key", "status"),
        [
            (b"{", "/realtime/client_secrets", "k", 400),
            (b"[1]", "/realtime/client_secrets", "k", 400),
            (b"{}", "/realtime/other", "k", 404),
            (b"{}", "/realtime/client_secrets", "", 401),
        ],
    )
    def test_an_invalid_request_for_a_secret_is_refused(
        self, body: bytes, path: str, key: str, status: int
    ) -> None:
        with FakeRealtimeServer() as api:
            with pytest.raises(urllib.error.HTTPError) as refused:
                minted(api, body, path, key)
            assert refused.value.code == status
            refused.value.close()
            assert api.minted == []

    def test_a_connection_without_a_secret_or_at_another_path_is_refused(self) -> None:
        with FakeRealtimeServer(secrets=[SECRET]) as api:
            with pytest.raises(InvalidStatus, match="401"):
                connect(api.url)
            with pytest.raises(InvalidStatus, match="404"):
                connected(api, path="/other")
            with pytest.raises(
                AssertionError, match=r"(?s)Expected one session; 0 were opened.*Bearer.*/other"
            ):
                _ = api.session


class TestPlaying:
    """A turn for each response.create, with events of OpenAI's own form."""

    @pytest.mark.parametrize("modality", ["audio", "text"])
    def test_what_the_model_says(self, modality: str) -> None:
        with FakeRealtimeServer([Say("Hello.")], secrets=[SECRET]) as api, connected(api) as socket:
            tell(socket, "session.update", session={"type": "realtime", "output_modalities": [modality]})
            assert last(socket, "session.updated")["session"]["output_modalities"] == [modality]
            tell(socket, "response.create")
            said = [event for event in events(socket) if event["type"] == "response.output_item.done"]
            (part,) = said[0]["item"]["content"]
            assert part.get("transcript", part.get("text")) == "Hello."
            tell(socket, "response.create")
            list(events(socket))
            assert api.session.said == ["Hello.", "All right."]

    def test_calls_and_their_results(self) -> None:
        turn: list[Action] = [Call("a", {"x": 1}), Call("b", '{"x":', "mine"), Call("c", status="incomplete")]
        with FakeRealtimeServer([turn], secrets=[SECRET]) as api, connected(api) as socket:
            offer(socket, "a", "b", "c")
            tell(socket, "response.create")
            items = [
                event["item"] for event in events(socket) if event["type"] == "response.output_item.done"
            ]
            assert [(item["name"], item["arguments"], item["status"]) for item in items] == [
                ("a", '{"x": 1}', "completed"),
                ("b", '{"x":', "completed"),
                ("c", "{}", "incomplete"),
            ]
            for item in items[:2]:
                result = {"type": "function_call_output", "call_id": item["call_id"], "output": "{}"}
                tell(socket, "conversation.item.create", item=result)
            api.wait()
            assert api.session.outputs == {items[0]["call_id"]: ["{}"], "mine": ["{}"]}

    def test_an_interruption_cancels_and_the_next_turn_follows(self) -> None:
        script: list[Any] = [[Say("One"), BargeIn("Stop!"), Say("never")], Say("Two")]
        with FakeRealtimeServer(script, secrets=[SECRET]) as api, connected(api) as socket:
            tell(socket, "response.create")
            first = list(events(socket))
            assert first[-1]["response"]["status"] == "cancelled"
            assert "input_audio_buffer.speech_started" in [event["type"] for event in first]
            assert last(socket, "response.done")["response"]["status"] == "completed"
            assert api.session.said == ["One", "Two"]

    def test_a_test_can_speak_for_the_person_and_without_turn_detection_the_client_responds(self) -> None:
        with FakeRealtimeServer([Say("Yes?")], secrets=[SECRET]) as api, connected(api) as socket:
            list(events(socket, "session.created"))
            api.speak("Hello")
            assert last(socket, "response.done")["response"]["status"] == "completed"
            off = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            tell(socket, "session.update", session=off)
            list(events(socket, "session.updated"))
            api.speak("Hello?")
            tell(socket, "input_audio_buffer.clear")
            heard = [event["type"] for event in events(socket, "input_audio_buffer.cleared")]
            assert "response.created" not in heard

    def test_a_response_can_be_cancelled_and_a_second_one_at_once_is_refused(self) -> None:
        with FakeRealtimeServer(secrets=[SECRET]) as api, connected(api) as socket:
            list(events(socket, "session.created"))
            tell(socket, "response.cancel", event_id="e1")
            error = last(socket, "error")["error"]
            assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "e1")

    def test_a_response_can_stay_open_until_the_client_sends_an_event(self) -> None:
        script: list[Any] = [
            [Until("input_audio_buffer.clear"), Say("Now.")],
            [Until("session.update"), Say("Never.")],
        ]
        with FakeRealtimeServer(script, secrets=[SECRET]) as api, connected(api) as socket:
            tell(socket, "response.create")
            tell(socket, "response.create", event_id="e1")
            assert last(socket, "error")["error"]["code"] == "conversation_already_has_active_response"
            tell(socket, "input_audio_buffer.clear")
            assert last(socket, "response.done")["response"]["status"] == "completed"
            tell(socket, "response.create")
            tell(socket, "response.cancel")
            assert last(socket, "response.done")["response"]["status"] == "cancelled"
            assert api.session.said == ["Now."]

    def test_a_response_keeps_the_metadata_that_it_was_requested_with(self) -> None:
        metadata = {"client_event_id": "e1"}
        with (
            FakeRealtimeServer([Say("One."), Say("Two.")], secrets=[SECRET]) as api,
            connected(api) as socket,
        ):
            tell(socket, "response.create", response={"metadata": metadata, "instructions": None})
            assert last(socket, "response.created")["response"]["metadata"] == metadata
            assert last(socket, "response.done")["response"]["metadata"] == metadata
            tell(socket, "response.create")
            assert "metadata" not in last(socket, "response.done")["response"]
            assert api.session.refused == []

    def test_a_text_arrives_in_parts_of_a_word(self) -> None:
        with FakeRealtimeServer([Say("It is sunny.")], secrets=[SECRET]) as api, connected(api) as socket:
            text = {"type": "realtime", "output_modalities": ["text"]}
            tell(socket, "session.update", session=text)
            tell(socket, "response.create")
            heard = list(events(socket, "response.done"))
            deltas = [each["delta"] for each in heard if each["type"] == "response.output_text.delta"]
            assert deltas == ["It", " is", " sunny."]

    def test_a_client_can_disconnect_while_the_model_speaks(self) -> None:
        with FakeRealtimeServer([Until("never")], secrets=[SECRET]) as api:
            with connected(api) as socket:
                tell(socket, "response.create")
                list(events(socket, "response.created"))
                with pytest.raises(AssertionError, match=r"The last turn was not over within 0\.01 seconds"):
                    api.wait(timeout=0.01)
            with connected(api) as socket:
                tell(socket, "response.create")
                socket.socket.close()
            api.wait()

    def test_raw_events_and_disconnects_are_sent_as_scripted(self) -> None:
        script: list[Any] = [
            [Raw("{"), Raw({"type": "odd"}), Call("a", offered=False), Disconnect(4000, "enough")]
        ]
        with FakeRealtimeServer(script, secrets=[SECRET]) as api, connected(api) as socket:
            list(events(socket, "session.created"))
            tell(socket, "response.create")
            with pytest.raises(ConnectionClosed, match="4000"):
                list(iter(lambda: socket.recv(timeout=30), None))
            assert api.session.hung_up

    @pytest.mark.parametrize(
        ("event", "answer"),
        [
            ({"type": "input_audio_buffer.commit"}, "input_audio_buffer.committed"),
            ({"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared"),
            ({"type": "conversation.item.delete", "item_id": "i"}, "conversation.item.deleted"),
            ({"type": "conversation.item.retrieve", "item_id": "i"}, "conversation.item.retrieved"),
            (
                {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 1},
                "conversation.item.truncated",
            ),
            ({"type": "output_audio_buffer.clear"}, "error"),
            ({"type": "no.such.event"}, "error"),
            ({"type": 7}, "error"),
            ([], "error"),
            ({"type": "session.update", "session": {"type": "transcription"}}, "error"),
            ({"type": "conversation.item.create", "item": 7}, "error"),
            ({"type": "conversation.item.create", "item": {"type": "function_call_output"}}, "error"),
            (
                {
                    "type": "conversation.item.create",
                    "item": {"type": "function_call_output", "call_id": "no", "output": ""},
                },
                "error",
            ),
        ],
        ids=str,
    )
    def test_other_events_of_a_client_get_the_apis_events(self, event: Any, answer: str) -> None:
        with FakeRealtimeServer(secrets=[SECRET]) as api, connected(api) as socket:
            tell(socket, "input_audio_buffer.append", audio="AAAA")
            socket.send(json.dumps(event))
            assert last(socket, answer)["type"] == answer
            socket.send("{")
            list(events(socket, "error"))
            assert api.session.sent("input_audio_buffer.append")[0]["audio"] == "..."

    def test_a_session_has_what_the_client_has_set(self) -> None:
        tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
        given = {"type": "realtime", "instructions": "Be brief.", "tools": [tool]}
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        with FakeRealtimeServer(secrets=[SECRET]) as api, connected(api) as socket:
            tell(socket, "session.update", session=given)
            tell(socket, "conversation.item.create", item=item)
            assert last(socket, "conversation.item.done")["item"]["content"] == item["content"]
            assert api.session.instructions == "Be brief."
            assert api.session.tool_names == ["get_weather"]
            assert api.session.config["tool_choice"] == "auto"


class TestMessages:
    """The messages of failing tests: what was expected, and what came."""

    def test_a_turn_that_was_not_played(self) -> None:
        def test() -> None:
            with FakeRealtimeServer([Say("1"), Say("2")], secrets=[SECRET]) as api, connected(api) as socket:
                tell(socket, "response.create")
                list(events(socket))
                api.wait(timeout=0.01)

        expected = r"(?s)1 of 2 turns were played; the client sent 1 x response.create. Next would be: \[Say"
        with pytest.raises(AssertionError, match=expected):
            test()

    @pytest.mark.parametrize(
        ("outputs", "message"),
        [
            (["1", ""], r"name='a'.*\(c\) got 1 result for 2 calls"),
            (["1", "2"], None),
            (["1", "23"], r"\(c\) got 3 results for 2 calls: \['1', '2', '3'\]"),
        ],
    )
    def test_calls_of_two_turns_with_the_same_id(self, outputs: list[str], message: str | None) -> None:
        turns = [Call("a", {}, "c", offered=False)] * len(outputs)
        with (
            nullcontext() if message is None else pytest.raises(AssertionError, match=message),
            FakeRealtimeServer(turns, secrets=[SECRET]) as api,
            connected(api) as socket,
        ):
            for number, sent in enumerate(outputs, 1):
                tell(socket, "response.create")
                list(events(socket))
                for output in sent:
                    result = {"type": "function_call_output", "call_id": "c", "output": output}
                    tell(socket, "conversation.item.create", item=result)
                api.wait_for("conversation.item.create", len("".join(outputs[:number])))

    @pytest.mark.parametrize(
        ("outputs", "message"),
        [("", r"name='a'.*got no result"), ("12", r"\(c\) got 2 results: \['1', '2'\]")],
    )
    def test_a_call_without_a_result_or_with_two(self, outputs: str, message: str) -> None:
        def test() -> None:
            with (
                FakeRealtimeServer([Call("a", {}, "c", offered=False)], secrets=[SECRET]) as api,
                connected(api) as socket,
            ):
                tell(socket, "response.create")
                list(events(socket))
                for output in outputs:
                    result = {"type": "function_call_output", "call_id": "c", "output": output}
                    tell(socket, "conversation.item.create", item=result)
                api.wait_for("conversation.item.create", len(outputs))

        with pytest.raises(AssertionError, match=message):
            test()

    def test_a_missing_event(self) -> None:
        with FakeRealtimeServer(secrets=[SECRET]) as api:
            expected = r"(?s)Expected 1 x response.create in 0.01 s; 0 came.*no client connected"
            with pytest.raises(AssertionError, match=expected):
                api.wait_for("response.create", timeout=0.01)
            with connected(api) as socket:
                tell(socket, "session.update", session={"type": "realtime"})
                api.wait_for("session.update")
            with pytest.raises(AssertionError, match=r"session 1 received: session.update"):
                asyncio.run(api.wait_for_async("response.create", timeout=0.01))

    def test_no_message_if_the_test_failed_already_or_it_is_not_strict(self) -> None:
        with pytest.raises(KeyError), FakeRealtimeServer([Say("1")]):
            raise KeyError
        with FakeRealtimeServer([Say("1")], strict=False):
            pass

    def test_a_server_that_is_not_running(self) -> None:
        api = FakeRealtimeServer()
        for use in (lambda: api.openai_base_url, lambda: api.speak("Hello")):
            with pytest.raises(RuntimeError, match="not running"):
                use()
        api.close()

    def test_in_an_event_loop_too(self) -> None:
        async def use() -> None:
            async with FakeRealtimeServer([Say("1")]) as api:
                await api.wait_async(timeout=0.01)

        with pytest.raises(AssertionError, match="0 of 1 turns"):
            asyncio.run(use())
