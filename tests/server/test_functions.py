"""Which functions a folder of modules offers, under which names, with which schema and which warnings."""

import asyncio
import functools
import runpy
import threading
from pathlib import Path
from typing import Annotated, Any

import attrs
import msgspec
import pytest

from navai_client._threads import CallThreads, NoThreadLeftError
from navai_client.functions._registry import FunctionRegistry, normalize_name
from navai_client.server import NavaiBackend, discover_function_modules, load_functions
from tests.waiting import PATIENCE_S


def load(base: Path, folders: str | None = None, agents: str | None = None) -> FunctionRegistry:
    return load_functions(discover_function_modules(base, folders, agents).modules)


def test_exports_become_tools_with_the_contracts_names_and_sources(tmp_path: Path, write: Any) -> None:
    write(
        "src/ai/functions-modules/shop.py",
        '''
__all__ = ["makeOrder", "Till", "box", "tools", "LIMIT", "make-order"]
def makeOrder(): """Make it.

    More."""
class Till:
    def add(self): ...
    @staticmethod
    def round_up(): """Round."""
    def _hidden(self): ...
class _Box:
    def open_lid(self): """Open."""
box = _Box()
tools = {"sendMail": lambda: 1, "n": 3}
LIMIT = 3
globals()["make-order"] = makeOrder
''',
    )
    path = "src/ai/functions-modules/shop.py"
    found = load(tmp_path)
    assert [(each.name, each.description, each.source) for each in found.functions] == [
        ("make_order", "Make it.", f"{path}#makeOrder"),
        ("till_add", "Call class method Till.add().", f"{path}#Till.add"),
        ("till_round_up", "Round.", f"{path}#Till.round_up"),
        ("box_open_lid", "Open.", f"{path}#box.open_lid"),
        ("tools_send_mail", "Call exported object member tools.sendMail().", f"{path}#tools.sendMail"),
        ("make_order_2", "Make it.", f"{path}#make-order"),
    ]
    assert found.warnings == ['[navai] Renamed duplicated function "make-order" to "make_order_2".']


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("X = 1", ["Ignored {}: module has no exports."]),
        (
            "class Empty: ...",
            [
                "Ignored {}#Empty: class has no callable instance methods.",
                "Ignored {}: module has no callable exports.",
            ],
        ),
        (
            "__all__ = ['d']\nd = {'a': 1}",
            [
                "Ignored {}#d: exported object has no callable members.",
                "Ignored {}: module has no callable exports.",
            ],
        ),
        ("raise ValueError('not today')", ["Failed to load {}: not today"]),
        ("raise SystemExit(3)", ["Failed to load {}: 3"]),
        ("__all__ = ['x']", ["Failed to load {}: __all__ names 'x', which the module does not have"]),
        ("import enum\nclass Color(enum.Enum): RED = 1\ndef f(): ...", []),
    ],
)
def test_modules_without_functions_are_warnings(
    tmp_path: Path, write: Any, text: str, warnings: list[str]
) -> None:
    write("src/m.py", text)
    assert load(tmp_path, "src").warnings == [f"[navai] {each.format('src/m.py')}" for each in warnings]


@pytest.mark.parametrize(
    ("folders", "agents", "found"),
    [
        ("ai", None, ["x", "y"]),
        ("ai/...", None, ["x", "y"]),
        ("src/ai/*.py", None, []),
        ("src/ai/*/*.py", None, ["x", "y"]),
        ("src/**", None, ["x", "y"]),
        ("ai", "sales, ops", ["x"]),
        ("src/ai/sales/x.py", None, ["x"]),
        ("plain", None, ["z"]),
        ("ai/sales, plain/*.py", None, ["x", "z"]),
    ],
)
def test_folders_choose_modules(
    tmp_path: Path, write: Any, folders: str, agents: str, found: list[str]
) -> None:
    for path in (
        "src/ai/sales/x.py", "src/ai/help/y.py", "plain/z.py", "src/ai/help/_no.py", "src/ai/help/test_no.py",
        "src/ai/.git/no.py", "src/ai/node_modules/no.py", "src/ai/help/conftest.py", "src/ai/help/no.txt",
    ):  # fmt: skip
        write(path, f"def {path.rpartition('/')[2].partition('.')[0]}(): ...")
    write("src/ai/my-env/pyvenv.cfg", "")
    write("src/ai/my-env/no.py", "def no(): ...")
    assert sorted(load(tmp_path, folders, agents).names) == found


