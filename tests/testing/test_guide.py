"""The examples of docs/testing.md and of README pass and fail as these pages say."""

import re
from pathlib import Path

import pytest

from navai_client.testing import StoreTests
from tests.pytest_runs import NO_PLUGINS_OF_OTHERS

pytest_plugins = ["pytester"]

# Without the plugins that other packages bring, as in pyproject.toml.
OPTIONS = (*NO_PLUGINS_OF_OTHERS, "-W", "error")
ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```$)?", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_guide_do_what_it_says(pytester: pytest.Pytester) -> None:
    for number, (code, _) in enumerate(BLOCKS):
        pytester.makepyfile(**{f"test_block_{number:02}": code})

    result = pytester.runpytest_subprocess(*OPTIONS, timeout=120)

    tests = sum(len(re.findall(r"^def test_", code, re.MULTILINE)) for code, _ in BLOCKS)
    tests += sum(name.startswith("test_") for name in vars(StoreTests))  # of which the page derives
    result.assert_outcomes(passed=tests - 1, failed=1, errors=1)  # the two that the page shows failing
    shown = [text for _, text in BLOCKS if text]
    assert len(shown) == 2
    for text in shown:
        assert text in result.stdout.str()


@pytest.mark.parametrize(("page", "tests"), [("README.md", 1), ("docs/recipes.md", 2)])
def test_the_tests_that_other_pages_show_pass(page: str, tests: int, pytester: pytest.Pytester) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    pytester.makepyfile("\n".join(block for block in blocks if "def test_" in block))

    result = pytester.runpytest_subprocess(*OPTIONS, timeout=120)

    result.assert_outcomes(passed=tests)
