"""Checks of a function's result against a type, by Pydantic or msgspec."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from navai_client.errors import InvalidResponseError, NavaiConfigError
from navai_client.wire._encode import encode_json

_MOST_PROBLEMS: Final = 3  # that an error lists
_PLACE: Final = re.compile(r" - at `\$(.*)`$")  # where a message of msgspec ends

Check = Callable[[Any, int], Any]


def check_for(result_type: Any) -> Check:
    """Return what makes a value of *result_type* from JSON's types, and raises if it is not valid.

    It takes the status of the response for its ``InvalidResponseError``.

    Raises:
        NavaiConfigError: If neither library is installed, or none can make such values.
    """
    try:
        return _known_check(result_type)
    except TypeError:  # it cannot be hashed
        return _check(result_type)


def _check(result_type: Any) -> Check:
    reasons = []
    for library, make in (("pydantic", _by_pydantic), ("msgspec", _by_msgspec)):
        try:
            return make(result_type)
        except ImportError:
            continue
        except (_UnknownTypeError, TypeError, NameError) as error:
            reasons.append(f"{library} says: {str(error).partition(chr(10))[0]}")
    if not reasons:
        raise NavaiConfigError("result_type needs pydantic or msgspec; run: pip install pydantic")
    raise NavaiConfigError(f"result_type cannot be {_name_of(result_type)}: {' '.join(reasons)}")


_known_check: Final = lru_cache(maxsize=256, typed=True)(_check)


class _UnknownTypeError(Exception):
    """A library cannot make values of a type."""


def _by_pydantic(result_type: Any) -> Check:
    import pydantic  # noqa: PLC0415 - may be missing

    try:
        adapter: Any = pydantic.TypeAdapter(result_type)
        adapter.rebuild()  # else a name that is not defined is an error of the first value
    except pydantic.PydanticUserError as error:
        raise _UnknownTypeError(error.message) from None

    def check(value: Any, status: int) -> Any:
        try:
            return adapter.validate_json(encode_json(value, name="result"))
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False)
        if problems[0]["type"] != "json_invalid":
            raise _mismatch(result_type, [(_place(each, value), each["msg"]) for each in problems], status)
        return adapter.validate_python(value)  # Pydantic's parser refuses lone surrogates

    return check


def _by_msgspec(result_type: Any) -> Check:
    import msgspec  # noqa: PLC0415 - may be missing

    msgspec.json.schema(result_type)  # refuses what convert() would refuse only when there is a value

    def check(value: Any, status: int) -> Any:
        try:
            return msgspec.convert(value, result_type)
        except msgspec.ValidationError as error:
            message = str(error)
        place = _PLACE.search(message)
        problem = ("result" + (place[1] if place else ""), _PLACE.sub("", message))
        raise _mismatch(result_type, [problem], status)

    return check


def _mismatch(result_type: Any, problems: list[tuple[str, str]], status: int) -> InvalidResponseError:
    shown = [f"{place}: {message}" for place, message in problems[:_MOST_PROBLEMS]]
    if (more := len(problems) - len(shown)) > 0:
        shown.append(f"and {more} more")
    text = f"The result is not valid as {_name_of(result_type)}: {'; '.join(shown)}."
    return InvalidResponseError(text, status_code=status)


def _name_of(result_type: Any) -> str:
    return result_type.__name__ if isinstance(result_type, type) else str(result_type)


def _place(detail: Any, value: Any) -> str:
    found, _ = walk(detail, value)
    return "result" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in found)


def walk(detail: Any, value: Any) -> tuple[list[Any], Any]:
    """Return the path of a problem in *value*, without names for the members of unions, and its value.

    Args:
        detail: The problem, as Pydantic describes it.
        value: What was checked.
    """
    found: list[Any] = []
    for each in detail["loc"]:
        keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
        if each in keys:
            value = value[each]
        elif detail["type"] != "missing" or each is not detail["loc"][-1]:
            continue
        found.append(each)
    return found, value
