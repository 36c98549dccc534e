"""``--env-file``: settings from a file, below those of the real environment and of the command line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from navai_client.server.__main__ import main
from tests.serving import Serve, Start

EXECUTE = "/navai/functions/execute"
FILE = """\
# The shop's own.
export NAVAI_ACCESS_TOKEN=token-of-the-file
NAVAI_EXPOSE_ERRORS='false'
NAVAI_FUNCTIONS_FOLDERS="tools"   # below src
SHOP_DATABASE=first
SHOP_DATABASE=sales${HOME}$1
PORT=1
"""
FUNCTION = (
    "import os\ndef database() -> str: return os.environ['SHOP_DATABASE']\ndef fail(): raise OSError('no')"
)


def put(folder: Path) -> str:
    (folder / "src" / "tools").mkdir(parents=True)
    (folder / "src" / "tools" / "shop.py").write_text(FUNCTION)
    (folder / ".env").write_text(FILE)
    return ".env"


def call(url: str, name: str, token: str) -> Any:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.post(url + EXECUTE, json={"function_name": name}, headers=headers, timeout=60)


@pytest.mark.parametrize("more", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_the_file_sets_what_nothing_else_sets(serve: Serve, tmp_path: Path, more: list[str]) -> None:
    url = serve("--env-file", put(tmp_path), *more).url  # whose --port wins over the file's
    assert call(url, "database", "another").status_code == 401
    # The last of two counts, as it is written; the functions see it, too.
    assert call(url, "database", "token-of-the-file").json()["result"] == "sales${HOME}$1"
    assert "no" not in call(url, "fail", "token-of-the-file").json()["details"].split()


def test_the_real_environment_wins_over_the_file(serve: Serve, tmp_path: Path) -> None:
    real = {"NAVAI_ACCESS_TOKEN": "real-token", "NAVAI_EXPOSE_ERRORS": "true"}
    url = serve("--env-file", put(tmp_path), **real).url
    assert call(url, "fail", "token-of-the-file").status_code == 401
    assert call(url, "fail", "real-token").json()["details"] == "no"


def test_a_blank_token_in_the_file_does_not_open_the_server(start: Start, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NAVAI_ACCESS_TOKEN=\n")
    status, said = start("--env-file", ".env")
    assert status == 2
    assert "access_token (NAVAI_ACCESS_TOKEN) must be" in said


def test_the_module_takes_it_too(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "navai_client.server", "--env-file", "nowhere.env"],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    said = "python -m navai_client.server: --env-file nowhere.env: No such file or directory.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", said)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "Is a directory."),
        (b"A=1\nNAVAI_ACCESS_TOKEN=\xff\n", "the content is not UTF-8."),
        (b"A=1\n\nmy secret = 2\n", "line 3 is not NAME=value (it is not shown)."),
        (b"A=1\nNAVAI_ACCESS_TOKEN\n", "line 2 is not NAME=value (it is not shown)."),
        (b"A='secret\n", "line 1 is not NAME=value (it is not shown)."),
        (b"A=secret\0\n", "line 1 is not NAME=value (it is not shown)."),
    ],
)
def test_a_file_that_cannot_be_read_stops_the_start(
    tmp_path: Path, content: bytes | None, reason: str, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A", raising=False)
    monkeypatch.chdir(tmp_path)
    if content is None:
        Path("given").mkdir()
    else:
        Path("given").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["--env-file", "given"])
    assert ended.value.code == 2
    assert capfd.readouterr().err == f"python -m navai_client.server: --env-file given: {reason}\n"
