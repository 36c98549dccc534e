"""All requirements, in their order: one file for each group or two."""

from collections.abc import Iterable
from typing import Final

from navai_client.conformance._catalogue.client_secret import CLIENT_SECRET
from navai_client.conformance._catalogue.cors import CORS
from navai_client.conformance._catalogue.errors import ERRORS
from navai_client.conformance._catalogue.execute import EXECUTE
from navai_client.conformance._catalogue.limits import LIMITS
from navai_client.conformance._catalogue.listing import LIST
from navai_client.conformance._catalogue.speech import SPEECH
from navai_client.conformance._requirement import GROUPS, Group, Requirement
from navai_client.errors import NavaiConfigError

_ALL: Final = (*LIST, *EXECUTE, *CLIENT_SECRET, *ERRORS, *CORS, *LIMITS, *SPEECH)


def requirements(groups: Iterable[str] | None = None) -> tuple[Requirement, ...]:
    """Return the requirements, in their order.

    Args:
        groups: Which groups of them; None means all.

    Raises:
        NavaiConfigError: There is no such group.
    """
    wanted = set(checked_groups(groups))
    return tuple(each for each in _ALL if each.group in wanted)


def checked_groups(groups: Iterable[str] | None) -> tuple[Group, ...]:
    """Return *groups* in their order, all for None.

    Raises:
        NavaiConfigError: There is no such group.
    """
    if groups is None:
        return GROUPS
    given = [groups] if isinstance(groups, str) else list(groups)
    if unknown := [each for each in given if each not in GROUPS]:
        raise NavaiConfigError(f"groups has {unknown[0]!r}; the groups are {', '.join(GROUPS)}.")
    return tuple(each for each in GROUPS if each in given)
