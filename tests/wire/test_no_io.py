"""The room of the contract does no I/O, and neither does what it leans on: proven by reading imports."""

import ast
from pathlib import Path

import pytest

import navai_client

PACKAGE = Path(navai_client.__file__).parent
WIRE = sorted((PACKAGE / "wire").glob("*.py"))

# Of the standard library: what computes. No clock, no socket, no thread, no log, no randomness.
COMPUTES = {
    "binascii",
    "collections.abc",
    "contextlib",
    "datetime",
    "email.utils",
    "functools",
    "html",
    "json",
    "math",
    "re",
    "typing",
    "urllib.parse",
}
# The retry policy has a clock and a random number generator as defaults of its attributes, and never calls
# either of them by name.
DEFAULTS = {"_retry.py": {"random", "time"}}
# Of the package: values, and decisions that are given the time. A redactor looks at the disk only when it is
# given a directory, which only the server does.
PURE = {"navai_client._redaction", "navai_client.errors", "navai_client.models"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    return names


def calls(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    return {node.func.id for node in tree if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.name)
def test_a_file_of_the_wire_room_imports_only_what_computes(path: Path) -> None:
    outside = {name for name in imported(path) if name.partition(".")[0] != "navai_client"}
    assert outside <= COMPUTES | {"attrs"} | DEFAULTS.get(path.name, set())
    inside = {name for name in imported(path) if name.partition(".")[0] == "navai_client"}
    assert {name for name in inside if not name.startswith("navai_client.wire")} <= PURE


def test_the_retry_policy_only_names_its_clock_and_its_random_numbers() -> None:
    source = (PACKAGE / "wire" / "_retry.py").read_text()
    assert "random.random(" not in source
    assert "time.time(" not in source


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.name)
def test_a_file_of_the_wire_room_opens_prints_and_imports_nothing_on_the_way(path: Path) -> None:
    assert calls(path).isdisjoint({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})


def test_errors_do_no_io_either() -> None:
    assert imported(PACKAGE / "errors.py") <= COMPUTES | PURE | {"attrs"}


def test_the_values_know_the_clock_only_to_ask_a_secret_whether_it_is_good() -> None:
    # A list carries the error that it stands for; that errors do no I/O either is tested above.
    assert imported(PACKAGE / "models.py") <= COMPUTES | {
        "attrs",
        "time",
        "navai_client._redaction",
        "navai_client.errors",
    }
    source = (PACKAGE / "models.py").read_text()
    assert source.count("time.") == 1


def test_the_room_is_not_empty() -> None:
    assert {path.stem for path in WIRE} >= {
        "_decode",
        "_encode",
        "_exchange",
        "_operations",
        "_retry",
        "_values",
    }
