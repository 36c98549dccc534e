"""The tables of settings in docs/server.md, made from their declarations.

``python -m tests.server.settings_table`` writes them into the page.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from navai_client.server._settings import BackendOptions, ProcessSettings, ServerSettings, VoiceSettings
from navai_client.wire._operations import Paths

PAGE: Final = Path(__file__).parents[2] / "docs" / "server.md"
_TABLES: Final[dict[str, tuple[type, ...]]] = {
    "settings": (ServerSettings,),
    "options": (BackendOptions, VoiceSettings),
    "process": (ProcessSettings,),
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


def page(text: str) -> str:
    """Return *text*, the page, with its tables up to date."""
    for name, classes in _TABLES.items():
        begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
        start, stop = text.index(begin), text.index(end)
        table = "\n".join(_rows(*classes))
        text = f"{text[:start]}{begin}\n\n{table}\n\n{text[stop:]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
