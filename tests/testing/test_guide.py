"""The examples of docs/testing.md and of README pass and fail as these pages say."""

import re
from pathlib import Path

import pytest

from navai_client.testing import StoreTests

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```$)?", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_guide_do_what_it_says(pytester: pytest.Pytester) -> None:
    for number, (code, _) in enumerate(BLOCKS):
        pytester.makepyfile(**{f"test_block_{number:02}": code})

    result = pytester.runpytest_subprocess("-p", "no:schemathesis", "-W", "error", timeout=120)

    tests = sum(len(re.findall(r"^def test_", code, re.MULTILINE)) for code, _ in BLOCKS)
    tests += sum(name.startswith("test_") for name in vars(StoreTests))  # of which the page derives
    result.assert_outcomes(passed=tests - 1, failed=1, errors=1)  # the two that the page shows failing
    shown = [text for _, text in BLOCKS if text]
    assert len(shown) == 2
    for text in shown:
        assert text in result.stdout.str()


def test_the_test_that_the_readme_shows_passes(pytester: pytest.Pytester) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = (
        code
        for code in re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
        if "def test_" in code
    )
    pytester.makepyfile(code)

    result = pytester.runpytest_subprocess("-p", "no:schemathesis", "-W", "error", timeout=120)

    result.assert_outcomes(passed=1)
