"""The parity table lists everything that the published packages have."""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Final

import pytest

from tests.interop.node import Node
from tests.interop.peers import HERE
from tests.parity import Row, systems, types
from tests.server.settings_table import PAGE

PACKAGES: Final = ("voice-frontend", "voice-backend")
MEMBERS: Final = ("option", "field", "method", "result")


def listed(package: str) -> set[str]:
    """Return the rows of *package*."""
    return {row.theirs for name, rows in systems().items() if f"@navai/{package} " in name for row in rows}


def published(package: str, file: str) -> str:
    """Return a file of *package*."""
    return (HERE / "node_modules" / "@navai" / package / "dist" / file).read_text(encoding="utf-8")


def members(package: str) -> dict[str, set[str]]:
    """Return the members of each type of *package*, exported or not; none of a union or a function type."""
    found: dict[str, set[str]] = {}
    text = published(package, "index.d.ts")
    for part in re.split(r"^(?=type |declare |export )", text, flags=re.MULTILINE):
        if name := re.match(r"type (\w+)", part):  # with a number, tsup tells types of one name apart
            found.setdefault(name[1], set()).update(re.findall(r"^ {4,}(\w+)\??:", part, re.MULTILINE))
    return found


def exports(package: str) -> set[str]:
    """Return the names that *package* exports, types included."""
    (names,) = re.findall(r"^export \{(.*?)\};", published(package, "index.d.ts"), re.DOTALL | re.MULTILINE)
    return {name.strip().removeprefix("type ") for name in names.split(",")}


def words(rows: Iterable[Row]) -> set[str]:
    return {word for row in rows for word in re.findall(r"\w+", row.theirs)}


def systems_of(package: str) -> dict[str, list[Row]]:
    return {name: rows for name, rows in systems().items() if f"@navai/{package} " in name}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_and_every_type_is_listed(package: str, node: Node) -> None:
    known = set(chain.from_iterable(chain(*types()[name]) for name in systems_of(package)))
    published_types = set(members(package))
    assert len(exports(package)) > 20
    assert published_types - known == set()
    assert exports(package) - known - words(chain(*systems_of(package).values())) == set()
    assert known - published_types == set(), "They are published no longer."


@pytest.mark.parametrize("package", PACKAGES)
def test_every_member_of_a_type_is_a_row_and_no_row_is_about_another(package: str, node: Node) -> None:
    of_types = members(package)
    for system, rows in systems_of(package).items():
        expected = set(chain.from_iterable(of_types[name] for name in types()[system][0]))
        assert expected - words(rows) == set(), system
        about_members = words(row for row in rows if row.kind in MEMBERS)
        assert about_members - expected - set(of_types) == set(), system


def read_variables(package: str) -> set[str]:
    """Return the environment variables that the files of *package* read."""
    folder = HERE / "node_modules" / "@navai" / package
    files = [file for pattern in ("dist/*.js", "bin/*.mjs") for file in folder.glob(pattern)]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    by_name = re.findall(r"""\benv\??\.?\[?["']?([A-Z][A-Z_]+)\b""", code)
    in_lists = re.findall(r"_ENV_KEYS = \[([^\]]*)\]", code)
    return {*by_name, *re.findall(r'"(\w+)"', " ".join(in_lists))}


@pytest.mark.parametrize(("package", "least"), [("voice-frontend", 6), ("voice-backend", 22)])
def test_every_environment_variable_of_a_package_is_listed_and_documented(
    package: str, least: int, node: Node
) -> None:
    variables = read_variables(package)
    assert len(variables) >= least
    assert not variables - listed(package)
    documented = PAGE.read_text(encoding="utf-8").partition("<!-- variables: begin -->")[2]
    assert not {name for name in variables if f"| `{name}` |" not in documented}
