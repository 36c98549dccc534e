"""Python values to JSON bytes, or to an error that says which part is not JSON."""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from navai_client.errors import NavaiPayloadError

Default = Callable[[Any], Any]

_STRICT: Final[Mapping[str, Any]] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
_CONTAINERS: Final = (dict, list, tuple)
_encoder = json.JSONEncoder(**_STRICT)


def type_name(value: Any) -> str:
    """Return the name of the type of *value* with its article, such as ``an int``."""
    name = type(value).__name__
    if name in {"NoneType", "bytes"}:
        return name.removesuffix("Type")
    article = "an" if name[0].lower() in "aeio" else "a"  # a UUID
    return f"{article} {name}"


def encode_json(value: Any, *, name: str, default: Default | None = None, advice: str = "") -> bytes:
    r"""Return *value* as strict JSON in UTF-8; lone surrogates travel as ``\uXXXX``.

    Args:
        value: dicts with string keys, lists, tuples, strings, finite numbers, bools and None.
        name: The name of *value* in an error.
        default: Converts any other value.
        advice: What the error for such a value adds, if there is no *default*.

    Raises:
        NavaiPayloadError: If it holds anything else or a cycle, or is nested too deep.
    """
    try:
        text = (_encoder if default is None else _converting(default, value, name)).encode(value)
    except RecursionError:
        raise NavaiPayloadError(f"{name} is nested too deep to be sent as JSON.") from None
    except NavaiPayloadError as error:  # raised while it converts
        raise error.with_traceback(None) from None
    except (TypeError, ValueError) as error:
        if default is not None:
            late = f"{name} is not JSON, not after json_default either: {error}."
            raise NavaiPayloadError(_explain(value, name, _explain_number) or late) from None
        problem = _explain(value, name, partial(_explain_scalar, advice=advice))
        raise NavaiPayloadError(problem or f"{name} is not JSON: {error}.") from None
    # The encoder turns keys such as 1 or None into strings.
    if isinstance(value, _CONTAINERS) and not _has_only_string_keys(value):
        raise NavaiPayloadError(_explain(value, name))
    return text.encode("utf-8", "backslashreplace")


def _converting(default: Default, whole: Any, name: str) -> json.JSONEncoder:
    def convert(item: Any) -> Any:
        try:
            made = default(item)
        except (TypeError, ValueError) as error:  # such functions refuse a value by these
            problem = f"is {type_name(item)}, which json_default did not convert: {error}"
            explain = _explain(
                whole, name, lambda each, where: f"{where} {problem}" if each is item else None
            )
            raise NavaiPayloadError(explain or f"a part of {name} {problem}") from None
        if isinstance(made, _CONTAINERS) and not _has_only_string_keys(made):
            raise NavaiPayloadError(_explain(made, "what json_default returned"))
        return made

    return json.JSONEncoder(**_STRICT, default=convert)


def _has_only_string_keys(value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for key, child in item.items():
                if not isinstance(key, str):
                    return False
                if isinstance(child, _CONTAINERS):
                    stack.append(child)
        else:
            stack.extend(child for child in item if isinstance(child, _CONTAINERS))
    return True


def _explain(
    value: Any, path: str, problem_of: Callable[[Any, str], str | None] = lambda _item, _where: None
) -> str | None:
    """Return which part of *value* is not JSON, and why, or None if each part is valid by itself.

    Args:
        value: The value.
        path: Its name.
        problem_of: Returns the problem of a part that is not a container, given its place.
    """
    stack: list[tuple[Any, str, tuple[int, ...]]] = [(value, path, ())]
    while stack:
        item, where, parents = stack.pop()
        if not isinstance(item, _CONTAINERS):
            if problem := problem_of(item, where):
                return problem
            continue
        if id(item) in parents:
            return f"{where} contains itself; JSON has no cycles."
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    return f"{where} has the key {key!r}; JSON keys are strings."
            children = [(child, f"{where}[{key!r}]") for key, child in item.items()]
        else:
            children = [(child, f"{where}[{index}]") for index, child in enumerate(item)]
        stack.extend((child, place, (*parents, id(item))) for child, place in reversed(children))
    return None


def _explain_number(item: Any, where: str) -> str | None:
    if isinstance(item, float) and not math.isfinite(item):
        return f"{where} is {item}; JSON has only finite numbers."
    if isinstance(item, int):
        try:
            str(item)
        except ValueError:
            return f"{where} is an integer of more digits than Python writes; send it as a string."
    return None


def _explain_scalar(item: Any, where: str, advice: str) -> str | None:
    if (problem := _explain_number(item, where)) is not None:
        return problem
    if item is None or isinstance(item, str | int | float):
        return None
    hint = {
        "bytes": "decode it, or send base64 text",
        "date": "send its isoformat()",
        "datetime": "send its isoformat()",
        "Decimal": "send str() or float() of it",
        "set": "send a list",
        "UUID": "send str() of it",
    }.get(type(item).__name__, "send dicts, lists, strings, numbers, bools or None")
    return f"{where} is {type_name(item)}, which is not JSON; {hint}{advice}."
