"""What a toolset deals in: tools, calls and outcomes, as frozen values. Nothing here runs anything."""

from typing import Any, Final, Literal

from attrs import field, frozen

from navai_client.integrations._jsonable import compact, to_jsonable
from navai_client.integrations._results import truncate

__all__ = [
    "BUILT_IN",
    "DEFAULT_MAX_RESULT_CHARS",
    "EXECUTE_APP_FUNCTION",
    "NAVIGATE_TO",
    "ErrorType",
    "Tool",
    "ToolCall",
    "ToolOutcome",
    "ToolsetChanges",
]

NAVIGATE_TO: Final = "navigate_to"
EXECUTE_APP_FUNCTION: Final = "execute_app_function"
BUILT_IN: Final = (NAVIGATE_TO, EXECUTE_APP_FUNCTION)
DEFAULT_MAX_RESULT_CHARS: Final = 16_000

ErrorType = Literal[
    "cancelled",
    "failed",
    "invalid_arguments",
    "refused",
    "timeout",
    "unavailable",
    "unknown_function",
    "unknown_route",
]


@frozen(kw_only=True)
class Tool:
    """One tool for a model.

    Attributes:
        name: What the model calls it by: 1 to 64 of ``A-Z a-z 0-9 _ -``.
        description: What it does, for the model.
        parameters: The JSON Schema of its arguments: an object, without ``$ref``.
        source: Where it comes from: what the backend says, ``module#name`` of a local function, or ``navai``.
        kind: ``backend``, ``local`` (a Python function of this process) or ``built-in``.
        read_only: Whether it is known to change nothing, as ``Toolset.load(read_only=...)`` was told.
        timeout: Seconds that a call may take, or None for no limit. A framework's own limit should be larger.
    """

    name: str
    description: str
    parameters: dict[str, Any] = field(hash=False)
    source: str
    kind: Literal["backend", "local", "built-in"]
    read_only: bool = False
    timeout: float | None = None


@frozen(kw_only=True)
class ToolCall:
    """One call of a function, as hooks are told of it.

    Attributes:
        call_id: The id that the model gave it, or one made for it.
        tool_name: The tool that was called: the function itself, or ``execute_app_function``.
        function_name: The function that is to run.
        arguments: Its arguments.
        source: Where the function is.
        kind: ``backend``, ``local`` or ``built-in``.
        read_only: Whether the function is known to change nothing.
    """

    call_id: str
    tool_name: str
    function_name: str
    arguments: dict[str, Any] | None = field(hash=False)
    source: str
    kind: Literal["backend", "local", "built-in"]
    read_only: bool = False


@frozen(kw_only=True)
class ToolOutcome:
    """What came of a call: always one, whether it went well or not.

    Attributes:
        ok: Whether there is a result.
        function_name: The function, or None if there is none of the name that was asked for.
        source: Where the function is.
        result: What it gave.
        path: Where ``navigate_to`` went.
        error: What went wrong, in words for the model.
        error_type: What went wrong, for programs.
        details: More of it, for logs: a backend's own words, which may not be for the model.
        available_functions: After an unknown name, those that there are.
        may_have_executed: After a failure, whether the function may have run nevertheless.
        call_id: The id of the call.
    """

    ok: bool
    function_name: str | None = None
    source: str | None = None
    result: Any = None
    path: str | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    details: str | None = None
    available_functions: tuple[str, ...] | None = None
    may_have_executed: bool = False
    call_id: str = ""
    max_result_chars: int = field(default=DEFAULT_MAX_RESULT_CHARS, repr=False, eq=False)
    show_details: bool = field(default=False, repr=False, eq=False)

    def as_dict(
        self, *, max_result_chars: int | None = None, include_details: bool | None = None
    ) -> dict[str, Any]:
        """Return the outcome in the shape that the JavaScript agent gives, of JSON's own types.

        ``{"ok": true, "function_name", "source", "result"}``, of ``navigate_to`` ``{"ok": true, "path"}``, or
        ``{"ok": false, "function_name", "error", ...}``. A result longer than the limit is cut where it is
        longest, and says so there; ``"truncated": true``
        stands beside it.

        Args:
            max_result_chars: How long the result's JSON may be, instead of the toolset's limit.
            include_details: Whether ``details`` are part of it, instead of what the toolset was told.
        """
        most = self.max_result_chars if max_result_chars is None else max_result_chars
        shown = self.show_details if include_details is None else include_details
        if self.ok and self.path is not None:
            return {"ok": True, "path": self.path}
        answer: dict[str, Any] = {"ok": self.ok}
        if self.function_name is not None:
            answer["function_name"] = self.function_name
        if self.ok:
            answer["source"] = self.source
            answer["result"], cut = truncate(to_jsonable(self.result), most)
            return {**answer, "truncated": True} if cut else answer
        answer["error"] = self.error
        if self.available_functions is not None:
            answer["available_functions"] = list(self.available_functions)
        if self.may_have_executed and self.error_type != "failed":
            answer["may_have_executed"] = True
        if shown and self.details is not None:
            answer["details"] = self.details
        safe: dict[str, Any] = to_jsonable(answer)
        return safe

    def to_json(self, *, max_result_chars: int | None = None, include_details: bool | None = None) -> str:
        """Return ``as_dict()`` as strict JSON: what a model is given.

        Args:
            max_result_chars: As for ``as_dict``.
            include_details: As for ``as_dict``.
        """
        return compact(self.as_dict(max_result_chars=max_result_chars, include_details=include_details))


@frozen(kw_only=True)
class ToolsetChanges:
    """What a refresh changed: names of tools, each in the order of the tools. False when nothing did.

    Attributes:
        added: Tools that were not there before.
        removed: Tools that are gone.
        changed: Tools whose description, parameters or source are others now.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    @classmethod
    def between(cls, old: tuple[Tool, ...], new: tuple[Tool, ...]) -> "ToolsetChanges":
        """Compare two lists of tools by name."""
        before = {tool.name: tool for tool in old}
        after = {tool.name for tool in new}
        return cls(
            added=tuple(tool.name for tool in new if tool.name not in before),
            removed=tuple(name for name in before if name not in after),
            changed=tuple(tool.name for tool in new if before.get(tool.name, tool) != tool),
        )