def test_folders_that_match_nothing_fall_back_with_a_warning(tmp_path: Path, write: Any) -> None:
    write("src/ai/functions-modules/a.py", "def a(): ...")
    found = discover_function_modules(tmp_path, "nope")
    assert [each.path for each in found.modules] == ["src/ai/functions-modules/a.py"]
    assert found.warnings == (
        (
            '[navai] NAVAI_FUNCTIONS_FOLDERS did not match any module: "nope". '
            'Falling back to "src/ai/functions-modules".'
        ),
    )


def test_modules_can_import_their_neighbours(tmp_path: Path, write: Any) -> None:
    write("src/tools/__init__.py", "")
    write("src/tools/_helper.py", "NAME = 'Oslo'")
    write("src/tools/a.py", "from ._helper import NAME\ndef a() -> str: return NAME")
    assert load(tmp_path, "tools").names == ["a"]


@pytest.mark.parametrize(
    ("raw", "name"),
    [("getWeather", "get_weather"), ("HTTPServer2Go", "httpserver2_go"), ("é", ""), ("_a b_", "a_b")],
)
def test_names_are_made_as_in_all_navai_backends(raw: str, name: str) -> None:
    assert normalize_name(raw) == name


def test_the_schema_comes_from_hints_and_docstring(backend: NavaiBackend, ask: Any) -> None:
    class Line(msgspec.Struct):
        product: str
        quantity: Annotated[int, msgspec.Meta(ge=1)] = 1

    @backend.function(description="Ours.")
    def order(
        items: list[Line], note: Annotated[str, "Anything."] = "", *, fast: bool = False, **more: int
    ) -> None:
        """Order.

        Args:
            items: What.
            fast: How.
            note: Not said here.
            more: Numbers.
        """

    (item,) = ask(backend, "GET", "/navai/functions").json()["items"]
    assert item["description"] == "Ours."
    properties = item["parameters"]["properties"]
    assert properties["items"]["description"] == "What."
    assert properties["items"]["items"]["properties"]["quantity"] == {
        "type": "integer",
        "minimum": 1,
        "default": 1,
    }
    assert properties["note"] == {"type": "string", "description": "Anything.", "default": ""}
    assert properties["fast"] == {"type": "boolean", "description": "How.", "default": False}
    assert item["parameters"]["required"] == ["items"]
    assert item["parameters"]["additionalProperties"] == {"type": "integer"}


def test_a_function_that_never_returns_takes_no_other_functions_thread() -> None:
    async def scenario() -> None:
        threads, begun, release = CallThreads(per_function=1), asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            loop.call_soon_threadsafe(begun.set)
            release.wait(PATIENCE_S)

        stuck = asyncio.create_task(threads.run("stuck", wait))
        await begun.wait()
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        assert await threads.run("other", lambda: 7) == 7
        with pytest.raises(NoThreadLeftError):
            await threads.run("stuck", lambda: 1)
        release.set()
        while threads.running:  # noqa: ASYNC110 - a thread cannot set an event of the loop
            await asyncio.sleep(0)
        assert await threads.run("stuck", lambda: 8) == 8

    asyncio.run(scenario())


def test_calls_of_one_function_wait_their_turn() -> None:
    async def scenario() -> list[Any]:
        threads = CallThreads(per_function=1)
        return await asyncio.gather(*(threads.run("f", functools.partial(int, n)) for n in range(5)))

    assert asyncio.run(scenario()) == [0, 1, 2, 3, 4]


