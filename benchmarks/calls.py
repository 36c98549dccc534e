"""The calls that are measured: their paths, their payload, and results of a given size."""

import json
from functools import cache
from typing import Any

__all__ = ["BIG", "EXECUTE", "LIST", "PAYLOAD", "SECRET", "SMALL", "compact", "result_of"]

EXECUTE = "/navai/functions/execute"
LIST = "/navai/functions"
SECRET = "/navai/realtime/client-secret"
PAYLOAD = {"location": "Bogotá"}
SMALL = 64  # bytes
BIG = 256 * 2**10


def compact(value: Any) -> str:
    """Return *value* as JSON without spaces, as the web client sends it."""
    return json.dumps(value, separators=(",", ":"))


@cache
def result_of(size: int) -> dict[str, Any]:
    """Return a value whose compact JSON has *size* bytes: typical records, and padding."""
    items: list[dict[str, Any]] = []
    room = size - len(compact({"items": [], "note": ""}))
    while True:
        number = len(items)
        item = {"id": number, "name": f"Item {number}", "price": 9.5, "tags": ["new", "sale"], "left": True}
        room -= len(compact(item)) + bool(items)
        if room < 0:
            break
        items.append(item)
    result = {"items": items, "note": ""}
    result["note"] = "x" * (size - len(compact(result)))
    return result
