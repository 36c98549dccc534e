"""Importing one file below a base directory, without making it, or anything beside it, importable by name."""

import itertools
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from typing import Final

import attrs

__all__ = ["FunctionModule", "ModuleTree"]

_numbers: Final = itertools.count(1)


@attrs.frozen
class FunctionModule:
    """A module that may offer functions.

    Attributes:
        path: Its path below the base directory, with slashes: how it is named in sources and warnings.
        load: Imports it.
        hide: Takes out of an error's text what clients may not see.
    """

    path: str
    load: Callable[[], types.ModuleType] = attrs.field(repr=False)
    hide: Callable[[str], str] = attrs.field(default=str, repr=False)


class ModuleTree:
    """The modules of one base directory, imported under names of their own.

    Its folders are packages of a root that nobody else imports from, so that relative imports work, folders
    may have names that are no identifiers, and two trees never meet. Only files below the base directory are
    imported, their packages' ``__init__.py`` included.
    """

    def __init__(self, base: Path) -> None:
        """Import from below *base*, an absolute path without links in it."""
        self._base = base
        self._root = f"_navai_functions_{next(_numbers)}"

    def load(self, relative: str) -> types.ModuleType:
        """Import the file *relative* to the base directory, its packages first.

        Raises:
            ImportError: It is not below the base directory.
            Exception: Whatever the file itself raises.
        """
        *folders, file = relative.split("/")
        package = self._package(self._root, self._base)
        place = self._base
        for folder in folders:
            place /= folder
            package = self._package(f"{package}.{folder}", place)
        return self._execute(f"{package}.{file.removesuffix('.py')}", place / file)

    def _package(self, name: str, folder: Path) -> str:
        if name in sys.modules:
            return name
        opening = folder / "__init__.py"
        if name != self._root and opening.is_file():
            self._execute(name, opening, [str(folder)])
        else:
            package = types.ModuleType(name)
            package.__path__ = [str(folder)]
            sys.modules[name] = package
        return name

    def _execute(self, name: str, file: Path, folders: list[str] | None = None) -> types.ModuleType:
        if name in sys.modules:
            return sys.modules[name]
        if not file.resolve().is_relative_to(self._base):
            raise ImportError(f"{file.name} is a link to a place outside the base directory")
        loader = SourceFileLoader(name, str(file))
        spec = ModuleSpec(name, loader, origin=str(file))
        spec.has_location = True
        spec.submodule_search_locations = folders
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
