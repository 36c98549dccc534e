"""The modules of functions folders, below this module, under names that every process can import.

What a module hands to another process, as to one of ``ProcessPoolExecutor``, arrives there as a name, which
the process imports. So a name says where its module is: ``navai_client.functions._loaded.2f617070_1.src.a``
is ``/app/src/a.py``, with ``/app`` in hexadecimal digits. Python imports this module on the way, and with it
the rule below. Nothing outside the base directory is imported.

The names also keep two trees apart, and let folders have names that are not identifiers.
"""

import itertools
import sys
import types
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Final
from urllib.parse import unquote

_PREFIX: Final = f"{__name__}."
_numbers: Final = itertools.count(1)

__path__: list[str] = []  # it has submodules


class ModuleTree:
    """The modules of one base directory: its folders are packages, so that relative imports work."""

    def __init__(self, base: Path) -> None:
        """Import from below *base*, an absolute path without links in it."""
        where = str(base).encode("utf-8", "surrogateescape").hex()
        self._root = f"{_PREFIX}{where}_{next(_numbers)}"

    def load(self, relative: str) -> types.ModuleType:
        """Import the file *relative* to the base directory, its packages first.

        Raises:
            ImportError: It is not below the base directory.
            Exception: Whatever the file itself raises.
        """
        parts = relative.removesuffix(".py").split("/")
        quoted = (part.replace("%", "%25").replace(".", "%2e") for part in parts)
        return import_module(".".join((self._root, *quoted)))


class _Finder:
    """Finds the file or the folder of a name below this module."""

    @staticmethod
    def find_spec(
        name: str, _path: Sequence[str] | None = None, _target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(_PREFIX):
            return None
        root, *parts = name.removeprefix(_PREFIX).split(".")
        base = Path(bytes.fromhex(root.partition("_")[0]).decode("utf-8", "surrogateescape"))
        place = base.joinpath(*map(unquote, parts))
        opening, file = place / "__init__.py", place.with_name(f"{place.name}.py")
        if parts and opening.is_file():
            spec = _spec(name, opening, base)
            spec.submodule_search_locations = [str(place)]
            return spec
        if parts and file.is_file():
            return _spec(name, file, base)
        if place.is_dir():
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(place)]
            return spec
        return None


def _spec(name: str, file: Path, base: Path) -> ModuleSpec:
    if not file.resolve().is_relative_to(base):
        raise ImportError(f"{file.name} is a link to a place outside the base directory")
    spec = ModuleSpec(name, _Loader(name, str(file)), origin=str(file))
    spec.has_location = True
    return spec


class _Loader(SourceFileLoader):
    """Loads a file that may stand beside a folder of the same name, whose modules are then below it."""

    def exec_module(self, module: types.ModuleType) -> None:
        folder = Path(self.path).with_suffix("")
        if folder.is_dir():
            module.__path__ = [str(folder)]
        super().exec_module(module)


sys.meta_path.insert(0, _Finder)
