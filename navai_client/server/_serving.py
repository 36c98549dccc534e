"""Serving a backend with uvicorn: the socket, the announcement, workers, reload and the stop."""

import asyncio
import contextlib
import errno
import functools
import gc
import inspect
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
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Final, cast

import attrs
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import ChangeReload, Multiprocess

from navai_client._redaction import RedactingFormatter
from navai_client.functions._discovery import discover_function_modules
from navai_client.server._access_log import AccessLines, AccessRecords, JsonFormatter
from navai_client.server._app import NavaiBackend
from navai_client.server._connections import Connection, Connections
from navai_client.server._errors import BackendOptionsError
from navai_client.server._hosts import LOOPBACK_HOSTS
from navai_client.server._inspector import PAGE_PATH
from navai_client.server._metrics import MULTIPROCESS
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._routes import OPENAPI_PATH
from navai_client.server._settings import BackendKeywords, ServerSettings
from navai_client.server._upstream import UpstreamServices
from navai_client.server._upstream_settings import BackendOptions

_log: Final = logging.getLogger("navai_client.server")

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_LOG_FORMAT_ON_A_TERMINAL: Final = "%(levelname)-8s %(message)s"
_BACKLOG: Final = 2048  # uvicorn's default
_MAX_UNSENT_IN_KERNEL: Final = 128 * 1024  # bytes; a reader must take half of it within write_timeout
_OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000
_LONGEST_SILENCE_S: Final = 10  # then a worker is replaced; C code that keeps the GIL silences it, too
_REMEDIES: Final[Mapping[int | None, str]] = {
    errno.EADDRINUSE: "Stop the server that listens there, or choose another --port; 0 takes a free one.",
    errno.EACCES: "Choose another --port: those below 1024 may need more rights.",
    errno.EADDRNOTAVAIL: "Choose a --host that is an address of this machine.",
}
_CLEANUP_S: Final = 3  # functions that are cut off clean up for a second, and their callers get a response


class ServeError(Exception):
    """The server cannot start; the message says why in one line."""


