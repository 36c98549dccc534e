"""A backend's functions as a toolset of Google's Agent Development Kit (ADK). Needs the extra ``google-adk``.

Each call returns exactly one result, which is a dict of JSON types; a failing function raises nothing.
"""

from functools import partial
from typing import Any, final

from navai_client._extras import needs_extra

with needs_extra("google-adk", "google"):
    from google.adk.agents.live_request_queue import LiveRequestQueue
    from google.adk.agents.readonly_context import ReadonlyContext
    from google.adk.tools.base_tool import BaseTool
    from google.adk.tools.base_toolset import BaseToolset
    from google.adk.tools.tool_context import ToolContext
    from google.genai.types import Content, FunctionDeclaration, Part

    from navai_client.integrations._prompt import decision
    from navai_client.integrations.tools import Tool, ToolCall, ToolOutcome, ToolProgress
    from navai_client.integrations.toolset import Toolset

__all__ = ["NavaiToolset"]


@final
class NavaiToolset(BaseToolset):
    """The tools of a toolset, for ``LlmAgent(tools=[...])``.

    Each invocation of the agent offers the tools that *toolset* has at that time. A function that needs
    approval uses ADK's confirmation: the application answers its ``adk_request_confirmation`` with
    ``confirmed``. If the toolset has an ``approve``, that is used instead.

    Args:
        toolset: A toolset from ``Toolset.load``. Keep it open while the agent runs; the agent does not close
            it.
    """

    def __init__(self, toolset: Toolset) -> None:
        super().__init__()
        self._toolset = toolset

    async def get_tools(self, readonly_context: ReadonlyContext | None = None) -> list[BaseTool]:  # noqa: ARG002
        """Return the tools for an invocation of ADK."""
        return [_FunctionTool(self._toolset, tool) for tool in self._toolset.tools]


@final
class _FunctionTool(BaseTool):
    def __init__(self, toolset: Toolset, tool: Tool) -> None:
        super().__init__(name=tool.name, description=tool.description)
        self._toolset = toolset
        self._parameters = tool.parameters
        self._asks = tool.approval and toolset.approve is None

    def _get_declaration(self) -> FunctionDeclaration:
        return FunctionDeclaration(
            name=self.name, description=self.description, parameters_json_schema=self._parameters
        )

    async def run_async(self, *, args: dict[str, Any], tool_context: ToolContext) -> dict[str, Any]:
        confirmed = tool_context.tool_confirmation
        if self._asks and confirmed is None:
            tool_context.request_confirmation(hint=f"May {self.name} be called with {args}?")
            tool_context.actions.skip_summarization = True  # the model has nothing to say yet
            return {"ok": False, "error": "The call waits until the person has confirmed it."}
        # Without it, it is a run, in which the model waits for the results.
        queue = tool_context.get_invocation_context().live_request_queue
        outcome = await self._toolset.call(
            self.name,
            args,
            call_id=tool_context.function_call_id,
            session=tool_context.session,
            approve=lambda _: confirmed is not None and confirmed.confirmed,
            decided=None if queue is None else partial(_tell_decision, queue),
            tell=None if queue is None else partial(_tell, queue),
        )
        return outcome.as_dict()


def _tell_decision(queue: LiveRequestQueue, call: ToolCall, outcome: ToolOutcome) -> None:
    queue.send_content(_content(decision(call, outcome)))


def _tell(queue: LiveRequestQueue, progress: ToolProgress) -> None:
    """Tell the model of a live session how a call stands; it responds if the person should hear."""
    queue.send_content(_content(progress.as_text()), partial=not progress.aloud)


def _content(text: str) -> Content:
    return Content(role="user", parts=[Part(text=text)])
