"""The wire package and the modules that it imports do no I/O. Their imports prove it."""

import ast
import re
from pathlib import Path

import pytest

import navai_client

PACKAGE = Path(navai_client.__file__).parent
WIRE = sorted((PACKAGE / "wire").glob("*.py"))

# Modules of the standard library without clock, sockets, threads, logging and randomness.
COMPUTES = {
    "binascii",
    "collections",
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
# Modules of this package: values, decisions that get the time as an argument, and a pause of the garbage
# collector. A redactor reads the disk only when it is given a directory, which only the server does.
PURE = {
    "navai_client._collector",
    "navai_client._redaction",
    "navai_client.errors",
    "navai_client.models",
}


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
def test_wire_imports_only_modules_without_io(path: Path) -> None:
    outside = {name for name in imported(path) if name.partition(".")[0] != "navai_client"}
    assert outside <= COMPUTES | {"attrs"} | DEFAULTS.get(path.name, set())
    inside = {name for name in imported(path) if name.partition(".")[0] == "navai_client"}
    assert {name for name in inside if not name.startswith("navai_client.wire")} <= PURE


def test_the_retry_policy_only_names_its_clock_and_its_random_numbers() -> None:
    source = (PACKAGE / "wire" / "_retry.py").read_text()
    assert "random.random(" not in source
    assert "time.time(" not in source


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.name)
def test_wire_opens_and_prints_nothing(path: Path) -> None:
    assert calls(path).isdisjoint({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})


def test_errors_import_only_modules_without_io() -> None:
    assert imported(PACKAGE / "errors.py") <= COMPUTES | PURE | {"attrs"}


def test_models_read_the_clock_in_one_place() -> None:
    # A function list has an attribute for an error, and makes tools, which logs what OpenAI would refuse.
    assert imported(PACKAGE / "models.py") <= COMPUTES | {
        "attrs",
        "time",
        "navai_client._redaction",
        "navai_client.errors",
        "navai_client.functions._tool_schemas",
    }
    source = (PACKAGE / "models.py").read_text()
    assert re.findall(r"\btime\.\w+", source) == ["time.time"]


def test_the_room_is_not_empty() -> None:
    assert {path.stem for path in WIRE} >= {
        "_decode",
        "_encode",
        "_exchange",
        "_operations",
        "_retry",
        "_values",
    }