def serve(
    process: ProcessSettings,
    settings: BackendKeywords,
    options: Mapping[str, Any],
    target: str | None = None,
) -> None:
    """Serve until a signal stops the process; calls in flight may then finish within the grace time.

    Args:
        process: How to listen and run.
        settings: The backend's settings from the command line; the others come from the environment.
        options: The fields of :class:`BackendOptions` from the command line.
        target: ``module:name`` of a backend, or of a function that makes one; by default, one is made here.

    Raises:
        ServeError: The port is taken, a folder from the command line is missing, a setting cannot work, or
            there is no backend at *target*.
    """
    # In this process too, so that settings that cannot work are reported before anything starts.
    backend = _make_first(process, settings, options, target)
    base = Path(backend.settings.functions_base_dir or ".")
    _check_folders(base, settings.get("functions_folders"), backend.settings)
    listener = bind(process.host, process.port) if process.uds is None else bind_unix(Path(process.uds))
    if listener.family == socket.AF_UNIX:
        pass  # neither the pages of a browser nor other machines reach it
    elif is_loopback(listener) and target is None:
        settings = {**settings, "allowed_hosts": (*LOOPBACK_HOSTS, *backend.settings.allowed_hosts)}
    elif not is_loopback(listener):
        _check_public(process, backend, url_of(listener))
    connections = Connections(process, backend.settings.body_timeout)
    config = uvicorn.Config(
        functools.partial(_prepare_process, process, settings, options, target),
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
    _announce(process, backend.settings, url_of(listener))
    if process.reload:
        # The argument reload_dirs is read only for an application that is given by its import path.
        config.reload_dirs = [base.resolve()]
        _Reload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()
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


def _make_first(
    process: ProcessSettings, settings: BackendKeywords, options: Mapping[str, Any], target: str | None
) -> NavaiBackend:
    """Make the backend as each process will, so that one line reports a setting that cannot work.

    Raises:
        ServeError: As :func:`serve`.
    """
    if target is not None:
        _set_variables(process, settings, options)
    try:
        return make_backend(process, settings, options, target)
    except (ImportError, ValueError) as error:  # an extra that a setting needs is not installed
        if target is not None and not isinstance(error, BackendOptionsError):
            raise  # it comes from the module, whose owner needs the traceback
        raise ServeError(str(error)) from None


def _check_folders(base: Path, folders: str | None, settings: ServerSettings) -> None:
    """Check *base* and the *folders* from the command line. For folders from the variable, the log warns.

    Raises:
        ServeError: *base* does not exist, or one of *folders* has no module.
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


def _announce(process: ProcessSettings, settings: ServerSettings, url: str) -> None:
    """Write one line for scripts, and more on a terminal. The log goes on with functions and client secrets.

    A client that connects now waits until the backend has started.
    """
    print(f"Navai backend listening on {url}", flush=True)  # noqa: T201
    if not sys.stdout.isatty():
        return
    lines = {
        "inspector": f"{url}{PAGE_PATH}" if settings.inspector else "off; --inspector serves it",
        "OpenAPI": f"{url}{OPENAPI_PATH}",
        "reload": "on" if process.reload else "off; --reload restarts when a file changes",
        "options": "navai serve --help",
        "stop": "Ctrl-C",
    }
    print("".join(f"  {name:<10} {text}\n" for name, text in lines.items()), flush=True)  # noqa: T201


@contextlib.contextmanager
def _interrupts_postponed() -> Iterator[None]:
    """Keep Ctrl-C from the processes that the body starts, while they import: each would show a traceback.

    They inherit that SIGINT is blocked, until ``_prepare_process``. This process gets it after the body.
    """
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover - Windows
        yield
        return
    resource_tracker.ensure_running()  # else the first process does, and Python 3.11 then unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Reload(ChangeReload):  # type: ignore[valid-type,misc] # uvicorn chooses between two classes
    """uvicorn's reload, with our log line for what changed."""

    def startup(self) -> None:
        with _interrupts_postponed():
            super().startup()

    def restart(self) -> None:
        with _interrupts_postponed():
            super().restart()

    def should_restart(self) -> list[Path] | None:
        changed: list[Path] | None = super().should_restart()
        if changed:
            names = ", ".join(sorted({each.name for each in changed}))
            _log.info("The server starts again, for a change of %s.", names)
        return changed


class _Workers(Multiprocess):
    """uvicorn's supervisor, which replaces dead workers, but not forever if none has ever served.

    Attributes:
        failed: Whether they were stopped because none can serve.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.failed = False
        self._have_served = False

    def init_processes(self) -> None:
        with _interrupts_postponed():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died, unless none has served yet."""
        if self.should_exit.is_set():
            return
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
        before = tuple(self.processes)
        with _interrupts_postponed():
            super().keep_subprocess_alive()
        for each in before:
            if each not in self.processes:
                _log.warning("Worker %s ended with status %s. Another one starts.", each.pid, each.exitcode)
        # uvicorn gives up when a worker reports that it cannot start, but does not tell its caller.
        self.failed |= any(each.exitcode == STARTUP_FAILURE for each in self.processes)


def _end_with_parent(process: ProcessSettings) -> None:
    """Stop this worker when its parent has ended: a parent that was killed could not stop its workers.

    The worker would keep the port, and serve requests that a new server should get.
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
    """Check what strangers who reach *backend* can get from it.

    Raises:
        ServeError: It has an API key and no authentication, and nobody allowed that.
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
    target: str | None = None,
) -> NavaiBackend:
    """Make the backend that one process serves, or find the one at *target*, with its log on standard error.

    Raises:
        BackendOptionsError: A setting cannot work.
        ImportError: An extra that a setting needs is not installed.
        ServeError: There is no backend at *target*, or it has other settings than the command line.
    """
    as_json = process.log_format == "json"
    given = ServerSettings.from_env(**settings)
    if process.reload and given.inspector is None:
        settings = {**settings, "inspector": True}
    root = str(Path(given.functions_base_dir or ".").resolve())
    if root not in sys.path:
        sys.path.insert(0, root)  # functions may import modules beside them
    access_log = AccessLines(sys.stderr, as_json=as_json) if process.access_log else None
    if target is None:
        backend = NavaiBackend(
            BackendOptions.from_env(**(options or {})), demo=process.demo, access_log=access_log, **settings
        )
    else:
        backend = _load(target)
        _check_settings(target, backend, (*settings, *(options or {})))
        if isinstance(backend.access_log, AccessRecords) or access_log is None:
            backend.access_log = access_log
    handler = logging.StreamHandler(sys.stderr)
    text = _LOG_FORMAT_ON_A_TERMINAL if sys.stderr.isatty() else _LOG_FORMAT
    masked = RedactingFormatter(logging.Formatter("%(message)s" if as_json else text), backend.log_redactor)
    handler.setFormatter(JsonFormatter(masked) if as_json else masked)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for other in ("uvicorn.error", "watchfiles"):
        logging.getLogger(other).setLevel(logging.ERROR)  # our log tells what starts, restarts and stops
    return backend


def _set_variables(process: ProcessSettings, settings: BackendKeywords, options: Mapping[str, Any]) -> None:
    """Put the command line's settings into variables, for a backend that a module makes in each process.

    A server that only this machine reaches refuses other hosts, and one that reloads has the inspector.
    """
    fields = {field.name: field for cls in (ServerSettings, BackendOptions) for field in attrs.fields(cls)}
    for name, value in {**settings, **options}.items():
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        os.environ[fields[name].metadata["env"]] = text.lower() if isinstance(value, bool) else text
    if process.uds is None and _is_local(process.host):
        hosts = (*LOOPBACK_HOSTS, os.environ.get("NAVAI_ALLOWED_HOSTS", ""))
        os.environ["NAVAI_ALLOWED_HOSTS"] = ",".join(hosts)
    if process.reload:
        os.environ.setdefault("NAVAI_INSPECTOR", "true")


