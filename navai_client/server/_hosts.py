"""Hosts, origins and headers as settings name them: their form, and which requests they allow.

A host is refused because of DNS rebinding: a page can make its own name resolve to this machine, and its
requests are then of the same origin. Only the name in their Host header tells them apart.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final

LOOPBACK_HOSTS: Final = (".localhost", "127.0.0.1", "[::1]")  # as Django's when ALLOWED_HOSTS is empty

_NAME: Final = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
_ADDRESS: Final = r"\[[0-9a-f:.]+\]"
_HOST: Final = re.compile(rf"({_NAME}|{_ADDRESS})\.?(?::[0-9]{{0,5}})?", re.ASCII | re.IGNORECASE)
_HOST_PATTERN: Final = re.compile(rf"\*|(?:\*?\.)?{_NAME}|{_ADDRESS}", re.ASCII)
_ORIGIN: Final = re.compile(
    rf"([a-z][a-z0-9+.-]*://)((?:\*\.)?{_NAME}|{_ADDRESS})(:[0-9]{{1,5}})?", re.ASCII | re.IGNORECASE
)
_LOCAL_ORIGIN: Final = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]+)?")
_DEFAULT_PORTS: Final = {"http://": ":80", "https://": ":443"}
_MOST_REMEMBERED: Final = 100  # enough for the names of one backend, and no memory to fill


def host_pattern(text: str) -> str | None:
    """Return *text* as hosts are compared with it, or None if it is no name, address or wildcard."""
    host = text.strip().lower().removesuffix(".")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            return None
    return host if _HOST_PATTERN.fullmatch(host) else None


def origin_pattern(text: str) -> str | None:
    """Return *text* as origins are compared with it, or None if it is neither an origin nor ``*``."""
    origin = text.strip()
    return "*" if origin == "*" else _normalized(origin.removesuffix("/"))


def header_pattern(text: str) -> str | None:
    """Return *text* if it is the name of a header (RFC 9110, section 5.1), or ``*``, else None."""
    name = text.strip()
    return (
        name
        if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) and ("*" not in name or name == "*")
        else None
    )


def _normalized(origin: str) -> str | None:
    """Return *origin* in lower case and without the default port of its scheme (RFC 6454, section 4)."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return None
    scheme, host, port = match[1].lower(), match[2].lower(), match[3] or ""
    return scheme + host + ("" if port == _DEFAULT_PORTS.get(scheme) else port)


class _Allowed:
    """Compares the values of a header with patterns; those that were allowed are remembered."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = frozenset(patterns)
        self._known: set[bytes] = set()

    def allow(self, value: bytes) -> bool:
        """Return whether a request with this *value* of the header is allowed."""
        if value in self._known or "*" in self._patterns:
            return True
        if not self._matches(value.decode("latin-1")):
            return False
        if len(self._known) < _MOST_REMEMBERED:
            self._known.add(value)
        return True

    def _matches(self, given: str) -> bool:
        raise NotImplementedError  # pragma: no cover - both subclasses define it


class AllowedHosts(_Allowed):
    """The hosts that requests may name, with any port.

    Args:
        patterns: A name stands for itself, ``*.shop.example`` for its subdomains (as Starlette's),
            ``.shop.example`` for both (as Django's), ``*`` for all.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__(pattern.removeprefix(".") for pattern in patterns)
        self._domains = tuple(pattern.removeprefix("*") for pattern in patterns if pattern[0] in "*.")

    def _matches(self, given: str) -> bool:
        match = _HOST.fullmatch(given)
        if match is None:
            return False
        name = match[1].lower()
        return name in self._patterns or name.endswith(self._domains)


class AllowedOrigins(_Allowed):
    """The origins whose pages may call the backend, beside those of this machine.

    Args:
        patterns: An origin stands for itself, ``https://*.shop.example`` for those of subdomains, ``*`` for
            all, also for pages without an origin (``null``).
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__(patterns)
        self._wildcards = tuple(pattern.split("*") for pattern in patterns if "://*." in pattern)

    def _matches(self, given: str) -> bool:
        origin = _normalized(given)
        if origin is None or "*" in origin:
            return False
        if origin in self._patterns or _LOCAL_ORIGIN.fullmatch(origin):
            return True
        return any(origin.startswith(start) and origin.endswith(end) for start, end in self._wildcards)


def is_same_origin(origin: bytes, host: bytes) -> bool:
    """Return whether *origin* is that of a page which this backend serves at *host*.

    Its scheme is not compared: behind a proxy, the backend does not know it.
    """
    given = origin.decode("latin-1")
    scheme = given[: given.find("://") + 3]
    normalized = _normalized(given)
    return normalized is not None and normalized == _normalized(scheme + host.decode("latin-1"))
