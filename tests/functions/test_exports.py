"""What a module offers: only what its author meant as a tool."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from navai_client.server import NavaiBackend, discover_function_modules, load_functions
from tests.functions.conftest import toolset_of

ACCIDENTS = """
import collections, dataclasses, enum, functools, typing
import attrs, msgspec, pydantic
from navai_client.server import function

def charge(amount: int) -> int: return amount
@functools.lru_cache
def cached(amount: int) -> int: return amount

@dataclasses.dataclass
class Order:
    id: int
    def cancel(self): ...
@attrs.define
class Basket:
    def clear(self): ...
class Line(msgspec.Struct):
    def drop(self): ...
class Address(pydantic.BaseModel):
    def geocode(self): ...
class Colour(enum.Enum):
    RED = 1
    def mix(self): ...
class OutOfStock(Exception):
    def retry(self): ...
class Point(typing.NamedTuple):
    x: int
    def move(self): ...
class Fields(typing.TypedDict):
    x: int
class Store(typing.Protocol):
    def read(self): ...
double = lambda x: 2 * x
class _Connection:
    def __getattr__(self, name): return "anything"
    def __call__(self): ...
    def query(self): ...
db = _Connection()
class _Mailer:
    def __call__(self, text: str): ...
mailer = _Mailer()
partial = functools.partial(charge, 1)
Pair = collections.namedtuple("Pair", "a b")
Alias = list[int]
"""


def load(base: Path, *, strict: bool = False) -> Any:
    return load_functions(discover_function_modules(base, "tools").modules, strict=strict)


def write(base: Path, text: str) -> None:
    (base / "src/tools").mkdir(parents=True)
    (base / "src/tools/m.py").write_text(text)


def test_a_module_without_all_offers_no_data_lambda_or_instance(tmp_path: Path) -> None:
    write(tmp_path, ACCIDENTS)
    found = load(tmp_path)
    assert found.names == ["charge", "cached"]
    ignored = "Order", "Basket", "Line", "Address", "Colour", "OutOfStock", "Point", "Store"
    assert found.warnings == [
        *(
            f"[navai] Ignored src/tools/m.py#{name}: a class that holds data is offered if __all__ or "
            "@function names it."
            for name in ignored
        ),
        "[navai] Ignored src/tools/m.py#double: a lambda is offered if __all__ or @function names it.",
    ]


@pytest.mark.parametrize(
    "named", ['__all__ = ["Order", "double", "mailer"]', "for each in Order, double, mailer: function(each)"]
)
def test_what_is_named_is_offered(tmp_path: Path, named: str) -> None:
    write(tmp_path, f"{ACCIDENTS}\n{named}")
    assert {"order_cancel", "double", "mailer"} <= set(load(tmp_path).names)


def test_strict_exports_offer_what_is_named_alone(tmp_path: Path) -> None:
    write(tmp_path, ACCIDENTS)
    (tmp_path / "src/tools/marked.py").write_text(
        "from navai_client.server import function\n@function\ndef pay(): ...\ndef get_connection(): ..."
    )
    (tmp_path / "src/tools/named.py").write_text("__all__ = ['ship']\ndef ship(): ...\ndef helper(): ...")
    found = load(tmp_path, strict=True)
    assert found.names == ["pay", "ship"]
    assert found.warnings == ["[navai] Ignored src/tools/m.py: module has no exports."]


def test_the_environment_can_ask_for_strict_exports(tmp_path: Path, ask: Any) -> None:
    write(tmp_path, "def charge(): ...")
    env = {"NAVAI_STRICT_EXPORTS": "true", "NAVAI_FUNCTIONS_FOLDERS": "tools"}
    backend = NavaiBackend(env=env, functions_base_dir=tmp_path)
    assert ask(backend, "GET", "/navai/functions").json()["items"] == []


def hidden(x: int, _token: str = "own", *, _retries: int = 3) -> str:
    return f"{x} {_token} {_retries}"


def hidden_with_others(x: int, _token: str = "own", **more: int) -> str:
    return f"{x} {_token} {sorted(more)}"


@pytest.mark.parametrize("function", [hidden, hidden_with_others])
def test_a_parameter_with_an_underscore_cannot_be_set(
    call: Callable[..., Any], schema: Callable[..., Any], function: Callable[..., Any]
) -> None:
    assert list(schema(function)["properties"]) == ["x"]
    assert call(function, {"x": 1}).startswith("1 own ")
    assert call(function, {"args": [1, "stolen"]}).startswith("1 own ")
    assert call(function, {"x": 1, "_token": "stolen"}) == "Invalid arguments: no parameter _token."


def test_an_alias_gives_such_a_parameter_a_public_name(call: Callable[..., Any]) -> None:
    def fly(_from: Annotated[str, Field(alias="from")]) -> str:
        return _from

    assert call(fly, {"from": "Oslo"}) == "Oslo"


def test_a_function_that_requires_such_a_parameter_is_not_offered(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_db: object, x: int) -> None: ...

    backend = NavaiBackend(env={}, discover=False)
    backend.function(broken)
    assert backend.functions().names == []
    assert 'parameter "_db" cannot be given: its name begins with an underscore' in caplog.text
    assert not any(tool.name == "f" for tool in toolset_of(broken).tools)


OWN_KEY = "sk-" + "a1B2" * 8
ACCESS_TOKEN = "opensesame-opensesame"


def test_the_list_shows_no_secret_of_the_backend(ask: Any) -> None:
    backend = NavaiBackend(env={"OPENAI_API_KEY": OWN_KEY}, access_token=ACCESS_TOKEN, discover=False)

    @backend.function(description=f"Uses {ACCESS_TOKEN}.")
    def summarize(  # noqa: PLR0917 - as callers see it
        text: str,
        api_key: Annotated[str, Field(description=f"Such as {OWN_KEY}.")] = OWN_KEY,
        dsn: str = "postgres://u:pw12345@h/db",
        within: str = f"key:{OWN_KEY}:",
        header: str = f"x{ACCESS_TOKEN}",
        options: dict[str, str] = {"k": ACCESS_TOKEN},  # noqa: B006
        nested: dict[str, dict[str, str]] = {"password": {"of": "hunter22"}},  # noqa: B006
        unit: str = "celsius",
    ) -> None: ...

    headers = {"authorization": f"Bearer {ACCESS_TOKEN}"}
    response = ask(backend, "GET", "/navai/functions", headers=headers)
    for secret in (OWN_KEY, ACCESS_TOKEN, "pw12345", "hunter22"):
        assert secret not in response.text
    (item,) = response.json()["items"]
    properties = item["parameters"]["properties"]
    assert [name for name, each in properties.items() if "default" in each] == ["unit"]
    assert properties["api_key"]["type"] == "string"
    assert item["description"] == "Uses ***."
    assert response.json()["warnings"] == [
        f'[navai] {item["source"]}: the default of "{name}" is not published: it is, or looks like, a secret.'
        for name in ("api_key", "dsn", "within", "header", "options", "nested")
    ]
    assert summarize.__defaults__ is not None  # calls still use them


@pytest.mark.parametrize("unset", ["", None])
def test_a_default_that_holds_nothing_is_published(schema: Callable[..., Any], unset: str | None) -> None:
    def f(password: str | None = unset) -> None: ...

    assert schema(f)["properties"]["password"]["default"] == unset
