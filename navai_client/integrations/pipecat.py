"""A backend's functions as tools of Pipecat. Needs the extra ``pipecat``.

Each handler returns exactly one result, which is always JSON. A function that may have side effects is not
cancelled when a person interrupts the bot: no result is lost, and nothing is done twice.
"""

from typing import TYPE_CHECKING, Final

from navai_client._extras import needs_extra

with needs_extra("pipecat", "pipecat"):
    from pipecat.adapters.llm.schemas.direct_function import tool_options
    from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
    from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema

    from navai_client.integrations.tools import Tool
    from navai_client.integrations.toolset import Toolset

if TYPE_CHECKING:
    # Loads everything that a service needs, which takes long and is not needed at run time.
    from pipecat.services.llm_service import FunctionCallParams

__all__ = ["function_schemas", "tools_schema"]

# Pipecat's limit comes after the toolset's, because only the toolset can say what happened.
_MARGIN: Final = 2.0  # seconds


def tools_schema(toolset: Toolset) -> ToolsSchema:
    """Return the tools of *toolset* for an ``LLMContext`` or, after a refresh, for an ``LLMSetToolsFrame``.

    Args:
        toolset: A toolset from ``Toolset.load``, which must stay open while the pipeline runs.
    """
    return ToolsSchema(standard_tools=[*function_schemas(toolset)])


def function_schemas(toolset: Toolset) -> list[FunctionSchema]:
    """Return one schema for each tool of *toolset*, with its handler, to combine with other schemas.

    When the bot is interrupted, a tool goes on: Pipecat continues the conversation and gives the model the
    result later. A read-only tool (``Toolset.load(read_only=[...])``) is cancelled, which the model learns.

    Args:
        toolset: As for ``tools_schema``.
    """
    return [_function_schema(toolset, tool) for tool in toolset.tools]


def _function_schema(toolset: Toolset, tool: Tool) -> FunctionSchema:
    async def handle(params: "FunctionCallParams") -> None:
        call_id, session = params.tool_call_id, params.context  # one context for each conversation
        outcome = await toolset.call(tool.name, params.arguments, call_id=call_id, session=session)
        await params.result_callback(outcome.as_dict())

    options = tool_options(
        cancel_on_interruption=tool.read_only,
        timeout_secs=None if tool.timeout is None else tool.timeout + _MARGIN,
    )
    return FunctionSchema(
        tool.name,
        tool.description,
        properties=tool.parameters.get("properties", {}),
        required=tool.parameters.get("required", []),
        handler=options(handle),
    )
