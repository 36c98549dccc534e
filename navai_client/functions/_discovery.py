"""From folders to modules: which files below a base directory may offer functions."""

import logging
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import attrs

from navai_client._redaction import Redactor
from navai_client.functions._loaded import ModuleTree
from navai_client.wire._decode import trim

AGENT_CONFIG: Final = "agent_config.py"  # of an agent's folder: it offers no functions
DEFAULT_FUNCTIONS_FOLDER: Final = "src/ai/functions-modules"

_EXCLUDED_FOLDERS: Final = frozenset({"node_modules", "dist", "__pycache__", "venv", "env", "site-packages"})
_ANY_FOLDERS: Final = re.compile(r"(?:^|(?<=/))\*\*/")
_LEADING: Final = re.compile(r"^/+|^(?:\./)+|^(?:\.\./)+")

_log: Final = logging.getLogger("navai_client.functions")


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


@attrs.frozen
class DiscoveredModules:
    """What a search has found.

    Attributes:
        modules: The modules, in the order of their paths.
        warnings: The warnings of the search.
        unmatched: The entries of ``functions_folders`` that select no module.
        find: Returns the first of some paths that is a file, as a module beside the others; None if none is.
    """

    modules: tuple[FunctionModule, ...]
    warnings: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    find: Callable[[Iterable[str]], FunctionModule | None] = attrs.field(
        default=lambda _: None, repr=False, eq=False
    )


def discover_function_modules(
    base_dir: str | os.PathLike[str] = ".",
    functions_folders: str | None = None,
    agents_folders: str | None = None,
    *,
    exclude: Iterable[str] = (),
    default_folder: str = DEFAULT_FUNCTIONS_FOLDER,
    hide: Callable[[str], str] | None = None,
) -> DiscoveredModules:
    """Find the modules that may offer functions; links are followed to targets below *base_dir* only.

    An entry that selects nothing, a folder that cannot be read, and a link to a place outside are warnings.
    Test modules, virtual environments, build folders and what is excluded are skipped; the log names them.
    An ``agent_config.py`` offers no functions.

    Args:
        base_dir: Where paths begin.
        functions_folders: Entries with commas between them: folders, ``folder/...``, files, or wildcards
            (``*`` within a segment, ``**`` across) for files, or for folders if the last segment has none.
            Each is searched below ``src/``, and as written.
        agents_folders: Names with commas between them: of a folder entry only these subfolders are taken.
        exclude: Wildcards for the paths, below *base_dir*, of files and folders to skip.
        default_folder: What is searched if *functions_folders* is None or selects nothing.
        hide: Removes from the text of a failed import what clients must not see.

    Raises:
        TypeError: *exclude* is a text, whose characters would be the wildcards.
    """
    if isinstance(exclude, str):
        raise TypeError(f"exclude must be a list of wildcards, not the text {exclude!r}.")
    base = Path(base_dir).resolve()
    wanted = trim(functions_folders or "")
    configured = entries_of(wanted)
    agents = agents_of(agents_folders)
    excluded = [_exclusion(_clean(each)) for each in exclude]
    search = _Search(base, configured, agents, excluded)
    warnings = [
        f'[navai] NAVAI_FUNCTIONS_FOLDERS: the entry "{entry}" did not match any module.'
        for entry in search.unmatched
    ]
    unmatched = tuple(search.unmatched)
    skipped = search.warnings
    if not search.found:
        search = _Search(base, [default_folder], agents, excluded)
        if configured:
            fallback = f'Falling back to "{default_folder}".'
            warnings = [f'[navai] NAVAI_FUNCTIONS_FOLDERS did not match any module: "{wanted}". {fallback}']
        else:
            warnings = [f'[navai] The default folder "{entry}" has no module.' for entry in search.unmatched]
    tree = ModuleTree(base)
    shown = hide or Redactor(base_dir=base).error

    def module(path: str) -> FunctionModule:
        return FunctionModule(path, partial(tree.load, path.removesuffix("/__init__.py")), shown)

    def find(paths: Iterable[str]) -> FunctionModule | None:
        return next((module(path) for path in paths if (base / path).is_file()), None)

    return DiscoveredModules(
        tuple(map(module, search.found)),
        (*warnings, *dict.fromkeys([*skipped, *search.warnings])),
        unmatched,
        find,
    )


def entries_of(functions_folders: str) -> list[str]:
    return [part for part in map(trim, functions_folders.split(",")) if part]


def agents_of(agents_folders: str | None) -> list[str]:
    names = (_clean(part).replace("/", "") for part in (agents_folders or "").split(","))
    return [name for name in names if name]


def places_of(entry: str) -> list[str]:
    """Return where the *entry* of a setting is searched: below ``src/``, and as written."""
    cleaned = _clean(entry)
    if not cleaned:
        return []
    return [cleaned] if cleaned.startswith("src/") else [f"src/{cleaned}", cleaned]


@attrs.frozen
class _Folder:
    """A folder to search: where it is, how its paths begin, and whether a link leads to it."""

    path: Path
    prefix: str
    is_linked: bool = False


