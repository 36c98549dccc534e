"""Whether a payload is the one that was expected, and if not, where it differs."""

from collections.abc import Iterator
from typing import Any

from navai_client._redaction import is_private
from navai_client.testing._display import shown


def differences(expected: Any, came: Any, *, partial: bool = False, path: str = "payload") -> Iterator[str]:
    """Say where *came*, a JSON value, is not what was *expected*.

    ``true`` is no number, tuples are lists, and anything that decides by ``==``, such as
    ``unittest.mock.ANY`` and ``pytest.approx``, may stand for a value.

    Args:
        expected: The value that it should be.
        came: The value that it is.
        partial: Whether objects may have more keys than expected.
        path: What the value is called.
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
            yield f"{path} is another {type(came).__name__} that looks the same when it is masked or cut"
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
                yield f"{where} has another value (not shown, by its name it is secret)"
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
