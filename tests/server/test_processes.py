"""Functions in other processes: those that a module starts, and those of the server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from navai_client.server import discover_function_modules, load_functions
from tests.server.test_outcomes import post, server_process


@contextlib.contextmanager
def serving_module(base: Path, source: str, *options: str) -> Iterator[str]:
    """Serve one module of functions, by a process of its own."""
    file = base / "src" / "ai" / "functions-modules" / "v1.2" / "work.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    with server_process(base, *options) as (process, url):
        yield url
        process.terminate()
        assert process.stderr is not None
        process.stderr.read()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_module_can_use_a_process_pool_of_its_own(tmp_path: Path, method: str) -> None:
    source = (
        "import multiprocessing, os\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from ._beside import Answer, work\n"
        "def compute(n: int) -> list[int]:\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    with ProcessPoolExecutor(1, mp_context=context) as pool:\n"
        "        answer = pool.submit(work, Answer(n)).result()\n"
        "    return [answer.value, answer.pid != os.getpid()]\n"
    )
    beside = tmp_path / "src" / "ai" / "functions-modules" / "v1.2" / "_beside.py"
    beside.parent.mkdir(parents=True)
    beside.write_text(
        "import dataclasses, os\n"
        "@dataclasses.dataclass\n"
        "class Answer:\n"
        "    value: int\n"
        "    pid: int = 0\n"
        "def work(given: Answer) -> Answer:\n"
        "    return Answer(2 * given.value, os.getpid())\n"
    )
    with serving_module(tmp_path, source) as url:
        assert post(url, "compute", {"n": 21}).json()["result"] == [42, True]


def load(base: Path) -> Any:
    return load_functions(discover_function_modules(base, "src").modules)


def test_a_module_may_stand_beside_a_folder_of_its_name(tmp_path: Path, write: Any) -> None:
    write("src/orders.py", "from .names import NAME\ndef place() -> str: return NAME")
    write("src/names.py", "NAME = 'Oslo'")
    write("src/orders/refund.py", "from ..names import NAME\ndef refund() -> str: return NAME")
    assert load(tmp_path).names == ["place", "refund"]


def test_a_module_imports_nothing_that_is_missing_or_outside(tmp_path: Path, write: Any) -> None:
    base = tmp_path / "base"
    write("outside.py", "NAME = 1")
    write("base/src/a.py", "from .linked import NAME\ndef a() -> int: return NAME")
    write("base/src/b.py", "from .missing import NAME\ndef b() -> int: return NAME")
    (base / "src" / "linked.py").symlink_to(tmp_path / "outside.py")
    assert load(base).warnings == [
        "[navai] Failed to load src/a.py: linked.py is a link to a place outside the base directory",
        "[navai] Failed to load src/b.py: No module named 'src.missing'",
    ]


def test_two_trees_of_one_directory_are_apart(tmp_path: Path, write: Any) -> None:
    write("src/a.py", "def a() -> int: return 1")
    first, second = load(tmp_path), load(tmp_path)
    modules = {registry.find("a").target.prepare.__self__._call.__module__ for registry in (first, second)}
    assert len(modules) == 2


def test_an_error_does_not_show_where_a_module_is(
    tmp_path: Path, backend: Any, execute: Any, write: Any
) -> None:
    write(
        "src/ai/functions-modules/a.py",
        "class Box: ...\ndef fails() -> None: raise LookupError(Box().__module__, Box)",
    )
    details = execute(backend, "fails")["details"]
    assert "src.ai.functions-modules.a" in details
    assert tmp_path.name.encode().hex() not in details
    assert "_loaded" not in details
