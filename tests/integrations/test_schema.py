"""The schemas that a backend sends, as a toolset's tools and checks use them."""

import asyncio
import datetime as dt
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings, strategies as st

from navai_client import BackendFunction, FunctionList
from navai_client.integrations.tools import Tool, ToolOutcome
from navai_client.integrations.toolset import Toolset

OPEN = {"type": "object", "properties": {}, "additionalProperties": True}


class Recorder:
    """A client whose functions return their payload."""

    async def execute_function(self, name: str, payload: Any = None, **_: Any) -> Any:
        return payload

    async def list_functions(self) -> FunctionList:
        return FunctionList()


def toolset_with(parameters: Any) -> Toolset:
    function = BackendFunction(name="f", parameters=parameters)
    return Toolset(Recorder(), FunctionList(functions=(function,)))  # type: ignore[arg-type]


def tool_with(parameters: Any) -> Tool:
    return toolset_with(parameters).tools[-1]


def outcome_of(parameters: Any, arguments: Any) -> ToolOutcome:
    async def call() -> ToolOutcome:
        async with toolset_with(parameters) as toolset:
            return await toolset.call("f", arguments)

    return asyncio.run(call())


def test_references_are_inlined() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"City": {"type": "string", "minLength": 1}, "a/b~c": {"type": "integer"}},
        "properties": {
            "city": {"$ref": "#/$defs/City", "description": "Where."},
            "days": {"type": "array", "items": {"$ref": "#/$defs/a~1b~0c"}},
            "both": {"anyOf": [{"$ref": "#/properties/city"}, {"$ref": "#/properties/both/anyOf/2"}, True]},
        },
        "required": ["city"],
    }
    assert tool_with(schema).parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1, "description": "Where."},
            "days": {"type": "array", "items": {"type": "integer"}},
            "both": {"anyOf": [{"type": "string", "minLength": 1, "description": "Where."}, {}, True]},
        },
        "required": ["city"],
    }


def test_a_recursive_schema_is_open_at_its_second_occurrence() -> None:
    tree = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "children": {"items": {"$ref": "#"}, "type": "array"}},
    }
    children = tool_with(tree).parameters["properties"]["children"]["items"]["properties"]["children"]
    assert children["items"] == {"type": "object"}
    assert not outcome_of(tree, {"children": [{"value": "x"}]}).ok
    assert outcome_of(tree, {"children": [{"children": [{"anything": 1}]}]}).ok


@pytest.mark.parametrize(
    "reference", ["https://example.com/s.json", "#/nowhere", "#/properties/x/9", "#name"]
)
def test_a_reference_that_leads_nowhere_is_open_and_nothing_is_fetched(reference: str) -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": reference}}}
    assert tool_with(schema).parameters["properties"]["x"] == {}


def test_data_that_looks_like_a_reference_stays() -> None:
    schema = {
        "type": "object",
        "properties": {
            "$ref": {"type": "string"},
            "definitions": {"enum": [{"$ref": "#"}], "default": {"$ref": "#"}},
        },
    }
    assert tool_with(schema).parameters == schema


def test_a_tools_schema_is_a_copy() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"x": {"enum": ["a"]}}}
    tool = tool_with(schema)
    tool.parameters["properties"]["x"]["enum"].append("b")
    assert schema["properties"]["x"]["enum"] == ["a"]


BOMB: dict[str, Any] = {
    "type": "object",
    "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(10)},
    "properties": {"x": {"$ref": "#/$defs/d0"}},
}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string"}, "it does not describe an object"),
        ({"type": ["object", "null"]}, "it does not describe an object"),
        (
            {"type": "object", "properties": {"x": {"type": "text"}}},
            'properties.x.type: "text" does not satisfy "anyOf":',
        ),
        ({"type": "object", "required": "x"}, 'required: "x" does not satisfy "type": "array"'),
        ({"properties": 7}, 'properties: 7 does not satisfy "type": "object"'),
        (BOMB, "it is too large"),
        (nested(3000), "it is nested too deeply"),
        (nested(200), "it is nested too deeply"),  # for the check of a schema, which takes more of the stack
    ],
    ids=["text", "or null", "type", "required", "properties", "bomb", "nested", "nested less"],
)
def test_an_invalid_schema_is_a_warning(schema: Any, reason: str) -> None:
    toolset = toolset_with(schema)
    (warning,) = toolset.warnings
    assert warning.startswith(f'[navai] Ignored the parameters of backend function "f": {reason}')
    shown = {key: value for key, value in toolset.tools[-1].parameters.items() if key != "description"}
    assert shown == OPEN
    assert outcome_of(schema, {"anything": 1}).result == {"anything": 1}


def test_keywords_that_openai_refuses_are_not_shown_but_checked() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    }
    assert tool_with(schema).parameters == {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert not outcome_of(schema, {}).ok


def test_an_older_draft_has_its_own_rules() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"x": {"type": "integer"}},
        "type": "object",
        "properties": {"pair": {"items": [{"$ref": "#/definitions/x"}, True]}},
    }
    assert not outcome_of(schema, {"pair": ["no"]}).ok
    assert outcome_of(schema, {"pair": [1]}).ok


