"""``navai serve``: what it says to a person and to a log, and the backend of a module."""

import contextlib
import re
import signal
import socket
import textwrap
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.serving import COMMAND, Serve, Start
from tests.terminal import terminal
from tests.waiting import until

LIST = "/navai/functions"
SHOP = """
    from navai_client.server import NavaiBackend

    shop = NavaiBackend(discover=False, max_result_bytes=999)
    price = 7

    @shop.function
    def find_sku(sku: str) -> str:
        return sku

    def make() -> NavaiBackend:
        return shop

    class Shops:
        first = shop
"""
NOBODY_APPROVES = """
    from navai_client.server import function

    @function(approval=True)
    def pay(): ...
"""

Write = Callable[[str, str], Path]


def test_a_person_is_told_where_what_and_how_to_change_it() -> None:
    with terminal(*COMMAND, "--demo") as screen:
        printed = screen.until("open no session.")
        url = re.search(r"^Navai backend listening on (http://127\.0\.0\.1:\d+)$", printed, re.MULTILINE)
        assert url is not None
        for line in (
            f"  inspector  {url[1]}/navai/",
            f"  OpenAPI    {url[1]}/navai/openapi.json",
            "  reload     off; --reload restarts when a file changes",
            "  options    navai serve --help",
            "  stop       Ctrl-C",
        ):
            assert f"{line}\n" in printed
        assert "INFO     Offers 6 functions: calculator_add_tax, cancel_order, create_order, " in printed
        assert "INFO     Client secrets are samples, which open no session." in printed
        for path in ("/", "/navai"):
            page = httpx.get(url[1] + path, follow_redirects=True, timeout=60)
            assert page.url == f"{url[1]}/navai/"
            assert page.headers["content-type"].startswith("text/html")
        screen.process.send_signal(signal.SIGINT)
        printed = screen.until(None)
    assert printed.rstrip().endswith("INFO     Stopped.")
    assert "uvicorn" not in printed


def test_an_inspector_that_is_not_served_is_said_to_be_off(tmp_path: Path) -> None:
    with terminal(*COMMAND, "--base-dir", str(tmp_path), OPENAI_API_KEY="") as screen:
        printed = screen.until(
            "No OPENAI_API_KEY is set: only a request with an apiKey gets a client secret."
        )
    assert "  inspector  off; --inspector serves it\n" in printed


def test_where_the_output_is_redirected_there_is_one_line_and_a_log(serve: Serve) -> None:
    server = serve("--demo")
    httpx.get(f"{server.url}/health", timeout=60)
    log = server.stop()
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""
    dated = r"^\d{4}-\d\d-\d\d [\d:,]+ INFO navai_client.server Offers 6 functions: calculator_add_tax, "
    assert re.search(dated, log, re.MULTILINE)
    assert "Stopping. Calls may finish within 30 seconds." in log
    assert log.endswith(" INFO navai_client.server Stopped.\n")
    assert "uvicorn" not in log


def test_many_functions_are_named_in_part(serve: Serve, write: Write) -> None:
    functions = "".join(f"def f{number:02}(): ...\n" for number in range(23))
    write("src/ai/functions-modules/many.py", functions)
    server = serve()
    until(lambda: "Offers 23 functions: f00, f01, " in server.log())
    assert "f18, f19 and 3 more\n" in server.log()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OPENAI_API_KEY": "sk-live-1"}, "INFO navai_client.server Mints client secrets for gpt-realtime"),
        ({"NAVAI_ALLOW_FRONTEND_API_KEY": "false"}, "WARNING navai_client.server No OPENAI_API_KEY is set"),
    ],
    ids=["key", "no key"],
)
def test_the_log_says_whether_secrets_can_be_minted(
    environment: dict[str, str], said: str, serve: Serve
) -> None:
    server = serve(**environment)
    until(lambda: said in server.log())


def test_a_port_in_use_is_said_with_what_to_do(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = start("--demo", "--port", str(port))
    assert status == 2
    assert said == (
        f"navai serve: Cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Stop the server that listens there, or choose another --port; 0 takes a free one.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["shop:shop", "--inspector"],
        ["shop:make", "--inspector", "--workers", "2", "--host", "localhost"],
        ["shop:Shops.first", "--reload", "--no-access-log", "--allowed-hosts", "shop.example"],
    ],
    ids=["object", "function", "path"],
)
def test_the_backend_of_a_module_is_served_with_the_settings_of_the_command_line(
    arguments: list[str], serve: Serve, write: Write
) -> None:
    write("shop.py", textwrap.dedent(SHOP))
    server = serve(*arguments)
    assert "find_sku" in httpx.get(server.url + LIST, timeout=60).text
    assert httpx.get(f"{server.url}/navai/", timeout=60).status_code == 200
    assert httpx.get(server.url + LIST, headers={"host": "evil.example"}, timeout=60).status_code == 400
    log = server.stop()
    assert ("path=" in log) is ("--no-access-log" not in arguments)
    assert "uvicorn" not in log


