"""``navai call``: what becomes the payload, what is printed, and how calls fail."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from hypothesis import given, strategies as st

from navai_client.cli._payload import parse_json, parse_pairs
from navai_client.server import NavaiBackend
from navai_client.testing import FakeBackend
from tests.cli.conftest import Navai
from tests.faults.server import FAULTS, FaultServer
from tests.ports import reserved_port
from tests.serving import serving_app
from tests.wordpress import serving_site

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "count": {"type": "integer"},
        "price": {"type": "number"},
        "flag": {"type": "boolean"},
        "items": {"type": "array"},
        "either": {"type": ["integer", "string"]},
        "unit": {"enum": ["1", "2"]},
        "level": {"enum": [1, 2.5, None]},
        "open": {},
        "half": {"anyOf": [{"type": "integer"}, True]},
    },
}


@pytest.fixture(name="echo")
def _echo(backend: FakeBackend) -> None:
    @backend.function
    def echo(payload: Any) -> Any:
        return payload


def test_a_result_is_json_and_nothing_else(command: Navai, demo_server: str) -> None:
    result = command("call", "get_weather", "-p", "location=Paris", "--url", demo_server)
    assert result.status == 0
    assert json.loads(result.out)["location"] == "Paris"
    assert result.err == ""


def test_with_json_a_result_is_one_line(command: Navai, demo_server: str) -> None:
    result = command(
        "call", "get_weather", "--json", "--payload", '{"location": "Bogotá"}', NAVAI_API_URL=demo_server
    )
    assert result.out.count("\n") == 1
    assert json.loads(result.out)["location"] == "Bogotá"


def test_a_payload_comes_from_a_file_or_from_standard_input(
    command: Navai, demo_server: str, tmp_path: Path
) -> None:
    file = tmp_path / "payload.json"
    file.write_text('\ufeff{"amount": 100}')
    call = ("call", "calculator_add_tax", "--url", demo_server, "--payload-file")
    assert command(*call, str(file)).out == "119.0\n"
    assert command(*call, "-", stdin='{"amount": 10}').out == "11.9\n"


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("text=1", "1"),
        ("text=", ""),
        ("text=a=b", "a=b"),
        ("text:=1", 1),
        ("maybe=null", "null"),
        ("maybe:=null", None),
        ("count=3", 3),
        ("count=3.0", 3.0),
        ("price=3", 3),
        ("price=2.5", 2.5),
        ("flag=true", True),
        ('items=["a", 1]', ["a", 1]),
        ("either=3", 3),
        ("either=three", "three"),
        ("either=true", "true"),
        ("unit=1", "1"),
        ("level=2.5", 2.5),
        ("level=null", None),
        ("open=3", 3),
        ("open=three", "three"),
        ("half=[1]", [1]),
        ("unknown=3", 3),
        ('unknown="3"', "3"),
        ("unknown=0123", "0123"),
        ("unknown=NaN", "NaN"),
        ("unknown={", "{"),
    ],
)
def test_a_value_is_typed_by_the_schema(pair: str, value: Any) -> None:
    (found,) = parse_pairs([pair], SCHEMA).values()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("pair", "wanted"),
    [
        ("count=three", "integer"),
        ("count=3.5", "integer"),
        ("count=true", "integer"),
        ("flag=1", "boolean"),
        ("flag=yes", "boolean"),
        ("items=a", "array"),
        ("items={}", "array"),
        ("level=x", "integer or null or number"),
    ],
)
def test_a_value_of_another_type_is_refused_without_showing_it(
    pair: str, wanted: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply(json.dumps({"items": [{"name": "f", "parameters": SCHEMA}]}))
    result = navai("call", "f", "-p", pair, "--url", server.url)
    key, _, value = pair.partition("=")
    assert result.status == 2
    assert f"-p {key} must be JSON of type {wanted}, says the function's schema." in result.err
    assert server.count("execute") == 0
    assert f"={value}" not in result.err


CLOSED = {
    "properties": {"sku": {"type": "string"}, "unit": {"enum": ["kg", "g"]}},
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("skuu=a", "f has no parameter skuu; did you mean sku? skuu:=JSON sends it all the same."),
        ("zzz=a", "f has no parameter zzz. It has: sku, unit. zzz:=JSON sends it all the same."),
        (
            "unit=t",
            '-p unit must be "kg"|"g", says the function\'s schema. unit:=JSON sends it all the same.',
        ),
    ],
)
@pytest.mark.parametrize("option", [[], ["-p"]], ids=["argument", "option"])
def test_what_the_schema_refuses_is_not_sent(
    option: list[str], argument: str, said: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply(json.dumps({"items": [{"name": "f", "parameters": CLOSED}]}))
    result = navai("call", "f", *option, argument, "--url", server.url)
    assert result == (2, "", f"navai call: {said} See `navai call --help`.\n")
    assert server.count("execute") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["unit=kg"], "f also needs sku and count."),
        (["-p", "unit=kg", "sku:=7"], "f also needs count."),
        (["valuee:=7"], "f also needs sku and count."),
    ],
    ids=str,
)
def test_what_the_schema_requires_besides_is_named_and_nothing_is_sent(
    arguments: list[str], said: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    required = {**CLOSED, "required": ["sku", "count"]}
    server = reply(json.dumps({"items": [{"name": "f", "parameters": required}]}))
    result = navai("call", "f", *arguments, "--url", server.url)
    said += " --payload JSON is sent as it is. See `navai call --help`."
    assert result == (2, "", f"navai call: {said}\n")
    assert server.count("execute") == 0


@pytest.mark.parametrize("required", [["sku"], [[]], "sku", None], ids=str)
def test_arguments_by_position_and_odd_schemas_are_left_to_the_backend(
    required: Any, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    schema = {**CLOSED, "required": required}
    server = reply(json.dumps({"items": [{"name": "f", "parameters": schema}], "ok": True, "result": 1}))
    assert navai("call", "f", "args:=[1]", "--url", server.url).out == "1\n"


def test_a_function_without_parameters_says_so() -> None:
    with pytest.raises(click.UsageError, match=r"^f has no parameter a\. It has: none\."):
        parse_pairs(["a=1"], {"properties": {}, "additionalProperties": False}, "f")


@pytest.mark.parametrize(
    "arguments",
    [["skuu:=7"], ["unit:=3"], ["args:=[1]"], ["args=[1]"], ["--payload", '{"skuu": 7}']],
    ids=str,
)
def test_what_the_schema_refuses_can_be_sent_all_the_same(
    arguments: list[str], navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply(json.dumps({"items": [{"name": "f", "parameters": CLOSED}], "ok": True, "result": 1}))
    assert navai("call", "f", *arguments, "--url", server.url).out == "1\n"


def test_parameters_are_arguments_and_options_in_any_order(command: Navai, demo_server: str) -> None:
    given = ("location=San Francisco", "--json", "unit=fahrenheit")
    printed = command("call", "get_weather", *given, "--url", demo_server).out
    assert json.loads(printed)["location"] == "San Francisco"
    assert json.loads(printed)["unit"] == "fahrenheit"
    mixed = command(
        "call", "get_weather", "-p", "unit=fahrenheit", "location=San Francisco", "--url", demo_server
    )
    assert json.loads(mixed.out) == json.loads(printed)


@given(value=JSON)
def test_any_json_can_be_given_and_is_sent_unchanged(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(text, "it") == value
    assert parse_pairs([f"key:={text}"], None) == {"key": value}


@given(text=st.text())
def test_a_string_by_the_schema_is_never_read_as_anything_else(text: str) -> None:
    assert parse_pairs([f"text={text}"], SCHEMA) == {"text": text}


@given(text=st.text())
def test_without_a_schema_every_value_is_json_or_a_string(text: str) -> None:
    (value,) = parse_pairs([f"key={text}"], None).values()
    assert value == text or json.loads(text) == value


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("text", ["null", "[1, 2]", '"x"', "12345678901234567890123"])
def test_a_payload_may_be_any_json(text: str, navai: Navai) -> None:
    result = navai("call", "echo", "--json", "--payload", json.dumps({"payload": json.loads(text)}))
    assert json.loads(result.out) == json.loads(text)


@pytest.mark.usefixtures("echo")
def test_a_lone_surrogate_is_printed_as_json_spells_it(navai: Navai) -> None:
    result = navai("call", "echo", "--json", "-p", r'payload:="\ud800 \u009b é"')
    assert result.out == '"\\ud800 \\u009b é"\n'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--payload", "{"], "--payload is not JSON: Expecting property name"),
        (["--payload", "NaN"], "--payload is not JSON: NaN is not a JSON value."),
        (["--payload", "[" * 100_000], "--payload is not JSON: it is nested too deeply."),
        (["-p", "x:={"], "-p x is not JSON"),
        (["-p", "x"], "1 argument too many (not shown): neither KEY=VALUE nor KEY:=JSON. Values with blanks"),
        (["-p", "=x"], "neither KEY=VALUE nor KEY:=JSON."),
        (["-p", "x=1", "-p", "x=2"], "-p x is given twice; for a list, write x:='[...]'."),
        (["-p", "x=1", "--payload", "1"], "--payload, --payload-file and KEY=VALUE exclude each other."),
        (["x=1", "--payload", "1"], "--payload, --payload-file and KEY=VALUE exclude each other."),
        (["x=1", "-p", "x=2"], "-p x is given twice"),
        (["--payload-file", "/not/there"], "'/not/there' does not exist"),
        (["--payload-file", "/proc/self/mem"], "--payload-file /proc/self/mem: "),
        (["--payload", "1e999"], "payload is inf; JSON has only finite numbers."),
        (["--idempotency-key", "a b"], "idempotency_key must be"),
        (["location", "Oslo"], "2 arguments too many (not shown): neither KEY=VALUE nor KEY:=JSON."),
        (["location=San", "Francisco"], "Values with blanks need quotes, and there is no blank around =."),
        (["location", "=", "Oslo"], "Values with blanks need quotes, and there is no blank around =."),
        (["location:", "Oslo"], "2 arguments too many (not shown)"),
        (["-H", "Authorization: Bearer", "c2VjcmV0LXRva2VuLTEyMw=="], "1 argument too many (not shown)"),
        (['{"location": "Oslo"}'], "A payload as JSON goes with --payload."),
        (
            ["--location", "Oslo"],
            "No such option '--location'. A parameter of the function is given as location=VALUE.",
        ),
        (["--location=Oslo"], "A parameter of the function is given as location=VALUE."),
        (["--timeout", "0"], "0.0 is not in the range x>0"),
    ],
)
@pytest.mark.usefixtures("echo")
def test_what_cannot_be_sent_is_status_2_and_one_line(arguments: list[str], said: str, navai: Navai) -> None:
    result = navai("call", "echo", *arguments)
    assert result.status == 2
    assert result.out == ""
    assert said in result.err
    assert result.err.startswith("navai call: ")
    assert result.err.count("\n") == 1


def test_a_file_that_is_not_text_is_refused(navai: Navai, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_bytes(b"\xff\xfe")
    result = navai("call", "f", "--payload-file", str(file))
    assert (result.status, result.out) == (2, "")
    assert f"--payload-file {file}: the content is not UTF-8." in result.err


def test_a_function_that_fails_is_status_1(command: Navai, demo_server: str) -> None:
    result = command("call", "cancel_order", "-p", "order_id=7", "--url", demo_server)
    assert result == (1, "", "navai call: cancel_order failed: There is no order '7'.\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("get_wether", "Did you mean get_weather?"),
        (
            "xyz",
            "It has: calculator_add_tax, cancel_order, create_order, get_weather, make_report, tell_time.",
        ),
    ],
)
def test_an_unknown_function_is_status_1_with_what_there_is(
    name: str, said: str, command: Navai, demo_server: str
) -> None:
    result = command("call", name, "-p", "a=1", "--url", demo_server)
    assert result == (1, "", f"navai call: The backend has no function {name}. {said}\n")


@pytest.mark.parametrize(("names", "said"), [(0, "It has no functions."), (12, "name9, ...")])
def test_at_most_ten_names_are_shown(
    names: int, said: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    body = {"error": "Unknown", "available_functions": [f"name{each}" for each in range(names)]}
    server = reply(json.dumps(body), status="404 Not Found")
    assert navai("call", "xyz", "--url", server.url).err.endswith(f"{said}\n")


def test_a_backend_that_lists_no_functions_still_executes_them(
    navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply('{"ok": true, "result": "done"}')
    assert navai("call", "f", "-p", "a=1", "--url", server.url).out == '"done"\n'
    assert json.loads(server.arrived[-1][2]) == {"function_name": "f", "payload": {"a": 1}}


def test_without_a_function_list_values_are_not_typed(
    navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply("{}", status="404 Not Found")
    result = navai("call", "f", "-p", "a=1", "--url", server.url)
    assert result.status == 1
    assert server.count("execute") == 1


def test_an_idempotency_key_is_sent_with_the_call(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    server = reply('{"ok": true, "result": null}')
    assert navai("call", "f", "--idempotency-key", "mine", "--url", server.url).out == "null\n"
    assert b"Idempotency-Key: mine" in server.arrived[0][1]


def test_an_unreachable_backend_is_status_3(navai: Navai) -> None:
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        assert navai("call", "f", "--timeout", "1", "--url", url).status == 3
        assert navai("call", "f", "-p", "a=1", "--timeout", "1", "--url", url).status == 3


def test_a_lost_response_is_status_4(command: Navai) -> None:
    with FaultServer(FAULTS["closes after the request"]) as server:
        result = command("call", "f", "--url", server.url)
        assert result.status == 4
        assert "It may have been executed all the same: check before you try again." in result.err
        assert server.count("execute") == 1
        key = result.err.split("--idempotency-key ")[1].split()[0]
        assert f"Idempotency-Key: {key}".encode() in server.arrived[0][1]
        # Requesting the schema has no effect: a lost list leaves no outcome unknown.
        assert command("call", "f", "-p", "a=1", "--url", server.url).status == 3


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (
            '{"error": "It was cut off.", "may_have_executed": true}',
            "409 Conflict",
            "HTTP 409: It was cut off",
        ),
        ('{"ok": false, "details": "Not in time.", "may_have_executed": true}', "200 OK", "f: Not in time"),
    ],
)
def test_a_function_that_may_have_acted_without_a_result_is_status_4(
    navai: Navai, reply: Callable[..., FaultServer], body: str, status: str, said: str
) -> None:
    result = navai("call", "f", "--url", reply(body, status=status).url)
    assert result.status == 4
    told = f"navai call: {said}. It may have been executed all the same: check before you try again. The same"
    assert result.err.startswith(f"{told} command with --idempotency-key ")


def test_a_call_that_takes_too_long_is_status_4(command: Navai) -> None:
    with FaultServer(FAULTS["never answers"]) as server:
        result = command("call", "f", "--timeout", "3", "--url", server.url)
    assert result.status == 4
    assert "within 3 s" in result.err


def test_a_call_that_waits_for_approval_says_how_to_ask_what_came_of_it(navai: Navai) -> None:
    backend = NavaiBackend(env={}, discover=False, inspector=True, inspector_token="inspectors-token-1234")
    backend.function(lambda: "refunded", name="refund", approval=True)
    with serving_app(backend) as url:
        waits = navai("call", "refund", "--url", url)
        assert (waits.status, waits.out) == (5, "")
        assert "It waits for approval" in waits.err
        key = waits.err.split("--idempotency-key ")[1].split()[0]
        approvals, person = f"{url}/navai/approvals", {"Authorization": "Bearer inspectors-token-1234"}
        (item,) = httpx.get(approvals, headers=person, trust_env=False, timeout=60).json()["items"]
        assert item["id"] in waits.err
        decision = {"decision": "approve"}
        httpx.post(f"{approvals}/{item['id']}", headers=person, json=decision, trust_env=False, timeout=60)
        assert navai("call", "refund", "--idempotency-key", key, "--url", url).out == '"refunded"\n'


def test_the_address_of_a_wordpress_api_is_enough(navai: Navai) -> None:
    with serving_site() as site:
        site.plugin.public_functions = True
        for url in (f"{site.url}/wp-json/", f"{site.url}/?rest_route=/"):
            assert "get_weather" in navai("functions", "--url", url).out
        waits = navai("call", "order", "-p", "city=Oslo", "--url", f"{site.url}/wp-json")
        assert waits.status == 5
        assert "It waits for approval 1. Do not repeat it: that would be another request." in waits.err
        refused = navai("functions", "--url", f"{site.url}/wp-json/", "--header", "X-WP-Nonce: stale")
        assert (refused.status, "HTTP 403: Cookie check failed" in refused.err) == (1, True)


def test_an_approval_without_an_id_waits_as_well(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    server = reply('{"ok": false, "pending_approval": true}', status="202 Accepted")
    assert "It waits for approval. Do not" in navai("call", "refund", "--url", server.url).err
