"""The public names, the two clients, which must have the same code, and the cost of imports."""

import ast
import importlib
import inspect
import json
import pkgutil
import pydoc
import re
import subprocess
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

import navai_client
from navai_client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.wire._operations import OPERATIONS as OPERATION_TABLE

PACKAGE = Path(navai_client.__file__).parent
OPERATIONS = [operation.name for operation in OPERATION_TABLE]


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
    """The two clients are the same class, except for the words ``async`` and ``await``."""

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

    @pytest.mark.parametrize("name", [*OPERATIONS, "close", "wait_until_ready", "warmup"])
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
            **{operation.path_option: operation.path for operation in OPERATION_TABLE},
            "access_token": None,
            "headers": None,
            "timeout": 30.0,
            "max_retries": 2,
            "max_response_bytes": 16 * 1024 * 1024,
            "json_default": None,
            "verify": True,
            "proxy": None,
            "cert": None,
            "uds": None,
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


# Every public module and its names: what SECURITY.md promises not to change without notice. A name that is
# added here is permanent and belongs in the reference documentation. The root re-exports its modules' names.
PUBLIC = {
    "navai_client": """
        ApprovalPendingError AsyncClientSecrets AsyncNavaiBackendClient BackendFunction CallOptions
        Cancellation ClientSecret ClientSecrets ExecuteOptions
        FunctionFailedError FunctionList Instrumentation InvalidResponseError NavaiBackendClient
        NavaiConfigError NavaiError NavaiHTTPError NavaiPayloadError NavaiStateError NavaiTimeoutError
        NavaiTransportError Observation ObservedCall OutcomeUnknownError RawResponse RetryPolicy
        SessionOptions SpeechAudio SpeechOptions USE_CLIENT_DEFAULT UnknownFunctionError UseClientDefault
        __version__ resolve_navai_env
    """,
    "navai_client.conformance": """
        Deviation Finding GROUPS PROFILES Profile Report Requirement check requirements
    """,
    "navai_client.conformance.pytest": "ConformanceWarning every_requirement verify",
    "navai_client.integrations.google_adk": "NavaiToolset",
    "navai_client.integrations.langchain": "function_tools",
    "navai_client.integrations.livekit": "NavaiTTS NavaiToolset",
    "navai_client.integrations.mcp": "McpServerOptions build_mcp_server serve_http serve_stdio",
    "navai_client.integrations.openai_agents": """
        BackendSession Specialist ToolRefresher build_navai_agent function_tools read_backend_session
        realtime_model_config speak_event tell_decisions
    """,
    "navai_client.integrations.opentelemetry": "OpenTelemetryInstrumentation",
    "navai_client.integrations.pipecat": "NavaiTTSService function_schemas tools_schema",
    "navai_client.integrations.pydantic_ai": "FunctionProgressEvent NavaiToolset",
    "navai_client.integrations.realtime": """
        FunctionCall RealtimeStep RealtimeToolRunner RealtimeTools session_update
    """,
    "navai_client.integrations.routes": "NavaiRoute resolve_navai_route route_prompt_lines",
    "navai_client.integrations.runtime": """
        NavaiRuntime RuntimeAgent RuntimeOptions Specialist resolve_navai_runtime
    """,
    "navai_client.integrations.speech": "Sentences Speaker",
    "navai_client.integrations.tools": """
        EXECUTE_APP_FUNCTION ErrorType NAVIGATE_TO Tool ToolCall
        ToolOutcome ToolProgress ToolsetChanges
    """,
    "navai_client.integrations.toolset": "Toolset ToolsetOptions",
    "navai_client.server": """
        AccessLog BackendError BackendOptions BackendOptionsError BackendRequest ClientSecretRequest
        DiscoveredModules FunctionContext FunctionRegistry MemoryStore MintPolicy NavaiBackend Principal
        RedisStore Runner SQLiteStore ServerSettings Services SpeechRequest Store StoreEntry StoreError
        ToolError Upstream UpstreamError VoiceSettings create_realtime_client_secret
        create_realtime_client_secret_sync discover_function_modules from_host from_jwt function
        load_functions synthesize_speech synthesize_speech_sync
    """,
    "navai_client.testing": """
        FakeBackend FakeRealtimeServer Headers LiveServer RecordedCall RecordedRequest StoreTests
    """,
    "navai_client.testing.plugin": """
        async_navai_client navai_backend navai_backend_functions navai_backend_settings navai_client
        navai_client_options navai_realtime_script navai_realtime_server navai_server
    """,
    "navai_client.testing.realtime": """
        Action BargeIn Call Disconnect FakeElevenLabs FakeRealtimeServer FakeRealtimeSession MintedSecret Raw
        Say Until
    """,
    "navai_client.transports": "AsyncTransport Call Endpoint Request Response Transport TransportFailure",
    "navai_client.transports.fast": "AsyncFastTransport FastTransport",
}
OF_THE_ROOT = {"client", "client_secrets", "config", "errors", "instrumentation", "models"}


