"""Which files of a folder are modules: what cannot be read, links, and what is skipped by its name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from navai_client.server import discover_function_modules

FUNCTION = "def offered(): ..."
PUT = ["a.py", "drafts/c.py", "my-drafts/b.py", "src/drafts/c.py", "src/old/d.py", "src/x/drafts/c.py"]
# Permissions do not bind root, unless these capabilities are gone.
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []

LIST_TWICE = """
import asyncio, json, sys, httpx
from navai_client.server import NavaiBackend

async def main():
    transport = httpx.ASGITransport(app=NavaiBackend(env={}, functions_base_dir=sys.argv[1]))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for _ in range(2):  # mounted, without a lifespan: the first list loads the modules
            print(json.dumps((await client.get("/navai/functions")).json()))

asyncio.run(main())
"""


def put(base: Path, *paths: str) -> None:
    for path in paths:
        file = base / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FUNCTION)


def link(base: Path, path: str, target: str | Path) -> None:
    (base / path).parent.mkdir(parents=True, exist_ok=True)
    (base / path).symlink_to(target)


def found(base: Path, folders: str | None = None) -> list[str]:
    return [module.path for module in discover_function_modules(base, folders).modules]


def warnings(base: Path, folders: str | None = None) -> list[str]:
    return list(discover_function_modules(base, folders).warnings)


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o400])
@pytest.mark.parametrize("locked", ["src/ai/functions-modules/private", "lost+found", "src/lost+found"])
def test_a_folder_that_cannot_be_read_is_skipped(tmp_path: Path, locked: str, mode: int) -> None:
    put(tmp_path, "src/ai/functions-modules/a.py", f"{locked}/b.py")
    (tmp_path / locked).chmod(mode)
    try:
        printed = subprocess.run(
            [*WITHOUT_PRIVILEGES, sys.executable, "-c", LIST_TWICE, str(tmp_path)],
            check=True, capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip
    finally:
        (tmp_path / locked).chmod(0o700)
    first, second = map(json.loads, printed.splitlines())
    assert first == second
    assert [each["name"] for each in first["items"]] == ["offered"]
    if locked.startswith("src/ai"):
        (warning,) = first["warnings"]
        assert locked in warning
        assert "Permission denied" in warning or mode == 0o400  # its files are known, but not readable
    else:
        assert first["warnings"] == []  # nothing is searched there


def test_a_start_without_permissions_serves_what_it_can_read(tmp_path: Path) -> None:
    put(tmp_path, "src/ai/functions-modules/a.py")
    (tmp_path / "lost+found").mkdir(mode=0o000)
    command = [sys.executable, "-m", "navai_client.server", "--port", "0", "--base-dir", str(tmp_path)]
    with subprocess.Popen([*WITHOUT_PRIVILEGES, *command], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        offered = next(line for line in server.stderr if "Offers" in line)
        server.terminate()
        server.communicate(timeout=60)
    assert "Offers 1 function: offered" in offered


def test_the_links_of_a_mounted_kubernetes_config_map_are_followed(tmp_path: Path) -> None:
    folder = "src/ai/functions-modules"
    put(tmp_path, f"{folder}/..2026_11_28/orders.py")
    link(tmp_path, f"{folder}/..data", "..2026_11_28")
    link(tmp_path, f"{folder}/orders.py", "..data/orders.py")
    assert found(tmp_path) == [f"{folder}/orders.py"]
    (module,) = discover_function_modules(tmp_path).modules
    assert module.load().offered
    assert warnings(tmp_path) == []


def test_links_to_a_place_outside_are_skipped_with_a_warning(tmp_path: Path) -> None:
    base = tmp_path / "base"
    put(base, "src/tools/a.py")
    put(tmp_path, "outside/b.py")
    link(base, "src/tools/b.py", tmp_path / "outside/b.py")
    link(base, "src/tools/more", "../../../outside")
    link(base, "src/tools/c.py", "more/b.py")
    assert found(base, "tools") == ["src/tools/a.py"]
    assert warnings(base, "tools") == [
        f"[navai] Skipped src/tools/{name}: it links to a place outside the base directory."
        for name in ("b.py", "c.py", "more")
    ]


def test_a_linked_folder_is_searched_once(tmp_path: Path) -> None:
    put(tmp_path, "lib/a.py", "src/tools/b.py")
    link(tmp_path, "src/tools/lib", "../../lib")
    link(tmp_path, "src/tools/same", "../../lib")
    link(tmp_path, "src/tools/own.py", "b.py")
    assert found(tmp_path, "tools") == ["src/tools/b.py", "src/tools/lib/a.py"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    put(tmp_path, "src/tools/a.py")
    link(tmp_path, "src/tools/up", "..")
    link(tmp_path, "src/tools/self", "self")
    link(tmp_path, "src/tools/broken.py", "nothing.py")
    os.mkfifo(tmp_path / "src/tools/pipe.py")  # reading it would wait
    assert found(tmp_path, "tools") == ["src/tools/a.py"]
    missing = "the target of the link is missing or cannot be read"
    below = "it is a link to a folder, below another such link"
    assert sorted(warnings(tmp_path, "tools")) == [
        f"[navai] Skipped src/tools/broken.py: {missing}.",
        f"[navai] Skipped src/tools/self: {missing}.",
        f"[navai] Skipped src/tools/up/tools/broken.py: {missing}.",
        f"[navai] Skipped src/tools/up/tools/self: {missing}.",
        f"[navai] Skipped src/tools/up/tools/up: {below}.",
    ]


def test_what_is_skipped_by_its_name_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "navai_client.functions")
    put(
        tmp_path, "src/tools/a.py", "src/tools/test_a.py", "src/tools/conftest.py", "src/tools/env/b.py",
        "src/tools/dist/c.py", "src/tools/mine/pyvenv.cfg", "src/tools/mine/d.py", "src/tools/_own.py",
        "src/other/dist/e.py",
    )  # fmt: skip
    assert found(tmp_path, "tools") == ["src/tools/a.py"]
    assert sorted(caplog.messages) == [
        "[navai] Skipped src/tools/conftest.py: it is a test module.",
        "[navai] Skipped src/tools/dist: folders with this name are not searched.",
        "[navai] Skipped src/tools/env: folders with this name are not searched.",
        "[navai] Skipped src/tools/mine/: it is a virtual environment.",
        "[navai] Skipped src/tools/test_a.py: it is a test module.",
    ]


def test_a_base_directory_may_be_a_virtual_environment(tmp_path: Path) -> None:
    put(tmp_path, "pyvenv.cfg", "src/ai/functions-modules/a.py")
    assert found(tmp_path) == ["src/ai/functions-modules/a.py"]


@pytest.mark.parametrize(
    "folders",
    ["src/features/*/voice-functions", "features/*/voice-functions", "src/features/*/voice-functions/"],
)
def test_a_wildcard_for_folders_takes_the_modules_in_them(tmp_path: Path, folders: str) -> None:
    put(
        tmp_path, "src/features/cart/voice-functions/a.py", "src/features/cart/voice-functions/more/b.py",
        "src/features/cart/c.py", "src/features/pay/voice-functions/d.py",
    )  # fmt: skip
    assert [Path(path).stem for path in found(tmp_path, folders)] == ["a", "b", "d"]


def test_each_entry_that_selects_nothing_is_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "src/tools/a.py")
    assert warnings(tmp_path, "tools, toolz, src/x/*.py") == [
        '[navai] NAVAI_FUNCTIONS_FOLDERS: the entry "toolz" did not match any module.',
        '[navai] NAVAI_FUNCTIONS_FOLDERS: the entry "src/x/*.py" did not match any module.',
    ]


def test_nothing_configured_and_nothing_there_is_no_fallback(tmp_path: Path) -> None:
    assert warnings(tmp_path) == ['[navai] The default folder "src/ai/functions-modules" has no module.']


def test_an_entry_that_names_nothing_selects_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "src/ai/functions-modules/b.py")
    assert found(tmp_path, "./") == ["src/ai/functions-modules/b.py"]
    (warning,) = warnings(tmp_path, "/")
    assert warning.startswith('[navai] NAVAI_FUNCTIONS_FOLDERS did not match any module: "/".')


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("**/drafts/*", ["a.py", "my-drafts/b.py", "src/old/d.py"]),
        ("**/drafts/**", ["a.py", "my-drafts/b.py", "src/old/d.py"]),
        ("src/**/old", [each for each in PUT if "old" not in each]),
        ("**/a.py", PUT[1:]),
        ("my-**/drafts/*", PUT),
        ("x/drafts/*", PUT),
    ],
)
def test_in_an_exclusion_two_stars_also_stand_for_no_folder(
    tmp_path: Path, pattern: str, left: list[str]
) -> None:
    put(tmp_path, *PUT)
    found = discover_function_modules(tmp_path, "**", exclude=[pattern])
    assert [module.path for module in found.modules] == left
