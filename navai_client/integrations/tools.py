"""Tools, calls and outcomes as frozen values. Nothing here runs anything."""

from typing import Any, Final, Literal

from attrs import field, frozen

from navai_client.integrations._results import MAX_RESULT_CHARS, compact, truncate
from navai_client.models import Effect

__all__ = [
    "EXECUTE_APP_FUNCTION",
    "NAVIGATE_TO",
    "ErrorType",
    "Tool",
    "ToolCall",
    "ToolOutcome",
    "ToolProgress",
    "ToolsetChanges",
]

NAVIGATE_TO: Final = "navigate_to"
EXECUTE_APP_FUNCTION: Final = "execute_app_function"

ErrorType = Literal[
    "cancelled",
    "failed",
    "invalid_arguments",
    "pending",
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
        name: Its name for the model: 1 to 64 characters of ``A-Z a-z 0-9 _ -``.
        description: What it does, for the model.
        parameters: The JSON Schema of its arguments: an object, without ``$ref``.
        source: Where it comes from: the backend's ``source``, ``module#name`` of a local function, or
            ``navai``.
        kind: ``backend``, ``local`` (a Python function of this process) or ``built-in``.
        effect: What it does, as declared: ``read``, ``write`` or ``dangerous``; ``read`` for those that
            ``Toolset.load(read_only=...)`` names; None if unknown.
        approval: Whether the person in the session must approve each call: because
            ``Toolset.load(approval=...)`` names it, or because it is declared dangerous and nobody else
            approves its calls.
        parallel: Whether a call may run at the same time as all others of its conversation. If not, it waits
            for earlier calls of such functions; the wait does not count against its timeout.
        typical_seconds: How long a call usually takes, as declared, or None.
        say_while_waiting: What to say during a long call, as declared, or None.
        timeout: Seconds that a call may take, or None for no limit. A framework's own limit should be larger.
    """

    name: str
    description: str
    parameters: dict[str, Any] = field(hash=False)
    source: str
    kind: Literal["backend", "local", "built-in"]
    effect: Effect | None = None
    approval: bool = False
    parallel: bool = True
    typical_seconds: float | None = None
    say_while_waiting: str | None = None
    timeout: float | None = None

    @property
    def read_only(self) -> bool:
        """Whether it changes nothing, which is so if its effect is ``read``."""
        return self.effect == "read"

    def silence(self, longest: float) -> float:
        """Return after how many seconds of a call an agent should say something.

        Args:
            longest: The longest silence. A call that usually takes longer is announced at once.
        """
        return 0.0 if self.typical_seconds is not None and self.typical_seconds > longest else longest


@frozen(kw_only=True)
class ToolCall:
    """One call of a function, as hooks see it.

    Attributes:
        call_id: The id from the model, or a new one.
        tool_name: The tool that was called: the function itself, or ``execute_app_function``.
        function_name: The function to run.
        arguments: Its arguments.
        source: Where the function comes from.
        kind: ``backend``, ``local`` or ``built-in``.
        read_only: Whether the function changes nothing.
    """

    call_id: str
    tool_name: str
    function_name: str
    arguments: dict[str, Any] | None = field(hash=False)
    source: str
    kind: Literal["backend", "local", "built-in"]
    read_only: bool = False


@frozen(kw_only=True)
class ToolProgress:
    """The progress of a long call.

    Attributes:
        call: The call.
        seconds: How long it has run.
        message: The last report of its function, or its ``say_while_waiting``, or None.
        aloud: Whether the person should hear the message, when nobody is speaking. Otherwise, it is only for
            the model, which can answer when the person asks.
    """

    call: ToolCall
    seconds: float
    message: str | None = None
    aloud: bool = False

    def as_text(self) -> str:
        """Return it in words for a model."""
        said = "" if self.message is None else f' It says: "{self.message}"'
        asked = "Tell the person, in a few words." if self.aloud else "If the person asks, tell them."
        return (
            f"{self.call.function_name} is still running, for {self.seconds:.0f} seconds.{said} {asked} "
            "Do not call it again meanwhile."
        )


@frozen(kw_only=True)
class ToolOutcome:
    """The outcome of a call. Each call has exactly one, whether it succeeded or failed.

    Attributes:
        ok: Whether there is a result.
        function_name: The function, or None if the requested one does not exist.
        source: Where the function comes from.
        result: The result of the function.
        path: The path that ``navigate_to`` opened.
        error: The failure in words for the model.
        error_type: The kind of failure, for programs.
        details: The failure in detail, for logs: the backend's own text, which may not be for the model. One
            that was written for the model is its ``error``, too.
        available_functions: The names that exist, if the requested one does not.
        may_have_executed: Whether the function may have run although the call failed.
        pending: Whether the call waits for a person's approval, and has not run: it must not be repeated.
        approval_id: The id of that approval, or None.
        decision_follows: Whether ``decided`` will be called with the outcome.
        call_id: The id of the call.
        max_result_chars: Maximum length of the whole as JSON.
        show_details: Whether ``as_dict`` includes ``details``.
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
    pending: bool = False
    approval_id: str | None = None
    decision_follows: bool = False
    call_id: str = ""
    max_result_chars: int = field(default=MAX_RESULT_CHARS, repr=False, eq=False)
    show_details: bool = field(default=False, repr=False, eq=False)

    def as_dict(
        self, *, max_result_chars: int | None = None, include_details: bool | None = None
    ) -> dict[str, Any]:
        """Return the outcome in the shape of the JavaScript agent, in JSON types.

        ``{"ok": true, "function_name", "source", "result"}``; ``{"ok": true, "path"}`` for ``navigate_to``;
        ``{"ok": false, "function_name", "error", ...}`` for a failure. If that is longer than the limit, as
        JSON, the result is cut where it is longest, with a mark there, and ``"truncated": true`` is added.

        Args:
            max_result_chars: Maximum length of the whole as JSON, instead of the toolset's limit.
            include_details: Whether to include ``details``, instead of the toolset's ``show_details``.
        """
        most = self.max_result_chars if max_result_chars is None else max_result_chars
        shown = self.show_details if include_details is None else include_details
        if self.ok and self.path is not None:
            return {"ok": True, "path": self.path}
        fields: dict[str, Any] = {"ok": self.ok}
        if self.function_name is not None:
            fields["function_name"] = self.function_name
        if self.ok:
            fields["source"] = self.source
            left = most - len(compact({**fields, "result": 0})) + 1
            left_if_cut = left - len(',"truncated":true')
            fields["result"], cut = truncate(self.result, max(left, 0), max(left_if_cut, 0))
            if cut:
                fields["truncated"] = True
            return fields
        fields["error"], _ = truncate(self.error, max(most - len(compact({**fields, "error": 0})) + 1, 0))
        if self.available_functions is not None:
            fields["available_functions"] = list(self.available_functions)
        if self.may_have_executed and self.error_type != "failed":
            fields["may_have_executed"] = True
        if self.pending:
            fields["pending"] = True
        if shown and self.details not in (None, self.error):
            fields["details"] = self.details
        return fields

    def to_json(self, *, max_result_chars: int | None = None, include_details: bool | None = None) -> str:
        """Return ``as_dict()`` as strict JSON: the text for the model.

        Args:
            max_result_chars: As for ``as_dict``.
            include_details: As for ``as_dict``.
        """
        return compact(self.as_dict(max_result_chars=max_result_chars, include_details=include_details))


@frozen(kw_only=True)
class ToolsetChanges:
    """The names of the tools that a refresh changed, in the order of the tools. False if there are none.

    Attributes:
        added: New tools.
        removed: Tools that no longer exist.
        changed: Tools with another description, source or parameters.
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
