"""The declaration of a function by its owner: one frozen value, made by the decorator ``function``.

The decorator only marks. The declaration applies wherever the function is offered: in a discovered module, by
a backend that it is registered with, or among an agent's local functions.
"""

import functools
import math
import types
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, overload

from attrs import asdict, converters, evolve, field, frozen, validators

from navai_client.config import checked_timeout
from navai_client.errors import NavaiConfigError
from navai_client.models import EFFECTS, Effect

if TYPE_CHECKING:
    from concurrent.futures import Future

F = TypeVar("F")
_MARK: Final = "__navai_declaration__"
# Times its typical time that a call may take: the time is that of most calls, not of the longest.
_ROOM: Final = 2


def scope_set(scopes: Iterable[str]) -> frozenset[str]:
    """Return *scopes* as a set.

    Raises:
        NavaiConfigError: They are one string, whose letters nobody means, or not strings.
    """
    if isinstance(scopes, str):
        raise NavaiConfigError(f"scopes must be a list of names: [{scopes!r}] instead of {scopes!r}.")
    found = frozenset(scopes)
    if not all(isinstance(scope, str) for scope in found):
        raise NavaiConfigError(f"scopes must be a list of names. Received: {sorted(map(repr, found))}")
    return found


class Runner(Protocol):
    """Runs functions elsewhere, for ``runs_in=``: an executor, a cluster, a queue."""

    def submit(self, work: Callable[[], Any], /) -> "Awaitable[Any] | Future[Any]":
        """Call *work*, once, and return what can be awaited for its result.

        *work* can be pickled where its function and arguments can.
        """
        ...

    def cancel(self, submitted: Any, /) -> object:
        """Stop what ``submit`` returned, if possible; nobody waits for it any more."""
        ...


def _check_runs_in(_: object, _attribute: object, runs_in: Any) -> None:
    if runs_in not in (None, "process") and not (hasattr(runs_in, "submit") and hasattr(runs_in, "cancel")):
        raise NavaiConfigError(
            f'runs_in must be "process", or an object with submit and cancel. Received: {runs_in!r}'
        )


def _check_timeout(_: object, _attribute: object, seconds: Any) -> None:
    if seconds != 0:  # no limit
        checked_timeout(seconds)


def _check_effect(_: object, _attribute: object, effect: Any) -> None:
    if effect not in EFFECTS:
        raise NavaiConfigError(f"effect must be one of {', '.join(EFFECTS)}. Received: {effect!r}")


def _check_typical_seconds(declared: "Declaration", _attribute: object, seconds: Any) -> None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds < math.inf:
        raise NavaiConfigError(f"typical_seconds must be a positive number. Received: {seconds!r}")
    if declared.timeout and seconds > declared.timeout:
        raise NavaiConfigError(
            f"By its declaration, a call takes {seconds:g} seconds as a rule (typical_seconds), and may take "
            f"{declared.timeout:g} (timeout): raise the timeout."
        )


def _check_say_while_waiting(_: object, _attribute: object, text: Any) -> None:
    if not isinstance(text, str) or not text.strip():
        raise NavaiConfigError(f"say_while_waiting must be a text. Received: {text!r}")


def time_limit(default: float | None, timeout: float | None, typical_seconds: float | None) -> float | None:
    """Return the seconds that a call of a function may take, or None for no limit.

    Args:
        default: The limit of functions that declare none.
        timeout: The declared limit, in which 0 is no limit, or None.
        typical_seconds: How long a call takes as a rule, as declared, or None. No default cuts such a call.
    """
    if timeout is not None:
        return checked_timeout(timeout or None)
    if default is None or typical_seconds is None:
        return default
    return checked_timeout(max(default, _ROOM * typical_seconds))


@frozen(kw_only=True)
class Declaration:
    """The name, texts and options of a function.

    Attributes:
        name: Its name, by default that of its definition; it is brought into the contract's form.
        description: Its description for models, by default its docstring's first paragraph.
        timeout: Seconds that a call may take; None means the limit of the backend or of the toolset, or twice
            *typical_seconds* if that is longer; 0 means no limit.
        runs_in: Where a backend runs it: in a thread or on the event loop if None, else in a process, or by
            the object. A toolset ignores it.
        scopes: What a backend's caller must hold, all of it, to see and to call it. A toolset does not ask.
        approval: Whether a person must approve each call of a backend before it runs. A toolset has nobody to
            ask, and refuses such a function.
        effect: What it does: ``read`` changes nothing, ``write`` something, ``dangerous`` something that the
            person in the session should agree to first.
        typical_seconds: How long a call takes as a rule. An agent talks at once if that is long.
        say_while_waiting: What an agent says while a call takes long.
    """

    name: str | None = None
    description: str | None = None
    timeout: float | None = field(default=None, validator=validators.optional(_check_timeout))
    runs_in: Literal["process"] | Runner | None = field(default=None, validator=_check_runs_in)
    scopes: frozenset[str] | None = field(default=None, converter=converters.optional(scope_set))
    approval: bool | None = None
    effect: Effect | None = field(default=None, validator=validators.optional(_check_effect))
    typical_seconds: float | None = field(default=None, validator=validators.optional(_check_typical_seconds))
    say_while_waiting: str | None = field(
        default=None, validator=validators.optional(_check_say_while_waiting)
    )

    @property
    def metadata(self) -> dict[str, Any]:
        """What a list tells of it, by the names of upstream's WordPress plugin where that has them."""
        told = {
            "requires_approval": self.approval or None,
            "timeout_seconds": self.timeout or None,  # 0 is no limit
            "effect": self.effect,
            "typical_seconds": self.typical_seconds,
            "say_while_waiting": self.say_while_waiting,
        }
        return {name: value for name, value in told.items() if value is not None}

    def over(self, other: "Declaration") -> "Declaration":
        """Return *other*, overridden by the fields that this one sets."""
        return evolve(other, **asdict(self, recurse=False, filter=lambda _, value: value is not None))


