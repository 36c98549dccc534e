"""Types that msgspec does not know: read and written by what they offer themselves (Pydantic's models do)."""

import typing
from collections.abc import Mapping
from typing import Any

from navai_client._redaction import message_of


def convert_foreign(wanted: type, value: Any) -> Any:
    """Make a *wanted* from the JSON *value*.

    Raises:
        ValueError: The value does not fit.
        TypeError: Nothing tells how to make one.
    """
    if isinstance(value, typing.get_origin(wanted) or wanted):
        return value
    validate = getattr(wanted, "model_validate", None)
    if validate is None:
        raise TypeError(f"a {wanted.__name__} cannot be made from JSON")
    try:
        return validate(value)
    # The boundary to code that is not ours: a model may raise anything while it looks at a value.
    except Exception as error:
        raise ValueError(message_of(error)) from error


def describe_foreign(wanted: type) -> dict[str, Any]:
    """Give the JSON Schema of *wanted*; an empty one when nothing is known of it."""
    describe = getattr(wanted, "model_json_schema", None)
    return {} if describe is None else dict(describe())


def represent_foreign(value: Any) -> Any:
    """Give a value in JSON's types for *value*.

    Raises:
        TypeError: Nothing tells how.
    """
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"A result of type {type(value).__name__} has no form in JSON.")
