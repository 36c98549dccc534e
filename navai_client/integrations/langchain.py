"""A backend's functions as tools of LangChain and LangGraph. Needs the extra ``langchain``.

Each call returns exactly one result, which is always JSON; a failing function raises nothing.
"""

import sys
from typing import Any, final

from navai_client._extras import needs_extra

with needs_extra("langchain", "langchain_core", "langgraph"):
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool
    from langgraph.config import get_stream_writer
    from langgraph.types import interrupt
    from pydantic import PrivateAttr

    from navai_client.integrations._options import Tell
    from navai_client.integrations.tools import Tool, ToolProgress
    from navai_client.integrations.toolset import Toolset

__all__ = ["function_tools"]


def function_tools(toolset: Toolset) -> list[BaseTool]:
    """Return the tools of *toolset* for ``create_agent``, a ``ToolNode`` or ``model.bind_tools``.

    They are asynchronous: run the agent with ``ainvoke`` or ``astream``. A function that needs approval
    (``Toolset.load(approval=[...])``) interrupts the graph, with ``name``, ``args`` and ``tool_call_id``.
    ``Command(resume={"type": "approve"})`` lets the call run; any other answer refuses it, and so does a call
    outside of a graph. If the toolset has an ``approve``, that is used instead.

    Args:
        toolset: A toolset from ``Toolset.load``. Keep it open while the graph runs.
    """
    return [_FunctionTool.of(toolset, tool) for tool in toolset.tools]


@final
class _FunctionTool(BaseTool):
    _toolset: Toolset = PrivateAttr()
    _asks: bool = PrivateAttr()

    @classmethod
    def of(cls, toolset: Toolset, tool: Tool) -> "_FunctionTool":
        """Return *tool* as a tool of LangChain, which takes a schema only with properties."""
        schema = {"properties": {}, **tool.parameters}
        made = cls(name=tool.name, description=tool.description, args_schema=schema)
        made._toolset = toolset
        made._asks = tool.approval and toolset.approve is None
        return made

    def _to_args_and_kwargs(
        self, tool_input: str | dict[str, Any], tool_call_id: str | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Pass the arguments in one, since a function may call its own as LangChain calls its additions."""
        return (tool_input, tool_call_id), {}

    async def _arun(
        self, arguments: str | dict[str, Any], call_id: str | None, config: RunnableConfig
    ) -> str:
        approved = self._asks and self._ask(arguments, call_id)
        thread = config.get("configurable", {}).get("thread_id")
        outcome = await self._toolset.call(
            self.name,
            arguments,
            call_id=call_id,
            # One object for each thread: a graph that goes on after a cancellation repeats its calls.
            session=object() if thread is None else sys.intern(str(thread)),
            approve=None if approved is None else lambda _: approved,
            tell=_writer(call_id),
        )
        return outcome.to_json()

    def _ask(self, arguments: str | dict[str, Any], call_id: str | None) -> bool | None:
        """Interrupt the graph; once it goes on, return whether the answer is an approval.

        None without a graph, where nobody can be asked.
        """
        asked = {"type": "tool_approval", "tool_call_id": call_id, "name": self.name, "args": arguments}
        try:
            return bool(interrupt({**asked, "description": self.description}) == {"type": "approve"})
        except KeyError:
            return None

    def _run(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("These tools are asynchronous: use ainvoke or astream.")


def _writer(call_id: str | None) -> Tell | None:
    """Return what writes to the stream of the graph how a call stands, or None outside of a graph."""
    try:
        write = get_stream_writer()
    except KeyError:
        return None

    def tell(progress: ToolProgress) -> None:
        write(
            {
                "type": "tool_progress",
                "tool_call_id": call_id,
                "name": progress.call.function_name,
                "message": progress.message,
                "seconds": progress.seconds,
                "aloud": progress.aloud,
            }
        )

    return tell
