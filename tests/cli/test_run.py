"""``navai run``: the voice agent of a project's folder, in a process, against the fake Realtime API.

There is no sound on a test machine: ``--audio`` is tested with a module in the place of sounddevice, with its
streams and errors. A microphone and a speaker were not tried.
"""

import importlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from navai_client.server import NavaiBackend
from navai_client.testing.realtime import (
    Call,
    Disconnect,
    FakeElevenLabs,
    FakeRealtimeServer,
    Raw,
    Say,
    Until,
)
from tests.cli.conftest import COMMAND, Navai, Result
from tests.cli.test_streams import without
from tests.ports import reserved_port
from tests.serving import serving_app
from tests.terminal import IN_TERMINAL
from tests.waiting import until

FILES = {
    "routes": 'NAVAI_ROUTE_ITEMS = [{"name": "orders", "path": "/orders", "description": ""}]',
    "main/orders": "def open_orders(context):\n    context.navigate('/orders')\n    return 'opened'",
    "main/broken": "1 / 0",
    "main/agent_config": 'NAVAI_AGENT = {"name": "Desk", "instructions": "You are the desk."}',
    "food/menu": "def order(dish: str) -> str:\n    return f'one {dish}'",
    "food/agent_config": 'NAVAI_AGENT = {"name": "Fast Food"}',
}
AGENTS = {"NAVAI_FUNCTIONS_FOLDERS": "src/ai", "NAVAI_AGENTS_FOLDERS": "main,food"}
SOUND = '''
import os, threading, time

class PortAudioError(Exception):
    pass

class _Stream:
    def __init__(self, *, samplerate, channels, dtype, blocksize=0, callback=None):
        if os.environ.get("NO_DEVICE"):
            raise PortAudioError("Error querying device -1")
        assert (samplerate, channels, dtype) == (24000, 1, "int16")
        self.callback, self.blocksize = callback, blocksize

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

class RawInputStream(_Stream):
    """Hears silence, once."""

    def __enter__(self):
        silence = bytes(2 * self.blocksize)
        threading.Thread(target=self.callback, args=(silence, self.blocksize, None, None)).start()
        return self

class RawOutputStream(_Stream):
    def write(self, data):
        with open(os.environ["SPEAKER"], "ab") as speaker:
            speaker.write(data)
        while os.path.exists(os.environ["SPEAKER"] + ".full"):
            time.sleep(0.01)
'''


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        file = tmp_path / "project" / "src" / "ai" / f"{path}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "project"


Talk = Callable[..., Result]


class Played:
    """A Realtime API with a script, a backend that mints its secrets, and a project's folder."""

    def __init__(self, api: FakeRealtimeServer, url: str, folder: Path) -> None:
        self.api = api
        self.arguments = ("run", "--url", url, "--realtime-url", api.url, str(folder))

    def command(self, *arguments: str) -> list[str]:
        """Return the command line, to be run in a process of its own."""
        return [COMMAND, *self.arguments, *arguments]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AGENTS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(name="speaker")
def _speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a microphone and a speaker into processes that start, and return what the speaker plays to."""
    (tmp_path / "sounddevice.py").write_text(SOUND)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SPEAKER", str(tmp_path / "speaker.raw"))
    return tmp_path / "speaker.raw"


@pytest.fixture(name="talk")
def _talk(navai: Navai, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Return what runs the command within this process, which has loaded the SDK, with lines to type."""

    def run(played: Played, typed: str, *arguments: str) -> Result:
        ours, theirs = os.pipe()
        os.write(theirs, typed.encode())
        os.close(theirs)
        with os.fdopen(ours) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            return navai(*played.arguments, *arguments)

    return run


@pytest.fixture(name="play")
def _play(folder: Path) -> Iterator[Any]:
    """Return what plays a script."""
    with ExitStack() as stack:

        def start(*script: Any, **env: str) -> Played:
            api = stack.enter_context(FakeRealtimeServer(script, strict=False))
            given = {"OPENAI_API_KEY": "sk-of-the-backend", "OPENAI_BASE_URL": api.openai_base_url, **env}
            backend = NavaiBackend(env=given, discover=False)

            @backend.function
            def get_weather(location: str) -> str:
                """Get the weather of a place."""
                return f"sunny in {location}"

            return Played(api, stack.enter_context(serving_app(backend)), folder)

        yield start


