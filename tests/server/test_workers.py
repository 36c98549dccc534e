"""Workers: a start that cannot succeed ends, and nothing outlives the parent. With real processes."""

import functools
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.ports import reserved_port
from tests.server.raw import exchange, get, is_alive
from tests.serving import Serve
from tests.waiting import until

Write = Callable[[str, str], Path]
WORKERS = ["--workers", "2"]


@pytest.fixture(name="serve")
def _serve(serve: Serve) -> Iterator[Serve]:
    """Start servers on a port that no other process takes once they have ended."""
    with reserved_port() as port:
        yield functools.partial(serve, "--port", str(port))


def refuses(url: str) -> bool:
    """Return whether nobody listens at *url*."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) != 0


@pytest.mark.parametrize("workers", [[], WORKERS], ids=["alone", "workers"])
@pytest.mark.parametrize(
    "raised",
    ["BaseException('no')", "SystemExit(1)", "GeneratorExit", "__import__('asyncio').CancelledError"],
)
def test_a_module_that_raises_anything_is_a_warning_and_the_backend_is_not_ready(
    raised: str, workers: list[str], serve: Serve, write: Write
) -> None:
    write("src/bad.py", f"raise {raised}\n")
    write("src/good.py", "def fine() -> int: return 1\n")
    server = serve("--functions-folders", "src", *workers)
    listed = exchange(server.url, get("/navai/functions", "connection: close"))
    listing = json.loads(listed.partition(b"\r\n\r\n")[2])
    assert [each["name"] for each in listing["items"]] == ["fine"]
    assert any("bad.py" in each for each in listing["warnings"])
    assert exchange(server.url, get("/ready", "connection: close")).startswith(b"HTTP/1.1 503 ")
    assert exchange(server.url, get("/health", "connection: close")).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("workers", [[], WORKERS], ids=["alone", "workers"])
@pytest.mark.parametrize(
    "fails",
    [
        "import os; os._exit(7)",
        "import os; os.kill(os.getpid(), 9)",
        "raise KeyboardInterrupt",
    ],
)
def test_a_start_that_cannot_succeed_ends(fails: str, workers: list[str], serve: Serve, write: Write) -> None:
    write("src/bad.py", fails)
    server = serve("--functions-folders", "src", *workers)
    assert server.process.wait(60) != 0
    assert refuses(server.url)
    assert server.log().count("Traceback") <= 2 + len(workers)


def test_a_worker_that_dies_at_the_start_is_replaced_if_the_other_one_serves(
    serve: Serve, write: Write, tmp_path: Path
) -> None:
    write(
        "src/functions.py",
        "import os\n"
        "try:\n"
        f"    os.close(os.open({str(tmp_path / 'first')!r}, os.O_CREAT | os.O_EXCL))\n"
        "except FileExistsError:\n"
        "    pass\n"
        "else:\n"
        "    os.kill(os.getpid(), 9)\n"
        "def pid() -> int: return os.getpid()\n",
    )
    server = serve("--functions-folders", "src", *WORKERS)
    until(lambda: server.log().count("Offers 1 function: ") == 2)
    assert exchange(server.url, get("/ready", "connection: close")).startswith(b"HTTP/1.1 200 ")


def test_a_worker_that_dies_after_it_has_served_is_replaced(serve: Serve, write: Write) -> None:
    write("src/functions.py", "import os\ndef pid() -> int: return os.getpid()\n")
    server = serve("--functions-folders", "src", *WORKERS)
    assert exchange(server.url, get("/health", "connection: close")).startswith(b"HTTP/1.1 200 ")
    parent = psutil.Process(server.process.pid)
    until(lambda: server.log().count("Offers 1 function: ") == 2)
    victim = next(each for each in parent.children() if "spawn_main" in " ".join(each.cmdline()))
    until(lambda: "workers serve" in server.log())
    victim.kill()
    until(lambda: server.log().count("Offers 1 function: ") == 3)
    until(lambda: f"Worker {victim.pid} ended with status -9. Another one starts." in server.log())
    assert exchange(server.url, get("/health", "connection: close")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("how", [WORKERS, ["--reload"]], ids=["workers", "reload"])
def test_ctrl_c_while_processes_still_import_says_nothing(how: list[str], serve: Serve, write: Write) -> None:
    write("src/functions.py", "def fine() -> int: return 1\n")
    server = serve("--functions-folders", "src", *how)
    parent = psutil.Process(server.process.pid)
    until(lambda: any("spawn_main" in " ".join(each.cmdline()) for each in parent.children()))
    # A terminal sends it to all of them at once: none sees another one end before it gets the signal itself.
    parent.suspend()
    everyone = [parent, *parent.children()]
    for each in everyone:
        each.suspend()
    for each in everyone:
        each.send_signal(signal.SIGINT)
    for each in reversed(everyone):  # the parent may kill the others
        each.resume()
    server.process.wait(60)
    # On a busy machine, a worker may have begun by then: it says so, and that it stops.
    assert all(" INFO navai_client.server " in line for line in server.log().splitlines()), server.log()
    assert refuses(server.url)


@pytest.mark.parametrize("how", [WORKERS, ["--reload"]], ids=["workers", "reload"])
def test_nothing_outlives_a_parent_that_was_killed(how: list[str], serve: Serve, write: Write) -> None:
    write("src/functions.py", "def fine() -> int: return 1\n")
    server = serve("--functions-folders", "src", *how)
    assert exchange(server.url, get("/health", "connection: close")).startswith(b"HTTP/1.1 200 ")
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert children
    os.kill(server.process.pid, signal.SIGKILL)
    until(lambda: refuses(server.url))
    until(lambda: not any(is_alive(each) for each in children))


def test_a_worker_whose_start_hangs_does_not_outlive_its_parent_either(serve: Serve, write: Write) -> None:
    write(
        "src/hangs.py", "import pathlib, threading\npathlib.Path('began').touch()\nthreading.Event().wait()\n"
    )
    server = serve("--functions-folders", "src", "--drain-delay", "0", "--grace", "0", *WORKERS)
    until((server.log_file.parent / "began").exists)
    os.kill(server.process.pid, signal.SIGKILL)
    until(lambda: refuses(server.url))
