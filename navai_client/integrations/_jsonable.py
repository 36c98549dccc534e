"""Outcomes as JSON: what a model reads."""

import json
from typing import Any, Final

from navai_client._extras import needs_extra

with needs_extra("tools", "pydantic"):
    from navai_client.functions._results import ResultError, jsonable

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def compact(value: Any) -> str:
    """Return a value of JSON's own types as strict JSON without blanks, fit for UTF-8."""
    text = _encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates travel as escapes
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def to_jsonable(value: Any) -> Any:
    """Return *value* in JSON's own types, or a text that says why it has no form in them."""
    try:
        return jsonable(value)
    except ResultError as error:
        return f"[left out: {error}]"
