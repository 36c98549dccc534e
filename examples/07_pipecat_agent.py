"""A bot of Pipecat whose tools are the functions of a Navai backend.

Needs: pip install 'navai-client[pipecat]'; OPENAI_API_KEY;
    a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL).
Run: python examples/07_pipecat_agent.py "How is the weather in Bogotá?"
For a real voice: a transport, speech recognition and speech synthesis around the model in the pipeline.
"""

import asyncio
import os
import sys

import _explain
from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    LLMFullResponseEndFrame,
    LLMRunFrame,
    LLMTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.workers.runner import WorkerRunner

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.pipecat import tools_schema
from navai_client.integrations.toolset import Toolset


class Printer(FrameProcessor):
    """Prints the text of the model, and signals its first reply."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.error: str | None = None
        self.answered = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Collect text from the frames, and pass each frame on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            self.text += frame.text
        elif isinstance(frame, LLMFullResponseEndFrame) and self.text:
            print(self.text)
            self.answered.set()
        await self.push_frame(frame, direction)

    async def fail(self, _worker: PipelineWorker, frame: ErrorFrame) -> None:
        """Signal that there is no reply to wait for."""
        self.error = frame.error
        self.answered.set()


async def main(question: str) -> None:
    logger.disable("pipecat")  # it logs the way of each frame
    model = OpenAILLMService(
        api_key=os.environ["OPENAI_API_KEY"], settings=OpenAILLMService.Settings(model="gpt-4.1-mini")
    )
    # An interruption cancels read-only calls; all others run to their end.
    async with (
        AsyncNavaiBackendClient() as client,
        Toolset.load(
            client,
            required=True,
            read_only=["get_weather"],
            after=lambda _, outcome: print(" ", outcome.as_dict()),
        ) as tools,
    ):
        context = LLMContext(
            [
                {"role": "developer", "content": "You help customers of a shop. Be brief."},
                {"role": "user", "content": question},
            ],
            tools=tools_schema(tools),
        )
        pair = LLMContextAggregatorPair(context)
        printer = Printer()
        worker = PipelineWorker(Pipeline([pair.user(), model, printer, pair.assistant()]))
        worker.add_event_handler("on_pipeline_error", printer.fail)
        runner = WorkerRunner()
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        await worker.queue_frame(LLMRunFrame())
        await printer.answered.wait()
        await worker.queue_frame(EndFrame())
        await running
        if printer.error is not None:
            sys.exit(f"No reply: {printer.error}")


if __name__ == "__main__":
    if "OPENAI_API_KEY" not in os.environ:
        sys.exit("Set OPENAI_API_KEY: the model is OpenAI's.")
    asyncio.run(main(" ".join(sys.argv[1:]) or "How is the weather in Bogotá?"))
