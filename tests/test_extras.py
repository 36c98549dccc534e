"""Public names that are loaded on first use, and the message when an extra is not installed."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from navai_client._extras import lazy, missing_extra, needs_extra

LAZY = ["navai_client", "navai_client.server", "navai_client.testing"]


@pytest.mark.parametrize("name", LAZY)
def test_type_checkers_see_the_names_that_are_loaded(name: str) -> None:
    package = importlib.import_module(name)
    tree = ast.parse(Path(package.__file__ or "").read_text())
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    seen = {alias.asname: node.module for node in imports for alias in node.names if alias.asname}
    assert sorted(seen) == package.__all__
    for exported, module in seen.items():
        assert getattr(package, exported) is getattr(importlib.import_module(module or ""), exported)
        assert exported in dir(package)
        assert exported in vars(package)  # not looked up again


@pytest.mark.parametrize("name", LAZY)
def test_a_name_that_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"^module '{name}' has no attribute 'Absent'$"):
        _ = importlib.import_module(name).Absent


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(ImportError) as caught, needs_extra("x", "not_there"):
        importlib.import_module("not_there.inner")
    assert caught.value.name == "not_there"
    assert str(caught.value) == "not_there is not installed; run: pip install 'navai-client[x]'"
    assert missing_extra("cli", "click", "rich").startswith("click and rich are not installed; run: ")


def test_other_errors_are_raised_as_they_are() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_there'"), needs_extra("x", "other"):
        importlib.import_module("not_there")
    with pytest.raises(ValueError, match="own"), needs_extra("x", "other"):
        raise ValueError("own")


def test_a_lazy_package_names_the_extra_that_its_modules_need() -> None:
    load, _, exported = lazy(__name__, {"not_there": ("A",)}, "x", ("not_there",))
    assert exported == ["A"]
    with pytest.raises(ImportError, match="not_there is not installed"):
        load("A")


JWT = ["--jwt-jwks-url=https://login.example/keys", "--jwt-issuer=i", "--jwt-audience=a"]


@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [
        ("msgspec", "server", "import navai_client.server as s; s.NavaiBackend"),
        ("uvicorn", "server", "from navai_client.server.__main__ import main; main(['--demo'])"),
        ("jwt", "auth", f"from navai_client.server.__main__ import main; main({JWT!r})"),
        (
            "prometheus_client",
            "metrics",
            "from navai_client.server.__main__ import main; main(['--metrics'])",
        ),
        ("cryptography", "auth", f"from navai_client.server.__main__ import main; main({JWT!r})"),
    ],
)
def test_a_missing_extra_is_named_with_its_pip_command(missing: str, extra: str, command: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; {command}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode in (1, 2)
    assert f"pip install 'navai-client[{extra}]'" in ended.stderr.splitlines()[-1]
