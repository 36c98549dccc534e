"""How Sphinx builds the documentation: ``make docs``. Nothing in it is loaded from another host."""

import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any, ClassVar

from navai_client import __version__


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


sys.meta_path.insert(0, Frameworks())

project = "navai-client"
author = "The navai-client maintainers"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["README.md"]
nitpicky = True
nitpick_ignore_regex = [
    # Standard library and third parties: their documentation is on other hosts, which the build does not ask.
    (r"py:.*", r"(?!navai_client\.).*"),
    # Names of this package that occur in signatures and are not public.
    (r"py:.*", r"navai_client\.(.+\.)?_.*"),
    # What stands behind a public class and is not to be used by itself, and type variables.
    (r"py:.*", r"navai_client\.integrations\.toolset\.LoadingToolset"),
    (r"py:.*", r"navai_client\.(.+\.)?[A-Z]"),
]

html_theme = "furo"
html_title = f"navai-client {release}"
html_show_sphinx = False
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
