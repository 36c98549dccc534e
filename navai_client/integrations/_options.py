"""The options of a toolset: their types for editors, their defaults, and what cannot work."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypedDict

from attrs import field, frozen

from navai_client.config import checked_timeout
from navai_client.errors import NavaiConfigError
from navai_client.integrations._pipeline import AfterHook, BeforeHook, Hooks, SlowHook
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.tools import DEFAULT_MAX_RESULT_CHARS
from navai_client.wire._decode import trim

__all__ = ["Navigate", "Settings", "ToolsetOptions", "normalized"]

Navigate = Callable[[str], Any]
_Functions = Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]]

_SHORTEST_RESULT: Final = 200  # characters; fewer leave no room to say what was cut


class ToolsetOptions(TypedDict, total=False):
    """What ``Toolset.load`` takes beside the client; described there."""

    functions: _Functions
    routes: Iterable[NavaiRoute]
    navigate: Navigate | None
    timeout: float | None
    timeouts: Mapping[str, float | None]
    max_result_chars: int
    show_details: bool
    read_only: Collection[str]
    only: Collection[str] | None
    generic_tool: bool
    direct_tools: bool
    before: BeforeHook | None
    slow: SlowHook | None
    slow_after: float
    after: AfterHook | None


def normalized(name: str) -> str:
    """Return *name* as the JavaScript agent looks it up: trimmed, in lower case."""
    return trim(name).lower()


def _limits(given: Mapping[str, float | None]) -> dict[str, float | None]:
    return {normalized(name): checked_timeout(limit) for name, limit in given.items()}


def _names(given: Collection[str]) -> frozenset[str]:
    if isinstance(given, str):  # its letters are hardly meant
        raise NavaiConfigError(f"A collection of names is needed, not the one text {given!r}.")
    return frozenset(map(normalized, given))


def _names_or_all(given: Collection[str] | None) -> frozenset[str] | None:
    return None if given is None else _names(given)


def _routes(given: Iterable[NavaiRoute]) -> tuple[NavaiRoute, ...]:
    return tuple(given)


def _long_enough(given: int) -> int:
    if given < _SHORTEST_RESULT:
        raise NavaiConfigError(f"max_result_chars must be {_SHORTEST_RESULT} or more; it is {given}.")
    return given


@frozen(kw_only=True)
class Settings:
    """The options of one toolset, checked. The fields are those of ``ToolsetOptions``."""

    functions: _Functions = ()
    routes: tuple[NavaiRoute, ...] = field(default=(), converter=_routes)
    navigate: Navigate | None = None
    timeout: float | None = field(default=20.0, converter=checked_timeout)
    timeouts: Mapping[str, float | None] = field(factory=dict, converter=_limits)
    max_result_chars: int = field(default=DEFAULT_MAX_RESULT_CHARS, converter=_long_enough)
    show_details: bool = False
    read_only: frozenset[str] = field(default=frozenset(), converter=_names)
    only: frozenset[str] | None = field(default=None, converter=_names_or_all)
    generic_tool: bool = True
    direct_tools: bool = True
    before: BeforeHook | None = None
    slow: SlowHook | None = None
    slow_after: float | None = field(default=2.0, converter=checked_timeout)
    after: AfterHook | None = None

    def timeout_of(self, name: str) -> float | None:
        """Return the seconds that a call of the function *name* may take."""
        return self.timeouts.get(name, self.timeout)

    def hooks(self) -> Hooks:
        """Return the hooks alone."""
        return Hooks(before=self.before, slow=self.slow, slow_after=self.slow_after, after=self.after)
