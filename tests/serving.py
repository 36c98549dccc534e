"""``navai serve`` in a process and a directory of its own, and an application in a thread, on free ports."""

import contextlib
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn

from navai_client.server._serving import bind, url_of

__all__ = ["NO_TLS", "Serve", "Served", "Start", "serving", "serving_app", "start"]

# For the parameter verify of a request to these servers: otherwise httpx reads all the certificates that it
# trusts for each request, which takes 26 ms of processor time.
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

COMMAND = [str(Path(sys.executable).with_name("navai")), "serve", "--port", "0"]


class Served(NamedTuple):
    """A running server."""

    url: str
    process: subprocess.Popen[str]
    log_file: Path

    def log(self) -> str:
        """Return what it has logged so far."""
        return self.log_file.read_text(encoding="utf-8")

    def stop(self) -> str:
        """Stop it, and return its whole log."""
        self.process.terminate()
        self.process.wait(timeout=60)
        return self.log()


Serve = Callable[..., Served]
Start = Callable[..., tuple[int, str]]


def _environment(given: dict[str, str]) -> dict[str, str]:
    """Return this process's environment without the settings of a server, and with *given*."""
    settings = ("NAVAI_", "OPENAI_", "ELEVENLABS_", "PORT")
    others = {name: text for name, text in os.environ.items() if not name.startswith(settings)}
    return {**others, "NAVAI_DRAIN_DELAY": "0", **given}  # no load balancer has to notice its stop


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Serve]:
    """Give a function that starts servers with command-line arguments and an environment."""
    with contextlib.ExitStack() as stack:

        def serve(*arguments: str, open_files: int | None = None, **environment: str) -> Served:
            command = [*COMMAND, *arguments]
            if open_files is not None:  # RLIMIT_NOFILE
                command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command]
            log_file = folder / "server.log"
            log = stack.enter_context(log_file.open("w"))
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=_environment(environment),
            )
            stack.enter_context(process)
            stack.callback(process.terminate)
            assert process.stdout is not None
            listening = process.stdout.readline()
            assert listening, log_file.read_text(encoding="utf-8")
            return Served(listening.split()[-1], process, log_file)

        yield serve


def start(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a server that is expected not to start, and return its status and what it wrote."""
    ended = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=_environment(environment),
        timeout=60,
        check=False,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


@contextlib.contextmanager
def serving_app(app: Any) -> Iterator[str]:
    """Serve the ASGI application *app*, and return its URL."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", ws="none"))
    with bind("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join()
