"""The routes of an application, and which of them a person means."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from attrs import field, frozen

from navai_client.wire._decode import trim

__all__ = ["NavaiRoute", "resolve_navai_route", "route_prompt_lines"]

_ACCENTS: Final = re.compile("[\u0300-\u036f]")


def _strings(given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):  # a list of its letters is hardly meant
        raise TypeError("synonyms: expected a list of strings, not a string")
    return tuple(given)


@frozen(kw_only=True)
class NavaiRoute:
    """One route of an application that an agent may open.

    Attributes:
        name: Its name, such as ``profile``.
        path: Its path, such as ``/profile``.
        description: What a person finds there.
        synonyms: Other names.
    """

    name: str
    path: str
    description: str = ""
    synonyms: tuple[str, ...] = field(default=(), converter=_strings)


def resolve_navai_route(spoken: str, routes: Iterable[NavaiRoute]) -> str | None:
    """Return the path of the route that *spoken* means, or None.

    Case, accents and surrounding white space do not matter. As in the JavaScript agent, a route matches by
    its path, else by a name or synonym, else by one that *spoken* contains. Blank names never match.

    Args:
        spoken: The words of a person, such as ``open my Profile``.
        routes: The allowed routes.
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
    """Return one line for each route, as the instructions of the JavaScript agent have them."""
    return [
        f"- {route.name} ({route.path})"
        + (f", aliases: {', '.join(route.synonyms)}" if route.synonyms else "")
        for route in routes
    ]


def _folded(text: str) -> str:
    return trim(_ACCENTS.sub("", unicodedata.normalize("NFD", text))).lower()