def source_of(name: str) -> str:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def listed_by(name: str) -> list[str]:
    """Return ``__all__`` of a module; one with a literal list is not imported: it may need an extra."""
    literal = re.search(r"^__all__ = (\[.*?\])", source_of(name), re.MULTILINE | re.DOTALL)
    return list(ast.literal_eval(literal[1])) if literal else list(importlib.import_module(name).__all__)


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split(".")[1:])


MODULES = [name for _, name, _ in pkgutil.walk_packages([str(PACKAGE)], "navai_client.")]


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_those_that_are_promised(name: str) -> None:
    assert sorted(listed_by(name)) == sorted(PUBLIC[name].split())


@pytest.mark.parametrize("name", [name for name in MODULES if is_public(name)])
def test_a_module_without_an_underscore_is_public_or_lists_nothing(name: str) -> None:
    if name.removeprefix("navai_client.") in OF_THE_ROOT:
        module = importlib.import_module(name)
        assert set(module.__all__) <= set(navai_client.__all__)
        assert all(getattr(navai_client, each) is getattr(module, each) for each in module.__all__)
    elif name not in PUBLIC:
        source = source_of(name)
        assert "__all__" not in source
        assert source.count("\n") < 6, f"{name} holds code: underscore it, or list its names here"


@pytest.mark.parametrize("name", [name for name in MODULES if not is_public(name)])
def test_an_internal_module_lists_no_names(name: str) -> None:
    is_package = PACKAGE.joinpath(*name.split(".")[1:]).is_dir()  # which re-exports within its room
    assert is_package or not re.search("^__all__", source_of(name), re.MULTILINE)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_module_and_what_it_defines_have_docstrings(name: str) -> None:
    module = ast.parse(source_of(name))
    assert ast.get_docstring(module)
    for node in module.body:
        if (
            isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name in PUBLIC[name]
        ):
            assert ast.get_docstring(node)


class TestTheRoot:
    """``import navai_client``."""

    def test_every_public_name_can_be_imported(self) -> None:
        for name in navai_client.__all__:
            assert getattr(navai_client, name) is not None
        assert len(set(navai_client.__all__)) == len(navai_client.__all__)

    @pytest.mark.parametrize("name", navai_client.__all__)
    def test_every_public_class_and_function_has_a_docstring(self, name: str) -> None:
        member = getattr(navai_client, name)
        assert not (inspect.isclass(member) or inspect.isfunction(member)) or inspect.getdoc(member)

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


@pytest.mark.parametrize("package", ["navai_client", "navai_client.server", "navai_client.testing"])
def test_the_signatures_of_public_names_can_be_read(package: str) -> None:
    """As help(), editors and the documentation do; a name that exists only for type checkers breaks that."""
    module = importlib.import_module(package)
    for name in module.__all__:
        member = getattr(module, name)
        if inspect.isfunction(member) or attrs.has(member) or isinstance(member, msgspec.StructMeta):
            inspect.signature(member)
