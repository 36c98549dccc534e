"""The suite itself: neither the shell that starts it nor a parallel run may change its results."""

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
