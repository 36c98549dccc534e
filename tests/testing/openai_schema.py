"""The schema of what clients send to OpenAI's Realtime API, made from the types of the ``openai`` package.

``python -m tests.testing.openai_schema`` writes it to where the fake Realtime API reads it.
"""

import json
from pathlib import Path
from typing import Any, Final

from openai.types.realtime import RealtimeClientEventParam
from openai.types.realtime.client_secret_create_params import ClientSecretCreateParams
from pydantic import TypeAdapter

import navai_client.testing

__all__ = ["FILE", "made", "text"]

FILE: Final = Path(navai_client.testing.__file__).parent / "realtime" / "client_messages.json"
_DOCUMENTATION: Final = frozenset({"title", "description", "default"})


def _plain(schema: Any, *, names: bool = False) -> Any:
    """Return *schema* without its documentation; *names* says that its keys are names of members."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _plain(value, names=key in {"properties", "$defs"})
        for key, value in schema.items()
        if names or key not in _DOCUMENTATION
    }


def made() -> Any:
    """Return the schema of the installed version."""
    event: TypeAdapter[Any] = TypeAdapter(RealtimeClientEventParam)
    secret: TypeAdapter[Any] = TypeAdapter(ClientSecretCreateParams)
    schemas, definitions = TypeAdapter.json_schemas(
        [("event", "validation", event), ("client_secret", "validation", secret)]
    )
    messages = {name: schema for (name, _), schema in schemas.items()}
    return _plain({"messages": messages, "$defs": definitions["$defs"]})


def text() -> str:
    """Return the text of the file."""
    return json.dumps(made(), separators=(",", ":"), sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
