"""What the test runs have in common that tests start."""

from typing import Final

__all__ = ["NO_PLUGINS_OF_OTHERS"]

# As in pyproject.toml: importing them takes a second, and no test uses them.
NO_PLUGINS_OF_OTHERS: Final = ("-p", "no:schemathesis", "-p", "no:langsmith_plugin")
