"""Every requirement has a test, tests name existing requirements, and docs/parity.md is up to date."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity import PAGE, ROOT, STATES, Document, Row, documents, is_there, page, requirements, systems

IDS = [each.id for each in requirements()]
ROWS = [row for rows in systems().values() for row in rows]


def files_of_tests() -> list[Path]:
    return [file for file in (ROOT / "tests").rglob("test_*.py") if "node_modules" not in file.parts]


def functions_in(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions_in(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


@functools.cache
def marks_of_tests() -> dict[str, set[str]]:
    """Return the ids that each test names in its markers."""
    found: dict[str, set[str]] = {}
    for file in files_of_tests():
        for function in functions_in(ast.parse(file.read_text(encoding="utf-8")).body):
            ids = found.setdefault(function.name, set())
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.covers":
                    ids |= {ast.literal_eval(argument) for argument in mark.args}
    return found


def covered() -> set[str]:
    return set().union(*marks_of_tests().values())


def test_each_requirement_is_proven_by_a_test() -> None:
    proved = covered() | {each.id for each in requirements() if each.tests}

    assert not set(IDS) - proved


def test_tests_name_only_requirements_that_exist() -> None:
    assert not covered() - set(IDS)


def test_ids_of_requirements_are_unique() -> None:
    assert len(IDS) == len(set(IDS))


def test_the_tests_that_requirements_name_exist() -> None:
    named = {name for each in requirements() for name in each.tests}

    assert not named - marks_of_tests().keys()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind} {row.theirs}")
def test_the_counterpart_in_this_package_exists(row: Row) -> None:
    assert row.state in STATES
    assert row.proof or row.state == "not needed"
    assert not set(row.proof.split()) - set(IDS) - marks_of_tests().keys()
    if row.ours:
        assert is_there(row.ours), f"The package has no {row.ours}."
    else:
        assert row.note, "What has no counterpart needs a note."


def test_a_missing_counterpart_is_noticed() -> None:
    assert not is_there("navai_client.NavaiBackendClient(no_such)")
    assert not is_there("navai_client.NavaiBackendClient.no_such")
    assert not is_there("navai_client.ClientSecret.no_such")
    assert not is_there("text no such" + " text")


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_each_statement_of_a_document_has_a_proof_or_a_reason_why_not(document: Document) -> None:
    tests = marks_of_tests().keys()
    for lines, says, proof, reason in document.rows:
        assert says, lines
        assert bool(proof) is not bool(reason), lines
        assert not set(proof.split()) - set(IDS) - tests, lines
        named = set(re.findall(r"\btest_\w+|\b[a-z]+\.[a-z-]+\b", reason))
        assert not named - set(IDS) - tests, lines


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_the_statements_of_a_document_are_all_of_it(document: Document) -> None:
    expected = 1
    for lines, *_ in document.rows:
        match = re.fullmatch(r"(\d+)([a-z]?)(?:-(\d+)([a-z]?))?", lines)
        assert match is not None, lines
        first, part, last, _ = match.groups()
        begins_within = part > "a"
        assert int(first) == (expected - 1 if begins_within else expected), lines
        assert first != last, lines
        expected = int(last or first) + 1
    assert expected == document.lines + 1


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "Run: python -m tests.parity"
