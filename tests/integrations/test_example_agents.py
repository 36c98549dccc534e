"""The examples of agents run against the bundled server; only the model is scripted."""

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from livekit.agents import AgentSession, llm
from mcp import Client, StdioServerParameters
from mcp_types import TextContent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.integrations.loop import in_a_loop
from tests.integrations.scripted_livekit import ScriptedLLM, wants
from tests.ports import reserved_port
from tests.pytest_runs import NO_PLUGINS_OF_OTHERS

EXAMPLES = Path(__file__).parents[2] / "examples"
KEYS = dict.fromkeys(("OPENAI_API_KEY", "LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"), "x")
AGENTS = [
    "05_voice_agent.py",
    "06_livekit_agent.py",
    "07_pipecat_agent.py",
    "08_mcp_server.py",
    "13_pydantic_ai_agent.py",
    "14_langchain_agent.py",
    "restaurant/agent.py",
]


MORE_OF_THE_SKILL = """
@pytest.mark.parametrize("answer", ["yes", "no"])
@pytest.mark.parametrize("navai_realtime_script", [[Call("burn"), Say("1"), Call("fails"), Say("2")]])
def test_asked(answer, navai_backend, async_navai_client, navai_realtime_server, monkeypatch, capsys):
    asked, burnt = [], []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    navai_backend.function(lambda: burnt.append(1), name="burn", effect="dangerous")

    @navai_backend.function
    def fails() -> None:
        raise ToolError("The roof leaks.")

    replies = asyncio.run(talk(async_navai_client, ["Burn it.", "And?"], navai_realtime_server.url))
    assert replies == ["1", "2"]
    assert len(asked) == 1
    assert burnt == [1] * (answer == "yes")
    assert "The roof leaks." in capsys.readouterr().out
"""


def example(name: str) -> ModuleType:
    """Import an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(name: str, environment: dict[str, str]) -> str:
    """Start an example that cannot do its work, and return what it ends with."""
    script = "-m examples.restaurant.agent" if name == AGENTS[-1] else f"examples/{name}"
    finished = subprocess.run(
        [sys.executable, *script.split()],
        capture_output=True,
        text=True,
        cwd=EXAMPLES.parent,
        env={"PATH": os.environ["PATH"], "HOME": os.devnull, **environment},
        stdin=subprocess.DEVNULL,
        timeout=180,
        check=False,
    )
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    return finished.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", AGENTS)
def test_without_a_backend_an_agent_names_the_host_and_how_to_start_one(name: str) -> None:
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        said = start(name, {**KEYS, "NAVAI_API_URL": url})
    assert said.startswith(f"No response from {'GET' if name not in AGENTS[::6] else 'POST'} {url}/")
    assert said.endswith(
        ("/navai serve --demo", "/navai serve", "examples.restaurant.backend:main --port 3000")
    )


@pytest.mark.parametrize("name", [name for name in AGENTS if name[0] == "1" or name[:2] in {"06", "07"}])
def test_without_a_key_an_agent_says_which_to_set(name: str) -> None:
    assert start(name, {}).startswith("Set LIVEKIT_API_KEY" if "livekit" in name else "Set OPENAI_API_KEY")


def test_the_livekit_agent_calls_the_backends_functions(
    demo_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAVAI_API_URL", demo_server)

    @in_a_loop
    async def talk() -> None:
        model = ScriptedLLM([wants("get_weather", arguments='{"location": "Bogotá"}')], "It is warm.")
        async with AgentSession[None](llm=model) as session:
            await session.start(example("06_livekit_agent").make_agent())
            await session.run(user_input="How is the weather?")
        (output,) = [item for item in model.contexts[-1] if isinstance(item, llm.FunctionCallOutput)]
        assert json.loads(output.output)["result"]["location"] == "Bogotá"

    talk()


def test_the_livekit_agent_starts_from_the_command_line(demo_server: str) -> None:
    command = [sys.executable, str(EXAMPLES / "06_livekit_agent.py"), "--help"]
    environment = {**os.environ, **KEYS, "NAVAI_API_URL": demo_server}
    shown = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True, env=environment)
    assert "The agent can call calculator_add_tax, cancel_order" in shown.stdout
    assert "console" in shown.stdout


class OpenAI:
    """OpenAI's chat completions on a loopback port: first a call of a tool, then the tool's output."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = (
            int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length")
        )
        messages = json.loads(await reader.readexactly(length))["messages"]
        results = [message["content"] for message in messages if message["role"] == "tool"]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for data in (json.dumps(self._chunk(results)), "[DONE]"):
            writer.write(f"data: {data}\n\n".encode())
        writer.close()

    def _chunk(self, results: list[str]) -> dict[str, Any]:
        call = {"name": "get_weather", "arguments": '{"location": "Bogotá"}'}
        delta = (
            {"content": f"The tool said {results[0]}"}
            if results
            else {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": call}]}
        )
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None}
        return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def test_the_pipecat_agent_calls_the_backends_functions(demo_server: str) -> None:
    async def ask() -> str:
        async with await asyncio.start_server(OpenAI(), "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            environment = {
                **os.environ,
                "NAVAI_API_URL": demo_server,
                "OPENAI_API_KEY": "sk-test",
                "OPENAI_BASE_URL": f"http://{host}:{port}/v1",
                "NO_PROXY": host,
            }
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(EXAMPLES / "07_pipecat_agent.py"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
            )
            out, log = await asyncio.wait_for(process.communicate(), 180)
            assert process.returncode == 0, log.decode()
            return out.decode()

    said = asyncio.run(ask())
    assert said.startswith("  {'ok': True, 'function_name': 'get_weather'")  # what the tool did
    assert '\nThe tool said {"ok": true, "function_name": "get_weather"' in said
    assert "Bogotá" in said


