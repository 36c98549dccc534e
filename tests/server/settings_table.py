"""The tables of settings in docs/server.md, made from their declarations.

``python -m tests.server.settings_table`` writes them into the page.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import attrs

from navai_client.config import DEFAULT_BASE_URL
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._settings import ServerSettings
from navai_client.server._upstream_settings import BackendOptions, VoiceSettings
from navai_client.wire._operations import Paths
from tests.parity import Row, systems

PAGE: Final = Path(__file__).parents[2] / "docs" / "server.md"
_TABLES: Final[dict[str, tuple[type, ...]]] = {
    "settings": (ServerSettings,),
    "options": (BackendOptions, VoiceSettings),
    "process": (ProcessSettings,),
}
# What is no setting of the server: its default and its meaning.
_OF_OTHERS: Final = {
    "NAVAI_API_URL": (DEFAULT_BASE_URL, "The base URL of the backend, for [clients](configuration.md)."),
    "NAVAI_ROUTES_FILE": (
        "src/ai/routes.py",
        "The module with the routes, for [a project folder](project-folders.md).",
    ),
    "NAVAI_REALTIME_MODEL": ("", "The model to ask the backend for."),
}


def _rows(*classes: type) -> Iterator[str]:
    yield "| setting | default | environment | option | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for cls in classes:
        for field in attrs.fields(cls):
            if field in attrs.fields(Paths):  # docs/contract.md lists them
                continue
            environment, option = _code(field.metadata["env"]), _code(_option_of(field))
            name = f"`{field.name}`"
            if cls is VoiceSettings:
                name += " of `VoiceSettings`"
            doc = field.metadata["doc"]
            yield f"| {name} | {_default(field.default)} | {environment} | {option} | {doc} |"


def _option_of(field: "attrs.Attribute[Any]") -> str | None:
    """Return the option of *field*, with the one that switches it off."""
    option: str | None = field.metadata["option"]
    if option and field.metadata["env"] and not field.metadata["metavar"]:
        option += f"/{option.replace('--', '--no-', 1)}"
    return option


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _default(value: Any) -> str:
    if value in (None, (), ""):
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    if isinstance(value, VoiceSettings):
        return "`VoiceSettings()`"
    return f"`{value}`"


def _variables() -> Iterator[str]:
    """Yield the table of the variables that the other Navai packages and their documents have."""
    fields = {
        field.metadata.get("env"): field for cls in chain(*_TABLES.values()) for field in attrs.fields(cls)
    }
    homes: dict[str, list[str]] = {}
    rows: dict[str, Row] = {}
    for system, each in systems().items():
        for row in each:
            if row.kind == "environment":
                rows.setdefault(row.theirs, row)
                homes.setdefault(row.theirs, []).append(system.partition(" (")[0])
    yield "| variable | default | meaning | in |"
    yield "| --- | --- | --- | --- |"
    for name, row in rows.items():
        default, doc = _OF_OTHERS.get(name, ("", f"Not read: {row.note}."))
        if name in fields:
            default, doc = fields[name].default, fields[name].metadata["doc"]
        yield f"| `{name}` | {_default(default)} | {doc} | {', '.join(homes[name])} |"


def page(text: str) -> str:
    """Return *text*, the page, with its tables up to date."""
    tables = {name: _rows(*classes) for name, classes in _TABLES.items()}
    for name, rows in {**tables, "variables": _variables()}.items():
        begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
        start, stop = text.index(begin), text.index(end)
        table = "\n".join(rows)
        text = f"{text[:start]}{begin}\n\n{table}\n\n{text[stop:]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
