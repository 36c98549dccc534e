"""``navai run``: talk with the voice agent of a project's folder, by typing or by voice."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Self

import click

from navai_client._env_file import load_env_file
from navai_client._extras import needs_extra
from navai_client._redaction import Redactor
from navai_client._threads import run_in_thread
from navai_client.cli._connection import BackendCommand, Connection, connection_options
from navai_client.cli._errors import Status
from navai_client.cli._output import (
    complain,
    examples,
    is_terminal,
    note,
    one_line,
    printable,
    write,
    write_text,
)
from navai_client.client import AsyncNavaiBackendClient
from navai_client.integrations._results import nested

if TYPE_CHECKING:
    from agents.realtime import RealtimeSession

    from navai_client.integrations.runtime import NavaiRuntime
    from navai_client.integrations.speech import Speaker
    from navai_client.integrations.tools import ToolCall, ToolOutcome
    from navai_client.models import SpeechAudio

_RATE: Final = 24_000  # Hz: OpenAI's audio/pcm, 16-bit mono, in both directions
_BLOCK: Final = _RATE // 25  # 40 ms of sound
_MAX_UNSENT: Final = 250  # blocks: 10 seconds of sound wait for a slow network, and no more
_TRANSCRIPTION: Final = "gpt-4o-mini-transcribe"
_WORDS: Final = ("response.output_text.delta", "response.output_audio_transcript.delta")
_HEARD: Final = "conversation.item.input_audio_transcription.completed"


@click.command(
    cls=BackendCommand, epilog=examples("navai run", "navai run shop --env-file .env --exclude '**/drafts/*'")
)
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False))
@click.option("--functions-folders", metavar="LIST", help="The functions; else NAVAI_FUNCTIONS_FOLDERS.")
@click.option("--agents-folders", metavar="LIST", help="The agents; else NAVAI_AGENTS_FOLDERS.")
@click.option("--routes-file", metavar="FILE", help="The module with routes; else NAVAI_ROUTES_FILE.")
@click.option(
    "--exclude", multiple=True, metavar="LIST", help="Patterns of modules to skip; may be repeated."
)
@click.option("--model", metavar="NAME", help="The model; else NAVAI_REALTIME_MODEL, else the backend's.")
@click.option(
    "--realtime-url",
    default="wss://api.openai.com/v1/realtime",
    show_default=True,
    metavar="URL",
    help="Where Realtime sessions are opened.",
)
@click.option(
    "--env-file", metavar="FILE", help="A file with a line NAME=value for each variable not yet set."
)
@click.option("--audio", is_flag=True, help="Use microphone and speaker (extra audio).")
@connection_options(timeout_help="Seconds for each call, and that the model may be silent.")
def run(
    connection: Connection,
    *,
    folder: str,
    realtime_url: str,
    env_file: str | None,
    audio: bool,
    exclude: tuple[str, ...],
    **settings: Any,
) -> int:
    """Talk with the voice agent of a project's FOLDER, by default the working directory.

    The backend mints the client secret. The agent has the functions of the backend and of the folder. Each
    line that you type is a turn. Ctrl-D (the end of the input) ends the session.
    """
    try:
        if env_file is not None:
            load_env_file(env_file, "cli")
        import_module("navai_client.integrations.openai_agents")  # may be missing, as may the next
        sound = _import_sounddevice() if audio else None
    except ImportError as error:
        complain(str(error))
        return Status.USAGE
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    from navai_client.integrations.runtime import resolve_navai_runtime  # noqa: PLC0415 - it is there

    logging.getLogger("navai_client").addHandler(logging.NullHandler())  # what it logs is shown here
    patterns = [each.strip() for each in ",".join(exclude).split(",") if each.strip()]
    runtime = resolve_navai_runtime(folder, exclude=patterns, **settings)
    _warn(runtime.warnings)
    try:
        asyncio.run(_talk(connection, runtime, realtime_url, sound))
    except _EndedError as error:
        complain(Redactor().text(str(error)))
        return Status.UNREACHABLE
    return Status.OK


class _EndedError(Exception):
    """The conversation ended before its person ended it."""


def _import_sounddevice() -> Any:
    try:
        with needs_extra("audio", "sounddevice"):
            return import_module("sounddevice")
    except OSError as error:
        raise ImportError(f"{error}: install PortAudio (Debian: apt install libportaudio2).") from None


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        note(one_line(warning))


async def _talk(connection: Connection, runtime: "NavaiRuntime", url: str, sound: Any) -> None:
    """Hold one conversation.

    Raises:
        NavaiError: The backend cannot be used, or the session cannot be read.
        _EndedError: The session was lost, or the model is silent.
        click.UsageError: There is no microphone or speaker, or nothing to play.
    """
    # These may be missing: `run` has looked.
    from agents.realtime import RealtimeRunner, RealtimeSessionModelSettings  # noqa: PLC0415
    from websockets.exceptions import WebSocketException  # noqa: PLC0415

    from navai_client.integrations.openai_agents import (  # noqa: PLC0415
        build_navai_agent,
        read_backend_session,
        realtime_model_config,
    )
    from navai_client.integrations.speech import Speaker  # noqa: PLC0415
    from navai_client.integrations.toolset import Toolset  # noqa: PLC0415

    screen, timeout = _Screen(), connection.timeout
    options: dict[str, Any] = {"navigate": screen.opened, "after": screen.called, "timeout": timeout}
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(screen.end)
        client = await stack.enter_async_context(connection.make(AsyncNavaiBackendClient))
        found = await read_backend_session(client, url=url, model=runtime.model)
        speaks_itself = found.speech_provider != "elevenlabs"
        if sound is not None and speaks_itself and "audio" not in found.output_modalities:
            raise click.UsageError("--audio: the model of this backend answers in text, so turns are typed.")
        loading = Toolset.load(client, **options, **runtime.toolset_options)
        toolset = await stack.enter_async_context(loading)
        agent = build_navai_agent(toolset, runtime=runtime, instructions=found.instructions)
        _warn(toolset.warnings)
        device = None if sound is None else _Device(sound)
        added: RealtimeSessionModelSettings = {"output_modalities": ["text"]}
        if device is not None:
            added = {"input_audio_transcription": {"model": _TRANSCRIPTION}}
        config = realtime_model_config(client, found, url=url, settings=added, model=runtime.model)
        limits = [tool.timeout for tool in toolset.tools]
        longest = max((limit for limit in limits if limit is not None), default=0.0)
        patience = None if None in limits else timeout + longest
        try:
            runner = RealtimeRunner(agent, config={"tracing_disabled": True})
            session = await stack.enter_async_context(await runner.run(model_config=config))
            speaker = None
            if device is not None:
                stack.enter_context(device)
                if not speaks_itself:
                    speaking = Speaker(client, device.say, output_format=f"pcm_{_RATE}")
                    speaker = await stack.enter_async_context(speaking)
            conversation = _Conversation(session, screen, device, speaker, patience)
            await _until_one_ends(conversation.show(), conversation.take_turns(), *conversation.sound())
        except (OSError, WebSocketException) as error:
            raise _EndedError(f"The Realtime session has ended: {error}. Start it again.") from None


async def _until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run *work* at the same time until one ends, and raise what it raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class _Screen:
    """Writes a conversation: whole lines, and the agent's words as they come."""

    def __init__(self) -> None:
        self._is_open = False  # whether a line was begun

    def words(self, text: str) -> None:
        write(printable(text if self._is_open else f"agent: {text}"))
        self._is_open = True

    def end(self) -> None:
        if self._is_open:
            write_text("")
        self._is_open = False

    def line(self, text: str) -> None:
        self.end()
        write_text(printable(text))

    def opened(self, path: str) -> None:
        self.line(f"  the app opens {path}")

    def called(self, call: "ToolCall", outcome: "ToolOutcome") -> None:
        """Write that a function was called, and how that ended."""
        if outcome.path is not None:
            return  # `opened` has said it
        given = ", ".join(f"{name}={_json(value)}" for name, value in (call.arguments or {}).items())
        end = _json(outcome.result) if outcome.ok else f"failed: {outcome.details or outcome.error}"
        self.line(f"  {call.function_name}({given}) -> {end}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Conversation:
    """The turns of a session.

    Args:
        session: The session.
        screen: Where it is shown.
        device: Where it is heard, if anywhere.
        speaker: Speaks the texts of a session that returns text.
        patience: Seconds to wait for the next event in a turn, or None for no limit.
    """

    def __init__(
        self,
        session: "RealtimeSession",
        screen: _Screen,
        device: "_Device | None",
        speaker: "Speaker | None",
        patience: float | None,
    ) -> None:
        self._session = session
        self._screen = screen
        self._device = device
        self._speaker = speaker
        self._patience = patience
        self._limit: asyncio.Timeout | None = None  # of the turn that waits for its answer
        self._answered = asyncio.Event()
        self._responds = False  # whether a response is active
        self._goes_on = False  # whether it calls functions, after which another one follows

    async def show(self) -> None:
        """Show what happens, until the session ends.

        Raises:
            _EndedError: It has ended.
        """
        async for event in self._session:
            if self._limit is not None:
                now = asyncio.get_running_loop().time()
                self._limit.reschedule(None if self._patience is None else now + self._patience)
            if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                self._receive(event.data.data)
                if self._speaker is not None:
                    self._speaker.receive(event.data.data)
            elif event.type == "error" and isinstance(event.error, dict):
                self._refuse(event.error)
            elif event.type == "handoff":
                self._screen.line(f"  {event.to_agent.name} takes over")
            elif event.type == "audio" and self._device is not None:
                self._device.spoken.put_nowait(event.audio.data)
            elif event.type == "audio_interrupted" and self._device is not None:
                self._device.interrupt()
        raise _EndedError("The Realtime session has ended. Start it again.")

    async def take_turns(self) -> None:
        """Send each typed line and wait for its answer, until the input ends.

        Raises:
            _EndedError: The model is silent.
        """
        is_typed = is_terminal(sys.stdin)
        async for text in _lines("> " if is_typed and self._device is None else ""):
            if not text.strip():
                continue
            if not is_typed:
                self._screen.line(f"you: {text}")
            self._answered.clear()
            await self._session.send_message(text)
            try:
                async with asyncio.timeout(self._patience) as self._limit:
                    await self._answered.wait()
            except TimeoutError:
                raise _EndedError(
                    f"The model did not respond within {self._patience:g} seconds. --timeout gives it more."
                ) from None
            finally:
                self._limit = None
        if self._device is not None and not is_typed:
            await asyncio.Event().wait()  # Ctrl-C ends what is only spoken

    def sound(self) -> list[Coroutine[Any, Any, None]]:
        """Return the work of microphone and speaker, if there are any."""
        return [] if self._device is None else [self._device.play(), self._device.send(self._session)]

    def _receive(self, event: dict[str, Any]) -> None:
        match event:
            case {"type": kind, "delta": str(words)} if kind in _WORDS:
                self._screen.words(words)
            case {"type": "response.created"}:
                self._responds, self._goes_on = True, False
            case {"type": "response.output_item.done", "item": {"type": "function_call"}}:
                self._goes_on = True
            case {"type": "response.done", "response": response}:
                self._responds = False
                self._screen.end()
                if response.get("status") == "failed":
                    self._complain(response.get("status_details") or {})
                if not self._goes_on:
                    self._answered.set()
            case {"type": kind, "transcript": str(words)} if kind == _HEARD:
                self._screen.line(f"you: {words}")
            case {"type": "error"}:
                self._complain(event)
                if not self._responds:
                    self._answered.set()

    def _refuse(self, error: dict[str, Any]) -> None:
        """Say that the SDK did not execute a call, such as one of no tool. It asks for no response then."""
        self._complain({"error": error})
        self._answered.set()

    def _complain(self, given: dict[str, Any]) -> None:
        self._screen.end()
        said = nested(given, "error", "message") or nested(given, "error", "code") or "no reason was given"
        note(f"error: {one_line(Redactor().text(str(said)))}")


async def _lines(prompt: str) -> AsyncIterator[str]:
    """Yield the lines of standard input, each after a *prompt*.

    They are read without Python's own buffer: a thread that waits in it would hold its lock, and abort the
    interpreter's exit.
    """
    rest = b""
    while sys.stdin is not None:
        if prompt:
            click.echo(prompt, nl=False, err=True)
        read = await run_in_thread(partial(os.read, sys.stdin.fileno(), 65536))
        *lines, rest = (rest + read).split(b"\n")
        if not read:
            if prompt:
                click.echo(err=True)  # the shell's own prompt begins a line
            lines, rest = [rest], b""
        for line in lines:
            yield line.decode(errors="replace")
        if not read:
            return


class _Device:
    """The microphone and the speaker of this machine. A context manager, in the event loop.

    Attributes:
        spoken: What the speaker is to play.
    """

    def __init__(self, sound: Any) -> None:
        self.spoken: asyncio.Queue[bytes] = asyncio.Queue()
        self._heard: asyncio.Queue[bytes] = asyncio.Queue(_MAX_UNSENT)
        self._loop = asyncio.get_running_loop()
        format_: dict[str, Any] = {"samplerate": _RATE, "channels": 1, "dtype": "int16"}
        try:
            self._speaker = sound.RawOutputStream(**format_)
            self._microphone = sound.RawInputStream(**format_, blocksize=_BLOCK, callback=self._hear)
        except sound.PortAudioError as error:
            text = f"There is no microphone or speaker ({error}). Without --audio, turns are typed."
            raise click.UsageError(text) from None

    async def play(self) -> None:
        while True:
            await run_in_thread(partial(self._speaker.write, await self.spoken.get()))
            self.spoken.task_done()

    async def say(self, speech: "SpeechAudio") -> None:
        """Play *speech*, and return when it has been played; be silent when that is cancelled."""
        size = 2 * _BLOCK
        for start in range(0, len(speech.audio), size):
            self.spoken.put_nowait(speech.audio[start : start + size])
        try:
            await self.spoken.join()
        except asyncio.CancelledError:
            self.interrupt()
            raise

    def interrupt(self) -> None:
        """Be silent: the person speaks."""
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self.spoken.get_nowait()
                self.spoken.task_done()

    async def send(self, session: "RealtimeSession") -> None:
        while True:
            await session.send_audio(await self._heard.get())

    def _hear(self, data: Any, *_: Any) -> None:
        """Take a block of sound, in a thread of the library's own."""
        self._loop.call_soon_threadsafe(self._keep, bytes(data))

    def _keep(self, block: bytes) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._heard.put_nowait(block)

    def __enter__(self) -> Self:
        self._streams = contextlib.ExitStack()
        self._streams.enter_context(self._speaker)
        self._streams.enter_context(self._microphone)
        return self

    def __exit__(self, *_: object) -> None:
        self._streams.close()
