"""The examples run as a reader would run them, and print what they promise."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

SHOWS = {
    "01_list_functions.py": ["get_weather(location, unit): Get the current weather of a place."],
    "02_execute_function.py": ["degrees celsius"],
    "03_agent_loop.py": ["session opened with ClientSecret(value=ek_***", "cancel_order: {", '"ok": false'],
    "demo.py": ["1. A client secret", "get_weather", "-> {", "Available: calculator_add_tax"],
}


def run(command: list[str], url: str) -> str:
    environment = {**os.environ, "NAVAI_API_URL": url, "PYTHONWARNINGS": "error"}
    finished = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=False, cwd=EXAMPLES.parent
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.parametrize("name", SHOWS)
def test_an_example_runs_against_the_bundled_server(name: str, demo_server: str) -> None:
    output = run([sys.executable, str(EXAMPLES / name)], demo_server)
    for text in SHOWS[name]:
        assert text in output


def test_the_example_of_a_test_suite_passes(demo_server: str) -> None:
    output = run([sys.executable, "-m", "pytest", "-q", str(EXAMPLES / "04_test_suite.py")], demo_server)
    assert "7 passed" in output


def test_every_example_is_listed_and_run_by_a_test() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    table = (EXAMPLES / "README.md").read_text()
    assert {name for name in scripts if f"]({name})" in table} == scripts
    tests = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    assert {name for name in scripts if name in tests or f'"{name.removesuffix(".py")}"' in tests} == scripts


def test_without_a_backend_an_example_says_what_is_wrong() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    environment = {**os.environ, "NAVAI_API_URL": f"http://127.0.0.1:{port}"}
    finished = subprocess.run(
        [sys.executable, str(EXAMPLES / "02_execute_function.py")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 1
    assert "Connection refused" in finished.stderr
    assert "It did not run." in finished.stderr
    assert "Traceback" not in finished.stderr
