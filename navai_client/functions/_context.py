"""The context of a call, for the function that serves it, and who the call is made for."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from navai_client.errors import NavaiStateError
from navai_client.functions._declaration import scope_set

if TYPE_CHECKING:
    from navai_client.server._http import BackendRequest


def _check_id(_: object, _attribute: object, given: Any) -> None:
    if not isinstance(given, str) or not given:
        raise ValueError(f"The id of a principal must be a string that is not empty. Received: {given!r}")


@attrs.frozen
class Principal:
    """Who a request is made for.

    Attributes:
        id: What tells it from all others. It owns idempotency keys, and is counted and logged.
        scopes: What it may do; functions can require scopes.
        claims: Whatever else is known of it, such as the claims of a JWT. No repr shows them.
    """

    id: str = attrs.field(validator=_check_id)
    scopes: frozenset[str] = attrs.field(default=frozenset(), converter=scope_set)
    claims: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


def _tell_nobody(_message: str) -> None:
    """Most callers wait for the result alone."""


def _navigate_nowhere(_path: str) -> Any:
    raise NavaiStateError("There is no navigation here: pass navigate= to Toolset.load. A backend has none.")


@attrs.frozen
class FunctionContext:
    """Handed to a function that has a parameter of this type, or one without a type named ``context``.

    Attributes:
        request: The request that the call came with; None where a toolset calls the function in its process.
        cancelled: Set when the call's time is over or its server stops. A synchronous function cannot be
            stopped from outside; one that may run for long should check this regularly, and return. In a
            process (``runs_in="process"``) it is never set: the process is ended.
        navigate: Opens a path by the toolset's ``navigate``, in its event loop. In a function that is not
            async it returns what that returns; in an async one it returns what may be awaited for it. In a
            backend, and in a toolset without ``navigate``, it raises NavaiStateError.
        progress: Reports how far a function that takes long has come, in words for a model, such as "Looking
            at March". It returns at once, in an async function too, and whether or not anybody listens.
    """

    # Not "or None", so that functions of a backend need not check it.
    request: "BackendRequest" = attrs.field(default=None)
    cancelled: threading.Event = attrs.field(factory=threading.Event, repr=False)
    navigate: Callable[[str], Any] = attrs.field(default=_navigate_nowhere, repr=False)
    progress: Callable[[str], None] = attrs.field(default=_tell_nobody, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy it for another process, without the event: there, a call is stopped by ending the process."""
        return FunctionContext, (self.request,)

    @property
    def principal(self) -> Principal | None:
        """Who the call is made for; None where callers need not say who they are, and in a toolset."""
        return None if self.request is None else self.request.principal
