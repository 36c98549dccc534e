"""How JSON values stand in messages for people: short, and without what is secret."""

import json
import re
from typing import Any, Final

from navai_client.server.redaction import mask_keys

_LONGEST: Final = 300  # characters
_DEEPEST: Final = 20  # levels
_SECRET: Final = re.compile(
    r"api[_-]?key|auth|bearer|cookie|credential|passphrase|passw(?:or)?d|secret|token", re.IGNORECASE
)


def is_secret(key: object) -> bool:
    """Return whether what stands under *key* is kept out of messages."""
    return isinstance(key, str) and _SECRET.search(key) is not None


def shown(value: Any) -> str:
    """Return *value* as JSON in one line, cut when it is long or deep, secrets masked."""
    text = json.dumps(_masked(value, _DEEPEST), ensure_ascii=False, default=repr)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... ({len(text)} characters)"


def _masked(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return mask_keys(value)
    if isinstance(value, dict | list | tuple) and levels == 0:
        return "..."
    if isinstance(value, dict):
        return {
            mask_keys(str(key)): "***" if is_secret(key) and child is not None else _masked(child, levels - 1)
            for key, child in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(child, levels - 1) for child in value]
    return value
