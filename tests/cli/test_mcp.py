"""``navai mcp``: hosts of the Model Context Protocol connect over both ways, and it ends as it should."""

import asyncio
import json
import os
import pty
import select
import signal
import socket
import subprocess
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters

from navai_client.cli._mcp import _report_unless_broken_pipe
from tests.cli.conftest import COMMAND, Navai
from tests.cli.test_streams import without
from tests.ports import reserved_port

TOKEN = "token-0123456789abcdef"


def served(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [COMMAND, "mcp", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


async def ask(target: Any) -> tuple[list[str], Any, bool]:
    async with Client(target) as host:
        names = [tool.name for tool in (await host.list_tools()).tools]
        result = await host.call_tool("get_weather", {"location": "Oslo"})
        refused = await host.call_tool("cancel_order", {"order_id": "7"})
        return names, result.structured_content, bool(refused.is_error)


def test_a_host_starts_it_and_calls_functions(demo_server: str) -> None:
    arguments = ["mcp", "--url", demo_server, "--only", "get_weather", "--only", "cancel_order"]
    names, result, refused = asyncio.run(
        ask(StdioServerParameters(command=COMMAND, args=arguments, env=dict(os.environ)))
    )
    assert names == ["cancel_order", "get_weather"]
    assert result["result"]["location"] == "Oslo"
    assert refused


def test_hosts_connect_over_http(demo_server: str) -> None:
    with served("--http", "--port", "0", "--url", demo_server) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Navai MCP server listening on http://127.0.0.1:")
        names, result, _ = asyncio.run(ask(line.split()[-1]))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert "get_weather" in names
    assert result["ok"] is True
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err


def test_over_http_a_token_can_be_required(demo_server: str) -> None:
    options = ["--http", "--port", "0", "--access-token", "@env:MCP_TOKEN", "--url", demo_server]
    with served(*options, MCP_TOKEN=TOKEN) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert httpx.post(url, json={}, timeout=60).status_code == 401
        assert (
            httpx.post(url, json={}, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60).status_code
            != 401
        )
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert TOKEN not in err


def test_it_ends_when_the_host_closes_its_input(demo_server: str) -> None:
    with served("--url", demo_server) as process:
        out, err = process.communicate("", timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_host_that_has_gone_is_status_141_and_silent(demo_server: str) -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    greeting = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }
    finished = subprocess.run(
        [COMMAND, "mcp", "--url", demo_server],
        input=json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting}) + "\n",
        stdout=ours,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(ours)
    assert (finished.returncode, finished.stderr) == (141, "")


def test_only_the_buffer_of_a_host_that_has_gone_fails_silently(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finalized:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def __del__(self) -> None:
            raise self.error

    monkeypatch.setattr("sys.unraisablehook", _report_unless_broken_pipe)
    Finalized(BrokenPipeError())
    assert capsys.readouterr().err == ""
    Finalized(LookupError("a bug"))
    assert "LookupError: a bug" in capsys.readouterr().err


def test_other_errors_are_not_hidden(navai: Navai, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ExceptionGroup("of tasks", [BrokenPipeError(), LookupError("a bug")])

    monkeypatch.setattr("navai_client.integrations.mcp.serve_stdio", fail)
    with pytest.raises(ExceptionGroup):
        navai("mcp")


def test_a_host_gets_no_output_that_is_for_people(navai: Navai, monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(*_: object, **__: object) -> None:
        """Serve a host that sends nothing."""

    monkeypatch.setattr("navai_client.integrations.mcp.serve_stdio", end)
    for people, said in ((False, ""), (True, "Ctrl-C ends it.\n")):
        monkeypatch.setattr("navai_client.cli._mcp.is_terminal", lambda _, people=people: people)
        result = navai("mcp")
        assert (result.status, result.out) == (0, "")
        assert result.err.endswith(said)
        assert bool(result.err) == people


def test_a_person_sees_what_it_waits_for_and_ends_it_with_ctrl_c(demo_server: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "mcp", "--url", demo_server], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while b"Ctrl-C ends it." not in seen:
        assert select.select([ours], [], [], 60)[0]
        seen += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode in (-signal.SIGINT, 130)  # which of them, depends on timing
    assert out == b""


def test_a_port_in_use_is_one_line_and_status_2(navai: Navai) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = navai("mcp", "--http", "--port", str(port))
    assert result == (2, "", f"navai mcp: Cannot listen on 127.0.0.1:{port}: Address already in use.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--http", "--host", "0.0.0.0"], "To listen on 0.0.0.0, pass --allowed-host: the names by which"),
        (["--http", "--host", "no such host", "--allowed-host", "a"], "Cannot listen on no such host:8000: "),
        (["--http", "--port", "70000"], "70000 is not in the range"),
        (["--http", "--access-token", "@env:NOT_SET"], "--access-token names the variable NOT_SET"),
        (["--url", "nonsense"], "--url must begin with http"),
        (["--header", TOKEN], "--header takes 'Name: value'"),
    ],
)
def test_what_cannot_be_served_is_status_2_and_one_line(
    arguments: list[str], said: str, navai: Navai
) -> None:
    result = navai("mcp", *arguments)
    assert (result.status, result.out) == (2, "")
    assert said in result.err
    assert result.err.count("\n") == 1
    assert TOKEN not in result.err


def test_without_its_extra_one_line_says_what_to_install(command: Navai, tmp_path: Any) -> None:
    for missing in ("mcp", "pydantic"):
        said = f"navai mcp: {missing} is not installed; run: pip install 'navai-client[mcp]'\n"
        assert command("mcp", **without(tmp_path, missing)) == (2, "", said)


def test_a_backend_that_is_not_up_yet_is_a_warning(demo_server: str) -> None:
    async def tools(url: str) -> list[Any]:
        arguments = ["mcp", "--url", url]
        target = StdioServerParameters(command=COMMAND, args=arguments, env=dict(os.environ))
        async with Client(target) as host:
            return list((await host.list_tools()).tools)

    with reserved_port() as port:
        assert asyncio.run(tools(f"http://127.0.0.1:{port}")) == []
