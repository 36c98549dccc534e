"""How JSON values stand in messages for people: short, and without what is secret."""

import json
from typing import Any, Final

from navai_client._redaction import Redactor

_LONGEST: Final = 300  # characters
_DEEPEST: Final = 20  # levels
_REDACTOR: Final = Redactor()


def shown(value: Any) -> str:
    """Return *value* as JSON in one line, cut when it is long or deep, secrets masked."""
    written = json.dumps(_shallow(value, _DEEPEST), ensure_ascii=False, default=repr)
    text = _REDACTOR.content(written.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... ({len(text)} characters)"


def _shallow(value: Any, levels: int) -> Any:
    if isinstance(value, dict | list | tuple) and levels == 0:
        return "..."
    if isinstance(value, dict):
        return {str(key): _shallow(child, levels - 1) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_shallow(child, levels - 1) for child in value]
    return value
