"""Completion: what bash, zsh and fish get, from the backend and from the cache, and no other output."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from navai_client.cli._completion import _cache_folder
from tests.cli.conftest import COMMAND, Navai, Result
from tests.faults.server import FAULTS, FaultServer
from tests.ports import reserved_port
from tests.terminal import IN_TERMINAL

LIST = json.dumps(
    {
        "items": [
            {
                "name": "get_weather",
                "description": "Get the\nweather.",
                "parameters": {
                    "properties": {"location": {"description": "Where."}, "unit": {}, "odd": True}
                },
            },
            {"name": "get_time"},
            {"name": "say"},
        ]
    }
)


@pytest.fixture(name="complete")
def _complete(command: Navai) -> Callable[..., Result]:
    def complete(line: str, shell: str = "bash", **environment: str) -> Result:
        words = line.split(" ")
        asked = {
            "_NAVAI_COMPLETE": f"{shell}_complete",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_WORDS": line,
            "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
        }
        return command(**asked, **environment)

    return complete


Complete = Callable[..., Result]


def values(result: Result) -> list[str]:
    assert result.err == ""
    return [line.removeprefix("plain,") for line in result.out.splitlines() if line]


def test_commands_and_options_are_completed(complete: Complete) -> None:
    assert values(complete("navai f")) == ["functions"]
    assert values(complete("navai secret --re")) == ["--reveal"]


def test_functions_are_completed_from_the_backend(
    complete: Complete, reply: Callable[..., FaultServer]
) -> None:
    server = reply(LIST)
    assert values(complete(f"navai call --url {server.url} get_")) == ["get_weather", "get_time"]
    assert values(complete(f"navai call --url={server.url} ")) == ["get_weather", "get_time", "say"]
    assert values(complete("navai call say", NAVAI_API_URL=server.url)) == ["say"]


def test_parameters_are_completed_too(complete: Complete, reply: Callable[..., FaultServer]) -> None:
    url = reply(LIST).url
    assert values(complete(f"navai call --url {url} get_weather -p ")) == ["location=", "unit=", "odd="]
    assert values(complete(f"navai call --url {url} get_weather -p l")) == ["location="]
    assert values(complete(f"navai call --url {url} get_time -p ")) == []


@pytest.mark.parametrize("option", ["", "-p "])
def test_the_values_that_a_schema_lists_are_completed(
    option: str, complete: Complete, reply: Callable[..., FaultServer]
) -> None:
    properties = {
        "unit": {"enum": ["kg", "g", 7, None]},
        "fast": {"type": "boolean"},
        "kind": {"const": "new"},
        "text": {"type": "string"},
    }
    url = reply(json.dumps({"items": [{"name": "f", "parameters": {"properties": properties}}]})).url
    line = f"navai call --url {url} f {option}"
    assert values(complete(line)) == ["unit=", "fast=", "kind=", "text="]
    assert values(complete(f"{line}unit=")) == ["kg", "g", "7", "null"]
    assert values(complete(f"{line}unit=k")) == ["kg"]
    assert values(complete(f"{line}fast=t")) == ["true"]
    assert values(complete(f"{line}kind=")) == ["new"]
    assert values(complete(f"{line}text=")) == []
    assert values(complete(f"{line}unit=k", "fish")) == ["unit=kg"]


def test_a_list_is_kept_for_a_minute(
    complete: Complete, reply: Callable[..., FaultServer], tmp_path: Path
) -> None:
    server = reply(LIST)
    line = f"navai call --url {server.url} get_"
    first = values(complete(line))
    assert values(complete(line)) == first
    assert len(server.arrived) == 1
    (file,) = (tmp_path / "cache" / "navai-client" / "completion").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    os.utime(file, (0, 0))
    assert values(complete(line)) == first
    assert len(server.arrived) == 2
    file.write_text("{")
    assert values(complete(line)) == first
    assert values(complete(f"{line} -H 'X-Tenant: other'".replace(" get_", "") + " get_")) == first
    assert len(server.arrived) == 4


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    complete: Complete, reply: Callable[..., FaultServer], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert values(complete(f"navai call --url {reply(LIST).url} s")) == ["say"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "nonsense", "http://nowhere.invalid"])
def test_an_unreachable_backend_completes_nothing_and_prints_nothing(url: str, complete: Complete) -> None:
    with reserved_port() as port:
        assert complete(f"navai call --url {url.format(port=port)} g") == (0, "\n", "")


@pytest.mark.parametrize(
    "fault", ["never answers", "sends garbage", "sends invalid UTF-8", "resets on accept"]
)
def test_a_misbehaving_backend_completes_nothing_and_prints_nothing(fault: str, complete: Complete) -> None:
    with FaultServer(FAULTS[fault]) as server:
        line = f"navai call --url {server.url} g"
        assert complete(line, NAVAI_COMPLETE_TIMEOUT="0.5") == (0, "\n", "")


def test_an_invalid_timeout_completes_nothing_and_prints_nothing(complete: Complete) -> None:
    assert complete("navai call g", NAVAI_COMPLETE_TIMEOUT="long") == (0, "\n", "")


@pytest.mark.parametrize("options", ["-H nonsense", "-H 'X-A: @env:NOT_SET'", "--ca-file /dev/null"])
def test_invalid_options_complete_nothing_and_print_nothing(options: str, complete: Complete) -> None:
    assert complete(f"navai call {options} g") == (0, "\n", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_descriptions(
    shell: str, complete: Complete, reply: Callable[..., FaultServer]
) -> None:
    result = complete("navai call get_w", shell, NAVAI_API_URL=reply(LIST).url)
    assert "get_weather" in result.out
    assert "Get the weather." in result.out
    assert result.err == ""


def test_windows_keeps_its_caches_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert _cache_folder() == tmp_path / "navai-client" / "completion"


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_a_script_is_printed_for_each_shell(shell: str, command: Navai) -> None:
    result = command("completion", shell)
    assert (result.status, result.err) == (0, "")
    assert "_NAVAI_COMPLETE" in result.out
    if shutil.which(shell):
        checked = subprocess.run(
            [shell, "-n"], input=result.out, capture_output=True, text=True, timeout=60, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_a_shell_that_is_not_known_is_status_2(navai: Navai) -> None:
    result = navai("completion", "tcsh")
    assert (result.status, result.out) == (2, "")
    assert "'tcsh' is not one of 'bash', 'fish', 'zsh'" in result.err


class Bash:
    """An interactive bash."""

    def __init__(self) -> None:
        environment = os.environ | {
            "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
            "PS1": "$ ",
            "TERM": "dumb",
            "COLUMNS": "200",
        }
        # Not with pty.fork(): the child of a process with threads could wait for a lock for ever.
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, "bash", "--norc", "--noprofile", "-i"],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment,
        )  # fmt: skip
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def read_until(self, text: str) -> str:
        seen = ""
        while text not in seen:
            assert select.select([self._terminal], [], [], 60)[0], seen
            seen += os.read(self._terminal, 65536).decode()
        return seen

    def close(self) -> None:
        os.close(self._terminal)
        self._process.wait(60)


def test_a_person_completes_in_bash(demo_server: str) -> None:
    bash = Bash()
    try:
        bash.read_until("$ ")
        bash.type('eval "$(navai completion bash)"; echo read""y\n')
        bash.read_until("ready\r\n$ ")
        bash.type(f"navai call --url {demo_server} get_w\t")
        bash.read_until("get_weather ")
        bash.type("-p loc\t")
        bash.read_until("location=")
        bash.type("Oslo unit=ce\t")
        bash.read_until("unit=celsius ")
        bash.type("--js\t")
        assert "location= " not in bash.read_until("--json ")
        bash.type("\n")
        bash.read_until('"location":"Oslo"')
    finally:
        bash.close()
