r"""The result of a function, as JSON.

Pydantic encodes it. NaN and the infinities become null, as in JavaScript: a failure that is reported after
the function ran invites a second run. Lone surrogates travel as ``\uXXXX``: UTF-8 has no form for them.

Encoding runs code of the owner (``model_dump``, ``__iter__``), and Pydantic lets no other thread run while it
encodes. So a server encodes small values of JSON's own types at once, and all others in a thread, in pieces.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import attrs
from pydantic_core import to_json, to_jsonable_python

from navai_client._redaction import message_of

T = TypeVar("T")

SCALARS: Final = frozenset({str, int, float, bool, types.NoneType})
_LISTS: Final = (
    list, tuple, set, frozenset, collections.deque,
    collections.abc.Sequence, collections.abc.Set, collections.abc.ValuesView, collections.abc.Iterator,
)  # fmt: skip
MAX_RESULT_BYTES: Final = 16 * 2**20  # what the clients of this package take
_PIECE: Final = 48_000  # bytes, roughly: Pydantic encodes them in less than a millisecond
_SCALAR_BYTES: Final = 8
# A value is searched by recursion, which must end before Python's stack does: a finalizer of any other object
# may run meanwhile, and it fails where no frame is left. A level takes two of the stack's 1,000 frames.
MAX_LEVELS: Final = 350
_TEXTS_OR_BYTES: Final = (str, type, bytes, bytearray, memoryview, collections.UserString)
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


def encode_at_once(result: Any, limit: int) -> bytes | None:
    """Encode *result* if that takes little time, and runs no code but ours; else return None.

    Raises:
        ResultError: It has more than *limit* bytes.
    """
    try:
        if not is_quick(result):
            return None
        encoded = to_json(result, inf_nan_mode="null")
    except ValueError:  # lone surrogates, or too many levels
        return None
    if len(encoded) > limit:
        raise _too_large(limit)
    return encoded


def encode_result(result: Any, limit: int | None = None) -> bytes:
    """Encode a function's *result*, in pieces if there is a *limit* of bytes.

    Beyond JSON's own types and what Pydantic encodes (models by their aliases, dates, UUIDs): attrs and data
    classes, msgspec structs, NumPy's arrays and numbers, mappings; views, ranges and iterators (as arrays);
    bytes (base64).

    Raises:
        ResultError: It holds something without a form in JSON, or has more than *limit* bytes.
    """
    return _guarded(_encode, result) if limit is None else _guarded(_encode_within, limit, result)


def is_quick(result: Any) -> bool:
    """Return whether encoding *result* takes little time, and runs no code but ours."""
    return _left_of(_PIECE, result) >= 0


def jsonable(result: Any) -> Any:
    """Return a function's *result* in JSON's own types; other threads run while a large one is converted.

    Raises:
        ResultError: It holds something without a form in JSON.
    """
    return _guarded(_converted, result)


def opened(value: Any) -> Any:
    """Return *value* as a list, or a dict with names, of its members, if it has any. None is converted.

    Raises:
        ResultError: The members have no names in JSON.
    """
    if type(value) is list or (type(value) is dict and all(type(name) is str for name in value)):
        return value
    return _guarded(_opened, value)


def _opened(value: Any) -> Any:
    if isinstance(value, _TEXTS_OR_BYTES):
        return value
    if isinstance(value, Mapping):
        return dict(_with_names(value))
    if isinstance(value, _LISTS):
        return list(value)
    members = _fields_of(value)
    return value if members is None else dict(members)


def _guarded(work: Callable[..., T], *arguments: Any) -> T:
    try:
        return work(*arguments)
    except ResultError:
        raise
    except RecursionError:  # of the owner's code
        raise _too_deep() from None
    # The boundary to the owner's code: a model that encodes itself may raise any exception.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        raise ResultError(message_of(error)) from None


def _converted(value: Any, levels: int = MAX_LEVELS) -> Any:
    if _left_of(_PIECE, value, levels) < 0:
        members = _opened(value)
        if type(members) in {list, dict}:
            if not levels:
                raise _too_deep()
            if type(members) is list:
                return [_converted(each, levels - 1) for each in members]
            return {name: _converted(each, levels - 1) for name, each in members.items()}
    return json.loads(_encode(value, levels))


def _too_deep() -> ResultError:
    return ResultError("The result is nested too deeply, or contains itself.")


def _too_large(limit: int) -> ResultError:
    return ResultError(f"The result is larger than {limit} bytes.")


def _encode_within(limit: int, value: Any) -> bytes:
    at_once = encode_at_once(value, limit)
    if at_once is not None:
        return at_once
    encoded = bytearray()
    for piece in _pieces(value):
        encoded += piece
        if len(encoded) > limit:
            raise _too_large(limit)
    return bytes(encoded)


def _encode(value: Any, levels: int = MAX_LEVELS) -> bytes:
    plain = value if _is_plain(value, levels) else _plain(value, levels)
    try:
        return to_json(plain, inf_nan_mode="null", fallback=_other)
    except ValueError:
        # Lone surrogates, or more than 255 levels. What else was wrong is wrong here, too.
        return json.dumps(_plain(plain), default=_known, allow_nan=False, separators=(",", ":")).encode()


def _left_of(left: int, value: Any, levels: int = MAX_LEVELS) -> int:
    """Return what *value* leaves of *left* bytes, roughly.

    It is less than 0 if *value* has other types than JSON, or more levels than *levels*.
    """
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return -1
            left -= len(key)
        value = value.values()
    elif kind is str:
        return left - len(value)
    elif kind is not list and kind is not tuple:
        return left - _SCALAR_BYTES if kind in SCALARS else -1
    left -= _SCALAR_BYTES * len(value)
    for each in value:
        if left < 0:
            break
        if type(each) is str:
            left -= len(each)
        elif type(each) not in SCALARS:
            left = _left_of(left, each, levels - 1) if levels else -1
    return left


def _pieces(value: Any, levels: int = MAX_LEVELS) -> Iterator[bytes]:
    """Yield *value* as JSON, in pieces between which other threads run."""
    if isinstance(value, collections.UserString):
        value = str(value)
    if type(value) is str and len(value) > _PIECE:
        yield b'"'
        for start in range(0, len(value), _PIECE):
            yield _encode(value[start : start + _PIECE])[1:-1]
        yield b'"'
    elif isinstance(value, bytes | bytearray | memoryview):
        yield b'"'
        for start in range(0, len(value), 3 * _PIECE):  # base64 takes three bytes at a time
            yield base64.b64encode(value[start : start + 3 * _PIECE])
        yield b'"'
    elif isinstance(value, str | type) or _left_of(_PIECE, value, levels) >= 0:
        yield _encode(value, levels)
    elif isinstance(value, Mapping):
        yield from _members(_with_names(value), b"{}", levels - 1)
    elif isinstance(value, _LISTS):
        yield from _members(((None, each) for each in value), b"[]", levels - 1)
    else:
        members = _fields_of(value)
        yield from (
            iter((_encode(value, levels),)) if members is None else _members(members, b"{}", levels - 1)
        )


def _members(members: Iterable[tuple[str | None, Any]], brackets: bytes, levels: int) -> Iterator[bytes]:
    """Yield an object or an array: small members together, each large one in pieces of its own."""
    if levels < 0:
        raise _too_deep()
    separator = brackets[:1]
    batch: list[tuple[str | None, Any]] = []
    left = _PIECE

    def encoded() -> bytes:
        small = dict(batch) if brackets == b"{}" else [each for _, each in batch]
        return separator + _encode(small)[1:-1]

    for name, each in members:
        size = len(name or "") + _SCALAR_BYTES
        rest = _left_of(left - size, each, levels)
        if rest < 0 and batch:
            yield encoded()
            separator, batch = b",", []
            rest = _left_of(_PIECE - size, each, levels)
        if rest >= 0:
            batch.append((name, each))
            left = rest
            continue
        yield separator if name is None else separator + _encode(name) + b":"
        yield from _pieces(each, levels)
        separator, left = b",", _PIECE
    if batch:
        yield encoded()
        separator = b","
    yield brackets if separator == brackets[:1] else brackets[1:]


def _with_names(mapping: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    names = set()
    for key, each in mapping.items():
        name = key if type(key) is str else _name(key)
        if name in names:
            raise ResultError(f"The result has two keys that are {json.dumps(name)} in JSON.")
        names.add(name)
        yield name, each


def _fields_of(value: Any) -> Iterator[tuple[str, Any]] | None:
    """Return the members of an instance of an attrs or data class."""
    if attrs.has(type(value)):
        # By the names that its constructor takes, as arguments are.
        return ((each.alias, getattr(value, each.name)) for each in attrs.fields(type(value)))
    if (
        dataclasses.is_dataclass(value)
        and not isinstance(value, type)
        and not hasattr(value, "__pydantic_serializer__")
    ):
        return ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
    return None


def _is_plain(value: Any, levels: int = MAX_LEVELS) -> bool:
    """Return whether *value* is of JSON's own types alone, as most results are, with at most *levels*."""
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        return kind in SCALARS
    if not levels:
        return False
    for each in value:  # noqa: SIM110 - runs for every result, in a third of the time that all() takes
        if type(each) not in SCALARS and not _is_plain(each, levels - 1):
            return False
    return True


def _plain(value: Any, levels: int = MAX_LEVELS) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return *value* with the parts replaced that Pydantic would encode differently, or not at all."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if type(value) in SCALARS or isinstance(value, str | type):
        return value
    if isinstance(value, collections.UserString):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()  # Pydantic's is the alphabet for URLs
    if not levels:
        raise _too_deep()
    if isinstance(value, Mapping):
        return {name: _plain(each, levels - 1) for name, each in _with_names(value)}
    if isinstance(value, _LISTS):
        return [_plain(each, levels - 1) for each in value]
    members = _fields_of(value)
    return value if members is None else {name: _plain(each, levels - 1) for name, each in members}


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
        return msgspec.to_builtins(value, enc_hook=_known)
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
