"""docs/cli.md: its examples run and give what it shows; it has every command, option and status."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from navai_client.cli._app import navai as _navai
from navai_client.cli._errors import Status
from tests.cli.conftest import COMMAND

TEXT = (Path(__file__).parent.parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
MARK = "\x1f\n"


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
@pytest.mark.skipif(shutil.which("jq") is None, reason="the examples use jq")
def test_an_example_gives_what_the_page_shows(block: str, demo_server: str, tmp_path: Path) -> None:
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    commands, shown = zip(*(part.split("\n", 1) for part in parts), strict=True)
    mark = "{ status=$?; printf '\\x1f\\n'; (exit $status); }"
    environment = os.environ | {
        "NAVAI_API_URL": demo_server,
        "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
    }
    finished = subprocess.run(
        ["bash", "-c", "\n".join(f"{command}\n{mark}" for command in commands)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    given = finished.stdout.split(MARK)
    assert given.pop() == ""
    for command, expected, came in zip(commands, shown, given, strict=True):
        pattern = re.escape(expected).replace(r"\.\.\.", "(?s:.*?)")
        assert re.fullmatch(pattern, came), f"$ {command}\n{came}"


def test_the_page_has_examples_to_run() -> None:
    assert len(BLOCKS) >= 7


def test_the_page_speaks_of_every_command_and_option() -> None:
    context = click.Context(_navai)
    for name in _navai.list_commands(context):
        command = _navai.get_command(context, name)
        assert command is not None
        assert f"`navai {name}" in TEXT
        for parameter in command.params:
            long = next((each for each in parameter.opts if each.startswith("--")), "")
            assert long in TEXT or long == "--param", f"{name} {long}"


@pytest.mark.parametrize("status", Status)
def test_the_page_has_every_status(status: Status) -> None:
    assert f"| {status.value} | " in TEXT
