"""What leaves the backend in an error's text: no key, and no path outside the base directory."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["Redactor", "mask_keys", "message_of"]

_MASK: Final = "***"
_KEYS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|ek|rk|pk|xi)[-_](?:[A-Za-z0-9*]+[-_])*[A-Za-z0-9*_-]{6,}"
    r"|(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9._~+/=-]{6,}"
)
_PATH: Final = re.compile(
    r"""(?<![\w.~/\\])(?:(?:file://|(?<!:)|(?!//))/(?=[^\s/'"`<>|:*?,;()\[\]{}])|[A-Za-z]:[\\/])[^\n'"`<>|:*?,;()\[\]{}]*"""
)
_LONGEST_TEXT: Final = 8192


def mask_keys(text: str, known: Iterable[str] = ()) -> str:
    """Return *text* with *known* secrets, and what looks like an API key or a bearer token, masked."""
    for secret in known:
        text = text.replace(secret, _MASK)
    return _KEYS.sub(_MASK, text)


def message_of(error: BaseException) -> str:
    """Return the message of *error*, or its type's name when it has none or cannot tell."""
    try:
        message = str(error)
    # The boundary again: an exception's __str__ is code that is not ours.
    except BaseException:  # noqa: BLE001
        message = ""
    return message or type(error).__name__


class Redactor:
    """Makes texts that came from the owner's code or from upstream fit to be shown to clients."""

    def __init__(self, base: Path, known: Iterable[str] = ()) -> None:
        """Show paths relative to *base*, and mask the secrets *known*."""
        self._base = re.compile(rf"(?<![\w.~-]){re.escape(str(base).rstrip(os.sep) + os.sep)}")
        self._known = tuple(secret for secret in known if secret)

    def __call__(self, text: str) -> str:
        """Return *text* without keys and without paths outside the base directory, and not endless."""
        text = self._base.sub("", text[:_LONGEST_TEXT])
        return mask_keys(_PATH.sub(self._last_part, text), self._known)

    @staticmethod
    def _last_part(found: "re.Match[str]") -> str:
        path = found[0]
        parts = [each for each in re.split(r"[\\/]", path) if each]
        # A lone "/word" is as often a choice ("and/or") or a route as a file: only what is there is a path.
        if path.startswith("/") and not Path("/" + parts[0].split(" ")[0]).exists():
            return path
        return parts[-1] if len(parts) > 1 else path
