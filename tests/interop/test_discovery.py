"""Which modules a folder setting selects: our server and Express over the same tree of files."""

from pathlib import Path
from typing import Any, Final

import pytest

from navai_client.server import discover_function_modules, load_functions
from tests.interop.node import Node

FILES: Final = (
    "src/ai/functions-modules/top",
    "src/ai/functions-modules/sales/offers",
    "src/ai/functions-modules/sales/deep/terms",
    "src/ai/functions-modules/support/tickets",
    "src/ai/other/extra",
    "src/tools/first",
    "src/tools/second",
    "src/tools/nested/third",
    "src/toolsmith/smith",
    "src/node_modules/left/out",
    "src/dist/left/out",
    "src/.hidden/left_out",
    "outside/away",
)

SETTINGS: Final[tuple[tuple[str | None, str | None], ...]] = (
    (None, None),
    ("", "  "),
    (" , ", None),
    ("src/tools", None),
    ("tools", None),
    (" /src/tools/ ", None),
    ("./src/tools", None),
    ("../src/tools", None),
    ("src\\tools", None),
    ("src/tools/...", None),
    ("tools/nested/...", None),
    ("src/tools/*", None),
    ("src/*/first{ext}", None),
    ("src/**", None),
    ("src/**/third{ext}", None),
    ("src/tools/first{ext}", None),
    ("src/tools/no_such{ext}", None),
    ("src/tools,src/ai/other", None),
    ("src/tools, ,src/tools/nested", None),
    ("no/such", None),
    ("src/no+such(", None),
    ("ai/functions-modules", "sales"),
    ("ai/functions-modules", " sales , support/ "),
    ("ai/functions-modules", "nobody"),
    ("src/ai/functions-modules/...", "sales"),
    (None, "support"),
)

# Express searches such a setting only under src/; our server also accepts an existing path as it is written.
AS_WRITTEN: Final = (("outside", None), ("outside/away{ext}", None))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("modules")
    for file in FILES:
        name = Path(file).name
        target = base / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".js").write_text(f"export function {name}() {{}}\n", encoding="ascii")
        target.with_suffix(".py").write_text(f"def {name}():\n    pass\n", encoding="ascii")
    (base / "package.json").write_text('{"type": "module"}', encoding="ascii")
    return base


def by_express(node: Node, base: Path, folders: str | None, agents: str | None, **more: Any) -> Any:
    options = {
        **more,
        "functionsBaseDir": str(base),
        **({} if folders is None else {"functionsFolders": folders.replace("{ext}", ".js")}),
        **({} if agents is None else {"agentsFolders": agents}),
    }
    url = node.ask("serve", options=options, env={"OPENAI_API_KEY": "sk-x"})
    listed = node.call(url, "listFunctions")["value"]
    return [each["source"].replace(".js#", "#") for each in listed["functions"]], [
        warning.replace(".js", "") for warning in listed["warnings"]
    ]


def by_us(base: Path, folders: str | None, agents: str | None, **more: Any) -> Any:
    found = discover_function_modules(base, folders and folders.replace("{ext}", ".py"), agents, **more)
    functions = load_functions(found.modules).functions
    return [each.source.replace(".py#", "#") for each in functions], [
        warning.replace(".py", "") for warning in found.warnings
    ]


@pytest.mark.covers("server.folders", "server.discovery-warnings")
@pytest.mark.parametrize(("folders", "agents"), SETTINGS)
def test_a_setting_chooses_the_modules_that_it_chooses_in_express(
    tree: Path, node: Node, folders: str | None, agents: str | None
) -> None:
    assert by_us(tree, folders, agents) == by_express(node, tree, folders, agents)


@pytest.mark.covers("server.folders")
@pytest.mark.parametrize(
    "exclude",
    [
        "**/nested/**",
        "src/tools/*",
        "src/tools/first{ext}",
        "**/first{ext}",
        "src/tools",
        "./src/tools/**",
        "none",
    ],
)
def test_what_is_excluded_is_excluded_in_express(tree: Path, node: Node, exclude: str) -> None:
    ours, _ = by_us(tree, "src/tools/...,src/ai", None, exclude=[exclude.replace("{ext}", ".py")])
    # There, a list takes the place of the default one.
    theirs = [exclude.replace("{ext}", ".js"), "**/node_modules/**", "**/dist/**", "**/.*/**"]
    assert ours == by_express(node, tree, "src/tools/...,src/ai", None, exclude=theirs)[0]


@pytest.mark.covers("server.folders")
@pytest.mark.parametrize(("folders", "agents"), AS_WRITTEN)
def test_a_path_that_exists_as_written_is_taken_only_by_us(
    tree: Path, node: Node, folders: str | None, agents: str | None
) -> None:
    assert by_us(tree, folders, agents) == (["outside/away#away"], [])
    assert by_express(node, tree, folders, agents)[1]


@pytest.mark.covers("server.folders")
def test_modules_come_in_the_order_of_code_points_and_in_express_in_that_of_a_dictionary(
    tmp_path: Path, node: Node
) -> None:
    for name in ("Zeta", "alpha", "a_b", "ab"):
        target = tmp_path / "src" / "tools" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".js").write_text(f"export function {name}() {{}}\n", encoding="ascii")
        target.with_suffix(".py").write_text(f"def {name}():\n    pass\n", encoding="ascii")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="ascii")

    def names(listed: Any) -> list[str]:
        return [source.partition("#")[2] for source in listed[0]]

    assert names(by_us(tmp_path, "src/tools", None)) == ["Zeta", "a_b", "ab", "alpha"]
    assert names(by_express(node, tmp_path, "src/tools", None)) == ["a_b", "ab", "alpha", "Zeta"]
