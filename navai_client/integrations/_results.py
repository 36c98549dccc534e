"""Results for a model: as JSON, and cut to a shorter value of the same shape if they are long."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from navai_client._extras import needs_extra

with needs_extra("tools", "pydantic"):
    from navai_client.functions._results import SCALARS, ResultError, jsonable, opened

MAX_RESULT_CHARS: Final = 16_000  # about 4,000 tokens; a realtime session has 32,000 in all
_LEVELS: Final = 255  # that Pydantic encodes; a list that contains itself has more
_SHORTEST_MARK: Final = "…"
_MARK_CHARS: Final = 64  # reserved for a mark; the longest one with two numbers of 12 digits has fewer
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def compact(value: Any) -> str:
    """Return *value*, of JSON types, as strict JSON without white space that UTF-8 can encode."""
    text = _encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates travel as escapes
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def nested(value: Any, *names: str) -> Any:
    """Return the member of *value* on the path *names*; None if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def to_jsonable(value: Any) -> Any:
    """Return *value* in JSON types, or a string that says why it cannot be expressed in them."""
    try:
        return jsonable(value)
    except ResultError as error:
        return f"[left out: {error}]"


def truncate(value: Any, most: int, most_of_cut: int | None = None) -> tuple[Any, bool]:
    """Return *value* in JSON types, cut if its JSON has more than *most* characters, and whether it was cut.

    Strings keep their beginning, lists their first items; the fields of an object share the space, and short
    ones stay complete. What is cut is neither converted nor encoded, so a large value takes no longer.

    Args:
        value: Any value.
        most: Characters of what is not cut.
        most_of_cut: Characters of what is cut, if that is another number.
    """
    known = _known(_members(value), most)
    if known.size <= most:
        return known.value, False
    most = most if most_of_cut is None else most_of_cut
    cut = _cut(known.value, most)
    return (cut if len(compact(cut)) <= most else _cut_string(compact(cut), most)), True


@frozen
class _Known:
    """A value in JSON types, and the length of its JSON; or a value that is longer than what it may be."""

    value: Any
    size: int


def _known(value: Any, most: int) -> _Known:
    """Return *value* converted, unless its JSON is surely longer than *most* characters."""
    if _is_longer(value, most):
        return _Known(value, most + 1)
    converted = to_jsonable(value)
    return _Known(converted, len(compact(converted)))


def _members(value: Any) -> Any:
    """Return *value* as a list or dict of its members, if it has any; or a string that says what is wrong."""
    try:
        return opened(value)
    except ResultError as error:
        return f"[left out: {error}]"


def _is_longer(value: Any, most: int) -> bool:
    """Return whether the JSON of *value* is surely longer than *most* characters; it looks at no more."""
    size = level = 0
    rest = [value]
    while rest and size <= most and level < _LEVELS:
        level += 1
        inner: list[Any] = []
        for each in rest:
            if type(each) is str:
                size += len(each) + 2
            elif type(each) in (list, tuple):
                size += 2 * len(each)  # an item and a comma, the brackets and no last comma
                inner += each[: most // 2 + 1]
            elif type(each) is dict:
                size += 5 * len(each)
                inner += itertools.islice(each.values(), most // 5 + 1)
            elif type(each) in SCALARS or isinstance(each, Iterator):  # which gives its members once
                size += 1
            elif type(members := _members(each)) in (list, dict):
                inner.append(members)
            else:
                size += 1
            if size > most:
                return True
        rest = inner
    return False


def _cut(value: Any, most: int) -> Any:
    if most < _MARK_CHARS:
        return _SHORTEST_MARK
    value = _members(value)
    if type(value) is str:
        return _cut_string(value, most)
    if type(value) is list:
        return _cut_list(value, most)
    if type(value) is dict:
        return _cut_object(value, most)
    return _SHORTEST_MARK  # for a long number


def _cut_string(text: str, most: int) -> str:
    low, high = 0, min(len(text), most)
    while low < high:  # bisects for the most characters that fit; escapes make some longer than one
        middle = (low + high + 1) // 2
        if len(compact(text[:middle] + _string_mark(middle, len(text)))) <= most:
            low = middle
        else:
            high = middle - 1
    return text[:low] + _string_mark(low, len(text))


def _string_mark(shown: int, of: int) -> str:
    return f"… [cut: {shown} of {of} characters shown]"


def _cut_list(items: list[Any], most: int) -> list[Any]:
    kept: list[Any] = []
    left = most - _MARK_CHARS
    for item in items:  # pragma: no branch - not all fit, or nothing would be cut
        known = _known(item, left - 1)  # and a comma
        if known.size > left - 1:
            if not kept and left >= _MARK_CHARS:
                kept.append(_cut(known.value, left))
            break
        kept.append(known.value)
        left -= known.size + 1
    if len(kept) < len(items):
        kept.append(f"… [cut: {len(kept)} of {len(items)} items shown]")
    return kept


def _cut_object(fields: dict[str, Any], most: int) -> dict[str, Any]:
    left = most - _MARK_CHARS
    named: dict[str, _Known] = {}
    for name, value in fields.items():
        overhead = len(compact(name)) + 2  # the colon, the comma
        if left < overhead + 3:
            break
        left -= overhead + 3  # the shortest mark
        named[name] = _known(value, most)
    left += 3 * len(named)
    share: dict[str, int] = {}
    sizes = {name: min(known.size, most) for name, known in named.items()}
    for count, (name, size) in enumerate(sorted(sizes.items(), key=lambda each: each[1])):
        share[name] = min(size, left // (len(named) - count))
        left -= share[name]
    kept = {
        name: known.value if known.size <= share[name] else _cut(known.value, share[name])
        for name, known in named.items()
    }
    if len(kept) < len(fields):
        kept[_SHORTEST_MARK] = f"[cut: {len(kept)} of {len(fields)} fields shown]"
    return kept
