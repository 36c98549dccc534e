"""A Pipecat service that follows a script, in a real pipeline."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.adapters.llm.services.open_ai_adapter import OpenAILLMAdapter
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.workers.runner import WorkerRunner

__all__ = ["Conversation", "ScriptedLLM", "Wanted", "conversation", "wants"]

Wanted = tuple[str, str, dict[str, Any]]


def wants(name: str, call_id: str = "call_1", /, **arguments: Any) -> Wanted:
    """Return a call of a tool by the model."""
    return name, call_id, arguments


class ScriptedLLM(LLMService[OpenAILLMAdapter]):
    """Responds to each request with the next of *turns*: a text, or concurrent calls of tools.

    Attributes:
        asked: The conversation in each request.
        offered: The names of the tools that each request offered.
    """

    adapter_class = OpenAILLMAdapter

    def __init__(self, *turns: str | list[Wanted]) -> None:
        nothing: Any = {
            field.name: None for field in dataclasses.fields(LLMSettings) if field.name != "extra"
        }
        super().__init__(settings=LLMSettings(**nothing))
        self._turns = list(turns)
        self.asked: asyncio.Queue[list[dict[str, Any]]] = asyncio.Queue()
        self.offered: list[set[str]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Push the next turn, or pass *frame* on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        context = frame.context
        assert isinstance(context.tools, ToolsSchema)
        self.offered.append({schema.name for schema in context.tools.standard_tools})
        self.asked.put_nowait(json.loads(json.dumps(context.get_messages())))
        turn = self._turns.pop(0)
        if isinstance(turn, str):
            for each in (LLMFullResponseStartFrame(), LLMTextFrame(turn), LLMFullResponseEndFrame()):
                await self.push_frame(each)
            return
        await self.run_function_calls(
            [
                FunctionCallFromLLM(
                    function_name=name, tool_call_id=call_id, arguments=arguments, context=context
                )
                for name, call_id, arguments in turn
            ]
        )


class Conversation:
    """A running pipeline.

    Attributes:
        context: The conversation.
    """

    def __init__(self, llm: ScriptedLLM, context: LLMContext, worker: PipelineWorker) -> None:
        self._llm = llm
        self._worker = worker
        self.context = context

    async def send(self, *frames: Frame) -> None:
        """Queue *frames*."""
        for frame in frames:
            await self._worker.queue_frame(frame)

    async def say(self, text: str) -> None:
        """Add *text* of a person, and request a response of the model."""
        self.context.add_message({"role": "user", "content": text})
        await self.send(LLMContextFrame(self.context))

    async def asked(self) -> list[dict[str, Any]]:
        """Wait for the next request to the model, and return its conversation."""
        return await self._llm.asked.get()


@asynccontextmanager
async def conversation(llm: ScriptedLLM, tools: Any) -> AsyncIterator[Conversation]:
    """Run a pipeline in which *llm* has *tools*."""
    context = LLMContext(tools=tools)
    pair = LLMContextAggregatorPair(context)
    worker = PipelineWorker(Pipeline([pair.user(), llm, pair.assistant()]), cancel_on_idle_timeout=False)
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
    async def on_started(*_: Any) -> None:
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await started.wait()
    try:
        yield Conversation(llm, context, worker)
    finally:
        await worker.queue_frame(EndFrame())
        await running
