"""``navai serve``: the options of ``python -m navai_client.server``, and nothing said twice."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from navai_client.server.__main__ import option_helps
from tests.cli.conftest import COMMAND, Navai


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped(how: signal.Signals, command: Navai) -> None:
    with subprocess.Popen(
        [COMMAND, "serve", "--demo", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("Navai backend listening on http://127.0.0.1:")
        assert command("functions", "--url", line.split()[-1]).status == 0
        server.send_signal(how)
        _, err = server.communicate(timeout=60)
    assert server.returncode == (130 if how == signal.SIGINT else -signal.SIGTERM)
    assert "Traceback" not in err
    assert err.rstrip().endswith(" INFO navai_client.server Stopped.")


def test_it_offers_the_agents_of_a_folder_without_what_is_excluded(tmp_path: Path, command: Navai) -> None:
    for path in (
        "main/a",
        "main/drafts/b",
        "main/agent_config",
        "main/none/d",
        "main/old/e",
        "other/c",
        "old",
    ):
        file = tmp_path / "src" / "ai" / f"{path}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"def {file.stem}(): ...")
    folders = (
        "--default-functions-folder",
        "src/ai",
        "--agents-folders",
        "main",
        "--exclude",
        "**/drafts/**,**/old/**",
        "--exclude",
        "**/none/**",
    )
    with subprocess.Popen(
        [COMMAND, "serve", "--base-dir", tmp_path, "--port", "0", *folders],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        listed = command("functions", "--url", server.stdout.readline().split()[-1])
        server.terminate()
    assert (listed.out.split("\t")[0], listed.out.count("\n"), listed.err) == ("a", 1, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--port", "x"], "must be a whole number from 0 to 65535"),
        (["--base-dir", "/not/there"], "The base directory /not/there does not exist."),
        (["--reload", "--workers", "2"], "cannot be combined"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line_with_status_2(
    arguments: list[str], said: str, navai: Navai
) -> None:
    result = navai("serve", *arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("navai serve: ")
    assert said in result.err
    assert result.err.count("\n") == 1


def test_its_help_is_the_servers_own(navai: Navai) -> None:
    printed = navai("serve", "--help").out
    for option in ("--demo", "--reload", "--base-dir", "--workers", "--port"):
        assert option in printed


def test_its_options_are_completed(command: Navai) -> None:
    line = "navai serve --"
    environment = {"_NAVAI_COMPLETE": "bash_complete", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    printed = command(**environment).out.split()
    assert printed == [f"plain,{option}" for option, _ in option_helps() if option.startswith("--")]
    assert os.environ.get("_NAVAI_COMPLETE") is None
