"""The public names, the two shells that must be one, and what importing costs."""

import ast
import importlib
import inspect
import json
import pkgutil
import pydoc
import subprocess
import sys
import textwrap
import types
import typing
from pathlib import Path
from typing import Any

import pytest

import navai_client
from navai_client import AsyncNavaiBackendClient, NavaiBackendClient

PACKAGE = Path(navai_client.__file__).parent
ROOMS = ["client", "config", "errors", "instrumentation", "models"]
MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages([str(PACKAGE)], "navai_client.")
    if name.split(".")[1] in ROOMS
)
OPERATIONS = ["create_client_secret", "execute_function", "list_functions", "synthesize_speech"]


def methods(cls: type) -> dict[str, Any]:
    """Return the public methods of *cls* and its __init__."""
    return {
        name: member
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if name == "__init__" or not name.startswith("_")
    }


def without_async(text: str) -> str:
    return text.replace("AsyncClientSecrets", "ClientSecrets")


class TestTheTwoShells:
    """They are one class, but for the words ``async`` and ``await``."""

    def test_have_the_same_methods(self) -> None:
        assert sorted(methods(NavaiBackendClient)) == sorted(methods(AsyncNavaiBackendClient))
        assert set(OPERATIONS) < set(methods(NavaiBackendClient))

    @pytest.mark.parametrize("name", sorted(methods(NavaiBackendClient)))
    def test_have_the_same_signatures_and_docstrings(self, name: str) -> None:
        ours, theirs = methods(NavaiBackendClient)[name], methods(AsyncNavaiBackendClient)[name]
        assert str(inspect.signature(ours)) == without_async(str(inspect.signature(theirs)))
        assert inspect.getdoc(ours) == inspect.getdoc(theirs)
        assert name == "__init__" or inspect.getdoc(ours)

    def test_have_the_same_docstring(self) -> None:
        assert inspect.getdoc(NavaiBackendClient) == inspect.getdoc(AsyncNavaiBackendClient)

    @pytest.mark.parametrize("name", [*OPERATIONS, "close"])
    def test_what_does_io_is_awaited_in_the_async_one(self, name: str) -> None:
        assert not inspect.iscoroutinefunction(methods(NavaiBackendClient)[name])
        assert inspect.iscoroutinefunction(methods(AsyncNavaiBackendClient)[name])

    @pytest.mark.parametrize("cls", [NavaiBackendClient, AsyncNavaiBackendClient])
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_an_operation_is_one_line_and_its_docstring_is_inherited(self, cls: type, name: str) -> None:
        method = methods(cls)[name]
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        *arguments, statement = function.body
        assert isinstance(statement, ast.Return)
        assert statement.lineno == statement.end_lineno
        assert len(arguments) <= 1
        assert method.__doc__ is None
        shown = pydoc.plain(pydoc.render_doc(getattr(cls, name)))
        assert (inspect.getdoc(method) or "missing").partition("\n")[0] in shown
        assert "<object" not in shown

    def test_the_defaults_of_a_client_are_those_that_are_promised(self) -> None:
        parameters = inspect.signature(NavaiBackendClient).parameters
        assert {name: parameter.default for name, parameter in parameters.items()} == {
            "base_url": None,
            "env": None,
            "client_secret_path": "/navai/realtime/client-secret",
            "functions_list_path": "/navai/functions",
            "functions_execute_path": "/navai/functions/execute",
            "speech_synthesize_path": "/navai/speech/synthesize",
            "headers": None,
            "timeout": 30.0,
            "max_retries": 2,
            "max_response_bytes": 16 * 1024 * 1024,
            "verify": True,
            "proxy": None,
            "transport": None,
            "http_client": None,
            "instrumentation": None,
        }
        kinds = {parameter.kind for name, parameter in parameters.items() if name != "base_url"}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}

    def test_every_argument_of_an_operation_is_described(self) -> None:
        for name in OPERATIONS:
            method = methods(NavaiBackendClient)[name]
            described = inspect.getdoc(method) or ""
            for parameter in list(inspect.signature(method).parameters)[1:]:
                assert f"\n    {parameter}: " in described

    def test_every_argument_of_a_client_is_described(self) -> None:
        described = inspect.getdoc(NavaiBackendClient) or ""
        for parameter in list(inspect.signature(NavaiBackendClient).parameters):
            assert f"\n    {parameter}: " in described

    def test_are_hinted_whole(self) -> None:
        for cls in (NavaiBackendClient, AsyncNavaiBackendClient):
            for method in methods(cls).values():
                hints = typing.get_type_hints(method)
                assert set(inspect.signature(method).parameters) - {"self"} | {"return"} == set(hints)


