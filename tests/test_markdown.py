"""README and docs/ as Markdown: links lead somewhere, and pages read well where the repository is shown.

The conftest.py of the repository makes a test of each Python block in them.
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    ROOT / "benchmarks/README.md",
]
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")


def links_of(document: Path) -> list[tuple[str, str]]:
    """Return the text and the target of each link and picture that is a file of the repository."""
    found = _LINK.findall(
        _CODE.sub(lambda code: "code" if code[0][:3] != "```" else "", document.read_text())
    )
    return [(text, target) for text, target in found if "://" not in target]


def anchors_of(document: Path) -> set[str]:
    """Return the anchors of its headings, as GitHub and the documentation make them."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_have_a_text_and_lead_somewhere(document: Path) -> None:
    """An empty text is filled in by Sphinx alone: elsewhere the link cannot be seen."""
    for text, target in links_of(document):
        assert text, f"The link to {target} has no text."
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), f"{target} does not exist."
        if anchor and file.suffix == ".md" and file.exists():
            assert anchor in anchors_of(file), f"{target} has no such heading."


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_pages_read_well_where_the_repository_is_shown(document: Path) -> None:
    """A plain renderer of Markdown shows no markup that only Sphinx reads, and knows the language of code."""
    text = document.read_text()
    assert not re.search(r"\{(?:py|doc|ref):?\w*\}`", text)
    for token in MarkdownIt().enable("table").parse(text):
        line = (token.map or [0])[0] + 1
        assert token.type != "code_block", f"Line {line}: fence the code, and name its language."
        if token.type == "fence":
            assert re.fullmatch(r"\w+", token.info), f"Line {line}: {token.info or 'nothing'} is no language."
        assert ":::" not in token.content, f"Line {line}: a directive of Sphinx."
        for child, following in pairwise(token.children or ()):
            assert (child.type, following.type) != ("link_open", "link_close"), f"Line {line}: an empty link."


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_a_page_that_installs_an_extra_links_to_how_to_install_the_package(document: Path) -> None:
    """`pip install 'navai-client[agents]'` works by name alone only once the package is installed."""
    if document.name != "first-steps.md" and "pip install 'navai-client[" in document.read_text():
        assert "first-steps.md#install" in [target for _, target in links_of(document)]


def test_the_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
