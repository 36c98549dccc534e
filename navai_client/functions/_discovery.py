"""From folders to modules: which files below a base directory may offer functions, and how to import them."""

import functools
import itertools
import os
import re
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from typing import Final

import attrs

from navai_client._redaction import LONGEST_ERROR, Redactor
from navai_client.wire._decode import trim

DEFAULT_FUNCTIONS_FOLDER: Final = "src/ai/functions-modules"

_EXCLUDED_FOLDERS: Final = frozenset({"node_modules", "dist", "__pycache__", "venv", "env", "site-packages"})
_numbers: Final = itertools.count(1)
_LEADING: Final = re.compile(r"^/+|^(?:\./)+|^(?:\.\./)+")

Matcher = Callable[[str], bool]


@attrs.frozen
class FunctionModule:
    """A module that may offer functions.

    Attributes:
        path: Its path below the base directory, with slashes: its name in sources and warnings.
        load: Imports it.
        hide: Removes from an error's text what clients must not see.
    """

    path: str
    load: Callable[[], types.ModuleType] = attrs.field(repr=False)
    hide: Callable[[str], str] = attrs.field(default=str, repr=False)


class ModuleTree:
    """The modules of one base directory, imported under names of their own.

    Its folders are packages under a private root, so that relative imports work, folders may have names that
    are not identifiers, and two trees never collide. Only files below the base directory are
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


@attrs.frozen
class DiscoveredModules:
    """Modules in the order of their paths, and the warnings of the search."""

    modules: tuple[FunctionModule, ...]
    warnings: tuple[str, ...] = ()


def discover_function_modules(
    base_dir: str | os.PathLike[str] = ".",
    functions_folders: str | None = None,
    agents_folders: str | None = None,
    *,
    hide: Callable[[str], str] | None = None,
) -> DiscoveredModules:
    """Find the modules that may offer functions; links are not followed, so all are below *base_dir*.

    Args:
        base_dir: Where paths begin.
        functions_folders: Entries with commas between them: folders, ``folder/...``, wildcards (``*`` within
            a segment, ``**`` across), or files. Each is searched below ``src/``, and as written if that
            exists. By default ``src/ai/functions-modules``.
        agents_folders: Names with commas between them: of a folder entry only these subfolders are taken.
        hide: Removes from the text of a failed import what clients must not see.
    """
    base = Path(base_dir).resolve()
    wanted = trim(functions_folders or "") or DEFAULT_FUNCTIONS_FOLDER
    agents = [
        each for each in (_clean(part).replace("/", "") for part in (agents_folders or "").split(",")) if each
    ]
    configured = [part for part in wanted.split(",") if trim(part)]
    entries = [entry for entry in map(_clean, configured or [DEFAULT_FUNCTIONS_FOLDER]) if entry]
    warnings: list[str] = []
    every = list(_walk(base, ""))
    found = _matching(every, entries, agents, base)
    if not found and configured:
        warnings.append(
            f'[navai] NAVAI_FUNCTIONS_FOLDERS did not match any module: "{wanted}". '
            f'Falling back to "{DEFAULT_FUNCTIONS_FOLDER}".'
        )
        found = _matching(every, [DEFAULT_FUNCTIONS_FOLDER], agents, base)
    tree = ModuleTree(base)
    shown = hide or functools.partial(Redactor(base_dir=base).text, limit=LONGEST_ERROR)
    return DiscoveredModules(
        tuple(FunctionModule(path, _loader(tree, path), shown) for path in sorted(found)), tuple(warnings)
    )


def _loader(tree: ModuleTree, path: str) -> Callable[[], types.ModuleType]:
    return lambda: tree.load(path)


def _clean(entry: str) -> str:
    """Return *entry* with slashes, and without parts that would lead outside the base directory."""
    cleaned = trim(entry).replace("\\", "/")
    while (shorter := _LEADING.sub("", cleaned)) != cleaned:
        cleaned = shorter
    return cleaned


def _matching(every: list[str], entries: list[str], agents: list[str], base: Path) -> list[str]:
    matchers: list[Matcher] = []
    for entry in entries:
        matchers.append(_matcher(entry if entry.startswith("src/") else f"src/{entry}", agents))
        fixed = entry.partition("*")[0].removesuffix("...").rpartition("/")[0] if "*" in entry else entry
        if not entry.startswith("src/") and (base / fixed.removesuffix("/...")).exists():
            matchers.append(_matcher(entry, agents))
    return [path for path in every if any(matches(path) for matches in matchers)]


def _matcher(entry: str, agents: list[str]) -> Matcher:
    if entry.endswith("/..."):
        start = entry.removesuffix("/...").rstrip("/") + "/"
        return lambda path: path.startswith(start)
    if "*" in entry:
        pattern = re.compile(
            ".*".join("[^/]*".join(map(re.escape, part.split("*"))) for part in entry.split("**")), re.DOTALL
        )
        return lambda path: pattern.fullmatch(path) is not None
    if entry.endswith(".py"):
        return lambda path: path == entry
    folder = entry.rstrip("/") + "/"
    if agents:
        return lambda path: path.startswith(folder) and path[len(folder) :].partition("/")[0] in agents
    return lambda path: path.startswith(folder)


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            children = sorted(found, key=lambda child: child.name)
    except OSError:
        return  # a folder that may not be read offers nothing
    for child in children:
        name = child.name
        if name.startswith((".", "_")):
            continue
        if child.is_dir(follow_symlinks=False):
            if name not in _EXCLUDED_FOLDERS and not Path(child.path, "pyvenv.cfg").exists():
                yield from _walk(Path(child.path), f"{prefix}{name}/")
        elif (
            child.is_file(follow_symlinks=False)
            and name.endswith(".py")
            and not name.startswith("test_")
            and name != "conftest.py"
        ):
            yield f"{prefix}{name}"
