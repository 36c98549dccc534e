"""The context of a call, for the function that serves it."""

import threading
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from navai_client.server._authentication import Principal
    from navai_client.server._http import BackendRequest


@attrs.frozen
class FunctionContext:
    """Handed to a function that has a parameter of this type, or one without a type named ``context``.

    Attributes:
        request: The request that the call came with; None where a toolset calls the function in its process.
        cancelled: Set when the call's time is over or its server stops. A synchronous function cannot be
            stopped from outside; one that may run for long should check this regularly, and return. In a
            process (``runs_in="process"``) it is never set: the process is ended.
    """

    request: "BackendRequest" = attrs.field(
        default=None
    )  # so that functions of a backend need not check it for None
    cancelled: threading.Event = attrs.field(factory=threading.Event, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy it for another process, without the event: there, a call is stopped by ending the process."""
        return FunctionContext, (self.request,)

    @property
    def principal(self) -> "Principal | None":
        """Who the call is made for; None where callers need not say who they are, and in a toolset."""
        return None if self.request is None else self.request.principal
