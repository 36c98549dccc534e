"""Terminals, pipes and exits: colour and spinners for people only, Ctrl-C, closed pipes, missing extras."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from navai_client._version import __version__
from navai_client.cli import __main__ as entry
from navai_client.server import NavaiBackend
from tests.cli.conftest import COMMAND, Navai, Result
from tests.faults.server import FAULTS, OK, FaultServer, Peer, answer
from tests.serving import serving_app
from tests.terminal import terminal
from tests.waiting import until

ESCAPE = "\x1b["


def on_a_terminal(*arguments: str, **environment: str) -> Result:
    """Run the command where standard output and error are one terminal."""
    with terminal(COMMAND, *arguments, columns=100, **environment) as screen:
        printed = screen.until(None)
        return Result(screen.process.wait(60), printed, "")


def test_people_see_a_table_in_colour(demo_server: str) -> None:
    printed = on_a_terminal("functions", "--url", demo_server).out
    assert "Parameters" in printed
    assert ESCAPE in printed
    assert "\t" not in printed


def test_an_empty_list_is_not_a_table(reply: Callable[..., FaultServer]) -> None:
    printed = on_a_terminal("functions", "--url", reply('{"items": []}').url).out
    assert "Parameters" not in printed
    assert "The backend offers no functions." in printed


def test_people_see_findings_in_colour(demo_server: str) -> None:
    assert f"{ESCAPE}32m" in on_a_terminal("doctor", "--url", demo_server).out


def test_people_see_results_in_colour(demo_server: str) -> None:
    printed = on_a_terminal("call", "calculator_add_tax", "-p", "amount=100", "--url", demo_server).out
    assert "119.0" in printed
    assert ESCAPE in printed


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
@pytest.mark.parametrize("command", [["functions"], ["call", "xyz"], ["doctor"]], ids=lambda c: c[0])
def test_colour_can_be_refused(command: list[str], environment: dict[str, str], demo_server: str) -> None:
    printed = on_a_terminal(*command, "--url", demo_server, **environment).out
    assert f"{ESCAPE}1m" not in printed
    assert f"{ESCAPE}3" not in printed


def test_errors_are_red_for_people_only(demo_server: str, command: Navai) -> None:
    assert on_a_terminal("call", "xyz", "--url", demo_server).out.startswith(ESCAPE)
    assert ESCAPE not in command("call", "xyz", "--url", demo_server).err


@pytest.mark.parametrize(
    "arguments", [["functions"], ["call", "tell_time"], ["doctor"], ["secret"]], ids=lambda c: c[0]
)
def test_pipes_get_no_colour(arguments: list[str], command: Navai, demo_server: str) -> None:
    result = command(*arguments, "--url", demo_server, FORCE_COLOR="1")
    assert ESCAPE not in result.out + result.err


def test_a_slow_command_shows_a_spinner() -> None:
    shown = threading.Event()

    def slow(peer: Peer) -> None:
        peer.request()
        shown.wait(60)
        peer.send(answer(OK))

    with FaultServer(slow) as server:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [COMMAND, "call", "slow_one", "--url", server.url],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm"},
        )
        os.close(theirs)
        seen = b""
        while not re.search(rb"Calling slow_one \(\d+ s\)", seen):
            assert select.select([ours], [], [], 60)[0]
            seen += os.read(ours, 65536)
        shown.set()
        out, _ = process.communicate(timeout=60)
        os.close(ours)
    assert out == b'"done"\n'


def test_ctrl_c_is_status_130_and_no_traceback() -> None:
    with FaultServer(FAULTS["never answers"]) as server:
        process = subprocess.Popen(
            [COMMAND, "call", "f", "--url", server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: server.arrived)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.startswith(
        "navai call: The call was interrupted. It may have been executed all the same: check before "
    )
    key = err.split("--idempotency-key ")[1].split()[0]
    assert f"Idempotency-Key: {key}".encode() in server.arrived[0][1]


def test_after_ctrl_c_the_key_asks_what_came_of_the_call(command: Navai) -> None:
    begun, may_end = threading.Event(), threading.Event()
    backend = NavaiBackend(env={}, discover=False)

    @backend.function
    def make_report(month: int) -> str:
        begun.set()
        may_end.wait(60)
        return f"of month {month}"

    call = ["call", "make_report", "month=2"]
    with serving_app(backend) as url:
        with terminal(COMMAND, *call, "--url", url, NO_COLOR="1") as screen:
            assert begun.wait(60)  # the call was sent, after a request for the schema
            screen.process.send_signal(signal.SIGINT)
            said = screen.until(None)
            assert screen.process.wait(60) == 130
        may_end.set()
        key = said.split("--idempotency-key ")[1].split()[0]
        assert "of month 2" in command(*call, "--idempotency-key", key, "--url", url).out


def test_ctrl_c_before_a_call_was_sent_says_nothing() -> None:
    with FaultServer(FAULTS["never answers"]) as server:
        process = subprocess.Popen(
            [COMMAND, "call", "f", "a=1", "--url", server.url], stderr=subprocess.PIPE, text=True
        )
        until(lambda: server.arrived)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip(), server.count("execute")) == (130, "", 0)


def test_ctrl_c_before_the_command_runs_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "find_spec", interrupted)
    assert entry.main([]) == 130


def test_a_reader_that_leaves_is_status_141_and_silent(demo_server: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    finished = subprocess.run(
        [COMMAND, "functions", "--json", "--url", demo_server],
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    assert finished.returncode == 141
    assert finished.stderr == b""


def test_a_full_disk_is_one_line(demo_server: str) -> None:
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(
            [COMMAND, "functions", "--url", demo_server],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert finished.returncode == 1
    assert finished.stderr == "navai functions: standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_not_a_failure(closed: str, demo_server: str) -> None:
    line = f"'{COMMAND}' functions --url {demo_server} {closed}"
    finished = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr


def test_help_and_version_go_to_standard_output(command: Navai) -> None:
    assert command("--version") == (0, f"navai, version {__version__}\n", "")
    printed = command("--help")
    assert printed.status == 0
    assert printed.err == ""
    assert "Exit statuses: 0 done" in " ".join(printed.out.split())


COMMANDS = ["functions", "call", "secret", "speak", "run", "serve", "check", "mcp", "doctor", "completion"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, navai: Navai) -> None:
    assert f"  {name} " in navai("--help").out
    printed = navai(name, "--help")
    assert printed.status == 0
    assert printed.out.lower().startswith(f"usage: navai {name}")
    assert printed.err == ""
    _, heading, example = printed.out.partition("\n  Example" if name != "serve" else "\nExample")
    assert heading
    assert f" navai {name}" in example.replace("(navai", " navai")
    assert "\b" not in printed.out
    assert "\\b" not in printed.out


def test_a_narrow_terminal_shows_everything(demo_server: str) -> None:
    with terminal(COMMAND, "functions", "--url", demo_server, columns=40, NO_COLOR="1") as screen:
        printed = screen.until(None)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed).splitlines()  # a slow call has a spinner
    assert max(map(len, lines)) <= 40
    assert "\u2026" not in "".join(lines)


def test_a_terminal_without_unicode_shows_a_spinner_of_plain_characters() -> None:
    with (
        FaultServer(FAULTS["never answers"]) as server,
        terminal(COMMAND, "functions", "--url", server.url, PYTHONIOENCODING="ascii") as screen,
    ):
        assert screen.until("Listing the functions").isascii()


def test_the_package_is_the_command(command: Navai) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "navai_client", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == command("--version").out


def test_without_a_command_there_is_help_and_status_2(command: Navai) -> None:
    result = command()
    assert (result.status, result.out) == (2, "")
    assert "Commands:" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "navai: No such command 'bogus'. See `navai --help`.\n"),
        (
            ["functoins"],
            "navai: No such command 'functoins'. Did you mean 'functions'? See `navai --help`.\n",
        ),
        (["--qq"], "navai: No such option '--qq'. See `navai --help`.\n"),
        (["call"], "navai call: Missing argument 'NAME'. See `navai call --help`.\n"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: list[str], said: str, navai: Navai) -> None:
    assert navai(*arguments) == (2, "", said)


def without(tmp_path: Path, *modules: str) -> dict[str, str]:
    """Return an environment in which *modules* appear not to be installed."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import importlib.util, sys\nmissing = {modules!r}\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in missing: raise ModuleNotFoundError('No module named ' + name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name in missing else found(name, *more)\n"
    )
    return {"PYTHONPATH": str(tmp_path)}


