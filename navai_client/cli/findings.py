"""What ``navai doctor`` finds, and what it can tell without the network: settings, versions, extras."""

import base64
import os
import platform
import re
import ssl
import urllib.request
from collections.abc import Mapping
from importlib import metadata
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

import attrs

from navai_client._version import __version__
from navai_client.config import DEFAULT_BASE_URL
from navai_client.wire._decode import trim

__all__ = ["Finding", "Hop", "Level", "base_url_source", "extras", "proxy_of", "versions"]

Level = Literal["ok", "warn", "fail"]
_PORT = 80  # of a proxy whose URL has none, as httpx has it
_PACKAGE = "navai-client"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[([^]]*)\])?")
_EXTRA = re.compile(r"^extra == ['\"]([^'\"]+)['\"]$")


@attrs.frozen
class Finding:
    """One thing looked at.

    Attributes:
        check: What was looked at.
        level: ``ok``, ``warn`` (works, but not for long or not well) or ``fail``.
        message: What was found.
        remedy: What to do about it; None when nothing has to be done.
    """

    check: str
    level: Level
    message: str
    remedy: str | None = None


def base_url_source(url: str | None, env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the base URL, as it was given, and who gave it; the order is that of the clients."""
    for source, value in (("--url", url), ("NAVAI_API_URL", env.get("NAVAI_API_URL"))):
        if value and trim(value):
            return trim(value), source
    return DEFAULT_BASE_URL, "the default: neither --url nor NAVAI_API_URL is set"


def versions() -> Finding:
    """Tell the versions of all that takes part in a call."""
    found = {name: _version(name) for name in ("httpx", "httpx2", "attrs", "click")}
    parts = [
        f"navai-client {__version__}",
        f"Python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {version}" for name, version in found.items() if version is not None),
        ssl.OPENSSL_VERSION,
    ]
    return Finding("versions", "ok", ", ".join(parts))


def extras() -> Finding:
    """Tell which extras of this package are installed."""
    needs: dict[str, list[str]] = {}
    for requirement in metadata.requires(_PACKAGE) or ():
        package, _, marker = requirement.partition(";")
        extra = _EXTRA.match(marker.strip())  # a marker that asks for more, such as a platform, is left out
        if extra:
            needs.setdefault(extra[1], []).append(package)
    installed = [extra for extra in sorted(needs) if extra != "all" and _is_installed(extra, needs)]
    missing = [extra for extra in sorted(needs) if extra != "all" and extra not in installed]
    message = f"installed: {', '.join(installed) or 'none'}"
    if missing:
        message += f"; not installed: {', '.join(missing)} (pip install '{_PACKAGE}[{missing[0]}]')"
    return Finding("extras", "ok", message)


def _is_installed(extra: str, needs: Mapping[str, list[str]]) -> bool:
    for requirement in needs.get(extra, ()):
        match = _REQUIREMENT.match(requirement.strip())
        name, inner = (match[1], match[2]) if match else ("", None)
        if name == _PACKAGE:
            if not all(_is_installed(each.strip(), needs) for each in (inner or "").split(",")):
                return False
        elif _version(name) is None:
            return False
    return True


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def proxy_of(url: str, given: str | None) -> tuple[str, str] | None:
    """Return the proxy on the way to *url* and who says so, or None if there is none.

    The environment is read as urllib reads it, which is what httpx does for all but unusual NO_PROXY lists.
    """
    if given is not None:
        return given, "--proxy"
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    for scheme in (parts.scheme.lower(), "all"):
        if proxy := proxies.get(scheme):
            return (proxy if "://" in proxy else f"http://{proxy}"), f"{scheme.upper()}_PROXY"
    return None


@attrs.frozen(str=False)
class Hop:
    """A proxy on the way.

    Attributes:
        scheme: How it is spoken to.
        address: Its host and port.
        headers: What it must be told, its password for example.
    """

    scheme: str
    address: tuple[str, int]
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read a proxy's URL.

        Raises:
            ValueError: If it is none.
        """
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("a proxy's URL has a host")
        headers = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return cls(parts.scheme.lower(), (parts.hostname, parts.port or _PORT), headers)

    def __str__(self) -> str:
        host, port = self.address
        return f"{self.scheme}://[{host}]:{port}" if ":" in host else f"{self.scheme}://{host}:{port}"
