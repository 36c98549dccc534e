"""A LiveKit model that follows a script and records its requests."""

from typing import Any

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions

__all__ = ["ScriptedLLM", "wants"]

Turn = str | list[llm.FunctionToolCall]


def wants(name: str, call_id: str = "call_1", arguments: str = "{}") -> llm.FunctionToolCall:
    """Return a call of a tool by the model."""
    return llm.FunctionToolCall(name=name, call_id=call_id, arguments=arguments)


class ScriptedLLM(llm.LLM[str]):
    """Responds to each request with the next of *turns*: a text, or concurrent calls of tools.

    Attributes:
        offered: The tools that each request offered, by name.
        contexts: The conversation that each request showed.
    """

    def __init__(self, *turns: Turn) -> None:
        super().__init__()
        self._turns = list(turns)
        self.offered: list[dict[str, llm.Tool]] = []
        self.contexts: list[list[llm.ChatItem]] = []

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        """Return the next turn."""
        self.offered.append({tool.id: tool for tool in tools or []})
        self.contexts.append(list(chat_ctx.items))
        return _Stream(
            self, self._turns.pop(0), chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options
        )


class _Stream(llm.LLMStream):
    def __init__(self, model: ScriptedLLM, turn: Turn, **given: Any) -> None:
        super().__init__(model, **given)
        self._turn = turn

    async def _run(self) -> None:
        said = {"content": self._turn} if isinstance(self._turn, str) else {"tool_calls": self._turn}
        delta = llm.ChoiceDelta.model_validate({"role": "assistant", **said})
        self._event_ch.send_nowait(llm.ChatChunk(id="chunk", delta=delta))
