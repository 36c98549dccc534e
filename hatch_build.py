"""The long description that a package index shows: README, with links that work there."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A link or picture whose target is a file of the repository, neither an address nor a heading of the page.
_TO_A_FILE = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


class LongDescription(MetadataHookInterface):
    """Sets ``readme``. Without a repository's address, the text stays as it is."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Make README's links absolute with the address in ``[project.urls]``."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository", "").rstrip("/")

        def absolute(link: re.Match[str]) -> str:
            picture, shown, target = link.groups()
            return f"{picture}[{shown}]({repository}/{'raw' if picture else 'blob'}/HEAD/{target})"

        if repository:
            text = _TO_A_FILE.sub(absolute, text).replace("<this repository>", repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
