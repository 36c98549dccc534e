"""What the fake model does: the actions of a script, and the script that the sessions of one server share."""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from attrs import field, frozen


class Action:
    """One thing that happens in a turn of a script."""


@frozen
class Say(Action):
    """The model says something, as sound with a transcript, or as text where the session asks for text.

    Attributes:
        text: What it says.
    """

    text: str


@frozen
class Call(Action):
    """The model calls a tool. Several in one turn are parallel calls.

    Attributes:
        name: The tool.
        arguments: An object, or any text to be sent as it is, such as JSON that is cut off.
        call_id: The id of the call; one is made if there is none.
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
        text: What the person says.
    """

    text: str = "Wait."


@frozen
class Raw(Action):
    """The server sends something as it is: an event of your own, or something that is not an event.

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
    """The turns that one server plays, in whichever session asks next. Used by the test's thread, too.

    Attributes:
        changed: Notified whenever something happened that someone may wait for.
        turns: All turns.
        played: How many of them were played.
    """

    def __init__(self, turns: Iterable[Action | Sequence[Action]]) -> None:
        self.changed = threading.Condition()
        self.turns = [list(turn) if isinstance(turn, Sequence) else [turn] for turn in turns]
        self.played = 0
        self._ids: dict[str, int] = {}

    def next_turn(self) -> Sequence[Action]:
        """Return the next turn."""
        with self.changed:
            self.played += 1
            self.changed.notify_all()
            return self.turns[self.played - 1] if self.played <= len(self.turns) else _AFTER_THE_LAST

    def next_id(self, kind: str) -> str:
        """Return the next id of *kind*, such as ``item_3``."""
        self._ids[kind] = self._ids.get(kind, 0) + 1
        return f"{kind}_{self._ids[kind]}"

    def notify(self) -> None:
        """Wake the threads that wait for something."""
        with self.changed:
            self.changed.notify_all()
