"""A backend's functions as tools of Pipecat, and its voice. Needs the extra ``pipecat``.

Each handler returns exactly one result, which is always JSON. A function that may have side effects is not
cancelled when a person interrupts the bot: no result is lost, and nothing is done twice.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from navai_client._extras import lazy, needs_extra

with needs_extra("pipecat", "pipecat"):
    from pipecat.adapters.llm.schemas.direct_function import tool_options
    from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
    from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema

    from navai_client.integrations._prompt import approval_question, decision
    from navai_client.integrations.tools import Tool, ToolCall, ToolOutcome, ToolProgress
    from navai_client.integrations.toolset import Toolset

if TYPE_CHECKING:
    # Loads everything that a service needs, which takes long and is not needed at run time.
    from pipecat.services.llm_service import FunctionCallParams

    from navai_client.integrations._pipecat_speech import NavaiTTSService

__getattr__, __dir__, _ = lazy(
    __name__, {"navai_client.integrations._pipecat_speech": ("NavaiTTSService",)}, "pipecat", ("pipecat",)
)
__all__ = ["NavaiTTSService", "function_schemas", "tools_schema"]

# Pipecat's limit comes after the toolset's, because only the toolset can say what happened.
_MARGIN: Final = 2.0  # seconds
_ANSWER: Final = "answer_approval"


def tools_schema(toolset: Toolset) -> ToolsSchema:
    """Return the tools of *toolset* for an ``LLMContext`` or, after a refresh, for an ``LLMSetToolsFrame``.

    Args:
        toolset: A toolset from ``Toolset.load``. Keep it open while the pipeline runs.
    """
    return ToolsSchema(standard_tools=[*function_schemas(toolset)])


def function_schemas(toolset: Toolset) -> list[FunctionSchema]:
    """Return one schema for each tool of *toolset*, with its handler, to combine with other schemas.

    When a person interrupts the bot, a tool continues: Pipecat continues the conversation and gives the model
    the result later. A read-only tool (``Toolset.load(read_only=[...])``) is cancelled, and the model learns
    that.

    Args:
        toolset: The same as for ``tools_schema``.
    """
    approvals = _Approvals()
    schemas = [_function_schema(toolset, tool, approvals) for tool in toolset.tools]
    if toolset.approve is None and any(tool.approval for tool in toolset.tools):
        schemas.append(approvals.schema())
    return schemas


class _Approvals:
    """The calls that wait for the approval of the person in their conversation."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, str], tuple[asyncio.Future[bool], int]] = {}

    async def ask(self, params: "FunctionCallParams", call: ToolCall) -> bool:
        """Let the model ask the person, and return the answer."""
        from pipecat.frames.frames import FunctionCallResultProperties  # noqa: PLC0415 - loads much

        key = id(params.context), params.tool_call_id
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[key] = answer, _turns(params)
        asked = f"{approval_question(call)} Ask the person. When they have answered, call {_ANSWER}."
        try:
            await params.result_callback(
                {"waiting": asked, "call_id": params.tool_call_id},
                properties=FunctionCallResultProperties(is_final=False),
            )
            return await answer
        finally:
            del self._waiting[key]

    def schema(self) -> FunctionSchema:
        """Return the tool with which the model reports the answer."""

        async def handle(params: "FunctionCallParams") -> None:
            await params.result_callback(self._answer(params))

        return FunctionSchema(
            _ANSWER,
            "Report whether the person approved a call that waits for approval.",
            properties={
                "call_id": {"type": "string", "description": "The call_id of the call that waits."},
                "approved": {"type": "boolean", "description": "Whether the person clearly approved."},
            },
            required=["call_id", "approved"],
            handler=tool_options(cancel_on_interruption=False)(handle),
        )

    def _answer(self, params: "FunctionCallParams") -> dict[str, Any]:
        call_id, approved = params.arguments.get("call_id"), params.arguments.get("approved")
        answer, turns = self._waiting.get((id(params.context), str(call_id)), (None, 0))
        if answer is None or answer.done():
            error = "No call with this call_id waits for approval."
        elif _turns(params) <= turns:  # a model must not approve its own calls
            error = "The person has not answered yet: ask, and wait for the answer."
        else:
            answer.set_result(approved is True)
            return {"ok": True}
        return {"ok": False, "error": error}


async def _tell(params: "FunctionCallParams", call: ToolCall, outcome: ToolOutcome) -> None:
    """Tell the model what came of a call, when neither the bot nor the person speaks."""
    from pipecat.frames.frames import LLMMessagesAppendFrame  # noqa: PLC0415 - loads much

    message: Any = {"role": "developer", "content": decision(call, outcome)}
    await params.llm.push_frame(LLMMessagesAppendFrame([message], run_llm=True))


async def _note(params: "FunctionCallParams", tool: Tool, progress: ToolProgress) -> None:
    """Tell the model how a call stands; it tells the person when neither speaks, if they should hear it."""
    from pipecat.frames.frames import FunctionCallResultProperties, LLMMessagesAppendFrame  # noqa: PLC0415 - loads much

    if _is_cancelled_by_interruptions(tool):  # Pipecat takes updates of the others alone
        message: Any = {"role": "developer", "content": progress.as_text()}
        await params.llm.push_frame(LLMMessagesAppendFrame([message], run_llm=progress.aloud))
    else:
        properties = FunctionCallResultProperties(is_final=False, run_llm=progress.aloud)
        await params.result_callback({"progress": progress.as_text()}, properties=properties)


async def _say(params: "FunctionCallParams", text: str) -> None:
    """Let the bot's voice say *text*."""
    from pipecat.frames.frames import TTSSpeakFrame  # noqa: PLC0415 - loads much

    await params.llm.push_frame(TTSSpeakFrame(text))


def _turns(params: "FunctionCallParams") -> int:
    """Return how often the person has spoken."""
    messages = params.context.get_messages()
    return sum(isinstance(each, dict) and each.get("role") == "user" for each in messages)


def _is_cancelled_by_interruptions(tool: Tool) -> bool:
    return tool.read_only and not tool.approval  # the answer of the person interrupts, too


def _function_schema(toolset: Toolset, tool: Tool, approvals: _Approvals) -> FunctionSchema:
    async def handle(params: "FunctionCallParams") -> None:
        outcome = await toolset.call(
            tool.name,
            params.arguments,
            call_id=params.tool_call_id,
            session=params.context,  # one for each conversation
            approve=partial(approvals.ask, params),
            decided=partial(_tell, params),
            say=partial(_say, params),
            tell=partial(_note, params, tool),
        )
        await params.result_callback(outcome.as_dict())

    waits = tool.approval or not tool.parallel  # for the person, or for other calls: without a limit
    limit = None if tool.timeout is None or waits else tool.timeout + _MARGIN
    options = tool_options(
        cancel_on_interruption=_is_cancelled_by_interruptions(tool),
        timeout_secs=limit,
    )
    return FunctionSchema(
        tool.name,
        tool.description,
        properties=tool.parameters.get("properties", {}),
        required=tool.parameters.get("required", []),
        handler=options(handle),
    )
