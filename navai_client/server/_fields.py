"""Fields of a request's body: read by type, and refused by name."""

from collections.abc import Mapping
from typing import Any, Final

from navai_client.server._errors import RequestFieldError

_LARGEST_NUMBER: Final = 1e9


def read_texts(record: Mapping[str, Any], **fields: str) -> dict[str, str]:
    """Return the texts in *record* by our names for them; a field that is absent or null is left out.

    Raises:
        RequestFieldError: A field is there and is no text.
    """
    found: dict[str, str] = {}
    for ours, name in fields.items():
        value = record.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise RequestFieldError(f"{name} must be a string.")
        found[ours] = value
    return found


def read_number(record: Mapping[str, Any], name: str) -> float | None:
    """Return the number called *name*, or None when it is absent or null.

    Raises:
        RequestFieldError: It is no number.
    """
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestFieldError(f"{name} must be a number.")
    if abs(value) > _LARGEST_NUMBER:
        raise RequestFieldError(f"{name} is too large.")
    return value


def read_flag(record: Mapping[str, Any], name: str) -> bool | None:
    """Return the truth value called *name*, or None when it is absent or null.

    Raises:
        RequestFieldError: It is no truth value.
    """
    value = record.get(name)
    if value is not None and not isinstance(value, bool):
        raise RequestFieldError(f"{name} must be true or false.")
    return value


def read_record(record: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the object called *name*, or None when it is absent or null.

    Raises:
        RequestFieldError: It is no object.
    """
    value = record.get(name)
    if value is not None and not isinstance(value, dict):
        raise RequestFieldError(f"{name} must be an object.")
    return value
