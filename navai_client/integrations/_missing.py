"""What an integration says when its extra is not installed: one line, with the command that installs it."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needs_extra"]


@contextmanager
def needs_extra(extra: str, *packages: str) -> Iterator[None]:
    """Import third-party *packages* in its body; if one is missing, name the command that installs *extra*.

    A module that is missing inside of an installed package is that package's own affair, and raised as it is.

    Raises:
        ImportError: If one of *packages* is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in packages:
            raise
        raise ImportError(
            f"{missing} is not installed; run: pip install 'navai-client[{extra}]'", name=missing
        ) from None