@pytest.mark.parametrize("name", ["07_pipecat_agent.py", "13_pydantic_ai_agent.py"])
def test_a_model_that_cannot_be_reached_ends_an_agent_with_a_sentence(name: str, demo_server: str) -> None:
    environment = {**KEYS, "NAVAI_API_URL": demo_server, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    said = start(name, environment)
    assert "Connection" in said or "127.0.0.1 could not be reached" in said


def test_the_mcp_server_offers_the_backends_functions(demo_server: str) -> None:
    @in_a_loop
    async def ask() -> None:
        environment = {**os.environ, "NAVAI_API_URL": demo_server}
        command = StdioServerParameters(
            command=sys.executable, args=[str(EXAMPLES / "08_mcp_server.py")], env=environment
        )
        async with Client(command) as host:
            assert "create_order" in {tool.name for tool in (await host.list_tools()).tools}
            (content,) = (await host.call_tool("get_weather", {"location": "Bogotá"})).content
        assert isinstance(content, TextContent)
        assert json.loads(content.text)["result"]["location"] == "Bogotá"

    ask()


def test_the_pydantic_ai_agent_calls_the_backends_functions(
    demo_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def respond(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("get_weather", {"location": "Bogotá"})])
        return ModelResponse(parts=[TextPart(f"The tool said {messages[-1].parts[0]}")])

    monkeypatch.setenv("NAVAI_API_URL", demo_server)
    in_a_loop(example("13_pydantic_ai_agent").main)("How is the weather?", FunctionModel(respond))
    assert "'location': 'Bogotá'" in capsys.readouterr().out


class Ordering(FakeMessagesListChatModel):
    """LangChain's fake model, which takes tools and says what they returned."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        """Take the tools, as a real model does."""
        return self

    def _generate(self, messages: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(messages[-1], ToolMessage):
            self.responses = [AIMessage(f"The tool said {messages[-1].content}")]
        return super()._generate(messages, *rest, **options)


@pytest.mark.parametrize(("answer", "said"), [("yes", '"ok":true'), ("no", "did not approve")])
def test_the_langchain_agent_asks_before_it_orders(
    demo_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    said: str,
) -> None:
    order = {"items": [{"product": "coffee", "quantity": 1}], "customer_id": "ada"}
    wanted = {"name": "create_order", "args": order, "id": "call_1", "type": "tool_call"}
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setenv("NAVAI_API_URL", demo_server)
    monkeypatch.setattr("builtins.input", ask)
    model = Ordering(responses=[AIMessage("", tool_calls=[wanted])])
    in_a_loop(example("14_langchain_agent").main)("One pizza.", model)
    assert len(asked) == 1
    assert said in capsys.readouterr().out


def test_the_tests_of_the_skill_for_coding_agents_pass_and_its_agent_asks(tmp_path: Path) -> None:
    (skill,) = EXAMPLES.parent.glob("docs/skills/*/SKILL.md")
    blocks = re.findall(r"^```python\n(.*?)^```$", skill.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "test_skill.py").write_text("\n".join([*blocks, MORE_OF_THE_SKILL]))
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        *NO_PLUGINS_OF_OTHERS,
        "-p",
        "no:cacheprovider",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "4 passed" in run.stdout, run.stdout + run.stderr
