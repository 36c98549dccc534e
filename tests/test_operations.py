"""Everything that depends on operations covers every entry of the table of operations."""

import builtins
import contextlib
import inspect
import typing
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
import pytest

import navai_client
from navai_client import AsyncNavaiBackendClient, CallOptions, NavaiBackendClient, conformance
from navai_client.server import ServerSettings
from navai_client.server._openapi import describe
from navai_client.testing import FakeBackend
from navai_client.wire._operations import OPERATIONS, Operation, PathOptions, Paths
from tests.backends import Backend, answer, call
from tests.clients import make_client

TESTS: Final = Path(__file__).parent
DOCS: Final = TESTS.parent / "docs"
CLIENTS: Final = (NavaiBackendClient, AsyncNavaiBackendClient)
NOT_SENT: Final = {
    "idempotency_key",
    "max_age",
    "on_progress",
    "result_type",
    "timeout",
    *CallOptions.__annotations__,
}  # arguments of the call, and not of the request
PYTHON_TYPES: Final[dict[str, set[Any]]] = {
    "string": {str},
    "number": {int, float},
    "boolean": {bool},
    "any": {Any},
}

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def arguments_of(operation: Operation[Any]) -> dict[str, Any]:
    """Return the arguments of the client's method with their types, those in a TypedDict one by one."""
    method = getattr(NavaiBackendClient, operation.name)
    hints = typing.get_type_hints(method)
    arguments: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            (options,) = typing.get_args(hints[name])
            arguments |= typing.get_type_hints(options)
        else:
            arguments[name] = hints[name]
    return arguments


def test_names_paths_and_options_are_unique() -> None:
    for values in zip(*((each.name, each.path, each.path_option) for each in OPERATIONS), strict=True):
        assert len({*values}) == len(OPERATIONS)


@every_operation
def test_both_clients_have_it_as_a_documented_method(operation: Operation[Any]) -> None:
    for client in CLIENTS:
        assert inspect.getdoc(getattr(client, operation.name))


@every_operation
def test_the_method_takes_what_the_request_has_with_the_types_of_the_table(operation: Operation[Any]) -> None:
    arguments = arguments_of(operation)
    assert set(arguments) - NOT_SENT == operation.by_name.keys()
    for field in operation.by_name.values():
        types = {*(typing.get_args(arguments[field.name]) or (arguments[field.name],))}
        assert types - {type(None)} <= PYTHON_TYPES[field.type]
        assert (type(None) in types) == (not field.required and field.type != "any")


@every_operation
def test_both_clients_return_its_response_too(operation: Operation[Any]) -> None:
    for client in CLIENTS:
        raw = client(env={}).with_raw_response
        assert inspect.getdoc(getattr(raw, operation.name))


@every_operation
def test_its_value_type_is_public(operation: Operation[Any]) -> None:
    value = typing.get_type_hints(getattr(NavaiBackendClient, operation.name))["return"]
    assert value is Any or value in vars(builtins).values() or getattr(navai_client, value.__name__) is value


@every_operation
def test_clients_and_the_server_let_its_path_be_set(operation: Operation[Any]) -> None:
    for made in (*CLIENTS, ServerSettings):
        assert inspect.signature(made).parameters[operation.path_option].default == operation.path


def test_the_options_of_paths_are_those_of_the_table() -> None:
    options = {operation.path_option: str for operation in OPERATIONS}
    assert typing.get_type_hints(PathOptions) == options
    assert {field.name: field.type for field in attrs.fields(Paths)} == options


@pytest.mark.parametrize("kind", ["sync", "async"])
@every_operation
def test_the_client_sends_it_to_the_path_that_is_set(operation: Operation[Any], kind: str) -> None:
    backend = Backend(answer({"error": "refused"}, 400))
    options: dict[str, Any] = {operation.path_option: "elsewhere", "transport": httpx.MockTransport(backend)}
    client = make_client(kind, "http://backend.test", **options)
    with client, contextlib.suppress(navai_client.NavaiHTTPError):
        call(client, operation.name)
    assert backend.request.method == operation.method
    assert backend.request.url == "http://backend.test/elsewhere"
    assert ("idempotency-key" in backend.request.headers) == operation.keyed
    assert bool(backend.request.content) == bool(operation.fields)


@every_operation
def test_the_openapi_description_of_the_server_has_it(operation: Operation[Any]) -> None:
    described = describe(ServerSettings())["paths"][operation.path][operation.method.lower()]
    assert described["summary"] == operation.summary
    assert described["responses"]["200"]["content"]["application/json"]["schema"] == operation.response
    assert ("requestBody" in described) == bool(operation.fields)


@every_operation
def test_a_test_backend_responds_to_it_and_records_its_name(operation: Operation[Any]) -> None:
    with FakeBackend() as backend:
        backend.fail_next(418, operation=operation.name)
        client = NavaiBackendClient(transport=httpx.MockTransport(backend.handle))
        with contextlib.suppress(navai_client.NavaiHTTPError):
            call(client, operation.name)
        assert [request.operation for request in backend.requests] == [operation.name]
        backend.assert_failures_used()


@every_operation
@pytest.mark.parametrize("is_set", [False, True])
def test_the_conformance_check_sends_requests_to_its_path(operation: Operation[Any], is_set: bool) -> None:
    backend = Backend(answer({"error": "Not found."}, 404))
    paths: Any = {operation.path_option: "/elsewhere"} if is_set else {}
    conformance.check("http://backend.test", transport=httpx.MockTransport(backend), **paths)
    path = "/elsewhere" if is_set else operation.path
    assert path in {request.url.path for request in backend.requests}


@every_operation
def test_the_tests_of_the_clients_call_it_by_its_name(operation: Operation[Any]) -> None:
    tests = "".join(module.read_text() for module in (TESTS / "client").glob("test_*.py"))
    assert f".{operation.name}(" in tests


@every_operation
def test_the_documentation_names_it_its_path_and_its_option(operation: Operation[Any]) -> None:
    contract = (DOCS / "contract.md").read_text()
    row = f"`{operation.method} {operation.path}` | `{operation.name}()` | `{operation.path_option}=` |"
    assert row in contract
    assert (", optional |" in contract[: contract.index(row)].rpartition("\n")[2]) == operation.optional
