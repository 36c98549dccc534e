"""Check the built documentation, ``make docs``: what a reader stumbles over in a page made from code."""

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_LONGEST_LINE = 110  # characters of Python, which is not wrapped: more would be clipped
# What stands for a default that has no repr of its own.
_NO_DEFAULT = re.compile(r"attr_dict\[|\bNOTHING\b|_CLIENTS_TIMEOUT|<factory>|= ?<[a-z]| object at 0x|~\w+\.")
_SIGNATURE = re.compile(r'<dt class="sig [^>]*>(.*?)</dt>', re.DOTALL)
_LOADED = re.compile(
    r'<(?:img|script|source|iframe)\b[^>]*?\bsrc="([^"]+)"|<link\b(?![^>]*rel="(?:canonical|alternate)")[^>]*?\bhref="([^"]+)"'
)


def text_of(markup: str) -> str:
    """Return what a reader sees of *markup*."""
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def mistakes(page: str) -> Iterator[str]:
    """Yield what is wrong with the HTML of a *page*."""
    if '<meta name="description" content="' not in page:
        yield "has no description"
    for loaded in map("".join, _LOADED.findall(page)):
        if "//" in loaded:
            yield f"loads {loaded}"
    for block in re.findall(r'<div class="highlight-python[ "].*?<pre>(.*?)</pre>', page, re.DOTALL):
        for line in text_of(block).splitlines():
            if len(line) > _LONGEST_LINE:
                yield f"has a line that is clipped: {line}"


def mistakes_of_a_reference(page: str) -> Iterator[str]:
    """Yield what is wrong with the HTML of a *page* that was made from docstrings."""
    if re.search(r'<dt class="field-\w+">Type<', page):
        yield "shows the words before a colon in a docstring as a type"
    for markup in _SIGNATURE.findall(page):
        signature = text_of(markup).strip().removesuffix("¶").removesuffix("[source]")
        if _NO_DEFAULT.search(signature):
            yield f"shows no real default in {signature}"
        if len(signature) > _LONGEST_LINE and "sig-param" in markup and "<dd>" not in markup:
            yield f"has a signature on one line: {signature}"


def main(site: Path) -> int:
    """Print what is wrong with the pages of *site*, and return the exit status."""
    pages = [
        page
        for page in sorted(site.rglob("*.html"))
        if "_modules" not in page.parts and page.stem not in ("genindex", "py-modindex", "search")
    ]
    found = []
    for path in pages:
        page = path.read_text(encoding="utf-8")
        wrong = list(mistakes(page))
        if path.parent.name == "reference":
            wrong += mistakes_of_a_reference(page)
        elif 'class="highlight-default' in page:
            wrong.append("has code without a language")
        if not path.with_suffix(".md").is_file():
            wrong.append("has no Markdown beside it")
        found += [f"{path.relative_to(site)} {each}" for each in wrong]
    print("\n".join(found) or f"{len(pages)} pages are as they should be.")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
