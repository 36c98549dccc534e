"""Serving a backend with uvicorn: the socket, the line that names the URL, workers, reload and stop."""

import asyncio
import functools
import gc
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

import attrs
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import ChangeReload, Multiprocess

from navai_client.server._access_log import AccessLines
from navai_client.server._app import NavaiBackend
from navai_client.server._settings import ServerSettings, SettingsKeywords

_LINE: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_GRACE_S: Final = 30
_LAST_PORT: Final = 65535
_OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000


class ServeError(Exception):
    """The server cannot start; the message is the one line that says why."""


@attrs.frozen(kw_only=True)
class ServeOptions:
    """What ``python -m navai_client.server`` was asked for.

    Attributes:
        host: The address to listen on.
        port: The port; 0 takes a free one.
        base_dir: Where function modules are looked for; None leaves it to the environment.
        functions_folders: Which folders below it; None leaves it to the environment.
        reload: Whether to start anew when a file below the base directory changes.
        workers: How many processes serve the port; each has functions and idempotency keys of its own.
        demo: Whether to serve sample functions and secrets that open nothing.
        inspector: Whether to serve the inspector; None serves it with *demo* and with *reload*, unless the
            environment says otherwise.
        access_log: Whether each answer gets a line in the log.
        grace: Seconds that calls in flight are given to finish when the server is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 3000
    base_dir: str | None = None
    functions_folders: str | None = None
    reload: bool = False
    workers: int = 1
    demo: bool = False
    inspector: bool | None = None
    access_log: bool = True
    grace: int = _GRACE_S


def serve(options: ServeOptions) -> None:
    """Serve until told to stop; calls in flight are then let finish, up to the grace time.

    Raises:
        ServeError: The port is taken, a folder is not there, or the options cannot work.
    """
    base = Path(options.base_dir or os.environ.get("NAVAI_FUNCTIONS_BASE_DIR") or ".")
    if not base.is_dir():
        raise ServeError(f"The base directory {base} is not there.")
    try:
        make_backend(options)  # once here, so that options that cannot work are told before anything starts
    except ValueError as error:
        raise ServeError(str(error)) from None
    listener = bind(options.host, options.port)
    config = uvicorn.Config(
        functools.partial(_prepare_process, options),
        factory=True,
        access_log=False,
        lifespan="on",
        log_config=None,
        workers=options.workers,
        # The client's address and scheme, which these would tell or keep, are used for nothing here.
        http=OneWriteProtocol,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=options.grace,
    )
    # For people and scripts alike: the one line on standard output. Whoever connects now waits for the start.
    print(f"Navai backend listening on {url_of(listener)}", flush=True)  # noqa: T201
    if options.reload:
        config.reload_dirs = [
            base.resolve()
        ]  # its own argument counts only for an application named by a text
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()
    elif options.workers > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


def make_backend(options: ServeOptions) -> NavaiBackend:
    """Make the backend that one process serves, with its log on standard error."""
    logging.basicConfig(level=logging.INFO, format=_LINE, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    base = options.base_dir or os.environ.get("NAVAI_FUNCTIONS_BASE_DIR") or "."
    root = str(Path(base).resolve())
    if root not in sys.path:
        sys.path.insert(0, root)  # functions may import what lies beside them
    settings: SettingsKeywords = {}
    if options.inspector is not None:
        settings["inspector"] = options.inspector
    elif options.reload and "inspector" not in ServerSettings.from_env(os.environ):
        settings["inspector"] = True
    return NavaiBackend(
        functions_base_dir=options.base_dir,
        functions_folders=options.functions_folders,
        demo=options.demo,
        access_log=AccessLines(sys.stderr) if options.access_log else None,
        **settings,
    )


def _prepare_process(options: ServeOptions) -> NavaiBackend:
    """Make and load the backend, and have the garbage collector leave alone what is there for good.

    Requests make short-lived objects, almost none of them in cycles. To look for cycles after every 700
    objects, as Python does by itself, costs several per cent of a short call and finds nothing.
    """
    backend = make_backend(options)
    backend.functions()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    return backend


def bind(host: str, port: int) -> socket.socket:
    """Listen on *host* and *port*; port 0 takes a free one.

    Raises:
        ServeError: That is not possible; the message says why.
    """
    if not 0 <= port <= _LAST_PORT:
        raise ServeError(f"Cannot listen on {host}:{port}: ports are numbers from 0 to {_LAST_PORT}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        # The system's own words; what Python adds to them repeats the address.
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number and number > 0 else str(error)
        raise ServeError(f"Cannot listen on {host}:{port}: {reason}.") from None
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL under which *listener* is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


_MOST_HELD_BYTES = 64 * 1024


class OneWriteProtocol(HttpToolsProtocol):
    """Speaks HTTP as uvicorn's protocol does."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, with a transport that gathers what is written."""
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]


class _Gathering:
    """A transport that hands on what was written once in each turn of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._bytes += len(data)
        if self._bytes > _MOST_HELD_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._bytes = 0
            self._transport.write(data)
