"""The binder accepts what a JSON Schema validator accepts, for constraints that JSON Schema can express."""

import dataclasses
import enum
import inspect
from typing import Annotated, Any, Final, Literal, TypedDict

import attrs
import jsonschema
import pydantic
from hypothesis import given, strategies as st

from navai_client.functions._binding import ArgumentsError, Binding, Payload
from tests.properties import PROPERTY


class Color(enum.Enum):
    """Texts, a number and a truth value."""

    RED = "red"
    ONE = 1
    NO = False


class Leaf(pydantic.BaseModel):
    """Inside of another one. A recursive model is published open where it holds itself."""

    n: int


class Model(pydantic.BaseModel):
    """Of Pydantic."""

    model_config = pydantic.ConfigDict(extra="forbid")

    n: int = pydantic.Field(ge=0)
    inner: Leaf | None = None


@dataclasses.dataclass
class Data:
    """Of the standard library."""

    n: Annotated[float, pydantic.Field(le=10)]
    tags: list[str] = dataclasses.field(default_factory=list)


@attrs.define
class Attrs:
    """Of attrs."""

    on: bool
    color: Color = Color.RED


class Typed(TypedDict, total=False):
    """A dictionary."""

    a: int
    b: str


NAMES: Final = ("a", "b", "c", "_d", "class_", "schema", "self_")
SMALL: Final = st.integers(-3, 12)
HINTS: Final[st.SearchStrategy[Any]] = st.recursive(
    st.sampled_from(
        [
            int,
            float,
            bool,
            str,
            None,
            Any,
            Color,
            Model,
            Data,
            Attrs,
            Typed,
            Literal["a", 1],
            Literal[True, 0],
        ]
    )
    | st.builds(lambda low, high: Annotated[int, pydantic.Field(ge=low, lt=high)], SMALL, SMALL)
    | st.builds(lambda step: Annotated[int, pydantic.Field(multiple_of=step)], st.integers(1, 5))
    | st.builds(lambda low: Annotated[float, pydantic.Field(gt=low)], SMALL)
    | st.builds(
        lambda low, high: Annotated[str, pydantic.Field(min_length=low, max_length=high)],
        st.integers(0, 3),
        st.integers(0, 5),
    )
    | st.just(Annotated[str, pydantic.Field(pattern="^a+$")]),
    lambda hints: (
        st.builds(lambda hint: list[hint], hints)  # type: ignore[valid-type]
        | st.builds(lambda hint: dict[str, hint], hints)  # type: ignore[valid-type]
        | st.builds(lambda one, other: tuple[one, other], hints, hints)  # type: ignore[valid-type]
        | st.builds(lambda one, other: one | other if one is not None else other, hints, hints)
        | st.builds(
            lambda hint, most: Annotated[list[hint], pydantic.Field(max_length=most)],  # type: ignore[valid-type]
            hints,
            st.integers(0, 2),
        )
    ),
    max_leaves=4,
)
TEXT: Final = st.sampled_from(["", "a", "aa", "red", "5", "true", "é𝄞"])
VALUES: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | SMALL | SMALL.map(float) | st.sampled_from([0.5, -1.25, 10**20, 1e20]) | TEXT,
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(["n", "a", "b", "on", "inner", "tags", "color", "x"]), values, max_size=3
        )
    ),
    max_leaves=6,
)
KINDS: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@st.composite
def functions(draw: st.DrawFn) -> Any:
    """Draw a function by its signature."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    parameters: list[inspect.Parameter] = []
    for name in names:
        hint = draw(HINTS)
        default = draw(st.sampled_from([inspect.Parameter.empty, inspect.Parameter.empty, None]))
        kind = inspect.Parameter.KEYWORD_ONLY if parameters else draw(st.sampled_from(KINDS))
        parameters.append(inspect.Parameter(name, kind, annotation=hint, default=default))

    def f(**values: Any) -> Any:
        return values

    f.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return f


def fitting(schema: Any) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911 - one for each type
    """Draw values that are nearly valid by *schema*."""
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if choices:
        return st.sampled_from(choices)
    if "anyOf" in schema:
        return st.one_of(*map(fitting, schema["anyOf"]))
    match schema.get("type"):
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", -5))
            return st.integers(int(low), int(low) + 12) | st.integers(-2, 12).map(float)
        case "string":
            return st.text("a", max_size=4) | TEXT
        case "boolean":
            return st.booleans()
        case "array" if "prefixItems" in schema:
            return st.tuples(*map(fitting, schema["prefixItems"])).map(list)
        case "array":
            return st.lists(fitting(schema.get("items", {})), max_size=2)
        case "object" if "properties" in schema:
            fields = {name: fitting(each) for name, each in schema["properties"].items()}
            required = {name: fields.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=fields)
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return st.dictionaries(TEXT, fitting(schema["additionalProperties"]), max_size=2)
        case "null":
            return st.none()
    return VALUES


@PROPERTY
@given(functions(), st.data())
def test_the_binder_and_a_validator_agree(function: Any, data: st.DataObject) -> None:
    binding = Binding(function)
    published = binding.schema["properties"]
    fields = {name: fitting(each) | VALUES for name, each in published.items()}
    payload = data.draw(
        fitting(binding.schema) | st.fixed_dictionaries({}, optional={**fields, "unknown": VALUES})
    )
    jsonschema.Draft202012Validator.check_schema(binding.schema)
    valid = jsonschema.Draft202012Validator(binding.schema).is_valid
    first = next(iter(inspect.signature(function).parameters.values()))
    expected = valid(payload) or (
        # The contract's last form: the whole payload as the one argument.
        not payload.keys() <= published.keys()
        and first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and valid({first.name: payload})
    )
    try:
        binding.bind(Payload(payload), None)
        admitted = True
    except ArgumentsError:
        admitted = False
    assert admitted == expected, (binding.schema, payload)
