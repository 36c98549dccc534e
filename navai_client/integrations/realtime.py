"""Tools in an OpenAI Realtime session without a framework, for applications that own the WebSocket.

``RealtimeTools`` is the protocol without I/O: it takes events and returns the calls to run and the events to
send. ``RealtimeToolRunner`` runs these calls with a toolset and sends the events.
"""

import asyncio
import itertools
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol, Self, final

import attrs
from attrs import field, frozen

from navai_client._abandoned import BackgroundTasks
from navai_client.functions._tool_schemas import openai_tool
from navai_client.integrations._prompt import decision, filler
from navai_client.integrations._results import compact, nested
from navai_client.integrations.tools import Tool, ToolCall, ToolOutcome, ToolProgress
from navai_client.integrations.toolset import Toolset

__all__ = ["FunctionCall", "RealtimeStep", "RealtimeToolRunner", "RealtimeTools", "session_update"]

_ACTIVE_RESPONSE: Final = "conversation_already_has_active_response"
_UNKNOWN_RESPONSE: Final = ""  # active according to the server, but its response.created was not seen
_OUR_EVENTS: Final = "navai_response_"
_OUR_FILLERS: Final = "navai_filler_"
_MAX_SEEN: Final = 1000  # calls remembered, because a server may send an event again; a turn has a few
_log: Final = logging.getLogger("navai_client")


