"""A backend's functions as a toolset of Pydantic AI. Needs the extra ``pydantic-ai``.

It serves runs and realtime sessions. Each call returns exactly one result, which is a dict of JSON types; a
failing function raises nothing.
"""

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from navai_client._extras import needs_extra

if TYPE_CHECKING:
    from pydantic_ai.realtime import RealtimeSession

with needs_extra("pydantic-ai", "pydantic_ai"):
    from pydantic_ai import CustomEvent, RunContext, ToolDefinition
    from pydantic_ai.messages import SystemPromptPart
    from pydantic_ai.toolsets import AbstractToolset, ToolsetTool

    from navai_client.integrations._prompt import decision
    from navai_client.integrations.tools import ToolCall, ToolOutcome, ToolProgress
    from navai_client.integrations.toolset import Toolset

__all__ = ["FunctionProgressEvent", "NavaiToolset"]

_RETRIES: Final = 1  # never used: nothing here asks the model to try again


@final
class NavaiToolset(AbstractToolset[Any]):
    """The tools of a toolset, for ``Agent(toolsets=[...])``.

    Each step of a run, or of a realtime session, offers the tools that *toolset* has at that time: after
    ``toolset.refresh()``, you do not have to do anything. A function that needs approval is a deferred call
    of Pydantic AI: either the run ends with ``DeferredToolRequests``, which must be in the agent's
    ``output_type``, or a ``HandleDeferredToolCalls`` capability answers. If the toolset has an ``approve``,
    that is used instead.

    Args:
        toolset: A toolset from ``Toolset.load``. Keep it open while the agent runs.
        id: Its name among the toolsets of an agent.
    """

    def __init__(self, toolset: Toolset, *, id: str = "navai") -> None:  # noqa: A002 - Pydantic AI's name for it
        self._toolset = toolset
        self._id = id

    @property
    def id(self) -> str:
        """Its name among the toolsets of an agent."""
        return self._id

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:  # noqa: ARG002
        """Return the tools for a step of Pydantic AI."""
        own = self._toolset.approve is None
        return {
            tool.name: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=tool.name,
                    description=tool.description,
                    parameters_json_schema=tool.parameters,
                    strict=False,  # strict requires every parameter and refuses open objects
                    kind="unapproved" if tool.approval and own else "function",
                ),
                max_retries=_RETRIES,
                args_validator=_AsWritten(),
            )
            for tool in self._toolset.tools
        }

    async def call_tool(
        self,
        name: str,
        tool_args: dict[str, Any],
        ctx: RunContext[Any],
        tool: ToolsetTool[Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Call a tool for Pydantic AI, and return its outcome as a dict of JSON types."""
        outcome = await self._toolset.call(
            name,
            tool_args,
            call_id=ctx.tool_call_id,
            session=ctx.usage,  # one for each run, which all its contexts share
            approve=lambda _: ctx.tool_call_approved,
            decided=None if ctx.realtime_session is None else partial(_tell_decision, ctx.realtime_session),
            tell=partial(_tell, ctx),
        )
        return outcome.as_dict()


@dataclass(kw_only=True)
class FunctionProgressEvent(CustomEvent):
    """The progress of a long call, in the event stream of a run or of a realtime session.

    Attributes:
        message: The last report of its function, or its ``say_while_waiting``, or None.
        seconds: How long it has run.
        aloud: Whether the person should hear the message.
    """

    message: str | None
    seconds: float
    aloud: bool


def _tell_decision(session: "RealtimeSession", call: ToolCall, outcome: ToolOutcome) -> None:
    session.enqueue(SystemPromptPart(decision(call, outcome)))


async def _tell(ctx: RunContext[Any], progress: ToolProgress) -> None:
    await ctx.emit(
        FunctionProgressEvent(message=progress.message, seconds=progress.seconds, aloud=progress.aloud)
    )
    session = ctx.realtime_session
    if session is not None:
        part = SystemPromptPart(progress.as_text())
        if progress.aloud:
            session.enqueue(part)  # sent when no response is active, and with a request for one
        else:
            await session.send(part, respond=False)


class _AsWritten:
    """Leaves the arguments to the toolset, which tells the model what is wrong with them.

    Pydantic AI ends a run whose model writes wrong arguments twice.
    """

    def validate_json(self, input: str | bytes | bytearray, **_: Any) -> Any:  # noqa: A002 - pydantic-core's name
        """Return an object, or the text if it is none."""
        try:
            found = json.loads(input)
        except ValueError:
            return input
        return found if isinstance(found, dict) else input

    def validate_python(self, input: Any, **_: Any) -> Any:  # noqa: A002 - as above
        return input
