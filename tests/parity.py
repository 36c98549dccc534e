"""The requirements, the parity with the other Navai packages, and the page that is generated from both.

``python -m tests.parity`` writes docs/parity.md.
"""

import inspect
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, get_args

import attrs
from attrs import frozen

from navai_client.server._process_settings import ProcessSettings
from navai_client.server._settings import ServerSettings
from navai_client.server._upstream_settings import BackendOptions

__all__ = [
    "PAGE",
    "STATES",
    "Document",
    "Requirement",
    "Row",
    "documents",
    "is_there",
    "page",
    "requirements",
    "systems",
    "types",
]

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "parity.md"
STATES: Final = {
    "same": "as in the other package",
    "extended": "the same, with additions",
    "different": "deliberately different",
    "not needed": "has no use in Python",
}


@frozen(kw_only=True)
class Requirement:
    """One behaviour of the contract.

    Attributes:
        id: The id that tests use.
        sentence: The behaviour, in one sentence.
        source: The package or document that it comes from.
        tests: Function names of tests that prove it and have no ``covers`` mark.
    """

    id: str
    sentence: str
    source: str
    tests: tuple[str, ...] = ()


@frozen
class Row:
    """A feature of another Navai package."""

    kind: str
    theirs: str
    default: str
    ours: str
    state: str
    proof: str  # ids of requirements, or names of tests
    note: str


@frozen
class Document:
    """A document that this package was made from.

    Attributes:
        name: What it is about.
        lines: The number of its lines.
        rows: Its statements: their lines, what they say, their proof, or why there is none.
    """

    name: str
    lines: int
    rows: tuple[tuple[str, str, str, str], ...]


def documents() -> list[Document]:
    """Return all documents, with their statements."""
    read = tomllib.loads((ROOT / "tests" / "seeds.toml").read_text(encoding="utf-8"))
    return [
        Document(each["name"], each["lines"], tuple(map(tuple, each["rows"]))) for each in read["document"]
    ]


def requirements() -> list[Requirement]:
    """Return all requirements, in file order."""
    read = tomllib.loads((ROOT / "tests" / "requirements.toml").read_text(encoding="utf-8"))
    return [Requirement(**{**each, "tests": tuple(each.get("tests", ()))}) for each in read["requirement"]]


def systems() -> dict[str, list[Row]]:
    """Return the rows of each other package."""
    return {each["name"]: [Row(*row) for row in each["rows"]] for each in _tables()}


def abouts() -> dict[str, str]:
    """Return for each system what the page says of it."""
    return {each["name"]: each.get("about", "").strip() for each in _tables()}


def types() -> dict[str, tuple[list[str], list[str]]]:
    """Return for each system the types whose members its rows list, and the names of other types."""
    return {each["name"]: (each.get("types", []), each.get("names", [])) for each in _tables()}


def _tables() -> list[dict[str, Any]]:
    read = tomllib.loads((ROOT / "tests" / "parity.toml").read_text(encoding="utf-8"))
    tables: list[dict[str, Any]] = read["system"]
    return tables


def is_there(ours: str) -> bool:
    """Return whether *ours*, the value of a row, exists in this package."""
    if ours.startswith("text "):
        text = ours.removeprefix("text ")
        if text in variables():  # most are made of the names of settings
            return True
        files = (ROOT / "navai_client").rglob("*.py")
        return any(text in file.read_text(encoding="utf-8") for file in files)
    name, _, parameter = ours.removesuffix(")").partition("(")
    parts = name.split(".")
    modules = {"server": 2, "integrations": 3}.get(parts[1], 1)
    found: Any = import_module(".".join(parts[:modules]))
    for part in parts[modules:]:
        found = getattr(found, part, None)
        if found is None:
            return hasattr(_owner(parts, modules), "__attrs_attrs__") and part in _fields(parts, modules)
    if not parameter:
        return True
    if isinstance(found, type) and hasattr(found, "__attrs_attrs__"):
        return parameter in {field.name for field in found.__attrs_attrs__}
    return parameter in set(_parameters(found))


def variables() -> set[str]:
    """Return the environment variables of the server's settings."""
    settings = (ProcessSettings, ServerSettings, BackendOptions)
    return {field.metadata.get("env") for each in settings for field in attrs.fields(each)} - {None}


def _parameters(call: Any) -> Iterator[str]:
    calls = [call]
    if isinstance(call, type):  # a subclass may pass its base's parameters on
        calls = [vars(each)["__init__"] for each in call.__mro__[:-1] if "__init__" in vars(each)]
    for each in calls:
        for parameter in inspect.signature(each).parameters.values():
            yield parameter.name
            for options in get_args(parameter.annotation):  # Unpack[...] of a TypedDict
                yield from getattr(options, "__annotations__", ())


def _owner(parts: list[str], modules: int) -> Any:
    return getattr(import_module(".".join(parts[:modules])), parts[modules])


def _fields(parts: list[str], modules: int) -> set[str]:
    return {field.name for field in _owner(parts, modules).__attrs_attrs__}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def _proof(name: str) -> str:
    return _code(name) if name.startswith("test_") else f"[{name}](#requirements)"


def page() -> str:
    """Return the page."""
    lines = [
        "# Parity with the other Navai packages",
        "",
        "`python -m tests.parity` writes this page from `tests/parity.toml` and `tests/requirements.toml`.",
        "Tests check that it is up to date, that our names exist, that each requirement and each row",
        "has a test, and that no name, type, member or environment variable of the two npm packages",
        "is missing.",
        "",
        "States: " + "; ".join(f"*{state}*: {meaning}" for state, meaning in STATES.items()) + ".",
        "",
    ]
    for name, rows in systems().items():
        with_members, others = types()[name]
        lines += [f"## {name}", ""]
        if about := abouts()[name]:
            lines += [about, ""]
        if listed := ", ".join(map(_code, [*with_members, *others])):
            lines += [f"Published types: {listed}.", ""]
        lines += ["| | theirs | default | ours | state | proof |", "| --- " * 6 + "|"]
        for row in rows:
            state = f"{row.state}: {_cell(row.note)}" if row.note else row.state
            ours = _code(row.ours.removeprefix("text ").strip())
            proof = ", ".join(map(_proof, row.proof.split()))
            cells = (row.kind, _code(row.theirs), _cell(row.default), ours, state, proof)
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["## Requirements", "", "| id | requirement | source |", "| --- | --- | --- |"]
    lines += [f"| {each.id} | {_cell(each.sentence)} | {_cell(each.source)} |" for each in requirements()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
