"""Agents of the OpenAI Agents SDK whose tools are a backend's functions. Needs the extra ``agents``.

The SDK sends a ``session.update`` when it connects, with defaults for model, voice and instructions. These
would override what the backend put into the client secret. ``read_backend_session`` reads the backend's
values, so that they can be passed to the SDK.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Literal, Unpack, cast, final
from urllib.parse import urlencode, urlsplit

from attrs import field, frozen

from navai_client._abandoned import BackgroundTasks
from navai_client._extras import needs_extra
from navai_client._redaction import Redactor, message_of, without_debug
from navai_client._threads import run_in_thread
from navai_client.client import NavaiBackendClient
from navai_client.config import SessionOptions
from navai_client.errors import (
    InvalidResponseError,
    NavaiConfigError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.integrations._prompt import decision, manner_of_speech, specialist_instructions
from navai_client.models import ClientSecret

with needs_extra("agents", "agents", "websockets"):
    from agents import FunctionTool, Handoff
    from agents.realtime import (
        RealtimeAgent,
        RealtimeModelConfig,
        RealtimeModelSendRawMessage,
        RealtimeSession,
        RealtimeSessionEvent,
        RealtimeSessionModelSettings,
    )
    from agents.tool_context import ToolContext
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus, WebSocketException

    from navai_client.integrations._results import nested
    from navai_client.integrations.realtime import filler_request, system_message
    from navai_client.integrations.runtime import NavaiRuntime, Specialist
    from navai_client.integrations.speech import Speaker
    from navai_client.integrations.tools import (
        EXECUTE_APP_FUNCTION,
        Tool,
        ToolCall,
        ToolOutcome,
        ToolProgress,
    )
    from navai_client.integrations.toolset import Client, Toolset

__all__ = [
    "BackendSession",
    "Specialist",
    "ToolRefresher",
    "build_navai_agent",
    "function_tools",
    "read_backend_session",
    "realtime_model_config",
    "speak_event",
    "tell_decisions",
]

_log: Final = logging.getLogger("navai_client")
_socket_log: Final = without_debug("navai_client")
_REALTIME_URL: Final = "wss://api.openai.com/v1/realtime"
_DEFAULT_NAME: Final = "Navai Voice Agent"
# The SDK's limit comes after the toolset's, because only the toolset can say what happened.
_MARGIN: Final = 10.0  # seconds
_AUDIO_SETTINGS: Final = {
    "input_audio_format": ("input", "format"),
    "input_audio_transcription": ("input", "transcription"),
    "input_audio_noise_reduction": ("input", "noise_reduction"),
    "turn_detection": ("input", "turn_detection"),
    "output_audio_format": ("output", "format"),
    "speed": ("output", "speed"),
}
# The session of the running task. Those that it starts inherit it, and so do the tasks of its tools.
_session: Final[ContextVar["RealtimeSession | None"]] = ContextVar("navai_session", default=None)
_SESSION_TIMEOUT: Final = 10.0  # seconds until the first event of a session


@frozen(kw_only=True)
class BackendSession:
    """The configuration that a backend puts into its client secrets.

    Attributes:
        model: The model, such as ``gpt-realtime-2.1``.
        voice: The voice, such as ``marin``; None if another provider synthesizes the speech.
        instructions: The backend's instructions, including those about language and accent.
        output_modalities: ``("audio",)``, or ``("text",)`` if another provider synthesizes the speech.
        speech_provider: As in ``ClientSecret``: with ``elevenlabs``, a ``Speaker`` speaks the texts.
        settings: The SDK's settings of formats, transcription, noise reduction, turn detection and speed, for
            which it has its own defaults. Comparisons ignore them.
    """

    model: str
    voice: str | None = None
    instructions: str | None = None
    output_modalities: tuple[Literal["text", "audio"], ...] = ("audio",)
    speech_provider: str = "openai"
    settings: Mapping[str, Any] = field(factory=dict, eq=False)


def function_tools(toolset: Toolset) -> list[FunctionTool]:
    """Return the tools of *toolset* for an agent of the SDK: a ``RealtimeAgent``, or an ``Agent``.

    Each call returns one JSON text to the model, even if it fails; it never raises into the session. A
    function that needs approval (``Toolset.load(approval=[...])``) has ``needs_approval``: the session emits
    ``tool_approval_required``, and runs it after ``session.approve_tool_call(call_id)``. A run of ``Runner``
    ends with ``interruptions``, and continues from its state.
    """
    return [_function_tool(toolset, tool) for tool in toolset.tools]


def build_navai_agent(
    toolset: Toolset,
    *,
    name: str | None = None,
    instructions: str | None = None,
    specialists: Sequence[Specialist] = (),
    runtime: NavaiRuntime | None = None,
    tools: Iterable[FunctionTool] = (),
) -> RealtimeAgent[Any]:
    """Return the agent of the JavaScript package: its tools, its instructions, specialists as handoffs.

    It has the current tools; a ``ToolRefresher`` keeps the tools of a session up to date.

    Args:
        toolset: Its tools. Warnings about a specialist's functions appear in ``toolset.warnings``.
        name: Its name; by default that of the *runtime*'s main agent, else ``Navai Voice Agent``.
        instructions: Who it is: the lines before those about its tools, such as those of the backend
            (``BackendSession.instructions``). Specialists get the backend's lines about language, accent and
            tone.
        specialists: Agents to hand over to, with the tools ``transfer_to_{name}``.
        runtime: A project folder, whose *toolset_options* the toolset was loaded with. Its main agent's name
            and instructions, and its specialists, are used. From *instructions*, only the lines about
            language, accent and tone are kept.
        tools: Additional tools of the SDK.

    Raises:
        NavaiConfigError: If two specialists, or a specialist and a tool, have the same tool name.
    """
    manner = manner_of_speech(instructions)
    if runtime is not None:
        specialists = (*runtime.specialists, *specialists)
        instructions = runtime.instructions(instructions)
        if name is None and runtime.primary_agent is not None:
            name = runtime.primary_agent.name
    agents = [_specialist(toolset, each, manner) for each in specialists]
    lines = [
        f"- {each.name}: "
        + (each.description or each.handoff_description or "Specialist agent available by delegation.")
        for each in specialists
    ]
    main: RealtimeAgent[Any] = RealtimeAgent(
        name=name or _DEFAULT_NAME,
        instructions=toolset.instructions(instructions, specialists=lines),
        tools=[*function_tools(toolset), *tools],
        handoffs=[*agents],
    )
    taken = {tool.name: f"the tool {tool.name}" for tool in main.tools}
    for agent in agents:
        handoff = Handoff.default_tool_name(agent)
        if handoff in taken:
            raise NavaiConfigError(
                f"{taken[handoff]} and the specialist {agent.name} are one tool to the model, {handoff}: "
                "give one of them another name."
            )
        taken[handoff] = f"the specialist {agent.name}"
    for each, agent in zip(specialists, agents, strict=True):
        if each.hands_back:
            agent.handoffs.append(main)
    return main


@final
class ToolRefresher:
    """Lists the backend's functions from time to time, and gives the active agent the new tools.

    ::

        def build() -> RealtimeAgent[Any]:
            return build_navai_agent(toolset, instructions=instructions, specialists=[food])

        session = await RealtimeRunner(build()).run(model_config=config)
        refresher = ToolRefresher(toolset, session, build)
        async with session:
            async for event in session:
                refresher.receive(event)

    It lists at most once in *every* seconds, in the background, and updates the session only after a change.

    Args:
        toolset: The toolset of the agents.
        session: The session whose events ``receive`` gets.
        build: Returns the main agent with its specialists, with the current tools.
        every: Seconds between two lists. If the list did not change, it costs the backend little
            (``If-None-Match``).
    """

    def __init__(
        self,
        toolset: Toolset,
        session: RealtimeSession,
        build: Callable[[], RealtimeAgent[Any]],
        *,
        every: float = 60.0,
    ) -> None:
        self._toolset = toolset
        self._session = session
        self._build = build
        self._every = every
        self._due = asyncio.get_running_loop().time() + every
        self._active: str | None = None  # the name of the specialist that took over
        self._tasks = BackgroundTasks(_log)

    def receive(self, event: Any) -> None:
        """Note which agent is active, and start a refresh if one is due.

        Args:
            event: An event of the session.
        """
        if event.type == "handoff":
            self._active = event.to_agent.name
        now = asyncio.get_running_loop().time()
        if now >= self._due:
            self._due = now + self._every
            self._tasks.start(self._refresh(), "refresh")

    async def _refresh(self) -> None:
        if not await self._toolset.refresh():
            return
        agents = _with_handoffs(self._build())
        await self._session.update_agent(
            next((each for each in agents if each.name == self._active), agents[0])
        )


def tell_decisions(session: RealtimeSession) -> None:
    """Let a message tell the model of *session* the outcome of calls that wait for approval.

    The model also learns the progress of long calls, and says what the function reports or declares
    (``say_while_waiting``).

    ::

        session = await RealtimeRunner(agent).run(model_config=config)
        tell_decisions(session)
        async with session:
            ...

    Call it before ``async with session``, in the same task, because the session's tools find it in this way.

    Args:
        session: A session that was not entered yet.
    """
    _session.set(session)


async def read_backend_session(
    client: Client,
    *,
    url: str = _REALTIME_URL,
    **secret: Unpack[SessionOptions],
) -> BackendSession:
    """Read the configuration in the backend's client secrets. It is valid until the backend's changes.

    Some backends send it with the secret. If the backend does not, or leaves out the instructions, this opens
    a session with the secret, reads the configuration, and closes the session: one connection, no tokens.

    Args:
        client: The backend's client, sync or async.
        url: The URL of Realtime sessions.
        secret: Options of ``create_client_secret``.

    Raises:
        NavaiError: If no secret can be created, or the session cannot be opened and read within 10 seconds.
    """
    made = await _mint(client, secret)
    if made.session is not None and isinstance(made.session.get("instructions"), str):
        return _session_in({"session": made.session}, made.speech_provider)
    value = made.value
    address = f"{url}?{urlencode({'model': secret['model']})}" if secret.get("model") else url
    try:
        async with asyncio.timeout(_SESSION_TIMEOUT):
            headers = {"Authorization": f"Bearer {value}"}
            async with connect(address, additional_headers=headers, logger=_socket_log) as socket:
                created = json.loads(await socket.recv())
    except InvalidStatus as error:
        status, body = error.response.status_code, (error.response.body or b"").decode("utf-8", "replace")
        text = f"The Realtime session was refused: HTTP {status} {Redactor((value,)).error(body)}".rstrip()
        raise NavaiHTTPError(text, status_code=status, body=body) from None
    except TimeoutError:
        raise NavaiTimeoutError(
            "The Realtime session could not be read in time.", may_have_executed=False
        ) from None
    except (OSError, WebSocketException, ValueError) as error:
        reason = Redactor((value,)).error(message_of(error))
        text = f"The Realtime session at {urlsplit(url).netloc} could not be read: {reason}"
        raise NavaiTransportError(text, may_have_executed=False) from None
    return _session_in(created, made.speech_provider)


def realtime_model_config(
    client: Client,
    session: BackendSession,
    *,
    url: str | None = None,
    settings: RealtimeSessionModelSettings | None = None,
    **secret: Unpack[SessionOptions],
) -> RealtimeModelConfig:
    """Return the ``model_config`` of ``RealtimeRunner.run``, with a new client secret for each connection.

    Args:
        client: The backend's client, sync or async. Keep it open until the session connects.
        session: The values that the SDK should keep, from ``read_backend_session`` or from your
            configuration.
        url: The URL to connect to instead of OpenAI's, without ``?model=``.
        settings: More settings of the SDK, which take precedence over *session*.
        secret: Options of ``create_client_secret``.
    """

    async def api_key() -> str:
        return (await _mint(client, secret)).value

    known: RealtimeSessionModelSettings = {
        **cast("RealtimeSessionModelSettings", session.settings),
        "model_name": session.model,
        "output_modalities": list(session.output_modalities),
    }
    if session.voice is not None:
        known["voice"] = session.voice
    known.update(settings or {})
    config: RealtimeModelConfig = {"api_key": api_key, "initial_model_settings": known}
    if url is not None:
        config["url"] = f"{url}?{urlencode({'model': known['model_name']})}"
    return config


def speak_event(speaker: Speaker, event: RealtimeSessionEvent) -> None:
    """Let *speaker* speak the texts of a session that returns text (``speech_provider`` is ``elevenlabs``).

    ::

        async with Speaker(client, play, output_format="pcm_24000") as speaker:
            async for event in session:
                speak_event(speaker, event)

    The SDK reports no interruption after the end of a response: after ``session.interrupt()``, call
    ``speaker.interrupt()``.

    Args:
        speaker: The speaker of this session.
        event: An event of the session. Events that are not about speech are ignored.
    """
    if event.type == "raw_model_event" and event.data.type == "raw_server_event":
        speaker.receive(event.data.data)


def _function_tool(toolset: Toolset, tool: Tool) -> FunctionTool:
    async def invoke(context: ToolContext[Any], arguments: str) -> str:
        # Every context of a session has its usage, and no other session's has it.
        session, call_id = context.usage, context.tool_call_id
        approve = _approved if tool.approval else None
        told = _session.get()
        outcome = await toolset.call(
            tool.name,
            arguments,
            call_id=call_id,
            session=session,
            approve=approve,
            decided=None if told is None else partial(_tell, told),
            say=None if told is None else partial(_say, told),
            tell=None if told is None else partial(_note, told),
        )
        return outcome.to_json()

    # The SDK's limit is for a call that was approved; the toolset's own approval, and the wait for other
    # calls, come within it.
    asks = tool.approval and toolset.approve is not None
    limit = None if tool.timeout is None or asks or not tool.parallel else tool.timeout + _MARGIN

    return FunctionTool(
        name=tool.name,
        description=tool.description,
        params_json_schema=tool.parameters,
        on_invoke_tool=invoke,
        strict_json_schema=False,  # strict requires every parameter and refuses open objects
        needs_approval=tool.approval and not asks,
        timeout_seconds=limit,
    )


async def _tell(session: RealtimeSession, call: ToolCall, outcome: ToolOutcome) -> None:
    await session.send_message(decision(call, outcome))


async def _say(session: RealtimeSession, text: str) -> None:
    await _send(session, filler_request(text))


async def _note(session: RealtimeSession, progress: ToolProgress) -> None:
    await _send(session, system_message(progress.as_text()))
    if progress.aloud and progress.message is not None:
        await _say(session, progress.message)


async def _send(session: RealtimeSession, event: dict[str, Any]) -> None:
    other_data = {name: value for name, value in event.items() if name != "type"}
    await session.model.send_event(
        RealtimeModelSendRawMessage(message={"type": event["type"], "other_data": other_data})
    )


def _approved(_: ToolCall) -> bool:
    """The SDK has asked: it runs a tool with ``needs_approval`` after the approval alone."""
    return True


def _with_handoffs(main: RealtimeAgent[Any]) -> list[RealtimeAgent[Any]]:
    return [main, *(each for each in main.handoffs if isinstance(each, RealtimeAgent))]


def _specialist(toolset: Toolset, given: Specialist, manner: Sequence[str]) -> RealtimeAgent[Any]:
    own = toolset.derive(
        given.name, functions=given.functions, only=given.only, direct_tools=given.direct_tools, navigate=None
    )
    default = f"You are the {given.name} specialist agent for this web app."
    base = default if given.instructions is None else given.instructions
    handoff = given.handoff_description or given.description or f"Delegate specialist work to {given.name}."
    return RealtimeAgent(
        name=given.name,
        handoff_description=handoff,
        instructions=specialist_instructions(
            base,
            functions=own.function_lines,
            manner=manner,
            generic=any(tool.name == EXECUTE_APP_FUNCTION for tool in own.tools),
        ),
        tools=[*function_tools(own)],
    )


async def _mint(client: Client, secret: SessionOptions) -> ClientSecret:
    if isinstance(client, NavaiBackendClient):
        return await run_in_thread(partial(client.create_client_secret, **secret))
    return await client.create_client_secret(**secret)


def _session_in(event: Any, speech_provider: str) -> BackendSession:
    """Return the configuration in a ``session.created`` event."""
    session = nested(event, "session")
    model = nested(session, "model")
    voice = nested(session, "audio", "output", "voice")
    instructions = nested(session, "instructions")
    if not isinstance(model, str):
        raise InvalidResponseError("The Realtime session did not report its model.")
    return BackendSession(
        model=model,
        voice=voice if isinstance(voice, str) else None,
        instructions=instructions if isinstance(instructions, str) else None,
        output_modalities=("text",) if nested(session, "output_modalities") == ["text"] else ("audio",),
        speech_provider=speech_provider,
        settings=_audio_settings(session),
    )


def _audio_settings(session: Any) -> dict[str, Any]:
    """Return the SDK's settings for what a session reports. Null says something of turn detection alone."""
    found = {setting: nested(session, "audio", *path) for setting, path in _AUDIO_SETTINGS.items()}
    known = {setting: value for setting, value in found.items() if value is not None}
    audio_input = nested(session, "audio", "input")
    if isinstance(audio_input, Mapping) and audio_input.get("turn_detection", True) is None:
        known["turn_detection"] = None
    return known
