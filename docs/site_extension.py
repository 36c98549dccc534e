"""What the documentation does beyond Sphinx.

Stand-ins for the frameworks, readable defaults, the tree of pages, files that are shown in pages,
descriptions, ``llms.txt``, and a Markdown file beside each page.
"""

import functools
import html
import inspect
import itertools
import re
import shutil
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.text import TextBuilder
from sphinx.ext.viewcode import viewcode_anchor
from sphinx.writers.text import TextTranslator

_DESCRIPTION = 200  # characters; search engines show about 160
# A link to a file of the repository that is a paragraph by itself: the documentation shows the file there.
_FILE = re.compile(r"(?:(?<=\n\n)|\A)\[[^\]\n]+\]\((\.\./[^)#\n]*?([^./)#\n]+))\)(?=\n(?:\n|\Z))")
_LONG_NAME = re.compile(r'(?<=<span class="pre">)[^<\s]{30,}(?=</span>)')  # of a test, for example
_LANGUAGES = {"conf": "nginx", "Dockerfile": "docker", "py": "python", "yaml": "yaml"}


class Placeholder(type):
    """The type of stand-ins for a framework's classes; unlike Sphinx's mocks they work in ``X | None``."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(cls, name, Placeholder(name, (), {"__module__": f"{cls.__module__}.{cls.__name__}"}))
        return getattr(cls, name)

    def __getitem__(cls, _: object) -> "Placeholder":
        return cls


class FrameworkModule(types.ModuleType):
    """A module in which every name is a class."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, Placeholder(name, (), {"__module__": self.__name__}))
        return getattr(self, name)


class Frameworks:
    """Finds the frameworks' modules, so that building the documentation installs none of them (1 GB)."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        installs = {
            "agents",
            "google",
            "langchain_core",
            "langgraph",
            "livekit",
            "mcp",
            "mcp_types",
            "opentelemetry",
            "pipecat",
            "pydantic_ai",
            "starlette",
        }
        return ModuleSpec(name, self) if name.partition(".")[0] in installs else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return FrameworkModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class Text:
    """A default as a reader would write it: its repr is the text itself."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def text_of(default: Any) -> str:
    """Return Python text for a *default* whose repr is none."""
    if isinstance(default, functools.partial):
        default = default.func
    if inspect.ismethod(default) or inspect.isbuiltin(default):
        owner = default.__self__
        owner = owner.__name__ if inspect.ismodule(owner) else type(owner).__name__.lower()
        return f"{owner}.{default.__name__}"
    name = getattr(default, "__name__", f"{type(default).__name__}()")
    return "..." if name == "<lambda>" else str(name)


def show_defaults(_app: Sphinx, call: Any, _bound: bool) -> None:
    """Leave out private parameters; replace defaults that would show as ``<function ...>`` or ``NOTHING``."""
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return
    fields = {each.alias: each for each in getattr(call, "__globals__", {}).get("attr_dict", {}).values()}
    parameters = []
    for name, parameter in signature.parameters.items():
        if name.startswith("_"):  # for this package's own code
            continue
        default = parameter.default
        if repr(default) == "NOTHING":
            default = fields[name].default.factory()
        shown = parameter.default is not parameter.empty and repr(default).startswith(("<", "functools."))
        parameters.append(parameter.replace(default=Text(text_of(default)) if shown else default))
    if tuple(parameters) != tuple(signature.parameters.values()):
        call.__signature__ = signature.replace(parameters=parameters)


def shown_lines(path: str) -> str:
    """Return the option that leaves out what only an example needs: ``_explain``, and how to run it."""
    lines = (Path(__file__).parent / path).read_text(encoding="utf-8").splitlines()
    if "import _explain" not in lines:
        return ""
    first, left_out = lines.index('"""') + 3, lines.index("import _explain") + 1
    return f":lines: {first}-{left_out - 1}, {left_out + 1}-\n"


