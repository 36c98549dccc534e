"""What a function gave, as JSON: encoding, and what JSON cannot hold."""

import json
import math
from typing import Any

import msgspec

from navai_client._redaction import message_of
from navai_client.functions._foreign import represent_foreign

_encode = msgspec.json.Encoder(enc_hook=represent_foreign).encode


class ResultError(Exception):
    """A result that JSON cannot hold; the message says what."""


def encode_result(result: Any) -> bytes:
    """Encode a function's *result*.

    Beyond JSON's own types: attrs and data classes, TypedDict, enums, dates and times, UUID, Decimal (as
    text), bytes (base64), sets, mappings, and models that can dump themselves.

    Raises:
        ResultError: It holds something without a form in JSON.
    """
    try:
        encoded = _encode_text(result)
        # msgspec writes NaN and the infinities as null. Only a text with a null in it can hide one.
        unwritable = b"null" in encoded and _has_unwritable_number(
            msgspec.to_builtins(result, enc_hook=represent_foreign)
        )
    except RecursionError:
        raise ResultError("The result is nested too deeply, or holds itself.") from None
    # The boundary to code that is not ours: a model that dumps itself may raise anything.
    except Exception as error:  # noqa: BLE001
        raise ResultError(message_of(error)) from None
    if unwritable:
        raise ResultError("The result holds a number that JSON cannot (NaN or Infinity).")
    return encoded


def _encode_text(result: Any) -> bytes:
    try:
        return _encode(result)
    except UnicodeEncodeError:
        # Lone surrogates go as \uXXXX, as in JavaScript: UTF-8 has no form for them.
        plain = msgspec.to_builtins(result, enc_hook=represent_foreign, str_keys=True)
        return json.dumps(plain, allow_nan=False, separators=(",", ":")).encode()


def _has_unwritable_number(value: Any) -> bool:
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, float):
            if not math.isfinite(each):
                return True
        elif isinstance(each, dict):
            left.extend(each.values())
        elif isinstance(each, list | tuple | set | frozenset):
            left.extend(each)
    return False
