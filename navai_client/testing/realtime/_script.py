"""The actions of a script for the fake model, and the script that the sessions of one server share."""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from attrs import field, frozen


class Action:
    """One action in a turn of a script."""


@frozen
class Say(Action):
    """The model says something, as audio with a transcript, or as text if the session is set to text.

    Attributes:
        text: The words.
    """

    text: str


@frozen
class Call(Action):
    """The model calls a tool. Several in one turn are parallel calls.

    Attributes:
        name: The tool.
        arguments: An object, or any text to send unchanged, such as truncated JSON.
        call_id: The id of the call; generated if it is empty.
        status: ``incomplete`` for a call that the model did not finish: no client may run it.
        offered: Whether the session must offer the tool; False for a model that makes up a name.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(factory=dict, hash=False)
    call_id: str | None = None
    status: Literal["completed", "incomplete"] = "completed"
    offered: bool = field(default=True, repr=False)

    @property
    def text(self) -> str:
        """The arguments as the model writes them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@frozen
class BargeIn(Action):
    """The person interrupts: the response is cancelled, and the next turn of the script follows.

    Attributes:
        text: The person's words.
    """

    text: str = "Wait."


@frozen
class Raw(Action):
    """The server sends the given data: an event of your own, or something that is not an event.

    Attributes:
        event: An object, or any text.
    """

    event: Mapping[str, Any] | str = field(hash=False)


@frozen
class Disconnect(Action):
    """The server closes the connection.

    Attributes:
        code: The WebSocket close code.
        reason: The reason beside it.
    """

    code: int = 1011
    reason: str = "the script ends the connection here"


@frozen
class Until(Action):
    """The response stays open until the client has sent an event of this type, or cancels it.

    Attributes:
        kind: Such as ``conversation.item.create``.
    """

    kind: str


_AFTER_THE_LAST: Final = (Say("All right."),)


class Script:
    """The turns that one server plays, each in the session that asks next. The test's thread uses it, too.

    Attributes:
        changed: Notified after each event that another thread may wait for.
        turns: All turns.
        played: The number of turns played.
    """

    def __init__(self, turns: Iterable[Action | Sequence[Action]]) -> None:
        self.changed = threading.Condition()
        self.turns = [list(turn) if isinstance(turn, Sequence) else [turn] for turn in turns]
        self.played = 0
        self._ids: dict[str, int] = {}

    def next_turn(self) -> Sequence[Action]:
        with self.changed:
            self.played += 1
            self.changed.notify_all()
            return self.turns[self.played - 1] if self.played <= len(self.turns) else _AFTER_THE_LAST

    def next_id(self, kind: str) -> str:
        """Return the next id of *kind*, such as ``item_3``."""
        self._ids[kind] = self._ids.get(kind, 0) + 1
        return f"{kind}_{self._ids[kind]}"

    def notify(self) -> None:
        """Wake the waiting threads."""
        with self.changed:
            self.changed.notify_all()
