"""A backend's functions as tools of LiveKit Agents, and its voice. Needs the extra ``livekit``.

LiveKit does not cancel a running tool when a person interrupts the agent. When the agent or the session ends,
it cancels those that only read, and waits for the others.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self, Unpack, final
from weakref import WeakSet

from navai_client._extras import needs_extra
from navai_client.client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.config import SpeechOptions
from navai_client.errors import NavaiConfigError, NavaiStateError
from navai_client.models import SpeechAudio

if TYPE_CHECKING:
    from livekit.agents.voice import SpeechHandle

with needs_extra("livekit", "livekit"):
    from livekit.agents import (
        Agent,
        AgentTask,
        APIError,
        RunContext,
        ToolError,
        function_tool,
        llm,
        tts,
        utils,
    )
    from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions

    from navai_client.integrations._options import Approve, complete
    from navai_client.integrations._prompt import approval_question, decision
    from navai_client.integrations.speech import Speaker
    from navai_client.integrations.tools import Tool, ToolCall, ToolOutcome, ToolProgress, ToolsetChanges
    from navai_client.integrations.toolset import Client, Toolset, ToolsetOptions

__all__ = ["NavaiTTS", "NavaiToolset"]


@final
class NavaiToolset(llm.Toolset):
    """The tools of a Navai backend, for the ``tools`` of an ``Agent`` or of an ``AgentSession``.

    LiveKit calls ``setup()`` when an agent starts, which lists the backend's functions, and ``aclose()`` at
    its end, which lets calls that have begun finish. If the backend fails, the agent has no functions, and
    ``toolset.warnings`` say why.

    Args:
        given: The backend's client, or a loaded ``Toolset``; you close them yourself. Or a callable that
            creates a client, such as the class ``AsyncNavaiBackendClient``: ``setup()`` calls it, and
            ``aclose()`` closes the client.
        id: LiveKit's id for these tools.
        filler: What the agent says during a long call, once for all calls of a turn, if the function declares
            no ``say_while_waiting``.
        filler_after: Seconds of silence before the agent says it.
        options: The same as for ``Toolset.load``; not allowed with a ``Toolset``.

    Raises:
        NavaiConfigError: If an option cannot work.
    """

    def __init__(
        self,
        given: AsyncNavaiBackendClient
        | NavaiBackendClient
        | Toolset
        | Callable[[], AsyncNavaiBackendClient] = AsyncNavaiBackendClient,
        *,
        id: str = "navai",  # noqa: A002 - LiveKit's name for it
        filler: str | None = None,
        filler_after: float = 2.0,
        **options: Unpack[ToolsetOptions],
    ) -> None:
        super().__init__(id=id)
        if isinstance(given, Toolset) and options:
            raise NavaiConfigError(
                f"Pass {', '.join(sorted(options))} to Toolset.load: a Toolset brings its own options."
            )
        self._given = given
        self._filler = filler
        self._filler_after = filler_after
        self._options = complete(options)  # checked here, because LiveKit only logs what setup() raises
        self._own_client: AsyncNavaiBackendClient | None = None
        self._toolset: Toolset | None = None
        self._offered: dict[Tool, llm.Tool] = {}
        self._filled: WeakSet[SpeechHandle] = WeakSet()  # turns in which the filler was said

    @property
    def toolset(self) -> Toolset:
        """The toolset that runs the calls, for its ``warnings`` and ``instructions()``.

        Raises:
            NavaiStateError: Before ``setup()`` and after ``aclose()``.
        """
        if self._toolset is None:
            raise NavaiStateError(
                "The tools exist from the start of the agent to its end: between setup() and aclose()."
            )
        return self._toolset

    async def setup(self) -> Self:
        """List the backend's functions, unless that was done."""
        if self._toolset is None:
            self._toolset = await self._load()
            self._offer(self._toolset.tools)
        return self

    async def aclose(self) -> None:
        """Let calls that have begun finish, and close what ``setup()`` created. You can set it up again."""
        toolset, self._toolset = self._toolset, None
        client, self._own_client = self._own_client, None
        self._offer(())
        if toolset is not None and toolset is not self._given:
            await toolset.close()
        if client is not None:
            await client.close()

    async def refresh(self, agent: Agent) -> ToolsetChanges:
        """List the backend's functions again, offer them, and return what changed.

        Args:
            agent: The running agent, whose model gets the new tools during the session.

        Raises:
            NavaiStateError: Before ``setup()`` and after ``aclose()``.
        """
        changes = await self.toolset.refresh()
        if changes:
            self._offer(self.toolset.tools)
            await agent.update_tools(agent.tools)
        return changes

    async def _load(self) -> Toolset:
        if isinstance(self._given, Toolset):
            return self._given
        if isinstance(self._given, AsyncNavaiBackendClient | NavaiBackendClient):
            return await Toolset.load(self._given, **self._options)
        self._own_client = self._given()
        return await Toolset.load(self._own_client, **self._options)

    def _offer(self, tools: Iterable[Tool]) -> None:
        """Make LiveKit's tools of *tools*; tools that did not change stay the same objects."""
        known = self._offered
        self._offered = {tool: known.get(tool) or self._function_tool(tool) for tool in tools}
        self._tools = list(self._offered.values())

    def _function_tool(self, tool: Tool) -> llm.Tool:
        # LiveKit injects the context by its annotation, and does not recognize RunContext | None.
        async def call(
            raw_arguments: dict[str, object],
            context: RunContext[Any] = None,  # type: ignore[assignment]
        ) -> str:
            outcome = await self._call(tool, raw_arguments, context)
            if not outcome.ok:
                raise ToolError(outcome.to_json())
            return outcome.to_json()

        # Providers refuse a schema with other keys (livekit/agents#3210).
        schema = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        # What is cancellable, the model can cancel, and LiveKit does not wait for at the end of an agent.
        may_cancel = tool.read_only and not tool.approval
        flags = llm.ToolFlag.CANCELLABLE if may_cancel else llm.ToolFlag.NONE
        return function_tool(call, raw_schema=schema, flags=flags)

    async def _call(
        self, tool: Tool, arguments: dict[str, object], context: RunContext[Any] | None
    ) -> ToolOutcome:
        if context is None:  # called without a session, for example by a test
            return await self.toolset.call(tool.name, arguments)
        if tool.approval and self.toolset.approve is None:
            return await self._call_with_approval(tool, arguments, context)
        async with self._filling(tool, context):
            return await self._call_toolset(tool, arguments, context)

    async def _call_toolset(
        self,
        tool: Tool,
        arguments: dict[str, object],
        context: RunContext[Any],
        approve: Approve | None = None,
    ) -> ToolOutcome:
        call_id = context.function_call.call_id
        session = context.session

        def decided(call: ToolCall, outcome: ToolOutcome) -> None:
            session.generate_reply(instructions=decision(call, outcome))

        async def tell(progress: ToolProgress) -> None:
            turn = context.speech_handle
            if progress.aloud:
                self._filled.add(turn)
            elif self._filler_of(tool) is not None and turn not in self._filled:
                return  # an update would put off the filler, which is due
            await context.update(progress.as_text(), silent=not progress.aloud)

        return await self.toolset.call(
            tool.name,
            arguments,
            call_id=call_id,
            session=session,
            approve=approve,
            decided=decided,
            say=_by_the_filler,
            tell=tell,
        )

    async def _call_with_approval(
        self, tool: Tool, arguments: dict[str, object], context: RunContext[Any]
    ) -> ToolOutcome:
        """Make the call in a task of its own: LiveKit lets a tool ask only in the task that it started."""
        asked: asyncio.Future[ToolCall] = asyncio.get_running_loop().create_future()
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def approve(call: ToolCall) -> bool:
            asked.set_result(call)
            return await answer

        calling = asyncio.create_task(self._call_toolset(tool, arguments, context, approve))
        try:
            await asyncio.wait((calling, asked), return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                async with context.foreground():
                    answer.set_result(await _Approval(asked.result()))
            async with self._filling(tool, context):
                return await calling
        finally:
            calling.cancel()  # if this task was; a call that has begun goes on in the toolset

    def _filler_of(self, tool: Tool) -> str | None:
        return tool.say_while_waiting or self._filler

    def _filling(self, tool: Tool, context: RunContext[Any]) -> contextlib.AbstractAsyncContextManager[None]:
        """Say the filler while a call takes long: once for all calls of a turn."""
        filler, turn = self._filler_of(tool), context.speech_handle
        if filler is None:
            return contextlib.nullcontext()

        def once(_: int) -> str | None:
            if turn in self._filled:
                return None
            self._filled.add(turn)
            return filler

        return context.with_filler(once, delay=tool.silence(self._filler_after))


def _by_the_filler(_: str) -> None:
    """LiveKit says what a function declares, once nobody has spoken for a while."""


class _Approval(AgentTask[bool]):
    """Asks the person in the session whether a call may run, and ends with the answer."""

    def __init__(self, call: ToolCall) -> None:
        super().__init__(
            instructions=f"{approval_question(call)} Ask the person, in their language. When they have "
            "answered, call decide. Do nothing else.",
            tools=[function_tool(self.decide)],
        )
        self._turns = 0

    async def on_enter(self) -> None:
        self._turns = self._user_turns()
        self.session.generate_reply(tool_choice="none")

    def _user_turns(self) -> int:
        items = self.session.history.items
        return sum(isinstance(each, llm.ChatMessage) and each.role == "user" for each in items)

    async def decide(self, approved: bool) -> str | None:
        """Report what the person decided.

        Args:
            approved: Whether the person clearly approved.
        """
        if self._user_turns() <= self._turns:  # a model must not approve its own calls
            return "The person has not answered yet: ask, and wait for the answer."
        self.complete(approved)
        return None


@final
class NavaiTTS(tts.TTS[Any]):
    """The voice of a backend that speaks through ElevenLabs, for the ``tts`` of an ``AgentSession``.

    It speaks sentence by sentence, as the text arrives. A sentence that cannot be synthesized is logged and
    skipped; if none can, the turn fails. The backend's client repeats requests itself, so LiveKit does not.

    Args:
        client: The backend's client. You close it yourself.
        sample_rate: Samples per second: 8000, 16000, 22050, 24000, 44100 or 48000.
        voice: Options of ``synthesize_speech``. ``output_format`` is PCM of this rate by default.
    """

    def __init__(self, client: Client, *, sample_rate: int = 24_000, **voice: Unpack[SpeechOptions]) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True), sample_rate=sample_rate, num_channels=1
        )
        self._client = client
        self._voice: SpeechOptions = {"output_format": f"pcm_{sample_rate}", **voice}

    @property
    def provider(self) -> str:
        """Its name in traces and metrics."""
        return "navai"

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Return the audio of *text*."""
        return self._synthesize_with_stream(text, conn_options=conn_options)

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.SynthesizeStream:
        """Return a stream that takes a text in parts and returns its audio."""
        return _SpeechStream(self, self._client, self._voice, conn_options)


class _SpeechStream(tts.SynthesizeStream):
    def __init__(
        self, of: NavaiTTS, client: Client, voice: SpeechOptions, conn_options: APIConnectOptions
    ) -> None:
        super().__init__(tts=of, conn_options=conn_options)
        self._client = client
        self._voice = voice

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        emitter, text, is_heard = output_emitter, "", False

        async def play(audio: SpeechAudio) -> None:
            nonlocal is_heard
            if not is_heard:
                self._begin(emitter, audio.mime_type)
            is_heard = True
            emitter.push(audio.audio)
            emitter.flush()

        async with Speaker(self._client, play, **self._voice) as speaker:
            async for part in self._input_ch:
                if isinstance(part, str):
                    self._mark_started()
                    speaker.feed(part)
                    text += part
                else:
                    speaker.flush()
            speaker.flush()
            await speaker.join()
        if not is_heard:
            if any(map(str.isalnum, text)):
                raise APIError("The backend synthesized no speech; the log says why.", retryable=False)
            self._begin(emitter, "audio/pcm")  # LiveKit takes nothing for a failure
            emitter.push(bytes(2 * self._tts.sample_rate // 100))

    def _begin(self, emitter: tts.AudioEmitter, mime_type: str) -> None:
        emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._tts.sample_rate,
            num_channels=1,
            mime_type=mime_type,
            stream=True,
        )
        emitter.start_segment(segment_id=utils.shortuuid())
