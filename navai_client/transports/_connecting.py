"""From a URL to a connected socket: names, addresses, and which of them to connect to.

Hosts with several addresses are connected to by Happy Eyeballs (RFC 8305). No wait outlasts the deadline of
the call.
"""

import asyncio
import contextlib
import errno
import functools
import ipaddress
import os
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, TypeVar, cast

from attrs import field, frozen

from navai_client._threads import CallThreads, NoThreadLeftError, run_within
from navai_client.transports import Call
from navai_client.wire._values import TransportFailure

_PORTS: Final = {"http": 80, "https": 443}
_LONGEST_NAME, _LONGEST_LABEL = 254, 63  # characters, a dot at the end included
_LOOKUPS: Final = 32  # names looked up at the same time, as the executor of asyncio allows
_ATTEMPT_DELAY: Final = 0.25  # seconds from one attempt to connect to the next (RFC 8305, section 5)
_BACKLOG_DELAY: Final = 0.02  # seconds until a Unix socket whose backlog is full is tried again
_REMEMBERED: Final = 1000  # hosts; a client has one
_CONNECTING: Final = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)}

T = TypeVar("T")

_Address: TypeAlias = tuple[Any, Any, int, str, Any]  # as getaddrinfo() returns them


@frozen
class Origin:
    """What a connection leads to (RFC 6454).

    Attributes:
        scheme: ``http`` or ``https``. It alone decides whether the connection is encrypted.
        host: A name or an address, as it is looked up.
        port: The TCP port.
    """

    scheme: str
    host: str
    port: int


# A URL that httpx leaves as it is: nothing is encoded, by IDNA or otherwise, and the path has no "." or "..".
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PLAIN_URL: Final = re.compile(
    rf"(https?)://(localhost|(?:{_BYTE}\.){{3}}{_BYTE}|(?:(?!xn--)[a-z][a-z0-9-]{{0,62}}\.){{1,3}}[a-z]{{2,60}})"
    r"(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?((?:/[A-Za-z0-9_~-]+)+/?)"
)


@frozen(eq=False)
class Target:
    """The parts of a URL, as httpx reads them.

    Attributes:
        origin: What to connect to.
        authority: The value of ``Host``.
        path: The path and query, encoded. It can hold a key.
    """

    origin: Origin
    authority: bytes
    path: bytes = field(repr=False)

    @classmethod
    def of(cls, url: str) -> "Target | TransportFailure":
        """Return the target of *url*, or why nothing can be sent there."""
        if (plain := _PLAIN_URL.fullmatch(url)) is not None:
            scheme, host, port, path = plain.groups()
            authority = host if port is None or int(port) == _PORTS[scheme] else f"{host}:{port}"
            return cls(Origin(scheme, host, int(port or _PORTS[scheme])), authority.encode(), path.encode())
        import httpx  # noqa: PLC0415 - to load it takes ten times as long as one call

        try:
            parsed = httpx.URL(url)
            has_host = bool(parsed.host)  # which IDNA may refuse to decode, such as xn--abc
        except (httpx.InvalidURL, UnicodeError):  # its text can hold the URL
            return TransportFailure("the URL cannot be read", sent=False, permanent=True)
        has_host = has_host and _is_name(parsed.raw_host.decode("ascii"))
        port = parsed.port or _PORTS.get(parsed.scheme)
        if parsed.scheme not in _PORTS or port is None or not has_host:
            message = f"{parsed.scheme}:// URLs cannot be requested"
            return TransportFailure(message, sent=False, permanent=True)
        origin = Origin(parsed.scheme, parsed.raw_host.decode("ascii"), port)
        return cls(origin, parsed.netloc, parsed.raw_path)


