"""A backend's functions as tools of Pipecat. Needs the extra ``pipecat``.

Whatever becomes of a call, its handler gives one result that Pipecat can write down. What may have side
effects is not cancelled when somebody speaks over the bot: no result is lost, and nothing is done twice.
"""

from typing import TYPE_CHECKING, Final

from navai_client.integrations._missing import needs_extra

with needs_extra("pipecat", "pipecat"):
    from pipecat.adapters.llm.schemas.direct_function import tool_options
    from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
    from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema

    from navai_client.integrations.tools import Tool
    from navai_client.integrations.toolset import Toolset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    # It loads all that a service needs, at run time for nothing.
    from pipecat.services.llm_service import FunctionCallParams

__all__ = ["function_schemas", "tools_schema"]

# Seconds that Pipecat waits longer than the toolset does: of the two, only the toolset can say what happened.
_PATIENCE: Final = 2.0


def tools_schema(toolset: Toolset) -> ToolsSchema:
    """Return the tools of *toolset* for an ``LLMContext`` or, after a refresh, for an ``LLMSetToolsFrame``.

    Args:
        toolset: As ``Toolset.load`` gives it. It has to stay open while the pipeline runs.
    """
    return ToolsSchema(standard_tools=[*function_schemas(toolset)])


def function_schemas(toolset: Toolset) -> list[FunctionSchema]:
    """Return one schema for each tool of *toolset*, with its handler, to be put beside others.

    A tool that is not known to be read-only (``Toolset.load(read_only=[...])``) goes on when the bot is
    interrupted; Pipecat lets the conversation go on meanwhile and tells the model of the result when it is
    there. One that is read-only is cancelled, and the model is told so.

    Args:
        toolset: As for ``tools_schema``.
    """
    return [_function_schema(toolset, tool) for tool in toolset.tools]


def _function_schema(toolset: Toolset, tool: Tool) -> FunctionSchema:
    return FunctionSchema(
        tool.name,
        tool.description,
        properties=tool.parameters.get("properties", {}),
        required=tool.parameters.get("required", []),
        handler=_handler(toolset, tool),
    )


def _handler(toolset: Toolset, tool: Tool) -> "Callable[[FunctionCallParams], Awaitable[None]]":
    async def handle(params: "FunctionCallParams") -> None:
        outcome = await toolset.call(tool.name, params.arguments, call_id=params.tool_call_id)
        await params.result_callback(outcome.as_dict())

    options = tool_options(
        cancel_on_interruption=tool.read_only,
        timeout_secs=None if tool.timeout is None else tool.timeout + _PATIENCE,
    )
    options(handle)
    return handle
