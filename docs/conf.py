"""How Sphinx builds the documentation: ``make docs``. Nothing in it is loaded from another host."""

import sys
from pathlib import Path

from navai_client import __version__

sys.path.insert(0, str(Path(__file__).parent))

project = "navai-client"
author = "The navai-client maintainers"
copyright = f"2026, {author[0].lower()}{author[1:]}; MIT licence"  # noqa: A001 - the name that Sphinx reads
release = version = __version__
site_description = "Python client, reference server and agent integrations for Navai voice backends."
site_pages = {
    "Start": ["first-steps", "recipes", "from-javascript"],
    "The client": [
        "configuration",
        "secrets",
        "errors",
        "timeouts",
        "logging",
        "transports",
        "testing",
        "cli",
        "wordpress",
    ],
    "Voice agents": [
        "agents",
        "openai-agents",
        "livekit",
        "pipecat",
        "pydantic-ai",
        "langchain",
        "google-adk",
        "mcp",
        "your-framework",
        "project-folders",
        "opentelemetry",
    ],
    "Backends": ["server", "fastapi", "security", "deployment", "scaling", "conformance", "contract"],
    "Reference": [
        "reference/index",
        "reference/client",
        "reference/models",
        "reference/errors",
        "reference/transports",
        "reference/tools",
        "reference/frameworks",
        "reference/server",
        "reference/testing",
        "reference/conformance",
    ],
    "The project": ["parity", "changelog", "upgrading", "policy"],
}
extensions = [
    "myst_parser",
    "site_extension",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["README.md", "skills"]
nitpicky = True
nitpick_ignore_regex = [
    # Standard library and third parties: their documentation is on other hosts, which the build does not ask.
    (r"py:.*", r"(?!navai_client\.).*"),
    # Names of this package that occur in signatures and are not public.
    (r"py:.*", r"navai_client\.(.+\.)?_.*"),
    # Type variables.
    (r"py:.*", r"navai_client\.(.+\.)?[A-Z]"),
]

html_theme = "furo"
html_title = f"navai-client {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "default"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 60
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