@functools.cache  # a function that makes a backend makes one in each process
def _load(target: str) -> NavaiBackend:
    """Return the backend at *target*.

    Raises:
        ServeError: There is none.
    """
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise ServeError(f"{target} is not MODULE:NAME, such as app:backend.")
    try:
        value: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists, and imports one that does not
        raise ServeError(f"There is no module {error.name} in {sys.path[0]} (--base-dir).") from None
    for name in path.split("."):
        if not hasattr(value, name):
            backends = [each for each, found in vars(value).items() if isinstance(found, NavaiBackend)]
            close = backends or get_close_matches(name, dir(value), n=1)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ServeError(f"{module_name} has no {name}.{hint}")
        value = getattr(value, name)
    if inspect.isroutine(value):
        value = value()
    if not isinstance(value, NavaiBackend):
        raise ServeError(
            f"{target} is neither a NavaiBackend nor a function that returns one, but of the type "
            f"{type(value).__name__}. uvicorn serves applications that a backend is mounted into."
        )
    return value


def _check_settings(target: str, backend: NavaiBackend, names: Sequence[str]) -> None:
    """Refuse settings from the command line that *backend* overrides: what they restrict would be open.

    Raises:
        ServeError: One of *names* differs from what ``_set_variables`` set.
    """
    for wanted, has in (
        (ServerSettings.from_env(), backend.settings),
        (BackendOptions.from_env(), backend.options),
    ):
        for name, field in attrs.fields_dict(type(wanted)).items():
            if name in names and getattr(wanted, name) != getattr(has, name):
                option = field.metadata["option"]
                raise ServeError(f"{target} sets {name} itself: {option} has no effect there.")


def _prepare_process(
    process: ProcessSettings, settings: BackendKeywords, options: Mapping[str, Any], target: str | None
) -> NavaiBackend:
    """Make and load the backend, and exclude the objects loaded so far from garbage collection.

    Requests make short-lived objects, almost none of them in cycles. Looking for cycles after every 700
    objects, Python's default, costs several per cent of a short call and finds nothing.
    """
    if multiprocessing.parent_process() is not None and hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # uvicorn handles it from now on
    _end_with_parent(process)
    backend = make_backend(process, settings, options, target)
    backend.functions()
    _drain_on_signals(backend, process)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    return backend


def _drain_on_signals(backend: NavaiBackend, process: ProcessSettings) -> None:
    """Keep accepting requests for a while after SIGTERM, and cut calls off when the grace period is over.

    A load balancer learns from ``/ready`` that this process is about to stop; until then it sends requests.
    uvicorn alone would stop accepting at once, and in the end cancel requests without a response.
    """
    loop = asyncio.get_running_loop()
    handlers: dict[int, Any] = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    ending: list[asyncio.Task[None]] = []

    def cut_off() -> None:
        ending.append(loop.create_task(backend.invoker.close()))

    def stop(number: int) -> None:
        if not backend.draining:
            _log.info("Stopping. Calls may finish within %d seconds.", process.grace)
        backend.draining = True
        loop.call_later(process.grace, cut_off)
        handlers[number](number, None)

    def on_signal(number: int) -> None:
        if number == signal.SIGTERM and process.drain_delay and not (backend.draining or process.reload):
            backend.draining = True
            text = "Stopping. Requests are accepted for %d seconds, then calls may finish within %d."
            _log.info(text, process.drain_delay, process.grace)
            loop.call_later(process.drain_delay, stop, number)
        else:
            stop(number)

    for each in handlers:
        # A signal handler runs between any two instructions of this thread; a callback of the loop does not.
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
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise _cannot_listen(where, error, _REMEDIES) from None
    # Connections inherit it. asyncio sets it only if the listener names its protocol, and create_server names
    # none. Without it, each response would wait 40 ms for the acknowledgement of its first part.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # pragma: no branch - Linux and macOS; connections inherit it
        # Otherwise the kernel buffers megabytes for a slow reader, and only rarely shows that it reads.
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
        path.chmod(0o666)  # as uvicorn does: the proxy is another user; the folder decides who may connect
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        remedies: dict[int | None, str] = {
            errno.EADDRINUSE: "Stop the server that listens there, or choose another --uds."
        }
        raise _cannot_listen(str(path), error, remedies) from None
    listener.set_inheritable(True)
    return listener


def _is_stale(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def _cannot_listen(
    where: str, error: OSError | UnicodeError, remedies: Mapping[int | None, str]
) -> ServeError:
    # The system's own message; Python's would repeat the address.
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number) if number and number > 0 else str(error)
    return ServeError(f"Cannot listen on {where}: {reason}. {remedies.get(number, '')}".rstrip())


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine reaches *listener*."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the URL of *listener*, or ``unix:`` and its path."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
