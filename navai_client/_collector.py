"""Python's garbage collector, kept out of the parsing of large JSON texts."""

import gc
from collections.abc import Callable
from typing import Any, TypeVar

LARGE = 8 * 1024  # bytes, which the standard library parses in a tenth of a millisecond

Text = TypeVar("Text", str, bytes)


def parse_undisturbed(parse: Callable[[Text], Any], text: Text) -> Any:
    """Return ``parse(text)``, without a collection meanwhile if *text* is large.

    Python looks for cycles after every few hundred new lists and dicts. It would walk what has been parsed
    again and again, and now and then everything else in the process. What a parser makes has no cycles.
    If the program has switched the collector off, it stays off.
    """
    if len(text) < LARGE or not gc.isenabled():
        return parse(text)
    try:
        gc.disable()
        return parse(text)
    finally:
        gc.enable()