def test_without_the_extra_one_line_says_what_to_install(command: Navai, tmp_path: Path) -> None:
    line = "navai: click and rich are not installed; run: pip install 'navai-client[cli]'\n"
    environment = without(tmp_path, "click", "rich")
    assert command("functions", **environment) == (2, "", line)
    assert command(**environment, _NAVAI_COMPLETE="bash_complete") == (2, "", "")


def test_serving_without_its_extra_says_what_to_install(command: Navai, tmp_path: Path) -> None:
    result = command("serve", **without(tmp_path, "uvicorn"))
    assert result == (
        2,
        "",
        "navai serve: uvicorn is not installed; run: pip install 'navai-client[server]'\n",
    )


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--version"], ["httpx", "rich", "asyncio", "navai_client.client"]),
        (
            ["functions", "--url", "http://127.0.0.1:1"],
            ["httpx", "httpcore", "rich", "uvicorn", "starlette", "navai_client.server"],
        ),
        (["serve", "--help"], ["httpx", "rich", "uvicorn", "starlette", "navai_client.client"]),
        (["completion", "bash"], ["httpx", "rich", "uvicorn"]),
    ],
    ids=lambda value: value[0],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], unneeded: list[str]) -> None:
    program = (
        "import sys\nfrom navai_client.cli.__main__ import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', [name for name in {unneeded!r} if name in sys.modules])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert finished.stdout.endswith("loaded: []\n")


@pytest.mark.parametrize("module", ["navai_client", "navai_client.cli"])
def test_python_minus_m_is_the_same_command(module: str, demo_server: str, command: Navai) -> None:
    arguments = ["functions", "--url", demo_server]
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert finished.stdout == command(*arguments).out


def test_output_in_another_encoding_is_still_json(reply: Callable[..., FaultServer], command: Navai) -> None:
    server = reply('{"ok": true, "result": "Bogotá 🌄"}'.encode())
    result = command("call", "f", "--url", server.url, PYTHONIOENCODING="ascii")
    assert result.out == '"Bogot\\u00e1 \\ud83c\\udf04"\n'
