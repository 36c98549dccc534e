"""Optional dependencies, and public names that are loaded on first use.

Every import of the package runs this file, so it imports nothing that ``typing`` does not load anyway.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

SERVER_PACKAGES: Final = (
    "docstring_parser",
    "dotenv",
    "httptools",
    "msgspec",
    "pydantic",
    "uvicorn",
    "uvloop",
)


def missing_extra(extra: str, *packages: str) -> str:
    """Return the message for *packages* that are not installed, with the command that installs *extra*."""
    return missing_package(f"navai-client[{extra}]", *packages)


def missing_package(requirement: str, *packages: str) -> str:
    """Return the message for *packages* that are not installed, with the command for *requirement*."""
    are = "is" if len(packages) == 1 else "are"
    return f"{' and '.join(packages)} {are} not installed; run: pip install '{requirement}'"


@contextmanager
def needs_extra(extra: str, *packages: str) -> Iterator[None]:
    """Name *extra* if one of its third-party *packages*, imported in the body, is not installed.

    A module that is missing inside of an installed package is an error of that package and raised as it is.

    Raises:
        ImportError: If one of *packages* is not installed; the message is that of ``missing_extra``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in packages:
            raise
        raise ImportError(missing_extra(extra, missing), name=missing) from None


def lazy(
    package: str, names: Mapping[str, tuple[str, ...]], extra: str = "", packages: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for *package*, which loads its names on first use.

    Type checkers read the imports under ``TYPE_CHECKING`` beside the call; a test compares the two.

    Args:
        package: Its ``__name__``.
        names: The public names of each module, which is named relative to *package*.
        extra: The extra that the modules need, if they need one.
        packages: The third-party packages of the extra.
    """
    home = {name: module for module, exported in names.items() for name in exported}

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with needs_extra(extra, *packages):
            value = getattr(importlib.import_module(home[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted({*vars(sys.modules[package]), *home}), sorted(home)
