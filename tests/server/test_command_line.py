"""``python -m navai_client.server``: errors in one line, and calls in flight that finish."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from navai_client.server.__main__ import main
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._serving import bind, make_backend
from tests.waiting import until, until_line

if TYPE_CHECKING:
    from navai_client.server._settings import BackendKeywords


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bogus"], "unrecognized arguments"),
        (["--port", "x"], "port (PORT, --port) must be a whole number from 0 to 65535. Received: 'x'"),
        (["--port", "99999"], "must be a whole number from 0 to 65535. Received: 99999"),
        (["--port", "-1"], "must be a whole number from 0 to 65535. Received: '-1'"),
        (["--host", "no such host"], "Cannot listen on no such host:3000"),
        (["--host", "x" * 70], "Cannot listen on xxx"),
        (["--base-dir", "/not/there"], "The base directory /not/there does not exist."),
        (["--functions-folders", "no/such"], '--functions-folders: "no/such" has no module below'),
        (["--functions-folders", "tests/interop/functions/src/tools,toolz"], '"toolz" has no module'),
        (["--functions-folders", "no/such/*.py,nor.py"], '"no/such/*.py" and "nor.py" have no module'),
        (
            ["--functions-folders", "tests/interop/functions/src/tools", "--agents-folders", "toolz"],
            '/src/tools" has no module of the agents toolz below',
        ),
        (["--functions-folders", ".github/...", "--demo"], '".github/..." has no module'),
        (["--workers", "0"], "workers (NAVAI_WORKERS, --workers) must be a whole number of 1 or more"),
        (["--workers", "2", "--reload"], "cannot be combined"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line_with_status_2(
    arguments: list[str], said: str, capfd: Any
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capfd.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_the_variable_for_folders_that_are_not_there_does_not_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("NAVAI_FUNCTIONS_FOLDERS", "no/such")
    with bind("127.0.0.1", 0) as taken, pytest.raises(SystemExit):
        main(["--port", str(taken.getsockname()[1])])
    assert "Address already in use" in capfd.readouterr().err  # as far as that, it came
    backend = make_backend(ProcessSettings(), {})
    assert backend.functions().warnings[0].startswith("[navai] NAVAI_FUNCTIONS_FOLDERS did not match any")


def test_a_port_in_use_is_one_line_and_status_2(capfd: Any) -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(SystemExit) as ended:
        main(["--port", str(taken.getsockname()[1])])
    assert ended.value.code == 2
    assert "Address already in use" in capfd.readouterr().err


@pytest.mark.parametrize("variable", ["OPENAI_REALTIME_CLIENT_SECRET_TTL", "PORT"])
def test_an_environment_that_cannot_work_is_status_2(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "five")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_a_call_in_flight_finishes_after_sigterm(tmp_path: Path, more: list[str]) -> None:
    began, go = tmp_path / "began", tmp_path / "go"
    module = tmp_path / "src" / "slow.py"
    module.parent.mkdir()
    module.write_text(
        "import asyncio\nfrom pathlib import Path\n"
        "async def wait(began: str, go: str) -> str:\n"
        "    Path(began).touch()\n"
        "    while not Path(go).exists(): await asyncio.sleep(0.01)\n"
        "    return 'done'\n"
    )
    command = [sys.executable, "-m", "navai_client.server", "--port", "0", "--base-dir", str(tmp_path)]
    command += ["--functions-folders", "src", *more]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        log = server.stderr
        url = server.stdout.readline().split()[-1]
        payload = {"began": str(began), "go": str(go)}
        request = urllib.request.Request(
            f"{url}/navai/functions/execute",
            json.dumps({"function_name": "wait", "payload": payload}).encode(),
            {"content-type": "application/json"},
        )
        answers: list[Any] = []

        def call() -> None:
            with urllib.request.urlopen(request, timeout=60) as answer:
                answers.append(json.load(answer)["result"])

        calling = threading.Thread(target=call)
        calling.start()
        until(began.exists)
        server.send_signal(signal.SIGTERM)
        # Only once the server says that it is stopping may the function end.
        until_line(log, "Stopping.")
        go.touch()
        calling.join()
        log.read()
    assert answers == ["done"]


def test_the_base_directorys_modules_can_be_imported_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "beside_the_functions.py").write_text("NAME = 'Oslo'")
    module = tmp_path / "src" / "city.py"
    module.parent.mkdir()
    module.write_text("from beside_the_functions import NAME\ndef city() -> str: return NAME")
    settings: BackendKeywords = {"functions_base_dir": str(tmp_path), "functions_folders": "src"}
    assert make_backend(ProcessSettings(), settings).functions().names == ["city"]
    assert sys.path.count(str(tmp_path)) == 1
    make_backend(ProcessSettings(), settings)
    assert sys.path.count(str(tmp_path)) == 1


def test_reload_serves_a_function_that_was_added_while_it_runs(tmp_path: Path) -> None:
    module = tmp_path / "src" / "a.py"
    module.parent.mkdir()
    module.write_text("def first() -> int: return 1\n")
    command = [sys.executable, "-m", "navai_client.server", "--port", "0", "--base-dir", str(tmp_path)]
    command += ["--functions-folders", "src", "--reload"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]

            def names() -> list[str]:
                try:
                    with urllib.request.urlopen(f"{url}/navai/functions", timeout=60) as answer:
                        return [each["name"] for each in json.load(answer)["items"]]
                except (ConnectionError, urllib.error.URLError):
                    return []  # the process that had taken the connection was the one to be replaced

            assert names() == ["first"]
            module.write_text("def first() -> int: return 1\ndef second() -> int: return 2\n")
            looks = itertools.count(1)

            def has_both() -> bool:
                if next(looks) % 200 == 0:
                    module.touch()  # the first change may have come before the first look at the files
                return names() == ["first", "second"]

            until(has_both)
        finally:
            server.send_signal(signal.SIGTERM)
    assert server.returncode == 0
