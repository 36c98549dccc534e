"""The messages of failed assertions about a backend: what was expected, what came, and how to loosen it."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from unittest.mock import ANY

from attrs import frozen

from navai_client._redaction import is_private
from navai_client.testing._recording import RecordedCall, RecordedRequest, shown

_MOST_LISTED = 10
_MOST_DIFFERENCES = 5


@frozen
class Expectation:
    """A call that is expected, see ``assert_called``; with *only*, the function must have no other calls."""

    function_name: str
    payload: Any
    containing: Any
    times: int | None
    only: bool

    def differences(self, payload: Any) -> Iterator[str]:
        yield from differences(self.payload, payload)
        yield from differences(self.containing, payload, partial=True)

    def __str__(self) -> str:
        often = {None: "a call", 1: "one call"}.get(self.times, f"{self.times} calls")
        text = f"{often} of {self.function_name}"
        if self.payload is not ANY:
            text += f" with the payload {shown(self.payload)}"
        if self.containing is not ANY:
            text += f" with a payload that contains {shown(self.containing)}"
        return text


def missing_call(
    expected: Expectation, calls: Sequence[RecordedCall], registered: Sequence[str], refused: int
) -> str:
    """Return the message that the *expected* call is not among *calls*."""
    name = expected.function_name
    own = [call for call in calls if call.function_name == name]
    lines = [f"Expected {expected}, but "]
    if own:
        count = "one call of it" if len(own) == 1 else f"{len(own)} calls of it"
        lines[0] += f"{count} came:"
        lines += _numbered(own, expected)
    else:
        lines[0] += "it was not called."
        if name not in registered:
            lines.append(f"No function has that name; registered: {', '.join(registered) or 'none'}.")
    others = [call for call in calls if call.function_name != name]
    if others:
        lines.append("Calls of other functions:")
        lines += _numbered(others)
    if refused:
        lines.append(f"Requests that never arrived, their connections dropped by the script: {refused}.")
    remedies = list(_remedies(expected, own))
    if remedies:
        lines += ["To loosen it:", *(f"  - {each}" for each in remedies)]
    return "\n".join(lines)


def unexpected_calls(name: str | None, calls: Sequence[RecordedCall]) -> str:
    """Return the message that *calls* came although none were expected."""
    what = "any function" if name is None else name
    count = "one" if len(calls) == 1 else str(len(calls))
    lines = [f"Expected no call of {what}, but {count} came:", *_numbered(calls)]
    if name is None:
        lines += ["To loosen it:", "  - assert_not_called('name') where only one must not be called"]
    return "\n".join(lines)


def unused_failures(unused: Sequence[str], requests: Sequence[RecordedRequest]) -> str:
    """Return the message that scripted failures were not used."""
    lines = ["Scripted failures that did not come to pass:", *(f"  {each}" for each in unused)]
    if requests:
        lines.append("Requests that came:")
        lines += _limited([request.summary() for request in requests])
    else:
        lines.append("No request came.")
    lines.append("If that is fine in this test, script them with optional=True.")
    return "\n".join(lines)


def _numbered(calls: Sequence[RecordedCall], expected: Expectation | None = None) -> Iterator[str]:
    texts = []
    for call in calls:
        text = f"{call.function_name}({shown(call.payload)}) -> {call.outcome}"
        found = (
            [] if expected is None else list(islice(expected.differences(call.payload), _MOST_DIFFERENCES))
        )
        texts.append("".join([text, *(f"\n       {each}" for each in found)]))
    return _limited(texts)


def _limited(texts: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(texts[:_MOST_LISTED], 1):
        yield f"  {number}. {text}"
    if len(texts) > _MOST_LISTED:
        yield f"  ... and {len(texts) - _MOST_LISTED} more"


def _remedies(expected: Expectation, own: Sequence[RecordedCall]) -> Iterator[str]:
    fitting = [call for call in own if not any(expected.differences(call.payload))]
    if len(fitting) < len(own):
        if expected.payload is not ANY:
            yield "put unittest.mock.ANY where any value will do"
            yield f"assert_called({expected.function_name!r}, containing={{...}}) where more keys may come"
        else:
            yield "put unittest.mock.ANY where any value will do, or name fewer keys"
    if fitting and expected.times is not None:
        yield f"assert_called({expected.function_name!r}, ...) without times, where any number will do"


def differences(expected: Any, came: Any, *, partial: bool = False, path: str = "payload") -> Iterator[str]:
    """Return where *came*, a JSON value, differs from *expected*.

    ``true`` is not a number, tuples are lists, and objects that define ``==``, such as
    ``unittest.mock.ANY`` and ``pytest.approx``, may take the place of a value.

    Args:
        expected: The value that it should be.
        came: The value that it is.
        partial: Whether objects may have more keys than expected.
        path: The name of the value in messages.
    """
    if isinstance(expected, dict) and isinstance(came, dict):
        yield from _of_objects(expected, came, partial=partial, path=path)
    elif isinstance(expected, list | tuple) and isinstance(came, list):
        if len(expected) != len(came):
            yield f"{path} has {len(came)} items instead of {len(expected)}"
            return
        for index, (wanted, value) in enumerate(zip(expected, came, strict=True)):
            yield from differences(wanted, value, partial=partial, path=f"{path}[{index}]")
    elif _is_mixed_up(expected, came) or not expected == came:  # noqa: SIM201 - ANY defines ==, for one
        here, there = shown(came), shown(expected)
        if here == there:
            yield f"{path} is another {type(came).__name__}, which looks the same because it is masked or cut"
        else:
            yield f"{path} is {here} instead of {there}"


def _of_objects(expected: dict[str, Any], came: dict[str, Any], *, partial: bool, path: str) -> Iterator[str]:
    for key, wanted in expected.items():
        where = f"{path}[{shown(key)}]"
        if key not in came:
            yield f"{where} is missing"
            continue
        found = differences(wanted, came[key], partial=partial, path=where)
        if isinstance(key, str) and is_private(key):
            if next(found, None) is not None:
                yield f"{where} has another value (not shown: its name says that it is secret)"
        else:
            yield from found
    if not partial:
        for key in came:
            if key not in expected:
                yield f"{path}[{shown(key)}] was not expected"


def _is_mixed_up(expected: Any, came: Any) -> bool:
    """Return whether one is a bool and the other a number, which Python takes for equal."""
    is_number = isinstance(expected, int | float) and isinstance(came, int | float)
    return is_number and isinstance(expected, bool) != isinstance(came, bool)
