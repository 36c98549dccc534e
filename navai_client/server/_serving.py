"""Serving a backend with uvicorn: the socket, the line that names the URL, workers, reload and stop."""

import asyncio
import errno
import functools
import gc
import ipaddress
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import ChangeReload, Multiprocess

from navai_client._redaction import RedactingFormatter
from navai_client.functions._discovery import discover_function_modules
from navai_client.server._access_log import AccessLines, JsonFormatter
from navai_client.server._app import NavaiBackend
from navai_client.server._connections import Connection, Connections
from navai_client.server._hosts import LOOPBACK_HOSTS
from navai_client.server._metrics import MULTIPROCESS
from navai_client.server._settings import BackendKeywords, BackendOptions, ProcessSettings, ServerSettings
from navai_client.server._upstream import UpstreamServices

_log: Final = logging.getLogger("navai_client.server")

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_BACKLOG: Final = 2048  # uvicorn's default
_MAX_UNSENT_IN_KERNEL: Final = 128 * 1024  # bytes; half of it is what a reader must take, see write_timeout
_OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000
_LONGEST_SILENCE_S: Final = 10  # a worker is replaced after it; code in C that keeps the GIL is silent, too
_CLEANUP_S: Final = 3  # functions that were cut off may clean up for a second; their callers get a response


class ServeError(Exception):
    """The server cannot start; the message says why in one line."""


def serve(process: ProcessSettings, settings: BackendKeywords, options: Mapping[str, Any]) -> None:
    """Serve until a signal stops the process; calls in flight may then finish within the grace time.

    Args:
        process: How to listen and run.
        settings: The backend's settings on the command line; the environment has the others.
        options: The fields of :class:`BackendOptions` on the command line.

    Raises:
        ServeError: The port is taken, a folder of the command line is not there, or a setting cannot work.
    """
    try:
        # In this process too, so that settings that cannot work are reported before anything starts.
        backend = make_backend(process, settings, options)
    except (ImportError, ValueError) as error:  # an extra that a setting needs is not installed
        raise ServeError(str(error)) from None
    base = Path(backend.settings.functions_base_dir or ".")
    _check_folders(base, settings.get("functions_folders"), backend.settings)
    listener = bind(process.host, process.port) if process.uds is None else bind_unix(Path(process.uds))
    if listener.family == socket.AF_UNIX:
        pass  # neither the pages of a browser nor other machines reach it
    elif is_loopback(listener):
        settings = {**settings, "allowed_hosts": (*LOOPBACK_HOSTS, *backend.settings.allowed_hosts)}
    else:
        _check_public(process, backend, url_of(listener))
    connections = Connections(process, backend.settings.body_timeout)
    config = uvicorn.Config(
        functools.partial(_prepare_process, process, settings, options),
        factory=True,
        access_log=False,
        lifespan="on",
        log_config=None,
        workers=process.workers,
        http=cast("type[asyncio.Protocol]", functools.partial(Connection, connections)),
        ws="none",
        # Nothing here uses the client's address and scheme.
        root_path=process.root_path,
        proxy_headers=False,
        server_header=False,
        timeout_worker_healthcheck=_LONGEST_SILENCE_S,
        timeout_graceful_shutdown=process.grace + _CLEANUP_S,
    )
    # The one line on standard output, for people and scripts. A client that connects now waits for the start.
    print(f"Navai backend listening on {url_of(listener)}", flush=True)  # noqa: T201
    if process.reload:
        # The argument reload_dirs is read only for an application that is given by its import path.
        config.reload_dirs = [base.resolve()]
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()
    elif process.workers > 1:
        with tempfile.TemporaryDirectory(prefix="navai-") as folder:
            if backend.metrics is not None:
                os.environ.setdefault(MULTIPROCESS, folder)  # so that each process shows the sums of all
            if backend.settings.store_url is None:
                os.environ["NAVAI_STORE_URL"] = f"sqlite:///{folder}/keys.sqlite?temporary=true"
            workers = _Workers(config, sockets=[listener])
            workers.run()
        if workers.failed:
            raise ServeError("A worker ended before it served requests; its last words are above.")
    else:
        uvicorn.Server(config).run(sockets=[listener])


def _check_folders(base: Path, folders: str | None, settings: ServerSettings) -> None:
    """Look for *base* and the *folders* of the command line; where those of the variable are not, it warns.

    Raises:
        ServeError: They are not there, or have no module.
    """
    if not base.is_dir():
        raise ServeError(f"The base directory {base} does not exist.")
    unmatched: tuple[str, ...] = ()
    if folders:
        found = discover_function_modules(base, folders, settings.agents_folders, exclude=settings.exclude)
        unmatched = found.unmatched
    if unmatched:
        names = " and ".join(f'"{entry}"' for entry in unmatched)
        verb = "has" if len(unmatched) == 1 else "have"
        agents = f" of the agents {settings.agents_folders}" if settings.agents_folders else ""
        raise ServeError(f"--functions-folders: {names} {verb} no module{agents} below {base.resolve()}.")


class _Workers(Multiprocess):
    """uvicorn's workers, which replaces one that died. If none has ever served, that would go on forever.

    Attributes:
        failed: Whether they were stopped because none can serve.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.failed = False
        self._have_served = False

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died, unless none has served yet."""
        if not self._have_served:
            alive = [each for each in self.processes if each.process.is_alive()]
            if len(alive) < len(self.processes):  # the others may serve, or be about to
                if not any(each.wait_until_ready(_LONGEST_SILENCE_S, self.should_exit) for each in alive):
                    self.failed = True
                    self.should_exit.set()
                    return
            elif all(each.is_ready(timeout=1) for each in alive):
                _log.info("All %d workers serve.", len(alive))
            else:
                return
            self._have_served = True
        super().keep_subprocess_alive()
        # uvicorn gives up where a worker says that it cannot start, and does not say so to the caller.
        self.failed |= any(each.exitcode == STARTUP_FAILURE for each in self.processes)


