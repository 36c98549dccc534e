"""The tables of docs/conformance.md, made from the requirements and the profiles.

``python -m tests.conformance.table`` writes them into the page.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from navai_client.conformance import GROUPS, PROFILES, requirements

__all__ = ["CONTRACT", "PAGE", "page"]

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = DOCS / "conformance.md"
CONTRACT: Final = DOCS / "contract.md"


def _requirements() -> Iterator[str]:
    for group in GROUPS:
        yield from ("", f"### {group}", "")
        yield "| id | severity | requirement | source | part of | must be allowed |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for each in requirements([group]):
            part_of = ", ".join(f"`{id_}`" for id_ in each.relates)
            acts = f"`{each.acts}`" if each.acts else ""
            yield f"| {each.id} | {each.severity} | {each.sentence} | {each.source} | {part_of} | {acts} |"


def _deviations() -> Iterator[str]:
    for profile in PROFILES.values():
        if profile.deviations:
            yield from ("", f"### {profile.name}", "", profile.sentence, "")
            yield "| id | what is expected instead |"
            yield "| --- | --- |"
        for id_, deviation in profile.deviations.items():
            nothing = " Nothing is expected." if deviation.rule is None else ""
            yield f"| {id_} | {deviation.sentence}{nothing} |"


def page(text: str) -> str:
    """Return *text*, the page, with its tables up to date."""
    for name, lines in (("requirements", _requirements()), ("deviations", _deviations())):
        begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
        table = "\n".join(lines)
        start, stop = text.index(begin), text.index(end)
        text = f"{text[:start]}{begin}\n{table}\n\n{text[stop:]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
