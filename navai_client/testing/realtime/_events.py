"""The events that the fake Realtime API sends when its model speaks or calls a tool. Pure.

Their form is that of OpenAI's published types; tests validate each against the ``openai`` package.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from navai_client.testing.realtime._script import Call, Say

Event = dict[str, Any]

_SILENCE: Final = base64.b64encode(bytes(480)).decode()  # 10 ms of PCM at 24 kHz

DEFAULT_SESSION: Final[dict[str, Any]] = {
    "type": "realtime",
    "object": "realtime.session",
    "output_modalities": ["audio"],
    "tools": [],
    "tool_choice": "auto",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "turn_detection": {"type": "server_vad", "create_response": True, "interrupt_response": True},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"},
    },
}


def response_of(response_id: str, status: str, **more: Any) -> dict[str, Any]:
    """Return the response in ``response.created`` and ``response.done``."""
    return {"id": response_id, "object": "realtime.response", "status": status, "output": [], **more}


def say_events(said: Say, response_id: str, index: int, item_id: str, *, spoken: bool) -> Iterator[Event]:
    """Yield the events of a message: as audio if *spoken*, else as text. The last one has the whole item."""
    item: Event = {"id": item_id, "object": "realtime.item", "type": "message", "role": "assistant"}
    where: Event = {"response_id": response_id, "item_id": item_id, "output_index": index, "content_index": 0}
    if spoken:
        part: Event = {"type": "audio", "transcript": said.text}
        empty: Event = {"type": "audio", "transcript": ""}
        content: Event = {"type": "output_audio", "transcript": said.text}
        inner: list[Event] = [
            {"type": "response.output_audio_transcript.delta", **where, "delta": said.text},
            {"type": "response.output_audio.delta", **where, "delta": _SILENCE},
            {"type": "response.output_audio.done", **where},
            {"type": "response.output_audio_transcript.done", **where, "transcript": said.text},
        ]
    else:
        part = {"type": "text", "text": said.text}
        empty = {"type": "text", "text": ""}
        content = {"type": "output_text", "text": said.text}
        inner = [
            *({"type": "response.output_text.delta", **where, "delta": word} for word in _words(said.text)),
            {"type": "response.output_text.done", **where, "text": said.text},
        ]
    inner = [
        {"type": "response.content_part.added", **where, "part": empty},
        *inner,
        {"type": "response.content_part.done", **where, "part": part},
    ]
    began = {**item, "status": "in_progress", "content": []}
    done = {**item, "status": "completed", "content": [content]}
    yield from _item_events(response_id, index, began, inner, done)


def _words(text: str) -> list[str]:
    """Return the deltas of *text*: a model writes in parts of about a word."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text) or [text]


def call_events(call: Call, response_id: str, index: int, item_id: str, call_id: str) -> Iterator[Event]:
    """Yield the events of a tool call. The last one has the whole item."""
    item: Event = {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "name": call.name,
        "call_id": call_id,
    }
    where = {"response_id": response_id, "item_id": item_id, "output_index": index, "call_id": call_id}
    kind = "response.function_call_arguments"
    inner: list[Event] = [
        {"type": f"{kind}.delta", **where, "delta": call.text},
        # OpenAI sends this for unfinished calls, too.
        {"type": f"{kind}.done", **where, "name": call.name, "arguments": call.text},
    ]
    began = {**item, "status": "in_progress", "arguments": ""}
    done = {**item, "status": call.status, "arguments": call.text}
    yield from _item_events(response_id, index, began, inner, done)


def _item_events(
    response_id: str, index: int, began: Event, inner: Iterable[Event], done: Event
) -> Iterator[Event]:
    where = {"response_id": response_id, "output_index": index}
    yield {"type": "response.output_item.added", **where, "item": began}
    yield {"type": "conversation.item.added", "previous_item_id": None, "item": began}
    yield from inner
    yield {"type": "conversation.item.done", "previous_item_id": None, "item": done}
    yield {"type": "response.output_item.done", **where, "item": done}
