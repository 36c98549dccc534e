"""The JavaScript client, call by call, against our server and against Express with the same functions.

``differences.py`` lists what differs: all of it must differ, and nothing else may.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest

from navai_client.server import FunctionContext
from navai_client.testing import LiveServer
from tests.interop.calls import CALLS, Call
from tests.interop.conftest import FUNCTIONS
from tests.interop.differences import DIFFERENCES
from tests.interop.node import Node, revived
from tests.interop.scripted import Scripted, ScriptedServer

ENVIRONMENTS: Final = {
    "keyed": {"OPENAI_API_KEY": "sk-of-the-backend"},
    "keyless": {},
    "denying": {"NAVAI_ALLOW_FRONTEND_API_KEY": "false"},
}


@contextmanager
def our_server(upstream: str, env: dict[str, str]) -> Iterator[str]:
    """Run our server from the command line, and yield its URL."""
    command = [sys.executable, "-m", "navai_client.server", "--port", "0"]
    inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    ours = {
        "NAVAI_FUNCTIONS_BASE_DIR": str(FUNCTIONS),
        "NAVAI_FUNCTIONS_FOLDERS": "src/tools",
        "OPENAI_BASE_URL": upstream,
        "OPENAI_REALTIME_MODEL": "gpt-realtime",  # the default of Express, which shuts down
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**inherited, **ours, **env},
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.communicate()


def read(text: str) -> Any:
    """Return *text* parsed if it is JSON, else unchanged."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def plain(value: Any) -> Any:
    """Return *value* as if our modules were JavaScript files: otherwise every source would differ."""
    return json.loads(json.dumps(value).replace(".py#", ".js#").replace(".py:", ".js:"))


class Peer:
    """One kind of backend: Express or ours."""

    def __init__(self, node: Node, urls: dict[str, str]) -> None:
        self.node = node
        self.urls = urls

    def script(self, call: Call) -> None:
        """Set the response of the upstream for *call*."""
        raise NotImplementedError

    def asked(self) -> list[Any]:
        """Return the bodies and keys that the upstream received for the last call."""
        raise NotImplementedError

    def outcome(self, call: Call) -> Any:
        """Make *call*; return its outcome, and the requests to the upstream."""
        self.script(call)
        url = self.urls[call.backend]
        if call.method == "fetch":
            answer = self.node.ask("fetch", url=url + call.input["path"], init=call.input["init"])
            outcome = {
                "status": answer["status"],
                "type": answer["headers"].get("content-type"),
                "body": read(answer["text"]),
            }
        else:
            given = () if call.input is None else (call.input,)
            outcome = self.node.call(url, call.method, *given)
            if "raised" in outcome:
                outcome = {"raised": read(outcome["raised"])}
        asked = self.asked()
        return plain(revived(outcome) | ({"asked": asked} if asked else {}))


class Express(Peer):
    """The published backend."""

    def script(self, call: Call) -> None:
        status, text = call.upstream
        self.node.ask("upstream", answer={"status": status, "text": text})

    def asked(self) -> list[Any]:
        return [[each["headers"]["authorization"], each["body"]] for each in self.node.ask("asked")]


class Ours(Peer):
    """Our server, with a scripted upstream."""

    def __init__(self, node: Node, urls: dict[str, str], upstream: ScriptedServer) -> None:
        super().__init__(node, urls)
        self.upstream = upstream

    def script(self, call: Call) -> None:
        status, text = call.upstream
        raw = f"HTTP/1.1 {status} Odd\r\nContent-Length: {len(text)}\r\n\r\n{text}"
        self.upstream.answers[0] = Scripted(raw.encode())
        self.upstream.play(0)
        self.upstream.asked.clear()

    def asked(self) -> list[Any]:
        return [
            [each.headers["authorization"], json.loads(each.body)] for each in self.upstream.asked.get(0, [])
        ]


@pytest.fixture(scope="module")
def peers(node: Node) -> Iterator[tuple[Peer, Peer]]:
    """Both kinds, each in all environments."""
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedServer())
        options = {"functionsBaseDir": str(FUNCTIONS), "functionsFolders": "src/tools"}
        express = {name: node.ask("serve", options=options, env=env) for name, env in ENVIRONMENTS.items()}
        ours = {
            name: stack.enter_context(our_server(f"{upstream.url}/case/now", env))
            for name, env in ENVIRONMENTS.items()
        }
        yield Express(node, express), Ours(node, ours, upstream)


@pytest.mark.covers(
    "server.list",
    "server.execute",
    "server.arguments",
    "server.names",
    "server.discovery-warnings",
    "server.client-secret",
    "server.api-key",
    "server.statuses",
    "server.upstream",
)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_our_server_gives_what_express_gives(call: Call, peers: tuple[Peer, Peer]) -> None:
    express, ours = (peer.outcome(call) for peer in peers)

    difference = DIFFERENCES.get(call.name)
    if difference is None:
        assert ours == express
    else:
        assert ours != express, f"{call.name!r} no longer differs; remove it from the list."
        assert ours == difference.ours(express)


def test_every_difference_is_one_of_a_call() -> None:
    assert not DIFFERENCES.keys() - {call.name for call in CALLS}


def test_the_progress_of_a_function_changes_nothing_for_the_javascript_client(node: Node) -> None:
    def plan(context: FunctionContext) -> str:
        context.progress("Looking at March")
        return "12 March"

    with LiveServer() as server:
        server.function(plan)
        outcome = node.call(server.url, "executeFunction", {"functionName": "plan"})
        (request,) = server.requests
    assert outcome == {"value": "12 March"}
    assert "event-stream" not in request.headers.get("accept", "")