class _EventObject(Protocol):
    """An event of the openai package."""

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON types."""
        ...


Event = Mapping[str, Any] | str | bytes | _EventObject


def session_update(tools: Iterable[Tool], **session: Any) -> dict[str, Any]:
    """Return the ``session.update`` that gives a session *tools* and keeps what the backend configured.

    Args:
        tools: Such as ``toolset.tools``.
        session: Other fields of the session to set, such as ``instructions``.
    """
    described = [openai_tool(tool.name, tool.description, tool.parameters) for tool in tools]
    return {"type": "session.update", "session": {"type": "realtime", **session, "tools": described}}


@frozen(kw_only=True)
class FunctionCall:
    """One complete call that a model made.

    Attributes:
        call_id: The id under which its result is returned.
        name: The tool.
        arguments: JSON text.
        response_id: The response that contains it.
    """

    call_id: str
    name: str
    arguments: str
    response_id: str


@frozen(kw_only=True)
class RealtimeStep:
    """What to do next.

    Attributes:
        calls: Calls to run concurrently.
        send: Events to send, in this order.
    """

    calls: tuple[FunctionCall, ...] = ()
    send: tuple[dict[str, Any], ...] = ()


@attrs.define(eq=False)
class _Batch:
    """The calls of one response."""

    open: set[str] = field(factory=set)
    done: bool = False
    filler: str | None = None  # what to say while they run


@final
class RealtimeTools:
    """The tool calls of one Realtime session.

    Calls come only from ``response.output_item.done`` with status ``completed``: an incomplete call is never
    run. Each call of a response is run once; a later response may use its id again.

    When every call of a response has its output and the response is done, one ``response.create`` follows,
    but not while another response is active or the person speaks. After an interruption, it is the person's
    turn. The request then waits until that turn has had its response, and is dropped if that response has
    read the outputs.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()  # of response, item and call
        self._batches: dict[str, _Batch] = {}
        self._active: set[str] = set()  # responses that were created and are not done
        self._response_wanted = False  # whether there are outputs that no response has read
        self._response_requested = False  # whether the server has yet to react to our response.create
        self._count = itertools.count(1)
        self._speaking = False
        self._interrupted = False  # whether a response was cancelled, and none was created since
        self._server_responds_to_speech = True

    def receive(self, event: Event) -> RealtimeStep:
        """Process one event of the server and return what to do.

        Events that do not concern tools are ignored. Texts that are not events are ignored and logged.

        Args:
            event: JSON text, a mapping, or an object of the openai package.

        Raises:
            TypeError: It is none of these.
        """
        received = parsed(event)
        calls: tuple[FunctionCall, ...] = ()
        match received.get("type"):
            case "response.output_item.done":
                calls = self._item(received)
            case "response.created":
                self._active.add(_response_id(received))
                self._response_requested = False
                if nested(received, "response", "metadata", "navai") != "filler":
                    self._response_wanted = False  # it reads every output that was sent before
                    self._interrupted = False
            case "response.done":
                self._response_done(received)
            case "input_audio_buffer.speech_started":
                self._speaking = True
            case "input_audio_buffer.speech_stopped":
                self._speaking = False
                if self._server_responds_to_speech:
                    self._response_wanted = False  # its response reads every output that was sent before
                else:
                    self._interrupted = False
            case "session.created" | "session.updated":
                self._session(received)
            case "error":
                self._error(received)
        return RealtimeStep(calls=calls, send=self._create())

    def answer(self, call: FunctionCall, output: str) -> RealtimeStep:
        """Process the output of *call* and return what to send. A second output is ignored.

        Args:
            call: A call that ``receive`` returned.
            output: The text for the model, usually ``ToolOutcome.to_json()``.
        """
        batch = self._batches.get(call.response_id)
        if batch is None or call.call_id not in batch.open:
            return RealtimeStep()
        batch.open.remove(call.call_id)
        self._finish(call.response_id, batch)
        item = {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": call.call_id, "output": output},
        }
        return RealtimeStep(send=(item, *self._create()))

    def say(self, call: FunctionCall, text: str) -> RealtimeStep:
        """Let the model say *text* to the person while *call* runs, and return what to send.

        The request waits, as after calls, and is dropped once all calls of the response have their outputs.
        """
        batch = self._batches.get(call.response_id)
        if batch is not None and call.call_id in batch.open:
            batch.filler = text
        return RealtimeStep(send=self._create())

    def tell(self, text: str) -> RealtimeStep:
        """Tell the model *text*, and return what to send: a system message, and a request to respond.

        The request waits, as after calls, while another response is active or the person speaks.
        """
        self._response_wanted = True
        return RealtimeStep(send=(system_message(text), *self._create()))

    def note(self, call: FunctionCall, progress: ToolProgress) -> RealtimeStep:
        """Let the model know how *call* stands, and return what to send: a system message.

        If the person is to hear it (``progress.aloud``) and nobody speaks, the model says it, too.
        """
        batch = self._batches.get(call.response_id)
        if batch is None or call.call_id not in batch.open:
            return RealtimeStep()
        if progress.aloud and not self._is_others_turn:
            batch.filler = progress.message
        return RealtimeStep(send=(system_message(progress.as_text()), *self._create()))

    def _item(self, event: Mapping[str, Any]) -> tuple[FunctionCall, ...]:
        item = event.get("item")
        if not isinstance(item, Mapping) or item.get("type") != "function_call":
            return ()
        if item.get("status") != "completed":
            return ()
        call_id, name, arguments = item.get("call_id"), item.get("name"), item.get("arguments")
        if not isinstance(call_id, str) or not call_id or not isinstance(name, str):
            _log.warning("Ignored a function call without an id or a name.")
            return ()
        response = str(event.get("response_id", ""))
        identity = response, str(item.get("id", "")), call_id
        if identity in self._seen:
            return ()
        self._seen[identity] = None
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        self._batches.setdefault(response, _Batch()).open.add(call_id)
        text = arguments if isinstance(arguments, str) else ""
        return (FunctionCall(call_id=call_id, name=name, arguments=text, response_id=response),)

    def _response_done(self, event: Mapping[str, Any]) -> None:
        response = _response_id(event)
        self._active -= {response, _UNKNOWN_RESPONSE}
        self._interrupted = nested(event, "response", "status") == "cancelled"
        batch = self._batches.get(response)
        if batch is not None:
            batch.done = True
            self._finish(response, batch)

    def _finish(self, response: str, batch: _Batch) -> None:
        if batch.done and not batch.open:
            del self._batches[response]
            self._response_wanted = True

    def _session(self, event: Mapping[str, Any]) -> None:
        """Note whether the server responds to a person's speech by itself."""
        source = nested(event, "session", "audio", "input")
        if isinstance(source, Mapping) and "turn_detection" in source:
            detection = source["turn_detection"]
            self._server_responds_to_speech = (
                isinstance(detection, Mapping) and detection.get("create_response") is not False
            )

    def _error(self, event: Mapping[str, Any]) -> None:
        event_id = str(nested(event, "error", "event_id"))
        if not event_id.startswith((_OUR_EVENTS, _OUR_FILLERS)):
            return
        self._response_requested = False
        if event_id.startswith(_OUR_EVENTS) and nested(event, "error", "code") == _ACTIVE_RESPONSE:
            self._response_wanted = True  # that response may not have read our outputs: try again after it
            self._active = self._active or {_UNKNOWN_RESPONSE}

    @property
    def _is_others_turn(self) -> bool:
        return bool(self._active) or self._speaking or self._interrupted

    def _create(self) -> tuple[dict[str, Any], ...]:
        if self._response_requested or self._is_others_turn:
            return ()
        if self._response_wanted:
            self._response_wanted = False
            self._response_requested = True
            return ({"type": "response.create", "event_id": f"{_OUR_EVENTS}{next(self._count)}"},)
        for batch in self._batches.values():
            if batch.filler is not None:
                text, batch.filler = batch.filler, None
                self._response_requested = True
                return (filler_request(text, event_id=f"{_OUR_FILLERS}{next(self._count)}"),)
        return ()