def defined_in(module: types.ModuleType) -> set[str]:
    """Return the names that *module* defines and that have no underscore."""
    names: set[str] = set()
    source = Path(module.__file__ or "").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    variables = {name for name in names if isinstance(getattr(module, name), typing.TypeVar)}
    return {name for name in names - variables if not name.startswith("_")}


@pytest.mark.parametrize("name", MODULES)
def test_no_underscore_means_listed_in_all_and_the_other_way_round(name: str) -> None:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert set(listed) == defined_in(module)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_defines_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        member = getattr(module, public)
        assert not inspect.isfunction(member) or member.__doc__
        assert not inspect.isclass(member) or inspect.getdoc(member)


class TestTheRoot:
    """``import navai_client``."""

    def test_every_public_name_can_be_had(self) -> None:
        for name in navai_client.__all__:
            assert getattr(navai_client, name) is not None
        assert len(set(navai_client.__all__)) == len(navai_client.__all__)

    def test_all_errors_are_there(self) -> None:
        errors = importlib.import_module("navai_client.errors")
        assert set(errors.__all__) < set(navai_client.__all__)

    def test_a_star_import_gives_the_public_names(self) -> None:
        names: dict[str, Any] = {}
        exec("from navai_client import *", names)
        assert {*names} - {"__builtins__"} == set(navai_client.__all__)

    def test_users_get_our_types(self) -> None:
        assert (PACKAGE / "py.typed").exists()


def loaded_by(statement: str) -> set[str]:
    """Return what a fresh interpreter has loaded after *statement* and had not before."""
    code = (
        f"import json, sys\nbefore = {{*sys.modules}}\n{statement}\n"
        "print(json.dumps([*{*sys.modules} - before]))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_importing_the_package_loads_next_to_nothing() -> None:
    loaded = loaded_by("import navai_client")
    assert {name for name in loaded if name.startswith("navai_client")} == {
        "navai_client",
        "navai_client._extras",
    }
    tops = {name.partition(".")[0] for name in loaded}
    heavy = {"httpx", "httpx2", "httpcore", "anyio", "attr", "attrs", "asyncio", "ssl", "socket", "starlette"}
    assert tops.isdisjoint(
        heavy | {"aiohttp", "httptools", "msgspec", "logging", "email", "urllib", "http", "json"}
    )
    assert tops - {"navai_client"} <= {*sys.stdlib_module_names}


def test_errors_can_be_caught_without_loading_more() -> None:
    loaded = loaded_by("from navai_client import NavaiError, NavaiTransportError")
    assert {name for name in loaded if name.startswith("navai_client")} == {
        "navai_client",
        "navai_client._extras",
        "navai_client.errors",
    }


def test_the_clients_load_no_http_library_before_one_is_made() -> None:
    loaded = {name.partition(".")[0] for name in loaded_by("from navai_client import NavaiBackendClient")}
    heavy = {
        "aiohttp",
        "anyio",
        "httpcore",
        "httptools",
        "httpx",
        "httpx2",
        "msgspec",
        "starlette",
        "uvicorn",
    }
    assert loaded.isdisjoint(heavy)


def test_the_client_never_loads_the_server_nor_an_integration() -> None:
    loaded = loaded_by(
        "import navai_client\n"
        "with navai_client.NavaiBackendClient(env={}): pass\n"
        "for name in navai_client.__all__: getattr(navai_client, name)"
    )
    rooms = {name.split(".")[1] for name in loaded if name.startswith("navai_client.")}
    assert rooms.isdisjoint({"server", "integrations", "testing", "conformance", "cli"})
