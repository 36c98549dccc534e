"""Which module may import which: the rules of CONTRIBUTING's "Code layout", read from the sources."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "navai_client"


def name_of(path: Path) -> str:
    """Return the name of the module in *path*."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES: Final = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def statements(body: Iterable[ast.stmt], *, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements of *body*, except those for types; with *lazy* also those in functions."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from statements(node.orelse, lazy=lazy)
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(node, field, ()), lazy=lazy)
            for handler in getattr(node, "handlers", ()):
                yield from statements(handler.body, lazy=lazy)


@cache
def imports(module: str, *, lazy: bool = True) -> frozenset[str]:
    """Return the modules that *module* imports, its own package's by their full names."""
    found = set()
    for node in statements(ast.parse(SOURCES[module].read_text(encoding="utf-8")).body, lazy=lazy):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.module is not None, f"{module} has a relative import"
            found |= {
                inner if (inner := f"{node.module}.{alias.name}") in SOURCES else node.module
                for alias in node.names
            }
    return frozenset(found)


def within(module: str, *rooms: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def imported(packages: set[str], *, by: Iterable[str]) -> set[str]:
    """Return ``module imports name`` for each import of *packages* in the modules *by*."""
    return {
        f"{module} imports {name}" for module in by for name in imports(module) if within(name, *packages)
    }


def outside(*rooms: str) -> set[str]:
    """Return the modules that are outside of all *rooms*."""
    return {module for module in SOURCES if not within(module, *rooms)}


@pytest.mark.parametrize("lazy", [False, True], ids=["at import", "in functions too"])
def test_no_module_imports_itself_through_others(lazy: bool) -> None:
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for name in sorted(imports(module, lazy=lazy) & SOURCES.keys()):
                visit(name, (*trail, module))
            done.add(module)

    for module in SOURCES:
        visit(module, ())


CLOCKS_AND_IO: Final = {
    "aiohttp",
    "asyncio",
    "http.client",
    "httpcore",
    "httptools",
    "httpx",
    "httpx2",
    "os",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "urllib.request",
}


def pure(room: str, *exceptions: str) -> set[str]:
    """Return what in *room*, except for its *exceptions*, imports a clock or I/O."""
    return imported(CLOCKS_AND_IO, by=SOURCES.keys() - outside(room) - {*exceptions})


def test_the_contract_is_read_and_written_without_io() -> None:
    # The one clock is the default of a parameter: a Retry-After may be a date.
    assert pure("navai_client.wire") == {"navai_client.wire._retry imports time"}


def test_what_a_function_is_to_a_model_needs_no_io() -> None:
    found = pure(
        "navai_client.functions",
        "navai_client.functions._context",  # an event tells a function in a thread to stop
        "navai_client.functions._discovery",  # finds modules on the disk and imports them
    )
    assert found <= {
        "navai_client.functions._binding imports asyncio",  # for CancelledError
        "navai_client.functions._results imports os",  # for PathLike
    }


def test_only_the_transports_open_connections() -> None:
    others = outside(
        "navai_client.transports",
        "navai_client.cli._reachability",  # `navai doctor` takes the steps of a connection one by one
        "navai_client.integrations.mcp",  # listens
        "navai_client.server._connections",  # those that clients have opened
        "navai_client.server._serving",  # listens
        "navai_client.testing._live_server",  # listens
    )
    libraries = {"aiohttp", "h11", "http.client", "httpcore", "httptools", "httpx", "httpx2", "socket"}
    assert not imported(libraries, by=others)


def test_the_server_does_not_import_the_clients_nor_they_the_server() -> None:
    server = "navai_client.server"
    clients = {"navai_client.client", "navai_client.client_secrets"}
    assert not imported(clients, by=SOURCES.keys() - outside(server))
    users = ["navai_client.cli", "navai_client.conformance", "navai_client.testing"]
    assert not imported({server}, by=outside(server, *users))


def test_nothing_but_the_command_imports_an_integration() -> None:
    integrations = "navai_client.integrations"
    public = {name for name in SOURCES if name.startswith(f"{integrations}.") and "._" not in name}
    assert not imported(public, by=outside(integrations, "navai_client.cli"))
    neutral = {
        f"{integrations}.{name}" for name in ("realtime", "routes", "runtime", "speech", "tools", "toolset")
    }
    assert not imported(public - neutral, by=outside("navai_client.cli"))
