"""The hooks of a call, and what they, the person and the model are told while it runs.

A person should not sit in silence, and an agent that talks all the time is as bad. So:

- Each report of the function (``context.progress``) goes to the ``progress`` hooks, in order.
- After ``slow_after`` seconds, or at once where a call takes longer as a rule, the person hears what the
  function declares to say; or the model is told that the call still runs, so that it can answer.
- From then on the model is told what the function reports: the newest, once in ``slow_after`` seconds. The
  person hears it too, if they have heard nothing for a while.
- If the function reports nothing, the model is told from time to time that the call still runs, less and less
  often. The person hears that if the function declares what to say.

Hooks are foreign code: what they raise is logged, and changes no outcome.
"""

import asyncio
import contextlib
import inspect
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from navai_client._abandoned import BackgroundTasks
from navai_client._redaction import Redactor
from navai_client._threads import on_this_loop
from navai_client.integrations.tools import ToolCall, ToolProgress

if TYPE_CHECKING:
    import threading

_MOST_REPORTS: Final = 32  # that wait for a slow hook; the oldest are dropped
_LONGEST_REPORT: Final = 500  # characters, one or two sentences
# How long a person's attention lasts without a sign (Nielsen, Usability Engineering, 1993, chapter 5).
_QUIET: Final = 10.0  # seconds
_LONGEST_REST: Final = 40.0  # seconds between two reminders

_redactor: Final = Redactor()
_log: Final = logging.getLogger("navai_client")


async def awaited(value: Any) -> Any:
    """Return *value*, or what it gives if it can be awaited."""
    return await value if inspect.isawaitable(value) else value


async def notify(name: str, function_name: str, hook: Callable[[], Any], limit: float | None = None) -> None:
    """Call the *hook* that is called *name* for a call of a function."""
    try:
        async with asyncio.timeout(limit):
            await awaited(hook())
    except (Exception, SystemExit):  # noqa: BLE001 - the boundary to a hook, whose failure changes no outcome
        _log.exception("The %s hook failed for %s", name, function_name)


class Signals:
    """What passes between a call and its running function: reports one way, the cancellation the other.

    Attributes:
        cancelled: Set when nobody wants the result any more; None if the function does not look at it.
        reports: What the function has reported, and nobody has taken yet.
        listener: Called in the event loop when there are reports; None if nobody wants them.
    """

    def __init__(self) -> None:
        self.cancelled: threading.Event | None = None
        self.reports: deque[str] = deque(maxlen=_MOST_REPORTS)
        self.listener: Callable[[], object] | None = None
        self._is_scheduled = False
        self._schedule = on_this_loop(self._listen)

    def report(self, message: str) -> None:
        """Take a report of the function, from any thread."""
        listener = self.listener
        if listener is None:
            return
        self.reports.append(_redactor.text(str(message), _LONGEST_REPORT))
        if not self._is_scheduled:  # else a function that reports without end would fill the loop
            self._is_scheduled = True
            self._schedule(listener)

    def cancel(self) -> None:
        """Tell the function that nobody wants its result any more."""
        if self.cancelled is not None:
            self.cancelled.set()

    def _listen(self, listener: Callable[[], object]) -> None:
        self._is_scheduled = False  # first: a report that comes now is scheduled again
        listener()


@define(eq=False)
class Companion:
    """Tells hooks, person and model of one call while it runs.

    Attributes:
        call: The call.
        declared: What its function declares to say while a call takes long.
        silence: Seconds of the call until something is said or told; None for never.
        pause: Seconds between two things that the model is told.
        hooks: Get each report.
        say: Lets the person hear what the function declares.
        tell: Tells the model how the call stands.
        said_at: When the person last heard of this call, by the loop's clock.
    """

    call: ToolCall
    declared: str | None
    silence: float | None
    pause: float
    hooks: Sequence[Callable[[str], Any]]
    say: Callable[[str], Any] | None
    tell: Callable[[ToolProgress], Any] | None
    said_at: float = -math.inf
    _signals: Signals = field(init=False)
    _tasks: BackgroundTasks = field(init=False)  # a hook is not cut off when the call ends
    _latest: str | None = None
    _news: asyncio.Event = field(factory=asyncio.Event)
    _passing: asyncio.Task[None] | None = None

    def listen(self, signals: Signals, tasks: BackgroundTasks) -> None:
        """Take what the function reports by *signals*, if anybody wants that; hooks run in *tasks*."""
        self._signals, self._tasks = signals, tasks
        if self.hooks or self.tell is not None:
            signals.listener = self._heard

    def follow(self, other: "Companion") -> None:
        """Tell whom *other* tells, from now on: the caller has left, and came back."""
        self.hooks, self.say, self.tell = other.hooks, other.say, other.tell
        self.listen(self._signals, self._tasks)

    def _heard(self) -> None:
        self._latest = self._signals.reports[-1]
        self._news.set()
        if not self.hooks:
            self._signals.reports.clear()
        elif self._passing is None or self._passing.done():
            self._passing = self._tasks.start(self._pass_on(), self.call.function_name)

    async def _pass_on(self) -> None:
        reports = self._signals.reports
        while reports:
            report = reports.popleft()
            for hook in self.hooks:
                await notify("progress", self.call.function_name, partial(hook, report))

    async def accompany(self, last_said: Callable[[], float]) -> None:
        """Say and tell what is due, until this is cancelled at the end of the call.

        Args:
            last_said: Returns when the person last heard of a call of this conversation that still runs.
        """
        loop = asyncio.get_running_loop()
        begun, rest = loop.time() - (self.silence or 0.0), _QUIET
        is_first = True
        while True:
            is_quiet = loop.time() - last_said() >= _QUIET
            has_reported = self._news.is_set()
            self._news.clear()
            if is_first and self.say is not None and (self.tell is None or not has_reported):
                if last_said() == -math.inf:
                    self.said_at = loop.time()
                    await self._call("say", partial(self.say, self.declared or ""))
            elif self.tell is not None:
                aloud = is_quiet and (has_reported or self.declared is not None)
                self.said_at = loop.time() if aloud else self.said_at
                told = ToolProgress(
                    call=self.call,
                    seconds=loop.time() - begun,
                    message=self._latest or self.declared,
                    aloud=aloud,
                )
                await self._call("tell", partial(self.tell, told))
            if self.tell is None:
                return
            is_first = False
            await asyncio.sleep(self.pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest - self.pause):
                    await self._news.wait()
            if not self._news.is_set():
                rest = min(2 * rest, _LONGEST_REST)

    def _call(self, name: str, hook: Callable[[], Any]) -> Any:
        return self._tasks.run(notify(name, self.call.function_name, hook), self.call.function_name)