def test_typed_turns_are_answered_by_the_agent_with_the_functions_and_specialists_of_the_folder(
    play: Any,
) -> None:
    played = play(
        Call("get_weather", {"location": "Bogotá"}),
        Say("It is sunny in Bogotá."),
        [Call("open_orders")],
        Say("Here they are."),
        [Call("transfer_to_fast_food")],
        [Call("order", {"dish": "taco"})],
        Say("One taco is coming."),
    )
    ended = subprocess.run(
        played.command(),
        input="What is the weather?\n\nShow my orders.\nA taco, please.",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.stdout.splitlines() == [
        "you: What is the weather?",
        '  get_weather(location="Bogotá") -> "sunny in Bogotá"',
        "agent: It is sunny in Bogotá.",
        "you: Show my orders.",
        "  the app opens /orders",
        '  open_orders() -> "opened"',
        "agent: Here they are.",
        "you: A taco, please.",
        "  Fast Food takes over",
        '  order(dish="taco") -> "one taco"',
        "agent: One taco is coming.",
    ]
    assert ended.stderr == "[navai] Failed to load src/ai/main/broken.py: division by zero\n"
    assert ended.returncode == 0
    played.api.check()
    config = played.api.sessions[-1].config
    assert config["output_modalities"] == ["text"]
    assert played.api.minted[-1].session["model"] == "gpt-realtime-2.1"


def test_options_of_the_command_line_take_precedence(play: Any, talk: Talk, folder: Path) -> None:
    waits = "from navai_client.server import function\n@function(timeout=0)\ndef wait(): ..."
    (folder / "src" / "ai" / "food" / "wait.py").write_text(waits)
    played = play(Call("order"), Call("navigate_to", {"target": "orders"}), Say("Hello."))
    ended = talk(
        played,
        "Hi.\n",
        *("--functions-folders", "src/ai", "--agents-folders", "food", "--exclude", "**/broken.py"),
        *("--model", "gpt-realtime-mini-2", "--routes-file", "none"),
    )
    assert (ended.status, ended.out.splitlines()) == (
        0,
        [
            "you: Hi.",
            "  order() -> failed: Invalid arguments: missing argument dish.",
            "  the app opens /orders",
            "agent: Hello.",
        ],
    )
    assert ended.err == '[navai] Route module "none" was not found. Falling back to "src/ai/routes.py".\n'
    assert played.api.minted[-1].session["model"] == "gpt-realtime-mini-2"
    assert played.api.sessions[-1].tool_names == ["navigate_to", "order", "wait", "get_weather"]


def test_variables_of_a_file_and_a_list_of_patterns_are_taken(
    play: Any, talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in AGENTS:
        monkeypatch.delenv(name)
    file = tmp_path / "variables"
    file.write_text("".join(f"{name}={value}\n" for name, value in AGENTS.items()))
    played = play(Say("Hello."))
    ended = talk(played, "Hi.\n", "--env-file", str(file), "--exclude", "**/none.py, **/broken.py")
    assert ended == (0, "you: Hi.\nagent: Hello.\n", "")
    assert "transfer_to_fast_food" in played.api.sessions[-1].tool_names


@pytest.mark.parametrize("content", [None, "NAVAI_API_URL\n"], ids=["not there", "no value"])
def test_a_file_of_variables_that_cannot_be_read_is_status_2(
    content: str | None, navai: Navai, tmp_path: Path
) -> None:
    file = tmp_path / "variables"
    if content is not None:
        file.write_text(content)
    result = navai("run", "--env-file", str(file))
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(f"navai run: --env-file {file}: ")


def test_a_realtime_api_that_is_not_there_is_named(play: Any, talk: Talk) -> None:
    with reserved_port() as port:
        gone = f"ws://127.0.0.1:{port}/v1/realtime"
        ended = talk(play(), "Hi.\n", "--realtime-url", gone, "--exclude", "**/broken.py")
    assert ended.status == 3
    assert ended.err.startswith(f"navai run: The Realtime session at 127.0.0.1:{port} could not be read: ")


def test_a_closed_standard_input_ends_it(play: Any, navai: Navai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as after <&-
    assert navai(*play().arguments, "--exclude", "**/broken.py") == (0, "", "")


def converse(command: Sequence[str], *keys: tuple[str, bytes]) -> tuple[int, str]:
    """Run *command* in a terminal, and type each of *keys* when its text ends the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, *command],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    screen, waiting = "", list(keys)
    try:
        while select.select([ours], [], [], 180)[0]:
            try:
                read = os.read(ours, 65536)
            except OSError:  # the other side of a terminal is closed
                break
            screen = (screen + read.decode()).replace("\r\n", "\n")
            if waiting and screen.endswith(waiting[0][0]):
                os.write(ours, waiting.pop(0)[1])
        return process.wait(timeout=60), screen
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_terminal_has_a_prompt_and_ctrl_d_ends_it(play: Any) -> None:
    played = play(Say("It is noon."))
    status, screen = converse(
        played.command("--exclude", "**/broken.py"), ("> ", b"What time is it?\n"), ("noon.\n> ", b"\x04")
    )
    assert (status, screen) == (0, "> What time is it?\nagent: It is noon.\n> \n")
    played.api.check()


@pytest.mark.parametrize("when", ["at the prompt", "in an answer"])
def test_ctrl_c_ends_it_without_a_traceback(play: Any, when: str) -> None:
    played = play([Say("Wait"), Until("never")])
    keys = [("> ", b"\x03")] if when == "at the prompt" else [("> ", b"Hi\n"), ("agent: Wait", b"\x03")]
    status, screen = converse(played.command("--exclude", "**/broken.py"), *keys)
    assert status == 130
    assert "Traceback" not in screen
    assert screen.startswith("> ")


def test_what_is_missing_is_said_in_one_line_with_the_remedy(
    play: Any, talk: Talk, command: Navai, navai: Navai, tmp_path: Path
) -> None:
    sound = ("--exclude", "**/broken.py")
    with reserved_port() as port:
        down = navai("run", "--url", f"http://127.0.0.1:{port}", str(tmp_path / "project"), *sound)
    assert (down.status, down.out, down.err.count("\n")) == (3, "", 1)
    assert down.err.endswith("`navai doctor` says why.\n")

    keyless = talk(play(OPENAI_API_KEY=""), "Hi.\n", *sound)
    assert (keyless.status, keyless.out, keyless.err.count("\n")) == (1, "", 1)
    assert "The backend has no OpenAI key." in keyless.err
    assert "Set OPENAI_API_KEY where the backend runs" in keyless.err

    said = "navai run: agents is not installed; run: pip install 'navai-client[agents]'\n"
    assert command("run", **without(tmp_path, "agents")) == (2, "", said)
    said = "navai run: sounddevice is not installed; run: pip install 'navai-client[audio]'\n"
    assert command("run", "--audio", **without(tmp_path, "sounddevice")) == (2, "", said)

    nowhere = navai("run", str(tmp_path / "nowhere"))
    assert nowhere.status == 2
    assert "does not exist" in nowhere.err


def test_a_session_that_ends_or_fails_says_so(play: Any, talk: Talk) -> None:
    for code, reason in (
        (1000, ""),
        (1011, ": received 1011 (internal error) bye; then sent 1011 (internal"),
    ):
        lost = talk(play([Say("Well"), Disconnect(code, "bye")]), "Hi.\n", "--exclude", "**/broken.py")
        assert (lost.status, lost.out) == (3, "you: Hi.\nagent: Well\n")
        assert lost.err.startswith(f"navai run: The Realtime session has ended{reason}")
        assert lost.err.endswith(". Start it again.\n")
        assert lost.err.count("\n") == 1

    silent = talk(play([Until("never")]), "Hi.\n", "--timeout", "2", "--exclude", "**/*.py")
    assert silent.status == 3
    assert "did not respond within" in silent.err

    error = {"type": "server_error", "code": None, "param": None, "event_id": None}
    failure = {"type": "error", "event_id": "e", "error": {**error, "message": "No capacity\x1b[2J."}}
    details = {"type": "failed", "error": {"type": "server_error", "code": "busy"}}
    response = {
        "object": "realtime.response", "id": "r", "status": "failed", "status_details": details, "output": [],
    }  # fmt: skip
    done = {"type": "response.done", "event_id": "d", "response": response}
    script = [Raw(failure), Say("Again."), Raw(done), Raw(failure)]
    failed = talk(play(script), "Hi.\n", "--exclude", "**/broken.py")
    assert (failed.status, failed.out) == (0, "you: Hi.\nagent: Again.\n")
    assert failed.err.startswith("error: No capacity\\x1b[2J.\nerror: busy\n")


def test_a_call_of_a_tool_that_there_is_not_ends_its_turn_with_the_reason(play: Any, talk: Talk) -> None:
    played = play([Call("transfer_to_nobody")], Say("I cannot."), [Say("One moment."), Call("nothing")])
    ended = talk(played, "Hi.\nWell?\nAnd now?\n", "--exclude", "**/broken.py", "--timeout", "60")
    assert (ended.status, ended.out) == (
        0,
        "you: Hi.\nyou: Well?\nagent: I cannot.\nyou: And now?\nagent: One moment.\n",
    )
    assert ended.err == "error: Tool transfer_to_nobody not found\nerror: Tool nothing not found\n"


@contextmanager
def spoken_with(played: Played) -> Iterator["subprocess.Popen[str]"]:
    """Run the command with a microphone, and ask it for the time."""
    with subprocess.Popen(
        played.command("--audio", "--exclude", "**/broken.py"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        played.api.wait_for("input_audio_buffer.append", timeout=180)
        played.api.speak("What time is it?")
        yield process


def shows(process: "subprocess.Popen[str]", text: str) -> None:
    """Assert that *text* is what the process writes next."""
    assert process.stdout is not None
    assert process.stdout.read(len(text)) == text


def test_with_audio_the_microphone_is_sent_what_is_heard_is_shown_and_the_answer_is_played(
    play: Any, speaker: Path
) -> None:
    heard = {
        "type": "conversation.item.input_audio_transcription.completed",
        "event_id": "event_h", "item_id": "item_h", "content_index": 0, "transcript": "What time is it?",
        "usage": {"type": "duration", "seconds": 1},
    }  # fmt: skip
    played = play([Raw(heard), Say("It is noon."), Until("never")], Say("You are welcome."))
    with spoken_with(played) as process:
        shows(process, "you: What time is it?\nagent: It is noon.")
        played.api.speak("Thank you.")  # it interrupts the answer
        shows(process, "\nagent: You are welcome.\n")
        until(lambda: speaker.exists() and speaker.read_bytes())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (130, "\n")
    assert speaker.read_bytes()
    (sent,) = played.api.sessions[-1].sent("input_audio_buffer.append")
    assert json.dumps(sent)


def test_with_audio_a_backend_that_speaks_through_elevenlabs_is_heard_until_the_person_interrupts(
    play: Any, speaker: Path
) -> None:
    full = speaker.with_suffix(".raw.full")
    full.touch()
    with FakeElevenLabs() as voices:
        played = play([Say("It is noon."), Until("never")], Say("You are welcome."), **voices.env)
        with spoken_with(played) as process:
            shows(process, "agent: It is noon.")
            until(speaker.exists)  # the first part of it is heard
            played.api.speak("Thank you.")
            shows(process, "\nagent: You are welcome.\n")
            full.unlink()
            first, second = voices.sound("It is noon."), voices.sound("You are welcome.")
            until(lambda: speaker.read_bytes().endswith(second))
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=180)
    heard = speaker.read_bytes().removesuffix(second)
    assert heard == first[: len(heard)]
    assert len(heard) < len(first)


def test_without_a_device_its_library_or_speech_audio_is_refused(
    play: Any, talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NO_DEVICE", "1")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    refused = talk(play(), "", "--audio")
    assert (refused.status, refused.err) == (
        2,
        "navai run: PortAudio library not found: install PortAudio (Debian: apt install libportaudio2).\n",
    )
    (tmp_path / "sounddevice.py").write_text(SOUND)
    importlib.invalidate_caches()
    silent = {"NAVAI_SESSION_EXTRA": '{"output_modalities": ["text"]}'}
    try:
        refused = talk(play(**silent), "", "--audio", "--exclude", "**/broken.py")
        assert (refused.status, "answers in text" in refused.err) == (2, True)
        refused = talk(play(), "", "--audio", "--exclude", "**/broken.py")
    finally:
        sys.modules.pop("sounddevice", None)
    assert refused.status == 2
    assert "There is no microphone or speaker (Error querying device -1)" in refused.err