class _Search:
    """Walks the folders that entries select from, once.

    Attributes:
        found: The paths of the selected modules, sorted.
        unmatched: The entries that select nothing.
        warnings: What was skipped and may be missed.
    """

    def __init__(
        self, base: Path, entries: list[str], agents: list[str], excluded: list[re.Pattern[str]]
    ) -> None:
        self.warnings: list[str] = []
        self._base = base
        self._excluded = excluded
        patterns = {entry: [_pattern(place, agents) for place in places_of(entry)] for entry in entries}
        self._roots = {each.root for found in patterns.values() for each in found}
        self._targets: dict[str, Path] = {}
        self._walk()
        selected = {
            entry: [path for path in self._targets if any(each.matches(path) for each in found)]
            for entry, found in patterns.items()
        }
        self.unmatched = [entry for entry, paths in selected.items() if not paths]
        self.found = self._without_repeats(sorted(set().union(*selected.values())))

    def _walk(self) -> None:
        """Fill ``_targets``: each Python file below the roots, and where its links lead."""
        folders = [_Folder(self._base, "")]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder.path) as entries:
                    children = {child.name: child for child in entries}
            except OSError as error:
                self._skip(folder.prefix, f"the folder cannot be read ({error.strerror})")
                continue
            if folder.prefix and "pyvenv.cfg" in children:
                self._skip(folder.prefix, "it is a virtual environment", is_expected=True)
                continue
            for name in sorted(children):
                if not name.startswith((".", "_")) and self._is_relevant(f"{folder.prefix}{name}"):
                    folders.extend(self._visit(folder, children[name]))

    def _visit(self, folder: "_Folder", child: os.DirEntry[str]) -> Iterator["_Folder"]:
        """Yield *child* if it is a folder to search; keep it if it is a module."""
        path = f"{folder.prefix}{child.name}"
        is_link = child.is_symlink()
        target = Path(os.path.realpath(child.path)) if is_link else folder.path / child.name
        if any(each.fullmatch(path) or each.fullmatch(f"{path}/") for each in self._excluded):
            self._skip(path, "it is excluded", is_expected=True)
        elif not target.is_relative_to(self._base):
            self._skip(path, "it links to a place outside the base directory")
        # os.path raises nothing for a target that cannot be read, unlike the entry of a link.
        elif os.path.isdir(target) if is_link else child.is_dir():  # noqa: PTH112
            if child.name in _EXCLUDED_FOLDERS:
                self._skip(path, "folders with this name are not searched", is_expected=True)
            elif is_link and folder.is_linked:  # cycles end here
                self._skip(path, "it is a link to a folder, below another such link")
            else:
                yield _Folder(target, f"{path}/", is_link or folder.is_linked)
        elif is_link and not os.path.isfile(target):  # noqa: PTH113
            self._skip(path, "the target of the link is missing or cannot be read")
        elif child.name.endswith(".py") and (is_link or child.is_file()):
            if child.name.startswith("test_") or child.name == "conftest.py":
                self._skip(path, "it is a test module", is_expected=True)
            elif child.name != AGENT_CONFIG:
                self._targets[path] = target

    def _is_relevant(self, path: str) -> bool:
        """Whether *path* is below a root, or leads to one."""
        return any(path.startswith(root) or root.startswith(f"{path}/") for root in self._roots)

    def _skip(self, path: str, reason: str, *, is_expected: bool = False) -> None:
        warning = f"[navai] Skipped {path or '.'}: {reason}."
        if is_expected:
            _log.info("%s", warning.encode("unicode_escape").decode())
        else:
            self.warnings.append(warning)

    def _without_repeats(self, paths: list[str]) -> list[str]:
        """Leave out links to files that are found without them, and second links to the same file."""
        own = {path for path in paths if self._targets[path] == self._base / path}
        seen = {self._targets[path] for path in own}
        found = []
        for path in paths:
            if path not in own:
                if self._targets[path] in seen:
                    continue
                seen.add(self._targets[path])
            found.append(path)
        return found


@attrs.frozen
class _Pattern:
    """Which paths an entry selects, and how all of them begin."""

    root: str
    matches: Callable[[str], bool]


def _pattern(entry: str, agents: list[str]) -> _Pattern:
    if entry.endswith("/..."):
        start = entry.removesuffix("/...").rstrip("/") + "/"
        return _Pattern(start, lambda path: path.startswith(start))
    if "*" in entry:
        last = entry.rstrip("/").rpartition("/")[2]
        is_folder = "*" not in last and not last.endswith(".py")
        pattern = _glob(entry.rstrip("/") + "/**" if is_folder else entry)
        root = "/".join(entry.partition("*")[0].split("/")[:-1])
        return _Pattern(root and f"{root}/", lambda path: pattern.fullmatch(path) is not None)
    if entry.endswith(".py"):
        return _Pattern(entry, lambda path: path == entry)
    folder = entry.rstrip("/") + "/"
    if agents:
        return _Pattern(
            folder, lambda path: path.startswith(folder) and path[len(folder) :].partition("/")[0] in agents
        )
    return _Pattern(folder, lambda path: path.startswith(folder))


def _glob(pattern: str) -> re.Pattern[str]:
    """Return a pattern with ``*`` within a segment and ``**`` across segments as a regular expression."""
    return re.compile(_expression(pattern), re.DOTALL)


def _exclusion(pattern: str) -> re.Pattern[str]:
    """Return the same for what is excluded, where ``**/`` also stands for no folder, as in ``.gitignore``.

    In the JavaScript backend it never does. There, ``**/drafts/*`` offers what is in a ``drafts`` at the top.
    """
    parts = map(_expression, _ANY_FOLDERS.split(pattern))
    return re.compile("(?:.*/)?".join(parts), re.DOTALL)


def _expression(pattern: str) -> str:
    return ".*".join("[^/]*".join(map(re.escape, part.split("*"))) for part in pattern.split("**"))


def _clean(entry: str) -> str:
    """Return *entry* with slashes, and without parts that would lead outside the base directory."""
    cleaned = trim(entry).replace("\\", "/")
    while (shorter := _LEADING.sub("", cleaned)) != cleaned:
        cleaned = shorter
    return cleaned
