"""Which proxy a connection goes through: the ``proxy`` option, else what the environment says.

A Unix socket (the ``uds`` option) is reached without any.

The variables are read as httpx and curl read them (https://curl.se/libcurl/c/CURLOPT_NOPROXY.html). Three
things differ from httpx 0.28: an entry of NO_PROXY that cannot be read is skipped, networks (10.0.0.0/8)
count, and a proxy's URL is read only for the origins that use it.
"""

import ipaddress
import os
import socket
import sys
import urllib.request
from importlib.util import find_spec
from typing import Any, Final

from attrs import field, frozen

from navai_client._extras import missing_package
from navai_client.errors import NavaiConfigError
from navai_client.transports._connecting import Origin, Target

_LONGEST_PATH: Final = 107 if sys.platform == "linux" else 103  # bytes (unix(7); sys/un.h of macOS)


@frozen(str=False)
class Proxy:
    """A proxy, and the option or variable that chose it.

    Attributes:
        source: The option or variable that names it.
        scheme: ``http``, ``https``, ``socks5`` or ``socks5h``.
        host: Its name or address.
        port: Its TCP port, or None for that of the scheme.
        auth: Its user and password, or None.
    """

    source: str
    scheme: str
    host: str
    port: int | None
    auth: tuple[str, str] | None = field(repr=False)

    @classmethod
    def parse(cls, url: str, source: str) -> "Proxy":
        """Read the *url* of a proxy.

        Raises:
            NavaiConfigError: If it is not a proxy's URL. Not shown: it may hold a password.
        """
        import httpx  # noqa: PLC0415 - `import navai_client` must not load it

        host, parsed = "", None
        if isinstance(url, str):
            try:
                parsed = httpx.Proxy(url)
                port = parsed.url.port
                host = parsed.url.host if port is None or 0 < port < 1 << 16 else ""  # RFC 9293, section 3.1
            except (httpx.InvalidURL, ValueError):
                host = ""  # raised below, where the error and its text are gone
        if parsed is None or not host:
            raise NavaiConfigError(
                f"{source} is not a proxy's URL: it is a text such as http://proxy:8080, "
                "with one of the schemes http, https, socks5 and socks5h."
            )
        if parsed.url.scheme.startswith("socks") and find_spec("socksio") is None:
            missing = missing_package("httpx[socks]", "socksio")
            raise NavaiConfigError(f"{source} is a SOCKS proxy: {missing}")
        return cls(source, parsed.url.scheme, host, parsed.url.port, parsed.auth)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port is None else f":{self.port}")


class Proxies:
    """The proxy settings of one transport.

    Args:
        given: The URL of a proxy for every request, or None for what the environment says.
        uds: The path of a Unix socket that every connection leads to, which excludes proxies.

    Attributes:
        uds: The same as a string, or None.

    Raises:
        NavaiConfigError: If *given* is not the URL of a proxy, *uds* not a path, or both are given.
    """

    def __init__(self, given: str | None, uds: str | os.PathLike[str] | None = None) -> None:
        self._given = None if given is None else Proxy.parse(given, "proxy")
        self.uds = None if uds is None else _checked_path(uds)
        if given is not None and uds is not None:
            raise NavaiConfigError("uds and proxy were both given; a Unix socket is reached without a proxy.")

    def find(self, origin: Origin) -> Proxy | None:
        """Return the proxy for connections to *origin*, or None for a direct connection.

        Raises:
            NavaiConfigError: If the variable does not hold a proxy's URL.
        """
        if self._given is not None or self.uds is not None:
            return self._given
        proxies = urllib.request.getproxies()  # on Windows and macOS, of the system's settings too
        for scheme in (origin.scheme, "all"):
            if url := proxies.get(scheme):
                if _is_spared(origin, proxies.get("no", "")):
                    return None
                return Proxy.parse(url if "://" in url else f"http://{url}", f"{scheme.upper()}_PROXY")
        return None


def _checked_path(uds: Any) -> str:
    """Return the path of the option *uds*; a name that begins with a zero is an abstract one of Linux."""
    path = os.fspath(uds) if isinstance(uds, os.PathLike) else uds
    if not hasattr(socket, "AF_UNIX"):
        raise NavaiConfigError("uds was given, but this system has no Unix sockets in Python.")
    if not isinstance(path, str) or not path.strip(" ."):
        raise NavaiConfigError(f"uds is the path of a Unix socket; it is {uds!r}.")
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        size = 0
    if "\0" in path[1:] or not 0 < size <= _LONGEST_PATH:
        raise NavaiConfigError(
            f"uds must be a path of at most {_LONGEST_PATH} bytes, as Unix sockets have; it is {path!r}."
        )
    return path


def _is_spared(origin: Origin, no_proxy: str) -> bool:
    """Return whether *no_proxy*, a list with commas, has an entry for *origin*."""
    return any(_matches(entry.strip().lower(), origin) for entry in no_proxy.split(","))


def _matches(entry: str, origin: Origin) -> bool:
    scheme, separator, rest = entry.partition("://")
    if separator:
        return scheme in {"all", origin.scheme} and _matches(rest, origin)
    if entry == "*":
        return True
    name, port = _split_port(entry)
    if not name or port not in {"", str(origin.port)}:
        return False
    try:
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        # example.com includes its subdomains, .example.com matches its subdomains only
        host, name = origin.host.lower().rstrip("."), _encoded(name.rstrip("."))
        return host.endswith("." + name.lstrip("*").lstrip(".")) or host == name
    try:
        return ipaddress.ip_address(origin.host) in network
    except ValueError:
        return False


def _encoded(name: str) -> str:
    """Return the domain *name* as hosts are compared and looked up (RFC 5891), or as it is if it is none."""
    if name.isascii():
        return name
    domain = name.lstrip("*.")
    target = Target.of(f"http://{domain}")
    return name.replace(domain, target.origin.host) if isinstance(target, Target) else name


def _split_port(entry: str) -> tuple[str, str]:
    """Return the name or address of *entry*, such as ``[::1]:80``, and its port or an empty text."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""
