"""The routes of an application: what a person calls them, and which one a person means."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from attrs import field, frozen

from navai_client.wire._decode import trim

__all__ = ["NavaiRoute", "resolve_navai_route", "route_prompt_lines"]

_ACCENTS: Final = re.compile("[\u0300-\u036f]")


def _texts(given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):  # its letters are hardly meant
        raise TypeError("synonyms: a list of texts is needed, not one text")
    return tuple(given)


@frozen(kw_only=True)
class NavaiRoute:
    """One place of an application that an agent may open.

    Attributes:
        name: What people call it, such as ``profile``.
        path: Where it is, such as ``/profile``.
        description: What is there.
        synonyms: What else people call it.
    """

    name: str
    path: str
    description: str = ""
    synonyms: tuple[str, ...] = field(default=(), converter=_texts)


def resolve_navai_route(spoken: str, routes: Iterable[NavaiRoute]) -> str | None:
    """Return the path of the route that *spoken* means, or None.

    Case, accents and white space around it do not matter. A path wins, then a name or synonym, then the first
    route whose name or synonym is contained in what was said, as in the JavaScript agent. A blank name is
    contained in nothing.

    Args:
        spoken: What was said, such as ``open my Profile``.
        routes: The routes that are allowed.
    """
    said = _folded(spoken)
    known = tuple(routes)
    for route in known:
        if _folded(route.path) == said:
            return route.path
    for route in known:
        if said in map(_folded, (route.name, *route.synonyms)):
            return route.path
    for route in known:
        if any(name and name in said for name in map(_folded, (route.name, *route.synonyms))):
            return route.path
    return None


def route_prompt_lines(routes: Iterable[NavaiRoute]) -> list[str]:
    """Return one line for each route, as the JavaScript agent tells its model of them."""
    return [
        f"- {route.name} ({route.path})"
        + (f", aliases: {', '.join(route.synonyms)}" if route.synonyms else "")
        for route in routes
    ]


def _folded(text: str) -> str:
    return trim(_ACCENTS.sub("", unicodedata.normalize("NFD", text))).lower()
