"""``navai mcp``: the backend's functions as tools for hosts of the Model Context Protocol."""

import asyncio
import os
import signal
import sys
from typing import Any

import click

from navai_client.cli._connection import (
    BackendCommand,
    Connection,
    connection_options,
    expand,
    with_option_names,
)
from navai_client.cli._errors import Status
from navai_client.cli._output import complain, examples, is_terminal, note, write_text
from navai_client.client import AsyncNavaiBackendClient
from navai_client.errors import NavaiConfigError


@click.command(
    cls=BackendCommand,
    epilog=examples("navai mcp --url https://api.example.com", "navai mcp --http --port 8000"),
)
@click.option("--http", is_flag=True, help="Use streamable HTTP instead of standard input and output.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --http: the address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="With --http: the port; 0 takes a free one.",
)
@click.option("--path", default="/mcp", show_default=True, help="With --http: the path of the endpoint.")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="With --http: a name by which other machines reach this server; may be repeated.",
)
@click.option(
    "--access-token", metavar="@env:NAME", help="With --http: the bearer token that hosts must send."
)
@click.option("--name", default="navai", show_default=True, help="The name of this server for hosts.")
@click.option("--instructions", metavar="TEXT", help="Instructions for the hosts' models.")
@click.option("--only", multiple=True, metavar="NAME", help="Offer only this function; may be repeated.")
@click.option(
    "--read-only", multiple=True, metavar="NAME", help="A function that changes nothing; may be repeated."
)
@click.option("--show-details", is_flag=True, help="Give models the backend's own message about a failure.")
@connection_options(timeout=20.0, timeout_help="Seconds for each call of a function.", token=False)
def mcp(
    connection: Connection,
    *,
    http: bool,
    host: str,
    port: int,
    path: str,
    allowed_hosts: tuple[str, ...],
    access_token: str | None,
    only: tuple[str, ...],
    **options: Any,
) -> int:
    """Offer the backend's functions as tools to a host of the Model Context Protocol.

    A host starts this command and communicates with it over standard input and output. With --http, any
    number of hosts can connect.
    """
    try:
        from navai_client.integrations.mcp import serve_http, serve_stdio  # noqa: PLC0415 - may be missing
    except ImportError as error:
        complain(str(error))
        return Status.USAGE
    options |= {"only": only or None, "timeout": connection.timeout}
    if http:
        token = None if access_token is None else expand(access_token, "--access-token")
        options |= {"host": host, "port": port, "path": path, "allowed_hosts": allowed_hosts}
        options |= {"access_token": token, "on_listening": _announce}
    elif is_terminal(sys.stdin):
        note("Waiting for an MCP host on standard input, which should start this command. Ctrl-C ends it.")

    async def serve_hosts() -> None:
        async with connection.make(AsyncNavaiBackendClient) as client:
            await (serve_http if http else serve_stdio)(client, **options)

    # On Ctrl-C, uvicorn shuts down and then raises the signal again, which must not interrupt what follows. A
    # read of standard input cannot be interrupted at all: there, the signal ends the process.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if http else signal.SIG_DFL)
    try:
        asyncio.run(serve_hosts())
    except NavaiConfigError as error:
        raise click.UsageError(with_option_names(str(error))) from None
    except BaseExceptionGroup as group:  # of the tasks that communicate with a host
        if group.split(BrokenPipeError)[1] is not None:
            raise
        # The mcp package's buffer of standard output fails again when it is finalized, which Python 3.13 and
        # later report.
        sys.unraisablehook = _report_unless_broken_pipe
        return Status.PIPE_CLOSED
    except OSError as error:
        # The system's own text; Python's repeats the address.
        complain(f"Cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}.")
        return Status.USAGE
    finally:
        signal.signal(signal.SIGINT, before)
    return Status.INTERRUPTED if http else Status.OK  # nothing else ends the HTTP server


def _report_unless_broken_pipe(unraisable: "sys.UnraisableHookArgs") -> None:
    if not isinstance(unraisable.exc_value, BrokenPipeError):
        sys.__unraisablehook__(unraisable)


def _announce(url: str) -> None:
    write_text(f"Navai MCP server listening on {url}")
