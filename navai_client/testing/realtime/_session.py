"""One connection to the fake Realtime API: it records the client's events and plays turns of the script."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from navai_client.testing.realtime._events import DEFAULT_SESSION, call_events, response_of, say_events
from navai_client.testing.realtime._script import (
    Action,
    BargeIn,
    Call,
    Disconnect,
    Raw,
    Say,
    Script,
    Until,
)
from navai_client.testing.realtime._validation import refusal_of_event


class FakeRealtimeSession:
    """One connection, as the server saw it.

    Attributes:
        config: The current session: the settings of its secret, updated by every ``session.update`` since.
        model: The ``model`` of the URL, or None.
        received: Every event of the client, in order; without the audio of ``input_audio_buffer.append``.
        calls: The calls that the model made and finished, by call id; the last one of each.
        made: How many calls had each id, because several models use an id again in a later turn.
        outputs: The results that the client sent, by call id; each call should have one.
        said: The words of the model.
        refused: The error messages for those events of the client that the API refuses.
        unoffered: The calls of tools that the session did not offer, each with the tools that it offered.
        hung_up: Whether the script closed the connection, so that open calls can get no result.
    """

    def __init__(
        self, script: Script, connection: ServerConnection, config: Mapping[str, Any], model: str | None
    ) -> None:
        self._script = script
        self._connection = connection
        self.config: dict[str, Any] = _merged(DEFAULT_SESSION, config)
        self.model = model
        self.received: list[dict[str, Any]] = []
        self.calls: dict[str, Call] = {}
        self.made: Counter[str] = Counter()
        self.outputs: dict[str, list[str]] = {}
        self.said: list[str] = []
        self.refused: list[str] = []
        self.unoffered: list[tuple[Call, list[str]]] = []
        self.hung_up: bool = False
        self._playing: asyncio.Task[None] | None = None
        self._response: str | None = None
        self._offered: list[str] = []
        self._metadata: dict[str, Any] = {}  # of the response
        self._changed = asyncio.Condition()

    @property
    def playing(self) -> bool:
        """Whether a response is active."""
        return self._response is not None

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """Return the client's events of type *kind*."""
        return [event for event in self.received if event.get("type") == kind]

    @property
    def instructions(self) -> str:
        """The instructions that the model has now."""
        return str(self.config.get("instructions", ""))

    @property
    def tool_names(self) -> list[str]:
        """The tools that the model has now."""
        return [str(tool.get("name")) for tool in self.config["tools"]]

    async def begin(self) -> None:
        """Send the event that begins a session."""
        await self._send("session.created", session=self.config)

    async def receive(self, message: str | bytes) -> None:
        """Handle one message of the client."""
        try:
            event = json.loads(message)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            await self._refuse("invalid_json", "A message must be a JSON object.")
            return
        if (refusal := refusal_of_event(event, self.config["tools"])) is not None:
            await self._refuse(refusal.code, refusal.message, event, param=refusal.param)
        else:
            await self._handle(event)
        # Last, so that a test that waits for an event sees its effects.
        audio = {"audio": "..."} if event.get("type") == "input_audio_buffer.append" else {}
        self.received.append({**event, **audio})
        self._script.notify()
        async with self._changed:
            self._changed.notify_all()

    async def speak(self, text: str) -> None:
        """Interrupt: the person says *text*, an active response is cancelled, and the next turn follows."""
        item = self._script.next_id("item")
        await self._send("input_audio_buffer.speech_started", audio_start_ms=0, item_id=item)
        await self._stop("turn_detected")
        await self._send("input_audio_buffer.speech_stopped", audio_end_ms=500, item_id=item)
        await self._commit(item, transcript=text)
        if self._responds_to_speech:
            await self._play()

    async def finish(self) -> None:
        """Stop playing: the connection is closed."""
        self._response = None
        await self._end_turn()

    @property
    def _responds_to_speech(self) -> bool:
        detection = self.config["audio"]["input"].get("turn_detection")
        return isinstance(detection, Mapping) and detection.get("create_response") is not False

    async def _handle(self, event: dict[str, Any]) -> None:  # noqa: C901 - a case for each event
        match event["type"]:
            case "session.update":
                await self._update(event)
            case "conversation.item.create":
                await self._create_item(event)
            case "conversation.item.truncate":
                where = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
                await self._send("conversation.item.truncated", **where)
            case "conversation.item.delete":
                await self._send("conversation.item.deleted", item_id=event["item_id"])
            case "conversation.item.retrieve":
                item = {"id": event["item_id"], "type": "message", "role": "assistant", "content": []}
                await self._send("conversation.item.retrieved", item=item)
            case "response.create":
                await self._create_response(event)
            case "response.cancel":
                if not await self._stop("client_cancelled"):
                    await self._refuse("response_cancel_not_active", "There is no active response.", event)
            case "input_audio_buffer.commit":
                await self._commit(self._script.next_id("item"))
            case "input_audio_buffer.clear":
                await self._send("input_audio_buffer.cleared")
            case "output_audio_buffer.clear":
                text = "output_audio_buffer.clear is only for WebRTC and SIP."
                await self._refuse("invalid_value", text, event, param="type")

    async def _update(self, event: dict[str, Any]) -> None:
        if event["session"]["type"] != "realtime":
            await self._refuse("invalid_value", "This is a realtime session.", event, param="session.type")
            return
        self.config = _merged(self.config, event["session"])
        await self._send("session.updated", session=self.config)

    async def _create_item(self, event: dict[str, Any]) -> None:
        item = event["item"]
        if item["type"] == "function_call_output":
            call_id = item["call_id"]
            if call_id not in self.calls:
                await self._refuse("invalid_call_id", f"There is no call {call_id!r}.", event)
                return
            self.outputs.setdefault(call_id, []).append(item["output"])
        await self._send_item({"id": self._script.next_id("item"), **item})

    async def _create_response(self, event: dict[str, Any]) -> None:
        if self._response is not None:
            text = f"Conversation already has an active response in progress: {self._response}."
            await self._refuse("conversation_already_has_active_response", text, event)
            return
        await self._play(event.get("response", {}))

    async def _commit(self, item: str, **spoken: str) -> None:
        await self._send("input_audio_buffer.committed", previous_item_id=None, item_id=item)
        content = [{"type": "input_audio", **spoken}]
        await self._send_item({"id": item, "type": "message", "role": "user", "content": content})

    async def _play(self, asked: Mapping[str, Any] | None = None) -> None:
        """Play the next turn; *asked* has the tools of this response alone, if any, and its metadata."""
        asked = asked or {}
        self._offered = [str(tool.get("name")) for tool in asked.get("tools", self.config["tools"])]
        self._metadata = {"metadata": asked["metadata"]} if "metadata" in asked else {}
        response = self._response = self._script.next_id("resp")
        turn = self._script.next_turn()
        created = response_of(response, "in_progress", **self._metadata)
        await self._send("response.created", response=created)
        self._playing = asyncio.get_running_loop().create_task(self._play_turn(response, turn))

    async def _play_turn(self, response: str, turn: Sequence[Action]) -> None:
        for index, action in enumerate(turn):
            if isinstance(action, BargeIn):
                self._playing = None  # this very task is not to be cancelled
                await self.speak(action.text)
                return
            await self._act(action, response, index)
        self._response = None
        await self._send("response.done", response=response_of(response, "completed", **self._metadata))
        self._script.notify()

    async def _act(self, action: Action, response: str, index: int) -> None:
        item = self._script.next_id("item")
        match action:
            case Say(text):
                self.said.append(text)
                spoken = "audio" in self.config["output_modalities"]
                for event in say_events(action, response, index, item, spoken=spoken):
                    await self._send(**event)
            case Call(call_id=given, status=status):
                call_id = given or self._script.next_id("call")
                if action.offered and action.name not in self._offered:
                    self.unoffered.append((action, self._offered))
                if status == "completed":
                    self.calls[call_id] = action
                    self.made[call_id] += 1
                for event in call_events(action, response, index, item, call_id):
                    await self._send(**event)
            case Raw(event):
                await self._send_raw(event if isinstance(event, str) else json.dumps(event))
            case Until(kind):
                before = len(self.sent(kind))
                async with self._changed:
                    await self._changed.wait_for(lambda: len(self.sent(kind)) > before)
            case Disconnect(code, reason):  # pragma: no branch - a BargeIn is played by _play_turn
                self.hung_up = True
                await self._connection.close(code, reason)

    async def _stop(self, reason: str) -> bool:
        """End the active response, if there is one, and return whether there was."""
        response, self._response = self._response, None
        if response is None:
            return False
        await self._end_turn()
        details = {"type": "cancelled", "reason": reason}
        cancelled = response_of(response, "cancelled", status_details=details, **self._metadata)
        await self._send("response.done", response=cancelled)
        return True

    async def _end_turn(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.wait((self._playing,))

    async def _send_item(self, item: dict[str, Any]) -> None:
        whole = {"object": "realtime.item", "status": "completed", **item}
        await self._send("conversation.item.added", previous_item_id=None, item=whole)
        await self._send("conversation.item.done", previous_item_id=None, item=whole)

    async def _refuse(
        self,
        code: str | None,
        message: str,
        event: Mapping[str, Any] | None = None,
        *,
        param: str | None = None,
    ) -> None:
        self.refused.append(message)
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": param}
        await self._send("error", error={**error, "event_id": (event or {}).get("event_id")})

    async def _send(self, type: str, **fields: Any) -> None:  # noqa: A002 - what the protocol calls it
        numbered = {"event_id": self._script.next_id("event"), "type": type, **fields}
        await self._send_raw(json.dumps(numbered))

    async def _send_raw(self, message: str) -> None:
        with suppress(ConnectionClosed):  # the reading side ends the session
            await self._connection.send(message)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return *old* updated with *new*, recursively."""
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(before, value)
        else:
            result[key] = value
    return result