def test_the_example_for_starlette_serves_both(ask: Any) -> None:
    app = runpy.run_path("examples/09_serve_in_starlette.py")["app"]
    assert ask(app, "GET", "/").text == "The shop's own pages."
    body = {"function_name": "get_weather", "payload": {"location": "Oslo"}}
    assert (
        ask(app, "POST", "/voice/navai/functions/execute", json=body).json()["result"]["location"] == "Oslo"
    )


def test_speech_needs_elevenlabs_and_the_demo_is_silent(
    tmp_path: Path, backend: NavaiBackend, ask: Any
) -> None:
    path = "/navai/speech/synthesize"
    refused = ask(backend, "POST", path, json={"text": "hi"})
    assert refused.status_code == 400
    demo = NavaiBackend(env={}, functions_base_dir=tmp_path, demo=True)
    assert ask(demo, "POST", path, json={"text": "hi"}).json()["provider"] == "elevenlabs"
    assert ask(demo, "POST", path, json={"text": "hi", "voiceSettings": 3}).status_code == 400
    secret = ask(demo, "POST", "/navai/realtime/client-secret", json={}).json()
    assert secret["value"].startswith("ek_demo_")


def test_the_name_of_a_registered_class_begins_those_of_its_methods() -> None:
    class Till:
        def add(self) -> None: ...
        def round_up(self) -> None: ...

    backend = NavaiBackend(discover=False, env={})
    backend.function(name="desk")(Till)
    assert backend.functions().names == ["desk_add", "desk_round_up"]
    assert backend.functions().warnings == []


def test_a_missing_base_directory_has_no_modules(tmp_path: Path) -> None:
    assert discover_function_modules(tmp_path / "gone").modules == ()


def test_a_module_that_another_imported_is_not_loaded_twice(tmp_path: Path, write: Any) -> None:
    write("src/tools/a.py", "from .b import COUNT\ndef a(): ...")
    write("src/tools/b.py", "COUNT = 1\ndef b(): ...")
    assert load_functions(discover_function_modules(tmp_path, "tools").modules).names == ["a", "b"]


def test_a_module_that_raises_on_inspection_is_a_warning(tmp_path: Path, write: Any) -> None:
    text = (
        "__all__ = ['box']\nclass Box:\n    @property\n    def lid(self): raise LookupError('no lid')\n"
        "box = Box()\nbox.__dict__['lid'] = 1\n"
    )
    write("src/a.py", text)
    write("src/b.py", "def fine(): ...")
    found = load_functions(discover_function_modules(tmp_path, "src").modules)
    assert found.names == ["fine"]
    assert found.warnings == ["[navai] Failed to load src/a.py: no lid"]


def test_a_name_that_is_taken_twice_gets_the_next_free_number(backend: NavaiBackend, ask: Any) -> None:
    for name in ("go", "go_2", "Go", "GO", "é", "ü"):
        backend.function(name=name)(lambda: 1)
    listed = ask(backend, "GET", "/navai/functions").json()
    assert [each["name"] for each in listed["items"]] == ["go", "go_2", "go_3", "go_4", "fn", "fn_2"]
    assert listed["warnings"] == [
        '[navai] Renamed duplicated function "Go" to "go_3".',
        '[navai] Renamed duplicated function "GO" to "go_4".',
        '[navai] Renamed duplicated function "é" to "fn".',
        '[navai] Renamed duplicated function "ü" to "fn_2".',
    ]


@attrs.frozen
class Node:
    """A type that holds itself."""

    name: str
    children: list["Node"] = attrs.Factory(list)


def test_a_recursive_type_has_a_schema_without_references(backend: NavaiBackend, ask: Any) -> None:
    @backend.function
    def show(node: Node) -> int:
        return len(node.children)

    assert "$ref" not in ask(backend, "GET", "/navai/functions").text
