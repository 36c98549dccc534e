"""``navai functions``: lines and JSON for scripts, warnings, and what is said when there are none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from navai_client import NavaiBackendClient
from navai_client.testing import FakeBackend
from tests.cli.conftest import Navai, Result
from tests.faults.server import FaultServer
from tests.ports import reserved_port


def listing(*items: dict[str, Any], warnings: list[str] | None = None) -> str:
    return json.dumps({"items": list(items), "warnings": warnings or []})


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            "<!DOCTYPE HTML>\n<html><head><title>Error response</title>",
            "HTTP 501: a page of HTML, Error response.",
        ),
        ("<html><h1>no</h1>", "HTTP 501: a page of HTML."),
    ],
)
def test_a_page_of_another_server_is_named_without_its_markup(
    page: str, said: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    result = navai("functions", "--url", reply(page, status="501 Not Implemented").url)
    asked = "Is there a Navai backend at this --url? `navai doctor` looks closer."
    assert result == (1, "", f"navai functions: {said} {asked}\n")


def test_scripts_get_a_line_for_each_function(command: Navai, demo_server: str) -> None:
    result = command("functions", "--url", demo_server)
    assert result.status == 0
    assert result.err == ""
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert ["get_weather", 'location: string, unit?: "celsius"|"fahrenheit"'] in [row[:2] for row in rows]
    assert all(len(row) == 3 for row in rows)


def test_json_has_everything_that_the_backend_sent(command: Navai, demo_server: str) -> None:
    result = command("functions", "--json", NAVAI_API_URL=demo_server)
    printed = json.loads(result.out)
    assert result.out.count("\n") == 1
    weather = next(each for each in printed["functions"] if each["name"] == "get_weather")
    assert weather["parameters"]["required"] == ["location"]
    assert printed["warnings"] == []


def test_warnings_go_to_standard_error(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    server = reply(listing({"name": "f"}, warnings=["[navai] Failed to load x.py: no\n\x1b[31m"]))
    assert navai("functions", "--url", server.url) == Result(
        0, "f\t\t\n", "warning: [navai] Failed to load x.py: no \\x1b[31m\n"
    )
    printed = navai("functions", "--json", "--url", server.url)
    assert json.loads(printed.out)["warnings"] == ["[navai] Failed to load x.py: no\n\x1b[31m"]
    assert printed.err == ""


def test_a_backend_without_functions_is_not_a_failure(
    navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply(listing())
    assert navai("functions", "--url", server.url) == (0, "", "The backend offers no functions.\n")


def test_texts_of_a_backend_cannot_control_the_terminal(
    navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    name, description = "f\x1b]0;title\x07", "one\ttwo\nthree \x9b31m \u202eevil"
    server = reply(listing({"name": name, "description": description}))
    assert navai("functions", "--url", server.url).out == (
        "f\\x1b]0;title\\x07\t\tone two three \\x9b31m \\u202eevil\n"
    )
    printed = navai("functions", "--json", "--url", server.url).out
    assert "\x9b" not in printed
    assert json.loads(printed)["functions"][0]["description"] == description


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "null|string"),
        ({"type": "array", "items": {"type": "number"}}, "number[]"),
        ({"type": "array"}, "any[]"),
        ({"enum": list(range(9))}, "0|1|2|3|4|5|..."),
        ({"const": "x"}, '"x"'),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer|null"),
        ({"oneOf": [{"type": "integer"}, {"type": "integer"}]}, "integer"),
        ({"type": 7}, "any"),
        (True, "any"),
    ],
)
def test_a_parameter_is_shown_with_its_type(
    schema: Any, shown: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    server = reply(listing({"name": "f", "parameters": parameters}))
    assert navai("functions", "--url", server.url).out == f"f\ta: {shown}\t\n"


def test_invalid_schemas_are_shown_as_none(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    server = reply(listing({"name": "f", "parameters": {"properties": 3, "required": 4}}))
    assert navai("functions", "--url", server.url).out == "f\t\t\n"


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (("{}", "500 Internal Server Error"), 1, "HTTP 500: {}"),
        (("", "502 Bad Gateway"), 1, "HTTP 502"),
        (('{"error": "No.", "details": "why"}', "400 Bad Request"), 1, "HTTP 400: No: why"),
        (("no", "401 Unauthorized"), 1, "--header 'Authorization: Bearer @env:NAME'"),
        (("no", "404 Not Found"), 1, "Is there a Navai backend at this --url?"),
        (("<html>", "200 OK"), 1, "Is this a Navai backend?"),
    ],
)
def test_a_backend_that_fails_is_status_1_and_one_line(
    answer: tuple[str, str], status: int, said: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    result = navai("functions", "--timeout", "60", "--url", reply(answer[0], status=answer[1]).url)
    assert result.status == status
    assert result.out == ""
    assert result.err.startswith("navai functions: ")
    assert said in result.err
    assert result.err.count("\n") == 1


def test_a_page_as_an_error_is_cut_to_one_line(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    server = reply("<html>\n" + "<p>long</p>\n" * 1000, status="500 Internal Server Error")
    result = navai("functions", "--url", server.url)
    assert result.err.count("\n") == 1
    assert len(result.err) < 700


def test_an_unreachable_backend_is_status_3_with_a_remedy(command: Navai) -> None:
    with reserved_port() as port:
        result = command("functions", "--url", f"http://127.0.0.1:{port}")
    assert result.status == 3
    assert result.out == ""
    assert "Connection refused" in result.err
    assert "`navai doctor` says why." in result.err
    assert result.err.count("\n") == 1


def test_functions_are_listed_in_memory_too(navai: Navai, backend: FakeBackend) -> None:
    @backend.function
    def greet(name: str) -> str:
        """Say hello."""
        return f"hello {name}"

    assert navai("functions").out == "greet\tname: string\tSay hello.\n"


ORDER = {"name": "order", "description": "Order.", "parameters": {"type": "object", "properties": {"n": {}}}}


def test_a_saved_list_is_compared_for_a_build(
    navai: Navai, reply: Callable[..., FaultServer], tmp_path: Path
) -> None:
    file = str(tmp_path / "functions.json")
    before = reply(listing({"name": "gone"}, ORDER | {"source": "a.py#order"}))
    assert navai("functions", "--save", file, "--url", before.url) == (0, "", "")
    assert navai("functions", "--diff", file, "--url", before.url) == (0, "", "")
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}}
    after = reply(
        listing({"name": "get_conn"}, ORDER | {"source": "moved.py#order", "parameters": parameters})
    )
    result = navai("functions", "--diff", file, "--url", after.url)
    assert result.status == 1
    assert result.err == ""
    first, second, third, *lines = result.out.splitlines()
    assert [first, second, third] == ["added: get_conn", "removed: gone", "changed: order"]
    assert '  +      "n": {' in lines
    assert '  +        "type": "integer"' in lines
    assert not any("source" in line for line in lines)


def test_the_json_list_can_be_compared_too(navai: Navai, demo_server: str, tmp_path: Path) -> None:
    file = tmp_path / "functions.json"
    file.write_text(navai("functions", "--json", "--url", demo_server).out)
    assert navai("functions", "--diff", str(file), "--url", demo_server) == (0, "", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "--diff is not JSON"),
        ("[]", "this is not a list that --save or --json wrote"),
        ('{"items": []}', "this is not a list that --save or --json wrote"),
        ('{"functions": [{"name": "f", "unknown": 1}]}', "this is not a list that --save or --json wrote"),
        ('{"functions": 1}', "this is not a list that --save or --json wrote"),
    ],
)
def test_a_file_that_is_no_list_is_wrong_usage(navai: Navai, tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "functions.json"
    file.write_text(content)
    result = navai("functions", "--diff", str(file), "--url", "http://127.0.0.1:9")
    assert result.status == 2
    assert said in result.err


def test_a_list_that_cannot_be_saved_is_a_failure(navai: Navai, demo_server: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert navai("functions", "--save", str(tmp_path / "no/f.json"), "--url", demo_server).status == 2
    assert navai("functions", "--save", str(tmp_path / "folder"), "--url", demo_server).status == 1


@pytest.mark.parametrize("arguments", [["functions"], ["call", "f", "-p", "a=1"]], ids=["functions", "call"])
def test_a_list_that_fails_is_one_line(command: Navai, arguments: list[str]) -> None:
    with reserved_port() as port:
        result = command(*arguments, "--url", f"http://127.0.0.1:{port}")
    (line,) = result.err.splitlines()
    assert line.startswith(f"navai {arguments[0]}: No response from GET http://127.0.0.1:{port}/")


def test_a_saved_list_makes_a_fake_that_lists_the_same(
    navai: Navai, backend: FakeBackend, tmp_path: Path
) -> None:
    @backend.function(effect="write", typical_seconds=3, say_while_waiting="Wait.", timeout=9, approval=True)
    def order(n: int, note: str = "") -> None:
        """Order it."""

    file = str(tmp_path / "functions.json")
    assert navai("functions", "--save", file).status == 0
    with FakeBackend.from_file(file) as fake:
        listed = NavaiBackendClient(transport=fake.transport).list_functions()
    assert listed["order"].approval
    assert listed == NavaiBackendClient(transport=backend.transport).list_functions()
