"""Results for a model: as JSON, and cut to a shorter value of the same shape if they are long."""

import json
from collections.abc import Mapping
from typing import Any, Final

from navai_client._extras import needs_extra

with needs_extra("tools", "pydantic"):
    from navai_client.functions._results import ResultError, jsonable

MAX_RESULT_CHARS: Final = 16_000  # about 4,000 tokens; a realtime session has 32,000 in all
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


def truncate(value: Any, most: int) -> tuple[Any, bool]:
    """Return *value*, cut so that its JSON has at most *most* characters, and whether it was cut.

    Strings keep their beginning, lists their first items; the fields of an object share the space, and short
    ones stay complete.
    """
    if _fits(value, most):
        return value, False
    cut = _cut(value, most)
    return (cut if _fits(cut, most) else _cut_string(compact(value), most)), True


def _fits(value: Any, most: int) -> bool:
    return len(compact(value)) <= most


def _cut(value: Any, most: int) -> Any:
    if most >= _MARK_CHARS:
        if isinstance(value, str):
            return _cut_string(value, most)
        if isinstance(value, list):
            return _cut_list(value, most)
        if isinstance(value, dict):
            return _cut_object(value, most)
    return _SHORTEST_MARK


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
        size = len(compact(item)) + 1
        if size > left:
            break
        kept.append(item)
        left -= size
    if not kept and left >= _MARK_CHARS:
        kept.append(_cut(items[0], left))
    if len(kept) < len(items):
        kept.append(f"… [cut: {len(kept)} of {len(items)} items shown]")
    return kept


def _cut_object(fields: dict[str, Any], most: int) -> dict[str, Any]:
    left = most - _MARK_CHARS
    named: dict[str, int] = {}
    for name, value in fields.items():
        overhead = len(compact(name)) + 2  # the colon, the comma
        if left < overhead + 3:
            break
        left -= overhead + 3  # the shortest mark
        named[name] = len(compact(value))
    left += 3 * len(named)
    share: dict[str, int] = {}
    for count, (name, size) in enumerate(sorted(named.items(), key=lambda each: each[1])):
        share[name] = min(size, left // (len(named) - count))
        left -= share[name]
    kept = {
        name: fields[name] if size <= share[name] else _cut(fields[name], share[name])
        for name, size in named.items()
    }
    if len(kept) < len(fields):
        kept[_SHORTEST_MARK] = f"[cut: {len(kept)} of {len(fields)} fields shown]"
    return kept