@overload
def function(call: F, /) -> F: ...
@overload
def function(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    runs_in: Literal["process"] | Runner | None = None,
    scopes: Iterable[str] | None = None,
    approval: bool | None = None,
    effect: Effect | None = None,
    typical_seconds: float | None = None,
    say_while_waiting: str | None = None,
) -> Callable[[F], F]: ...
def function(call: Any = None, /, **said: Any) -> Any:
    """Declare a function to offer: ``@function``, or ``@function(name=...)``.

    The function is returned unchanged. It is offered where it is discovered or registered: in a functions
    folder, by ``backend.function``, or by ``Toolset.load(functions=[...])``.

    Args:
        call: A function, a class, or another callable that takes attributes.
        said: The fields of the declaration: ``name``, ``description``, ``timeout``, ``runs_in``, ``scopes``,
            ``approval``, ``effect``, ``typical_seconds``, ``say_while_waiting``.

    Raises:
        NavaiConfigError: The callable takes no attributes, such as a bound method or a builtin, or the scopes
            are not a list of names, ``runs_in`` cannot run it, or the effect, the seconds or the text are
            none.
    """

    def mark(marked: Any) -> Any:
        try:
            setattr(marked, _MARK, Declaration(**said))
        except AttributeError:
            raise NavaiConfigError(
                f"A {type(marked).__name__} cannot be marked. Mark the function that it calls, "
                "or register it with backend.function(...)."
            ) from None
        return marked

    return mark if call is None else mark(call)


def declaration_of(call: Any) -> Declaration:
    """Return the declaration of *call* by the decorator ``function``, or an empty one."""
    # A subclass does not inherit the declaration of its base.
    found = vars(call).get(_MARK) if isinstance(call, type) else getattr(call, _MARK, None)
    declaration = found if isinstance(found, Declaration) else Declaration()
    return declaration.over(declaration_of(call.func)) if isinstance(call, functools.partial) else declaration


def is_declared(call: Any) -> bool:
    """Return whether the decorator ``function`` marked *call* itself."""
    return _MARK in getattr(call, "__dict__", ())


def name_of(call: Any) -> str:
    """Return the name of the definition of *call*, whatever kind of callable it is."""
    inner = without_partial(call)
    return getattr(inner, "__name__", None) or type(inner).__name__


def module_of(call: Any) -> str:
    inner = without_partial(call)
    return getattr(inner, "__module__", None) or type(inner).__module__


def source_of(call: Any) -> str:
    """Return where *call* is defined: ``module#qualified name``."""
    inner = without_partial(call)
    return f"{module_of(inner)}#{getattr(inner, '__qualname__', type(inner).__qualname__)}"


def registrable(call: Any) -> Any:
    """Return *call*, without the wrapper of a static method.

    Raises:
        NavaiConfigError: It cannot be called, or not without an instance of its class.
    """
    if isinstance(call, staticmethod):
        return call.__func__
    if isinstance(call, classmethod):
        raise NavaiConfigError(
            f"{call.__func__.__qualname__} is a class method, and its class is not complete yet. "
            f"Register it after the class: backend.function({call.__func__.__qualname__})."
        )
    if not callable(call):
        raise NavaiConfigError(f"A function is required; this has the type {type(call).__name__}.")
    if isinstance(call, types.FunctionType):
        owner = call.__qualname__.rpartition(".")[0]
        first = call.__code__.co_varnames[: call.__code__.co_argcount][:1]
        if owner and not owner.endswith("<locals>") and first in (("self",), ("cls",)):
            raise NavaiConfigError(
                f"{call.__qualname__} is a method without an instance. Register the method of an instance, "
                f"backend.function(instance.{call.__name__}), or the whole class."
            )
    return call


def without_partial(call: Any) -> Any:
    """Return what ``functools.partial`` objects call in the end."""
    while isinstance(call, functools.partial):
        call = call.func
    return call
