"""Any Python value -> one of JSON's own types: what a function gave, as a model may read it."""

import base64
import dataclasses
import datetime as dt
import json
import math
import os
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import attrs

__all__ = ["compact", "to_jsonable"]

_MOST_LEVELS: Final = 100
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def compact(value: Any) -> str:
    """Return a value of JSON's own types as strict JSON without blanks."""
    return _encode(value)


def to_jsonable(value: Any) -> Any:
    """Return *value* in JSON's own types, whatever it is.

    Dates and times are ISO 8601 text, a ``timedelta`` its seconds, ``Decimal`` and ``UUID`` text, bytes
    base64, enums their value, sets lists; data classes, attrs classes and Pydantic's models objects; NaN and
    the infinities null. Lone surrogates become U+FFFD. What has no form in JSON is its ``str()``; what holds
    itself, or is nested deeper than 100 levels, is left out there and says so.
    """
    return _plain(value, ())


def _plain(value: Any, parents: tuple[int, ...]) -> Any:
    while isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | str | int | float):
        return _scalar(value)
    if id(value) in parents:
        return "[left out: it holds itself]"
    if len(parents) >= _MOST_LEVELS:
        return "[left out: nested too deep]"
    inside = (*parents, id(value))
    if isinstance(value, Mapping):
        return {_key(key): _plain(each, inside) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, inside) for each in value]
    return _other(value, inside)


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return _whole(int(value))
    return value


def _other(value: Any, inside: tuple[int, ...]) -> Any:
    text = _text(value)
    if text is not None:
        return text
    # The boundary to code that is not ours: a model that dumps itself, or a __str__, may raise anything.
    try:
        return _plain(_taken_apart(value), inside)
    except Exception as error:  # noqa: BLE001
        return f"[left out: a {type(value).__name__} that raised {type(error).__name__}]"


def _text(value: Any) -> str | float | None:
    if isinstance(value, dt.date | dt.time):  # datetime is a date
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, os.PathLike):
        return _clean(os.fsdecode(value))
    return None


def _taken_apart(value: Any) -> Any:
    fields: tuple[Any, ...] = ()
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
    if fields:
        return {each.name: getattr(value, each.name) for each in fields}
    if not isinstance(value, type):
        if hasattr(value, "model_dump"):  # Pydantic
            return value.model_dump(mode="json")
        if hasattr(value, "tolist"):  # NumPy: arrays and their numbers
            return value.tolist()
    if isinstance(value, Iterable) and hasattr(value, "__len__"):  # deque, dict views, range
        return list(value)
    return str(value)


def _whole(value: int) -> int | str:
    try:
        str(value)
    except ValueError:  # more digits than Python writes
        return f"[left out: a whole number of {value.bit_length()} bits]"
    return value


def _key(key: Any) -> str:
    plain = _plain(key, ()) if isinstance(key, str | int | float | Enum | dt.date | UUID) else str(key)
    return plain if isinstance(plain, str) else compact(plain)


def _clean(text: str) -> str:
    """Return *text* fit for UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(text)
