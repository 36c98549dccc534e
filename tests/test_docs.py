"""docs/: the check that `make docs` runs finds mistakes, and pages have their form."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
SCRIPT = DOCS / "check.py"
SOUND = '<meta name="description" content="Words.">{}'
SIGNATURE = '<dt class="sig sig-object py" id="f"><em class="sig-param">f({})</em></dt>'


@pytest.fixture(name="check")
def _check() -> Any:
    spec = importlib.util.spec_from_file_location("check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def site(folder: Path, name: str, page: str) -> Path:
    """Return *folder* with a built page, and Markdown beside it."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(page)
    path.with_suffix(".md").write_text("# Page")
    return folder


@pytest.mark.parametrize(
    ("page", "mistake"),
    [
        ("<p>Text</p>", "has no description"),
        (SOUND.format('<script src="https://cdn.example/a.js"></script>'), "loads https://cdn.example/a.js"),
        (SOUND.format('<link rel="stylesheet" href="//cdn.example/a.css">'), "loads //cdn.example/a.css"),
        (
            SOUND.format('<div class="highlight-default notranslate"><pre>x</pre>'),
            "has code without a language",
        ),
        (SOUND.format(f'<div class="highlight-python"><pre>{"x" * 111}</pre>'), "has a line that is clipped"),
    ],
    ids=["description", "script", "stylesheet", "language", "clipped"],
)
def test_a_page_with_a_mistake_is_named(
    page: str, mistake: str, check: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main(site(tmp_path, "guide.html", page)) == 1
    assert capsys.readouterr().out.startswith(f"guide.html {mistake}")


@pytest.mark.parametrize(
    "default",
    [
        "attr_dict['timeout'].default",
        "NOTHING",
        "_CLIENTS_TIMEOUT",
        "&lt;factory&gt;",
        "&lt;function f&gt;",
        "&lt;object object at 0x7f00&gt;",
    ],
    ids=["attrs", "nothing", "private", "factory", "function", "object"],
)
def test_a_signature_without_a_real_default_is_named(
    default: str, check: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = SOUND.format(SIGNATURE.format(f"timeout: float = {default}"))
    assert check.main(site(tmp_path, "reference/client.html", page)) == 1
    assert "shows no real default" in capsys.readouterr().out


def test_a_long_signature_on_one_line_and_words_shown_as_a_type_are_named(
    check: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = SOUND.format(SIGNATURE.format("timeout: float, " * 10) + '<dt class="field-odd">Type<span>')
    assert check.main(site(tmp_path, "reference/client.html", page)) == 1
    printed = capsys.readouterr().out
    assert "has a signature on one line" in printed
    assert "shows the words before a colon" in printed


def test_a_page_without_markdown_beside_it_is_named(
    check: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "guide.html").write_text(SOUND)
    assert check.main(tmp_path) == 1
    assert capsys.readouterr().out == "guide.html has no Markdown beside it\n"


def test_a_page_without_mistakes_passes(check: Any, tmp_path: Path) -> None:
    page = SOUND.format('<a href="https://example.com">x</a>' + SIGNATURE.format("timeout: float = 30.0"))
    assert check.main(site(tmp_path, "reference/client.html", page)) == 0


def test_a_site_without_pages_does_not_pass(check: Any, tmp_path: Path) -> None:
    assert check.main(tmp_path) == 1


@pytest.mark.parametrize(
    "page", ["openai-agents", "livekit", "pipecat", "pydantic-ai", "langchain", "google-adk", "mcp"]
)
def test_the_pages_of_frameworks_have_one_form(page: str) -> None:
    assert re.findall(r"^## (.*)", (DOCS / f"{page}.md").read_text(), re.MULTILINE) == [
        "Install",
        "The smallest agent",
        "What the framework gets",
        "Session and secrets",
        "Testing",
        "Limits",
    ]


def test_the_skill_for_coding_agents_has_the_form_that_they_read() -> None:
    (skill,) = DOCS.glob("skills/*/SKILL.md")
    head = re.match(r"---\nname: (.+)\ndescription: (.+)\n", skill.read_text())
    assert head
    assert head[1] == skill.parent.name
    assert len(head[2]) <= 1024
    assert len(skill.read_text().splitlines()) < 500
