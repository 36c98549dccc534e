"""The suite itself: neither the shell that starts it nor a parallel run may change its results."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(folder: Path, text: str, *options: str, ignored: bool = False) -> subprocess.CompletedProcess[str]:
    """Run *text* as a test file under this suite's conftest.py; with *ignored*, SIGINT is ignored."""
    (folder / "test_it.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(ROOT),
    ]
    command += ["-p", "conftest", "-p", "no:cacheprovider", *options, str(folder / "test_it.py")]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignored else None
    try:  # a signal ignored here is ignored in the child, as in a background job of a shell
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        if ignored:
            signal.signal(signal.SIGINT, before)


def test_programs_that_tests_start_can_be_interrupted_though_the_shell_ignores_sigint(tmp_path: Path) -> None:
    done = run(tmp_path, "import signal\ndef test_it(): signal.raise_signal(signal.SIGINT)\n", ignored=True)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout


def test_a_parallel_run_may_log_what_is_not_utf_8_and_skip_tests(tmp_path: Path) -> None:
    text = "import logging, pytest\ndef test_it(): logging.error('\\ud800')\ndef test_b(): pytest.skip()\n"
    done = run(tmp_path, text, "-n", "1")
    assert "1 passed, 1 skipped" in done.stdout, done.stdout


def make(*arguments: str) -> str:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_without_a_target_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert sorted(line.split()[1] for line in make().splitlines()) == sorted(phony[1].split())


@pytest.mark.parametrize("target", ["test", "quick", "demo"])
def test_a_target_says_what_it_installs_and_how_long_that_takes_before_it_does(
    target: str, tmp_path: Path
) -> None:
    steps = make("--dry-run", target, f"VENV={tmp_path / 'env'}", f"PYTHON={sys.executable}")
    said, _, installed = steps.partition("uv pip install")
    assert re.search(r"Once: .* MB|Once: .* GB", said), steps
    assert "--editable" in installed


def test_files_that_the_makefile_names_exist_and_what_make_test_leaves_out_runs_on_its_own() -> None:
    left_out = set(re.findall(r"--ignore=(\S+)", make("--dry-run", "test")))
    run_elsewhere = set(re.findall(r"tests/\S+", make("--dry-run", "deep").splitlines()[-1]))
    named = left_out | set(
        re.findall(r"--ignore=(\S+)", make("--dry-run", "quick") + make("--dry-run", "core"))
    )
    assert left_out == run_elsewhere
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    assert " deep " in (ROOT / ".ci" / "run").read_text()
    assert "--ignore" not in make("--dry-run", "test", "ARGS=tests/simulation")
