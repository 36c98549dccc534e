"""How Sphinx builds the documentation: ``make docs``. Nothing in it is loaded from another host."""

from navai_client import __version__

project = "navai-client"
author = "The navai-client maintainers"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["README.md"]
nitpicky = True
nitpick_ignore_regex = [
    # Standard library and third parties: their documentation is on other hosts, which the build does not ask.
    (r"py:.*", r"(?!navai_client\.).*"),
    # Names of this package that a signature shows and that are no public names.
    (r"py:.*", r"navai_client\.(.+\.)?_.*"),
    # What stands behind a public class and is not to be used by itself.
    (
        r"py:.*",
        r"navai_client\.(conformance\._requirement\.Rule|server\.access_log\.AccessLog|server\.targets\.Target)",
    ),
]

html_theme = "furo"
html_title = f"navai-client {release}"
html_show_sphinx = False
html_copy_source = False

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