def system_message(text: str) -> dict[str, Any]:
    """Return the event that adds *text* to the conversation, as a system message."""
    content = [{"type": "input_text", "text": text}]
    return {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "system", "content": content},
    }


def filler_request(text: str, **fields: Any) -> dict[str, Any]:
    """Return the event that requests a response which tells the person *text* and calls no tool."""
    response = {"instructions": filler(text), "tool_choice": "none", "metadata": {"navai": "filler"}}
    return {"type": "response.create", **fields, "response": response}


def parsed(event: Event) -> Mapping[str, Any]:
    """Return *event* as a mapping, which is empty if it is not an event."""
    found: Any = event
    if isinstance(event, str | bytes | bytearray):
        try:
            found = json.loads(event)
        except (ValueError, RecursionError):
            found = None
    elif hasattr(event, "to_dict"):
        found = event.to_dict()
    elif not isinstance(event, Mapping):
        raise TypeError(
            f"A Realtime event is JSON text, a mapping or an object; this is {type(event).__name__}."
        )
    if isinstance(found, Mapping):
        return found
    _log.warning("Ignored something that is not a Realtime event.")
    return {}


def _response_id(event: Mapping[str, Any]) -> str:
    return str(nested(event, "response", "id") or "")


@final
class RealtimeToolRunner:
    """Runs the tool calls of one Realtime session with a toolset, those of one response concurrently.

    ::

        async with RealtimeToolRunner(toolset, socket.send) as runner:
            async for message in socket:
                await runner.receive(message)

    It is an async context manager. When it exits, calls that have begun run to their end in the toolset, but
    nothing more is sent.

    Args:
        toolset: The tools that the model may call.
        send: Sends one event, such as the ``send`` of a WebSocket.
        as_text: Whether *send* takes JSON text. False for a connection that encodes events itself, such as
            that of the openai package: it gets dicts.
    """

    def __init__(
        self, toolset: Toolset, send: Callable[[Any], Awaitable[Any]], *, as_text: bool = True
    ) -> None:
        self.tools: RealtimeTools = RealtimeTools()
        self._toolset = toolset
        self._send: Callable[[dict[str, Any]], Awaitable[Any]] = send
        if as_text:
            self._send = lambda event: send(compact(event))
        self._as_text = as_text
        self._calls = BackgroundTasks(_log)
        self._sending = asyncio.Lock()

    async def offer(self, **session: Any) -> None:
        """Send the ``session.update`` with the toolset's tools: at the start, and after each ``refresh()``.

        Args:
            session: As for ``session_update``.
        """
        await self._send_all((session_update(self._toolset.tools, **session),))

    async def receive(self, event: Event) -> None:
        """Process one event of the server; calls run in the background.

        Args:
            event: As for ``RealtimeTools.receive``.

        Raises:
            TypeError: It is not an event, or it is an object although *send* takes text.
        """
        if self._as_text and hasattr(event, "to_dict"):
            raise TypeError(
                "This connection receives objects, and so it encodes what it sends: make the runner with "
                "RealtimeToolRunner(toolset, connection.send, as_text=False)."
            )
        step = self.tools.receive(event)
        for call in step.calls:
            self._calls.start(self._run(call), call.name)
        await self._send_all(step.send)

    async def close(self) -> None:
        """Stop waiting for the calls that run. Can be called more than once."""
        await self._calls.close(0)

    async def _run(self, call: FunctionCall) -> None:
        outcome = await self._toolset.call(
            call.name,
            call.arguments,
            call_id=call.call_id,
            session=self,
            decided=self._tell,
            say=partial(self._say, call),
            tell=partial(self._note, call),
        )
        try:
            # Under the lock, so that no response.create overtakes the outputs that it is about.
            async with self._sending:
                for event in self.tools.answer(call, outcome.to_json()).send:
                    await self._send(event)
        # The boundary to the socket: the caller of receive() finds out that the connection is closed.
        except Exception as error:  # noqa: BLE001
            _log.warning("The result of %s could not be sent: %s", call.name, type(error).__name__)

    async def _tell(self, call: ToolCall, outcome: ToolOutcome) -> None:
        async with self._sending:
            for event in self.tools.tell(decision(call, outcome)).send:
                await self._send(event)

    async def _say(self, call: FunctionCall, text: str) -> None:
        async with self._sending:
            for event in self.tools.say(call, text).send:
                await self._send(event)

    async def _note(self, call: FunctionCall, progress: ToolProgress) -> None:
        async with self._sending:
            for event in self.tools.note(call, progress).send:
                await self._send(event)

    async def _send_all(self, events: Iterable[dict[str, Any]]) -> None:
        async with self._sending:
            for event in events:
                await self._send(event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