def _is_name(host: str) -> bool:
    """Return whether *host* is an address, or as long as a name and its parts may be (RFC 1035, 2.3.4)."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= _LONGEST_NAME and all(0 < len(label) <= _LONGEST_LABEL for label in labels)


def remaining(call: Call) -> float | None:
    """Return the remaining seconds of *call*, or None for no limit.

    Raises:
        TimeoutError: If nothing is left. As a timeout, 0 would mean "do not wait" to a socket.
    """
    if call.deadline is None:
        return None
    seconds = call.deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("time ran out")
    return seconds


class HostNameError(OSError):
    """A text cannot be a host name."""


@contextlib.contextmanager
def only_os_errors() -> Iterator[None]:
    """Raise an OSError where Python raises another error for an invalid host name."""
    try:
        yield
    except OSError:  # a certificate that is not trusted is a ValueError as well
        raise
    except ValueError as error:  # UnicodeError too
        raise HostNameError(f"the host's name cannot be used ({error})") from None


def connect(host: str, port: int, call: Call) -> socket.socket:
    """Open a TCP connection, whose socket does not block, by Happy Eyeballs (RFC 8305).

    Raises:
        OSError: If no address can be reached, or TimeoutError if time runs out.
    """
    waiting = _in_order(_addresses(host, port, call), host)
    delay = _delay(waiting, call)
    problem: OSError = OSError("the name has no address")
    with selectors.DefaultSelector() as attempts:
        try:
            while waiting or attempts.get_map():
                left = remaining(call)
                if waiting:
                    if (failed := _begin(waiting.popleft(), attempts)) is not None:
                        problem = failed
                        continue
                    left = delay if waiting else left
                for key, _ in attempts.select(left):
                    connection = cast("socket.socket", key.fileobj)
                    number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number:
                        problem = _drop(connection, number, attempts)
                    else:
                        attempts.unregister(connection)
                        _remember(host, key.data)
                        return connection
            raise problem
        finally:
            for key in list(attempts.get_map().values()):
                cast("socket.socket", key.fileobj).close()


def _new_socket(address: _Address) -> socket.socket:
    connection = socket.socket(*address[:3])
    try:
        connection.setblocking(False)  # noqa: FBT003 - it takes no keyword
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(address: _Address, attempts: selectors.BaseSelector) -> OSError | None:
    """Begin to connect to *address*; return why that fails at once, as without IPv6 in the system."""
    try:
        connection = _new_socket(address)
    except OSError as error:
        return error
    attempts.register(connection, selectors.EVENT_WRITE, address)
    number = connection.connect_ex(address[4])
    return None if number in _CONNECTING else _drop(connection, number, attempts)


def _drop(connection: socket.socket, number: int, attempts: selectors.BaseSelector) -> OSError:
    attempts.unregister(connection)
    connection.close()
    return OSError(number, os.strerror(number))  # Python makes a ConnectionRefusedError of it, for example


def _in_order(addresses: list[_Address], host: str) -> deque[_Address]:
    """Return *addresses* in the order to try: what worked last, then the families in turn (RFC 8305, 4).

    Those where TLS failed come at the end: they are reached, but of no use.
    """
    families: dict[int, deque[_Address]] = {}
    for address in addresses:
        families.setdefault(address[0], deque()).append(address)
    ordered: deque[_Address] = deque()
    while families:
        for family, each in list(families.items()):
            ordered.append(each.popleft())
            if not each:
                del families[family]
    known = _reached.get(host)
    for address in ordered:
        if address[4][0] == known:
            ordered.remove(address)
            ordered.appendleft(address)
            break
    return deque(sorted(ordered, key=lambda address: address[4][:2] in _avoided))


def _delay(addresses: deque[_Address], call: Call) -> float:
    """Return the seconds from one attempt to the next, so short that each address has its turn."""
    left = call.remaining()
    return _ATTEMPT_DELAY if left is None else min(_ATTEMPT_DELAY, left / (len(addresses) + 1))


_reached: dict[str, str] = {}  # the address of each host that was reached last


def _remember(host: str, address: _Address) -> None:
    if len(_reached) >= _REMEMBERED:
        _reached.clear()
    _reached[host] = address[4][0]


_avoided: dict[Any, None] = {}  # addresses and ports with which the last handshake of TLS failed


@contextlib.contextmanager
def noting_handshake(peer: Any) -> Iterator[None]:
    """Remember whether the handshake in the body fails. *peer* is the name of its socket's other end."""
    try:
        yield
    except OSError:
        if len(_avoided) >= _REMEMBERED:
            _avoided.clear()
        if isinstance(peer, tuple):  # not a Unix socket, nor one whose peer has gone
            _avoided[peer[:2]] = None
        raise
    if isinstance(peer, tuple):
        _avoided.pop(peer[:2], None)


