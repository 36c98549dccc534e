r"""The result of a function, as JSON.

Pydantic encodes it. NaN and the infinities become null, as in JavaScript: a failure that is reported after
the function ran invites a second run. Lone surrogates travel as ``\uXXXX``: UTF-8 has no form for them.
"""

import base64
import collections
import collections.abc
import dataclasses
import ipaddress
import json
import math
import os
import sys
import types
from collections.abc import Mapping
from typing import Any, Final

import attrs
from pydantic_core import to_json, to_jsonable_python

from navai_client._redaction import message_of

_SCALARS: Final = frozenset({str, int, float, bool, types.NoneType})
_LISTS: Final = (
    list, tuple, set, frozenset, collections.deque,
    collections.abc.Sequence, collections.abc.Set, collections.abc.ValuesView, collections.abc.Iterator,
)  # fmt: skip
# Pydantic encodes only paths of this system, and addresses only in its later releases.
_TEXTS: Final = (
    os.PathLike, ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network
)  # fmt: skip


class ToolError(Exception):
    """A failure whose message is for the caller: a model reads it, and can tell the user or try otherwise.

    Raise it in a function. With ``NAVAI_EXPOSE_ERRORS=false``, callers get the message of no other exception.
    """


class ResultError(Exception):
    """A result that JSON cannot hold; the message says what."""


def encode_result(result: Any) -> bytes:
    """Encode a function's *result*.

    Beyond JSON's own types and what Pydantic encodes (models by their aliases, dates, UUIDs): attrs and data
    classes, msgspec structs, NumPy's arrays and numbers, mappings; views, ranges and iterators (as arrays);
    bytes (base64).

    Raises:
        ResultError: It holds something without a form in JSON.
    """
    try:
        plain = result if _is_plain(result) else _plain(result)
        try:
            return to_json(plain, inf_nan_mode="null", fallback=_other)
        except ValueError:
            # Lone surrogates, or more than 255 levels. What else was wrong is wrong here, too.
            return json.dumps(_plain(plain), default=_known, allow_nan=False, separators=(",", ":")).encode()
    except ResultError:
        raise
    except RecursionError:
        raise ResultError("The result is nested too deeply, or contains itself.") from None
    # The boundary to the owner's code: a model that encodes itself may raise any exception.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        raise ResultError(message_of(error)) from None


def jsonable(result: Any) -> Any:
    """Return a function's *result* in JSON's own types.

    Raises:
        ResultError: It holds something without a form in JSON.
    """
    try:
        return json.loads(encode_result(result))
    except ValueError as error:  # an integer of more digits than Python reads
        raise ResultError(message_of(error)) from None


def _is_plain(value: Any) -> bool:
    """Return whether *value* is of JSON's own types alone, as most results are."""
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        return kind in _SCALARS
    for each in value:  # noqa: SIM110 - runs for every result, in a third of the time that all() takes
        if type(each) not in _SCALARS and not _is_plain(each):
            return False
    return True


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return *value* with the parts replaced that Pydantic would encode differently, or not at all."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if type(value) in _SCALARS or isinstance(value, str | type):
        return value
    if isinstance(value, collections.UserString):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()  # Pydantic's is the alphabet for URLs
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, _LISTS):
        return [_plain(each) for each in value]
    if attrs.has(type(value)):
        # By the names that its constructor takes, as arguments are.
        return {each.alias: _plain(getattr(value, each.name)) for each in attrs.fields(type(value))}
    if dataclasses.is_dataclass(value) and not hasattr(value, "__pydantic_serializer__"):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return value


def _object(value: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        name = key if type(key) is str else _name(key)
        if name in found:
            raise ResultError(f"The result has two keys that are {json.dumps(name)} in JSON.")
        found[name] = _plain(each)
    return found


def _name(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    try:
        if hasattr(key, "item"):  # a number of NumPy
            key = key.item()
        if isinstance(key, tuple):
            raise ValueError  # noqa: TRY301, TRY004 - Pydantic joins its items
        (name,) = to_jsonable_python({key: None})
    except ValueError:
        raise ResultError(
            f"The result has a key of type {type(key).__name__}, which JSON cannot hold."
        ) from None
    return str(name)


def _other(value: Any) -> Any:
    """Return a replacement for *value*, which Pydantic does not know."""
    msgspec = sys.modules.get("msgspec")
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, enc_hook=jsonable)
    plain = _plain(value)
    if plain is not value:
        return plain
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json")
    if isinstance(value, _TEXTS):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        return value.tolist()
    raise ResultError(f"A result of type {type(value).__name__} has no form in JSON.")


def _known(value: Any) -> Any:
    return to_jsonable_python(value, inf_nan_mode="null", fallback=_other)