def test_others_than_this_machine_reach_the_backend_of_a_module_by_any_name(
    serve: Serve, write: Write
) -> None:
    write("shop.py", textwrap.dedent(SHOP).replace("discover=False", "access_log=None, discover=False"))
    server = serve("shop:shop", "--host", "0.0.0.0")
    url = server.url.replace("0.0.0.0", "127.0.0.1") + LIST
    assert httpx.get(url, headers={"host": "shop.example"}, timeout=60).status_code == 200
    assert "path=" not in server.stop()


def watches(process: int, folder: Path) -> bool:
    """Return whether *process* sees changes in *folder* by now: it begins after it has started another."""
    descriptors = Path(f"/proc/{process}/fdinfo")
    if find_spec("watchfiles") is None or not descriptors.exists():
        return True  # nothing tells of it
    watched = f" ino:{folder.stat().st_ino:x} "
    with contextlib.suppress(FileNotFoundError):
        return any(watched in each.read_text() for each in descriptors.iterdir())
    return False


def test_the_backend_of_a_module_is_served_again_when_its_file_changes(serve: Serve, write: Write) -> None:
    module = write("shop.py", textwrap.dedent(SHOP))
    server = serve("shop:shop", "--reload")
    assert "find_sku" in httpx.get(server.url + LIST, timeout=60).text
    until(lambda: watches(server.process.pid, module.parent))
    changed = write("shop.txt", module.read_text().replace("find_sku", "find_it"))
    changed.replace(module)  # at once, so that nobody imports half of it
    until(lambda: "Offers 1 function: find_it" in server.log())
    assert "find_it" in httpx.get(server.url + LIST, timeout=60).text
    log = server.log()
    assert "The server starts again, for a change of shop.py." in log
    assert "uvicorn" not in log
    assert "watchfiles" not in log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop"], "shop is not MODULE:NAME, such as app:backend."),
        (["shopp:shop"], "There is no module shopp in {folder} (--base-dir)."),
        (["shop:backend"], "shop has no backend. Did you mean shop?"),
        (["shop:Shops.frist"], "shop has no frist. Did you mean first?"),
        (["shop:make.zzz"], "shop has no zzz."),
        (["shop:price"], "shop:price is neither a NavaiBackend nor a function that returns one"),
        (
            ["shop:shop", "--max-result-bytes", "5"],
            "shop:shop sets max_result_bytes itself: --max-result-bytes has",
        ),
        (["shop:shop", "--demo"], "--demo serves sample functions, not shop:shop: give one of them"),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_a_backend_that_cannot_be_served_is_said_in_one_line(
    arguments: list[str], said: str, start: Start, write: Write, tmp_path: Path
) -> None:
    write("shop.py", textwrap.dedent(SHOP))
    status, written = start(*arguments)
    assert status == 2
    assert written.startswith(f"navai serve: {said.format(folder=tmp_path)}")
    assert written.count("\n") == 1


@pytest.mark.parametrize("line", ["import not_there_either", "raise ValueError('no')"])
def test_a_module_that_cannot_be_imported_shows_its_owner_where(
    line: str, start: Start, write: Write
) -> None:
    write("shop.py", f"{line}\n")
    status, written = start("shop:shop")
    assert status == 1
    assert 'shop.py", line 1' in written


def test_a_setting_of_a_modules_backend_that_cannot_work_is_one_line(start: Start, write: Write) -> None:
    write("shop.py", "from navai_client.server import NavaiBackend\nshop = NavaiBackend(threads=0)\n")
    status, written = start("shop:shop")
    assert (status, written.count("\n")) == (2, 1)


def test_a_function_that_nobody_could_approve_is_an_error_without_a_traceback(
    serve: Serve, write: Write
) -> None:
    write("src/ai/functions-modules/pay.py", textwrap.dedent(NOBODY_APPROVES))
    server = serve()
    assert server.process.wait(60) == 3
    assert "ERROR navai_client.server Functions need a person's approval, which nobody" in server.log()
    assert "Traceback" not in server.log()
