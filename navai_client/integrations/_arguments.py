"""What a model gave as arguments -> an object, or what is wrong in words that the model can act on."""

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

__all__ = ["ArgumentsProblemError", "is_by_position", "read_arguments"]

# How the contract spells arguments that do not go by their names.
_BY_POSITION: Final = frozenset({"args", "arguments", "constructorArgs", "methodArgs", "value"})


class ArgumentsProblemError(Exception):
    """Arguments that are no object; the message says what they are instead."""


def read_arguments(given: Mapping[str, Any] | str | bytes | None) -> dict[str, Any] | None:
    """Return the arguments *given* as a dict, or None for none.

    Args:
        given: An object, the JSON text of one (which may be empty), or None.

    Raises:
        ArgumentsProblemError: They are something else, or cut off.
    """
    if isinstance(given, str | bytes | bytearray):
        given = _parsed(given)
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise ArgumentsProblemError(f"an object is needed, not {_kind(given)}")
    return dict(given)


def is_by_position(payload: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Return whether *payload* gives arguments in ways of the contract that *schema* does not name."""
    return not _BY_POSITION.isdisjoint(payload.keys() - schema["properties"].keys())


def _parsed(text: str | bytes | bytearray) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ArgumentsProblemError("they are nested too deep") from None
    except ValueError as error:
        raise ArgumentsProblemError(f"they are not JSON ({error})") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"
