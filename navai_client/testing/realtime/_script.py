"""What a fake Realtime session plays: the actions of a script, and the server's events for each.

Pure: events are made here and sent elsewhere. Their form is that of OpenAI's published types.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from attrs import field, frozen

_SILENCE: Final = base64.b64encode(bytes(480)).decode()  # 10 ms of PCM at 24 kHz


class Action:
    """One thing that happens in a turn of a script."""


@frozen
class Say(Action):
    """The model says something, as sound with a transcript, or as text where the session wants text.

    Attributes:
        text: What it says.
    """

    text: str


@frozen
class Call(Action):
    """The model calls a tool. Several in one turn are parallel calls.

    Attributes:
        name: The tool.
        arguments: An object, or any text to be sent as it is, such as JSON that is cut off.
        call_id: The id of the call; one is made if there is none.
        status: ``incomplete`` for a call that the model did not finish: no client may run it.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(factory=dict, hash=False)
    call_id: str | None = None
    status: Literal["completed", "incomplete"] = "completed"

    @property
    def text(self) -> str:
        """The arguments as the model writes them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@frozen
class BargeIn(Action):
    """The person interrupts: the response is cancelled, and the next turn of the script follows.

    Attributes:
        text: What the person says.
    """

    text: str = "Wait."


@frozen
class Raw(Action):
    """The server sends something as it is: an event of your own, or what is none.

    Attributes:
        event: An object, or any text.
    """

    event: Mapping[str, Any] | str = field(hash=False)


@frozen
class Disconnect(Action):
    """The server closes the connection.

    Attributes:
        code: The WebSocket close code.
        reason: The reason beside it.
    """

    code: int = 1011
    reason: str = "the script ends the connection here"


@frozen
class Until(Action):
    """The response stays open until the client has sent an event of this type, or cancels it.

    Attributes:
        kind: Such as ``conversation.item.create``.
    """

    kind: str


class Numbers:
    """Gives ids, each once."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def next(self, kind: str) -> str:
        """Return the next id of *kind*, such as ``item_3``."""
        self._given[kind] = self._given.get(kind, 0) + 1
        return f"{kind}_{self._given[kind]}"


def say_events(
    said: Say, response_id: str, index: int, item_id: str, *, spoken: bool
) -> Iterator[dict[str, Any]]:
    """Give the events of a message: aloud if *spoken*, else as text. The last one has the whole item."""
    where = {"response_id": response_id, "item_id": item_id, "output_index": index, "content_index": 0}
    item: dict[str, Any] = {"id": item_id, "object": "realtime.item", "type": "message", "role": "assistant"}
    began = {**item, "status": "in_progress", "content": []}
    yield {
        "type": "response.output_item.added",
        "response_id": response_id,
        "output_index": index,
        "item": began,
    }
    yield {"type": "conversation.item.added", "previous_item_id": None, "item": began}
    if spoken:
        part: dict[str, Any] = {"type": "output_audio", "transcript": said.text}
        yield {"type": "response.content_part.added", **where, "part": {"type": "audio", "transcript": ""}}
        yield {"type": "response.output_audio_transcript.delta", **where, "delta": said.text}
        yield {"type": "response.output_audio.delta", **where, "delta": _SILENCE}
        yield {"type": "response.output_audio.done", **where}
        yield {"type": "response.output_audio_transcript.done", **where, "transcript": said.text}
        yield {
            "type": "response.content_part.done",
            **where,
            "part": {"type": "audio", "transcript": said.text},
        }
    else:
        part = {"type": "output_text", "text": said.text}
        yield {"type": "response.content_part.added", **where, "part": {"type": "text", "text": ""}}
        yield {"type": "response.output_text.delta", **where, "delta": said.text}
        yield {"type": "response.output_text.done", **where, "text": said.text}
        yield {"type": "response.content_part.done", **where, "part": {"type": "text", "text": said.text}}
    done = {**item, "status": "completed", "content": [part]}
    yield {"type": "conversation.item.done", "previous_item_id": None, "item": done}
    yield {
        "type": "response.output_item.done",
        "response_id": response_id,
        "output_index": index,
        "item": done,
    }


def call_events(
    call: Call, response_id: str, index: int, item_id: str, call_id: str
) -> Iterator[dict[str, Any]]:
    """Give the events of a call of a tool. The last one has the whole item."""
    where = {"response_id": response_id, "item_id": item_id, "output_index": index, "call_id": call_id}
    item: dict[str, Any] = {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "name": call.name,
        "call_id": call_id,
    }
    began = {**item, "status": "in_progress", "arguments": ""}
    yield {
        "type": "response.output_item.added",
        "response_id": response_id,
        "output_index": index,
        "item": began,
    }
    yield {"type": "conversation.item.added", "previous_item_id": None, "item": began}
    yield {"type": "response.function_call_arguments.delta", **where, "delta": call.text}
    # As OpenAI does: sent for calls that were not finished, too.
    yield {
        "type": "response.function_call_arguments.done",
        **where,
        "name": call.name,
        "arguments": call.text,
    }
    done = {**item, "status": call.status, "arguments": call.text}
    yield {"type": "conversation.item.done", "previous_item_id": None, "item": done}
    yield {
        "type": "response.output_item.done",
        "response_id": response_id,
        "output_index": index,
        "item": done,
    }
