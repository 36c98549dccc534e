"""The examples and the first steps run as a reader would run them, and print what they promise."""

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from navai_client import NavaiBackendClient
from tests.ports import reserved_port

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
    output = run([sys.executable, str(EXAMPLES / "04_test_suite.py")], demo_server)
    assert "7 passed" in output


def test_the_first_turn_of_an_agent_prints_what_the_page_shows(demo_server: str, tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "first-steps.md").read_text()
    ((code, shown),) = re.findall(
        r"```python\n([^`]*asyncio\.run.*?)```.*?```text\n(.*?)```", page, re.DOTALL
    )
    (tmp_path / "agent.py").write_text(code)
    environment = {**os.environ, "NAVAI_API_URL": demo_server}
    command = [sys.executable, "-W", "error", "agent.py"]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert re.fullmatch(re.escape(shown).replace(re.escape("{...}"), r"\{.*\}"), run.stdout)


def test_every_example_is_listed_and_run_by_a_test() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    table = (EXAMPLES / "README.md").read_text()
    assert {name for name in scripts if f"]({name})" in table} == scripts
    tests = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    assert {name for name in scripts if name in tests or f'"{name.removesuffix(".py")}"' in tests} == scripts


SCRIPTS = sorted(path.name for path in EXAMPLES.glob("[0-9]*.py"))
BACKENDS = ["09_serve_in_starlette.py", "10_serve_in_fastapi.py", "11_serve_beside_django.py"]
NO_DJANGO = importlib.util.find_spec("a2wsgi") is None  # as after `make core`
RESTAURANT = "restaurant/agent.py"
MORE_THAN_THE_SET_UP = [*SCRIPTS[3:], RESTAURANT]


@pytest.fixture(scope="session")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with just the packages that README's set-up installs: the extras ``cli`` and ``server``."""
    folder = tmp_path_factory.mktemp("set_up")
    wanted, seen = [("navai-client", frozenset({"cli", "server"}))], set()
    for name, extras in wanted:  # which grows
        seen.add(name)
        found = importlib.metadata.distribution(name)
        for text in found.requires or ():
            each = Requirement(text)
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in {*extras, ""}):
                wanted += [(each.name, frozenset(each.extras))] if each.name not in seen else []
        for top in {
            path.parts[0] for path in found.files or () if path.parts[0] not in {"..", "__pycache__"}
        }:
            there = Path(str(found.locate_file(top)))
            if there.exists() and not (folder / top).exists() and there.suffix != ".pth":
                (folder / top).symlink_to(there)
    (folder / "navai_client").symlink_to(EXAMPLES.parent / "navai_client")
    return folder


def alone(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python without a network if the system allows that, and without the environment of this process."""
    unshared = ["unshare", "-rn", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*unshared, "true"], check=False).returncode:
        unshared = []
    return subprocess.run(
        [*unshared, sys.executable, *command],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": os.devnull, **environment},
        timeout=60,
        check=False,
        cwd=EXAMPLES.parent,
        stdin=subprocess.DEVNULL,
    )


def command(example: str) -> list[str]:
    """Return the arguments of Python that run an example, as its docstring says."""
    return ["-m", "examples.restaurant.agent"] if example == RESTAURANT else [f"examples/{example}"]


def last_line(finished: subprocess.CompletedProcess[str]) -> str:
    """Return the sentence that a program ended with, after it could not do its work."""
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    return finished.stderr.splitlines()[-1]


def needs(example: str) -> str:
    """Return the docstring of an example: what it needs, how it is run, what a voice would need."""
    return ast.get_docstring(ast.parse((EXAMPLES / example).read_text())) or ""


@pytest.mark.parametrize("example", MORE_THAN_THE_SET_UP)
def test_after_the_readmes_set_up_an_example_says_what_to_install(example: str, set_up: Path) -> None:
    finished = alone("-S", *command(example), PYTHONPATH=str(set_up))
    install = re.search(r"^Needs: (pip install .+?);", needs(example), re.MULTILINE)
    assert install
    assert last_line(finished).endswith(f"; run: {sys.executable} -m {install[1]}")


@pytest.mark.parametrize("example", SCRIPTS[:3])
def test_without_a_backend_an_example_names_the_host_and_how_to_start_one(example: str, set_up: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    finished = alone("-S", *command(example), PYTHONPATH=str(set_up), NAVAI_API_URL=nowhere)
    said = last_line(finished)
    assert finished.stderr == f"{said}\n"  # the log has nothing beside it
    assert f"{nowhere}/navai/" in said
    assert "navai serve --demo" in said


@pytest.mark.parametrize("example", [*SCRIPTS, "demo.py", RESTAURANT])
def test_an_example_says_at_its_top_what_it_needs_and_how_it_is_run(example: str) -> None:
    said = needs(example)
    assert re.search(r"^Needs: .*\n(?: {4}.*\n)?Run: .*", said, re.MULTILINE), said
    assert re.search(r"\bno key|_API_KEY\b", said), said
    assert len(said.splitlines()) <= 10
    row = re.search(rf"\[{example.partition('/')[0]}\].*", (EXAMPLES / "README.md").read_text())
    assert row
    extras = re.search(r"pip install 'navai-client(\[.+?\])'", said)
    assert not extras or f"`{extras[1]}`" in row[0]


@pytest.mark.parametrize("example", BACKENDS)
def test_an_example_of_a_backend_serves_its_functions(example: str) -> None:
    if NO_DJANGO and "django" in example:
        pytest.skip("Django is not installed.")
    on_a_free_port = (
        "import functools, runpy, sys, uvicorn; uvicorn.run = functools.partial(uvicorn.run, port=0); "
        "sys.path.insert(0, 'examples'); runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    arguments = [sys.executable, "-c", on_a_free_port, *command(example)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=EXAMPLES.parent) as process:
        try:
            assert process.stderr is not None
            url = next(found[0] for line in process.stderr if (found := re.search(r"http://[\d.:]+", line)))
            with NavaiBackendClient(f"{url}/voice") as client:
                assert [each.name for each in client.list_functions()] == ["get_weather"]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def test_an_example_that_is_interrupted_says_so_and_another_error_is_shown_as_ever() -> None:
    # This is _explain.py alone.
    stopped = alone("-c", "import _explain; raise KeyboardInterrupt", PYTHONPATH=str(EXAMPLES))
    assert stopped.stderr == "Stopped.\n"
    failed = alone("-c", "import _explain; 1 / 0", PYTHONPATH=str(EXAMPLES))
    assert failed.stderr.startswith("Traceback")
    assert "ZeroDivisionError" in failed.stderr


def test_without_a_backend_an_example_says_what_is_wrong() -> None:
    with reserved_port() as port:
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