# The system's resolver has no timeout: names are looked up in threads, which callers can leave.
_lookups: Final = CallThreads(_LOOKUPS)


def _addresses(host: str, port: int, call: Call) -> list[_Address]:
    if known := _literal(host, port):
        return known  # type: ignore[no-any-return]
    with only_os_errors(), _resolver():
        return run_within(call.remaining(), _look_up(host, port), _lookups)


async def _addresses_async(host: str, port: int) -> list[_Address]:
    """Look up as ``_addresses`` does; asyncio would use its executor, for whose threads programs wait."""
    if known := _literal(host, port):
        return known  # type: ignore[no-any-return]
    with _resolver():
        return await _lookups.run(None, _look_up(host, port))


def _look_up(host: str, port: int) -> Callable[[], list[_Address]]:
    return functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)


@contextlib.contextmanager
def _resolver() -> Iterator[None]:
    """Raise an OSError while every thread waits for a lookup that was given up."""
    try:
        yield
    except NoThreadLeftError:
        raise OSError(f"the system's resolver does not respond to {_LOOKUPS} lookups") from None


def _literal(host: str, port: int) -> Any:
    """Return *host* if it is an address, or None for a name, whose lookup may have to wait."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    # As bytes, because a str would load the IDNA codec.
    return socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)


async def connect_async(loop: asyncio.AbstractEventLoop, host: str, port: int, call: Call) -> socket.socket:
    """Connect as ``connect`` does. uvloop has no Happy Eyeballs, and asyncio does not remember addresses."""
    waiting = _in_order(await _addresses_async(host, port), host)
    delay = _delay(waiting, call)

    async def attempt(address: _Address) -> socket.socket:
        connection = _new_socket(address)
        try:
            await loop.sock_connect(connection, address[4])
        except BaseException:
            connection.close()
            raise
        _remember(host, address)
        return connection

    problem: BaseException = OSError("the name has no address")
    attempts: set[asyncio.Task[socket.socket]] = set()
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(loop.create_task(attempt(waiting.popleft())))
            done, _ = await asyncio.wait(
                attempts, timeout=delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                attempts.discard(task)
                if (error := task.exception()) is None:
                    return task.result()
                problem = error
        raise problem
    finally:
        for task in attempts:
            if not task.cancel() and task.exception() is None:
                task.result().close()


def connect_unix(path: str, call: Call) -> socket.socket:
    """Connect to the Unix socket at *path*, for a connection that does not block.

    Raises:
        OSError: If nothing listens there, or TimeoutError if time runs out.
    """
    while (connection := _try_unix(path)) is None:
        left = remaining(call)
        time.sleep(_BACKLOG_DELAY if left is None else min(_BACKLOG_DELAY, left))
    return connection


async def connect_unix_async(path: str) -> socket.socket:
    """Connect as ``connect_unix`` does; asyncio would take a full backlog for a connection."""
    while (connection := _try_unix(path)) is None:  # noqa: ASYNC110 - nothing says when there is room
        await asyncio.sleep(_BACKLOG_DELAY)
    return connection


def _try_unix(path: str) -> socket.socket | None:
    """Return a connection to *path*, or None while its backlog is full."""
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)  # noqa: FBT003 - it takes no keyword
    number = connection.connect_ex(path)
    if not number:
        return connection
    connection.close()
    if number == errno.EAGAIN:  # and select() would not say when to try again (connect(2))
        return None
    raise OSError(number, os.strerror(number), path)
