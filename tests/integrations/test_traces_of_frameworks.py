"""One span for each tool call, and its trace in the backend, for every framework."""

import asyncio
from collections.abc import Awaitable, Callable
from unittest.mock import ANY

import pytest
from livekit.agents import Agent, AgentSession
from livekit.agents.telemetry import tracer as livekit_tracer
from mcp import Client
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.livekit import NavaiToolset
from navai_client.integrations.mcp import build_mcp_server
from navai_client.integrations.opentelemetry import OpenTelemetryInstrumentation
from navai_client.integrations.pipecat import tools_schema
from navai_client.integrations.toolset import Toolset
from tests.integrations import scripted_livekit, scripted_pipecat
from tests.integrations.live_backend import live_backend

Talk = Callable[[AsyncNavaiBackendClient], Awaitable[None]]


async def in_livekit(client: AsyncNavaiBackendClient) -> None:
    wanted = scripted_livekit.wants("get_weather", "call_7", '{"location": "Lima"}')
    async with AgentSession[None](llm=scripted_livekit.ScriptedLLM([wanted], "Warm.")) as session:
        await session.start(Agent(instructions="Help.", tools=[NavaiToolset(client)]))
        await session.run(user_input="Weather?")


async def in_pipecat(client: AsyncNavaiBackendClient) -> None:
    llm = scripted_pipecat.ScriptedLLM(
        [scripted_pipecat.wants("get_weather", "call_7", location="Lima")], "Warm."
    )
    async with (
        await Toolset.load(client) as toolset,
        scripted_pipecat.conversation(llm, tools_schema(toolset)) as talk,
    ):
        await talk.say("Weather?")
        await talk.asked()
        await talk.asked()


async def in_mcp(client: AsyncNavaiBackendClient) -> None:
    async with Client(build_mcp_server(client)) as host:
        await host.call_tool("get_weather", {"location": "Lima"})


@pytest.mark.parametrize(("talk", "call_id"), [(in_livekit, "call_7"), (in_pipecat, "call_7"), (in_mcp, ANY)])
def test_a_tool_call_is_one_span_and_the_backend_has_its_trace(talk: Talk, call_id: str | None) -> None:
    traced = Traced()
    (trace,) = asyncio.run(traced.run(talk))
    (span,) = traced.spans("execute_tool get_weather")
    assert trace is not None
    assert trace.split("-")[1:3] == identifiers(span)
    assert (span.attributes or {}).get("gen_ai.tool.call.id") == call_id


def test_the_span_is_a_child_of_livekits_span(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = Traced()
    monkeypatch.setattr(livekit_tracer, "_tracer", traced.provider.get_tracer("livekit"))
    asyncio.run(traced.run(in_livekit))
    (outer,) = traced.spans("function_tool")
    (inner,) = traced.spans("execute_tool get_weather")
    assert inner.parent is not None
    assert f"{inner.parent.span_id:016x}" == identifiers(outer)[1]


class Traced:
    """Runs conversations with a client whose spans are kept."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    async def run(self, talk: Talk) -> list[str | None]:
        """Return the traces that the backend got."""
        async with live_backend() as live:
            instrumentation = OpenTelemetryInstrumentation(tracer_provider=self.provider)
            async with AsyncNavaiBackendClient(live.url, instrumentation=instrumentation) as client:
                await talk(client)
            return live.traces

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans called *name*."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def identifiers(span: ReadableSpan) -> list[str]:
    """Return the identifiers of a span's trace and of itself, as in W3C Trace Context."""
    assert span.context is not None
    return [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
