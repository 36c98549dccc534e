"""What docs/agents.md shows runs, and what it links to exists."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "agents.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("no_proxy")
@pytest.mark.parametrize("block", BLOCKS, ids=[str(index) for index in range(len(BLOCKS))])
def test_a_python_block_of_the_guide_runs(
    block: str, demo_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAVAI_API_URL", demo_server)
    exec(compile(block, "agents.md", "exec"), {"__name__": "guide"})


def test_the_guide_has_blocks_to_run() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^):#]+)\)", TEXT))))
def test_what_the_guide_links_to_is_there(link: str) -> None:
    assert (GUIDE.parent / link).exists()
