"""Each line of the threat model in docs/security.md names tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
PAGE: Final = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
LINES: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("| ---", "| they try to"))
]


@cache
def names(path: Path) -> frozenset[str]:
    """Return the names of the functions in the file *path*, of those in classes too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_the_page_has_its_lines() -> None:
    assert len(LINES) > 30
    assert all(len(line) == 3 and all(line) for line in LINES)


@pytest.mark.parametrize("line", LINES, ids=[line[0][:60] for line in LINES])
def test_every_line_names_tests_that_exist(line: list[str]) -> None:
    tests = re.findall(r"`([\w/]+\.py)::(\w+)`", line[2])
    assert tests
    assert ", ".join(f"`{file}::{name}`" for file, name in tests) == line[2]
    for file, name in tests:
        assert name in names(TESTS / file)