def show_files(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Show a file where a paragraph is a link to it. The repository's own page shows the link."""

    def show(link: re.Match[str]) -> str:
        path, ending = link.groups()
        if ending == "md":
            return f"```{{include}} {path}\n```"
        return f"```{{literalinclude}} {path}\n:language: {_LANGUAGES[ending]}\n{shown_lines(path)}```"

    source[0] = _FILE.sub(show, source[0])


def add_tree(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the tree of pages to the first one, whose Markdown stays free of directives."""
    if name == app.config.root_doc:
        for caption, pages in app.config.site_pages.items():
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"


def description_of(page: nodes.document) -> str:
    """Return the first paragraph of *page*, cut where it is long."""
    paragraph = next(iter(page.findall(nodes.paragraph)), None)
    text = " ".join(paragraph.astext().split()) if paragraph else ""
    return text if len(text) <= _DESCRIPTION else text[:_DESCRIPTION].rpartition(" ")[0] + " …"


def describe(_app: Sphinx, name: str, _template: str, context: dict[str, Any], page: Any) -> None:
    """Give a page its description, which search engines show, and the address of its Markdown."""
    if page:
        described = html.escape(description_of(page))
        context["metatags"] = (
            f"{context.get('metatags', '')}"
            f'<meta name="description" content="{described}">\n'
            f'<link rel="alternate" type="text/markdown" href="{name.rpartition("/")[2]}.md">\n'
        )


def break_names(_app: Sphinx, _name: str, _template: str, context: dict[str, Any], _page: Any) -> None:
    """Let long names in tables break after their marks, where a cell would be too wide."""
    if "<table" in context.get("body", ""):
        context["body"] = _LONG_NAME.sub(
            lambda name: re.sub(r"(::|[_./(])", r"\1<wbr>", name[0]), context["body"]
        )


def markdown_of(app: Sphinx, name: str) -> str:
    """Return the page *name* as Markdown: its source; what is made from docstrings, as text."""
    source = Path(app.env.doc2path(name)).read_text(encoding="utf-8")

    def show(link: re.Match[str]) -> str:
        path, ending = link.groups()
        text = (Path(app.env.doc2path(name)).parent / path).read_text(encoding="utf-8").strip()
        return text if ending == "md" else f"{link[0]}\n\n```{_LANGUAGES[ending]}\n{text}\n```"

    def documented(described: addnodes.desc) -> str:
        document = nodes.document(page.settings, page.reporter)
        document += described.deepcopy()
        for anchor in list(document.findall(viewcode_anchor)):
            anchor.parent.remove(anchor)
        translator = TextTranslator(document, TextBuilder(app, app.env))
        document.walkabout(translator)
        return f"```text\n{translator.body.strip()}\n```"

    page = app.env.get_doctree(name)
    objects = [
        each for each in page.findall(addnodes.desc) if not isinstance(each.parent.parent, addnodes.desc)
    ]
    # The only block of its section is what autodoc was asked for there.
    blocks = [
        "\n\n".join(map(documented, each)) for _, each in itertools.groupby(objects, lambda one: one.parent)
    ]
    replaced = re.sub(r"```\{eval-rst\}\n.*?\n```", lambda _: blocks.pop(0), source, flags=re.DOTALL)
    return _FILE.sub(show, replaced)


def write_markdown(app: Sphinx, failure: Exception | None) -> None:
    """Write the Markdown of each page beside it, ``llms.txt`` and ``llms-full.txt`` (https://llmstxt.org)."""
    if failure or app.builder.format != "html":
        return
    out = Path(app.outdir)
    index = [f"# {app.config.project}", f"> {app.config.site_description}"]
    everything = []
    for caption, pages in {"": [app.config.root_doc], **app.config.site_pages}.items():
        lines = []
        for name in pages:
            text = markdown_of(app, name)
            (out / f"{name}.md").write_text(text, encoding="utf-8")
            everything.append(text)
            lines.append(
                f"- [{app.env.titles[name].astext()}]({name}.md): {description_of(app.env.get_doctree(name))}"
            )
        index += [f"## {caption}", "\n".join(lines)] if caption else []
    shutil.copytree(Path(app.confdir) / "skills", out / "skills", dirs_exist_ok=True)
    skills = [f"- [{path.parent.name}]({path.relative_to(out)})" for path in out.glob("skills/*/SKILL.md")]
    index += ["## Skills for coding agents", "\n".join(skills)]
    (out / "llms.txt").write_text("\n\n".join(index) + "\n", encoding="utf-8")
    (out / "llms-full.txt").write_text("\n\n".join(everything), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the above with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    sys.meta_path.insert(0, Frameworks())
    app.add_config_value("site_pages", {}, "env", dict)
    app.add_config_value("site_description", "", "html", str)
    app.connect("autodoc-before-process-signature", show_defaults)
    app.connect("source-read", show_files)
    app.connect("source-read", add_tree)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", break_names)
    app.connect("build-finished", write_markdown)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
