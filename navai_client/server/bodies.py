"""Request bodies: bytes -> a JSON object, strictly, and whatever the bytes are without harm."""

import json
import math
from typing import Any, Final, NoReturn

import msgspec

__all__ = ["BodyError", "decode_record"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_NOT_JSON: Final = "Request body is not valid JSON."

_decode = msgspec.json.Decoder().decode


class BodyError(Exception):
    """A body that is not JSON, or not an object; the message says which."""


def decode_record(body: bytes) -> dict[str, Any]:
    """Decode *body*, which must be a JSON object; of a key that comes twice the last one counts.

    Raises:
        BodyError: It is not.
    """
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        value = _decode_slowly(body)
    except RecursionError:
        raise BodyError("Request body is nested too deeply.") from None
    if not isinstance(value, dict):
        raise BodyError("Request body must be a JSON object.")
    return value


def _decode_slowly(body: bytes) -> Any:
    """Decode what msgspec does not: a byte order mark and lone surrogates, which JavaScript writes."""
    try:
        text = body.removeprefix(_BYTE_ORDER_MARK).decode()
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise BodyError("Request body is nested too deeply.") from None
    except ValueError:
        raise BodyError(_NOT_JSON) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
