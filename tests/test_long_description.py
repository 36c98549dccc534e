"""The long description that a package index shows."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ADDRESS = "https://git.example.com/voice/navai-client"
_TARGET = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with what the metadata is made of."""
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "navai_client/_version.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def description(sources: Path) -> str:
    """Return the long description, as a build of *sources* makes it."""
    command = [sys.executable, "-m", "hatchling", "metadata"]
    metadata = subprocess.run(command, cwd=sources, check=True, capture_output=True, timeout=60).stdout
    return str(json.loads(metadata)["readme"]["text"])


def test_with_an_address_every_link_leads_somewhere_on_an_index(sources: Path) -> None:
    with (sources / "pyproject.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'\n[project.urls]\nRepository = "{ADDRESS}"\n')
    text = description(sources)
    targets = _TARGET.findall(text)
    assert f"{ADDRESS}/blob/HEAD/docs/errors.md#at-most-once" in targets
    assert f"{ADDRESS}/raw/HEAD/docs/pictures/inspector.png" in targets
    assert [target for target in targets if not target.startswith(("https://", "http://127.0.0.1"))] == []
    assert f"git clone {ADDRESS} navai-client" in text


def test_without_an_address_it_is_the_readme(sources: Path) -> None:
    assert description(sources) == (sources / "README.md").read_text(encoding="utf-8")