def test_a_pattern_of_another_language_is_left_to_the_backend() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": r"\p{L}+"}}}
    toolset = toolset_with(schema)
    assert toolset.warnings == ()
    assert toolset.tools[-1].parameters == schema
    assert outcome_of(schema, {"x": "abc"}).ok


def test_a_model_reads_each_problem_up_to_a_limit() -> None:
    schema = {
        "type": "object",
        "properties": {
            "place": {},
            "unit": {"enum": ["c", "f"]},
            "days": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["place"],
        "additionalProperties": False,
    }
    error = outcome_of(schema, {"unit": "k", "days": [1, "two"], "x": "y" * 500}).error
    assert error is not None
    assert 'unit: "k" does not satisfy "enum": ["c", "f"]' in error
    assert 'days.1: "two" does not satisfy "type": "integer"' in error
    assert 'missing "place"' in error
    assert 'no parameter "x"' in error
    assert error.count("place") == 1
    many = outcome_of(schema, {"place": "", "days": ["x"] * 100}).error
    assert many is not None
    assert many.endswith("; and 92 more.")
    assert len(many) < 2000


def test_arguments_that_are_nested_too_deeply_are_refused() -> None:
    tree: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "object"}}
    assert "nested too deeply" in (outcome_of(tree, '{"a":' * 100_000).error or "")
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    closed = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert "nested too deeply" in (outcome_of(closed, deep).error or "")
    assert outcome_of(None, deep).ok  # a real client refuses it, in words


@pytest.mark.parametrize("key", ["args", "arguments", "value", "methodArgs", "constructorArgs"])
def test_arguments_by_position_are_left_to_the_backend(key: str) -> None:
    schema = {
        "type": "object",
        "properties": {"place": {}},
        "required": ["place"],
        "additionalProperties": False,
    }
    assert outcome_of(schema, {key: ["Rome"]}).ok
    named = {"type": "object", "properties": {key: {"type": "integer"}}}
    assert not outcome_of(named, {key: ["Rome"]}).ok


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
keywords = st.sampled_from(
    [
        "type",
        "properties",
        "$ref",
        "$defs",
        "items",
        "anyOf",
        "required",
        "enum",
        "additionalProperties",
        "if",
    ]
)
schemas = st.dictionaries(keywords, json_values | st.just("#/properties/a") | st.just("object"), max_size=5)


@settings(max_examples=200)
@given(schema=schemas, arguments=st.dictionaries(st.text(max_size=2), json_values, max_size=3))
def test_any_schema_makes_a_tool_whose_calls_have_an_outcome(
    schema: dict[str, Any], arguments: dict[str, Any]
) -> None:
    parameters = tool_with(schema).parameters
    jsonschema.Draft202012Validator.check_schema(parameters)
    assert parameters["type"] == "object"
    assert "$ref" not in parameters
    outcome = outcome_of(schema, arguments)
    assert outcome.ok or outcome.error_type == "invalid_arguments"


NULLS = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "unit": {"enum": ["c", "f"]},
        "note": {"type": ["string", "null"]},
        "free": {},
        "items": {
            "type": "array",
            "items": {"type": "object", "properties": {"sku": {"type": "string"}, "n": {"type": "integer"}}},
        },
        "at": {"type": "object", "properties": {"hour": {"type": "integer"}}, "required": ["hour"]},
    },
    "required": ["place"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ({"place": "Oslo", "unit": None}, {"place": "Oslo"}),
        ({"place": "Oslo", "note": None, "free": None}, {"place": "Oslo", "note": None, "free": None}),
        ({"place": "Oslo", "items": [{"sku": "a", "n": None}]}, {"place": "Oslo", "items": [{"sku": "a"}]}),
        ({"place": "Oslo", "at": None}, {"place": "Oslo"}),
    ],
)
def test_null_for_an_optional_parameter_that_takes_no_null_is_an_omission(sent: Any, received: Any) -> None:
    """Many models write null for an argument that they leave out: a refusal costs a spoken turn."""
    assert outcome_of(NULLS, sent).result == received


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ({"place": None}, 'place: null does not satisfy "type": "string"'),
        ({"place": "Oslo", "at": {"hour": None}}, 'at.hour: null does not satisfy "type": "integer"'),
        ({"place": "Oslo", "unknown": None}, 'no parameter "unknown"'),
        ({"place": "Oslo", "units": "c"}, 'no parameter "units"; did you mean "unit"?'),
        ({"place": "Oslo", "unit": "k" * 200}, f'unit: "{"k" * 79}… does not satisfy "enum": ["c", "f"]'),
    ],
)
def test_a_refusal_is_in_the_words_of_json_schema(sent: Any, problem: str) -> None:
    end = "" if problem.endswith("?") else "."
    assert outcome_of(NULLS, sent).error == f"Invalid arguments: {problem}{end}"


def test_a_value_without_a_form_in_json_is_shown_as_text() -> None:
    error = outcome_of(NULLS, {"place": dt.date(2026, 11, 28)}).error
    assert error == 'Invalid arguments: place: "2026-11-28" does not satisfy "type": "string".'