def _end_with_parent(process: ProcessSettings) -> None:
    """Stop this worker when its parent has ended without a word: killed, it can stop no worker.

    The worker would keep the port, and serve what a new server should serve.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        _log.error("The parent process has ended, so this worker ends, too.")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(process.drain_delay + process.grace + 2 * _CLEANUP_S)
        # It did not react: a module that it imports may never return.
        os._exit(1)  # pragma: no cover - nothing is measured in a process that ends like this

    threading.Thread(target=watch, name="navai-parent", daemon=True).start()


def _check_public(process: ProcessSettings, backend: NavaiBackend, url: str) -> None:
    """Look at what strangers get from *backend* where they reach it.

    Raises:
        ServeError: It has a key to lose and asks nobody who they are, although nobody allowed that.
    """
    has_key = backend.options.secrets and isinstance(backend.services, UpstreamServices)
    if has_key and backend.authentication is None and not process.allow_anonymous:
        raise ServeError(
            f"Everyone who reaches {url} could call functions, and mint client secrets with the backend's "
            "key. Set NAVAI_ACCESS_TOKEN, listen on 127.0.0.1, or allow it with --allow-anonymous."
        )
    if backend.settings.expose_errors:
        _log.warning(
            "Callers get the messages of exceptions that functions raise. With NAVAI_EXPOSE_ERRORS=false "
            "they get those of ToolError alone, and the log has the others."
        )


def make_backend(
    process: ProcessSettings,
    settings: BackendKeywords,
    options: Mapping[str, Any] | None = None,
) -> NavaiBackend:
    """Make the backend that one process serves, with its log on standard error."""
    as_json = process.log_format == "json"
    if process.reload and ServerSettings.from_env(**settings).inspector is None:
        settings = {**settings, "inspector": True}
    backend = NavaiBackend(
        BackendOptions.from_env(**(options or {})),
        demo=process.demo,
        access_log=AccessLines(sys.stderr, as_json=as_json) if process.access_log else None,
        **settings,
    )
    handler = logging.StreamHandler(sys.stderr)
    form = logging.Formatter("%(message)s" if as_json else _LOG_FORMAT)
    masked = RedactingFormatter(form, backend.log_redactor)
    handler.setFormatter(JsonFormatter(masked) if as_json else masked)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    root = str(Path(backend.settings.functions_base_dir or ".").resolve())
    if root not in sys.path:
        sys.path.insert(0, root)  # functions may import modules beside them
    return backend


def _prepare_process(
    process: ProcessSettings, settings: BackendKeywords, options: Mapping[str, Any]
) -> NavaiBackend:
    """Make and load the backend, and exclude the objects loaded so far from garbage collection.

    Requests make short-lived objects, almost none of them in cycles. Looking for cycles after every 700
    objects, Python's default, costs several per cent of a short call and finds nothing.
    """
    _end_with_parent(process)
    backend = make_backend(process, settings, options)
    backend.functions()
    _drain_on_signals(backend, process)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    return backend


def _drain_on_signals(backend: NavaiBackend, process: ProcessSettings) -> None:
    """Go on accepting for a while after SIGTERM, and cut calls off when the grace is over.

    A load balancer learns from ``/ready`` that this process is about to stop; until then it sends requests.
    uvicorn itself would stop accepting at once, and cancel the requests in the end without a response.
    """
    loop = asyncio.get_running_loop()
    handlers: dict[int, Any] = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    ending: list[asyncio.Task[None]] = []

    def cut_off() -> None:
        ending.append(loop.create_task(backend.invoker.close()))

    def stop(number: int) -> None:
        backend.draining = True
        loop.call_later(process.grace, cut_off)
        handlers[number](number, None)

    def on_signal(number: int) -> None:
        if number == signal.SIGTERM and process.drain_delay and not (backend.draining or process.reload):
            backend.draining = True
            _log.info("Stopping. Requests are still accepted for %d seconds.", process.drain_delay)
            loop.call_later(process.drain_delay, stop, number)
        else:
            stop(number)

    for each in handlers:
        # A handler runs between any two instructions of this thread, the loop's callbacks do not.
        signal.signal(each, lambda number, _: loop.call_soon_threadsafe(on_signal, number))


def bind(host: str, port: int) -> socket.socket:
    """Listen on *host* and *port*; port 0 takes a free one.

    Raises:
        ServeError: That is not possible; the message says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", error) from None
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # pragma: no branch - Linux and macOS; connections inherit it
        # Else the kernel takes megabytes for a slow reader, and it shows only once in a while that it reads.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT_IN_KERNEL)
    listener.set_inheritable(True)
    return listener


def bind_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket at *path*, in place of one that nobody listens on any more.

    Raises:
        ServeError: That is not possible; the message says why.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and _is_stale(path):
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o666)  # as uvicorn's: the proxy runs as another user; the folder says who may enter
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(str(path), error) from None
    listener.set_inheritable(True)
    return listener


def _is_stale(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def _cannot_listen(where: str, error: OSError | UnicodeError) -> ServeError:
    # The system's own message; Python's would repeat the address.
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number) if number and number > 0 else str(error)
    return ServeError(f"Cannot listen on {where}: {reason}.")


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine reaches *listener*."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the URL of *listener*, or ``unix:`` and its path."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
