"""Fields of a request's body: read by type, and refused by name."""

from collections.abc import Mapping
from typing import Any

from navai_client.server.errors import RequestFieldError

__all__ = ["read_texts"]


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
