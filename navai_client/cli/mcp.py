"""``navai mcp``: the backend's functions as tools for any host of the Model Context Protocol."""

import asyncio
import os
import signal
import sys
from typing import Any

import click

from navai_client.cli.connection import (
    BackendCommand,
    Connection,
    connection_options,
    expand,
    in_words_of_options,
)
from navai_client.cli.output import complain, is_terminal, note, write_text
from navai_client.cli.statuses import Status
from navai_client.client import AsyncNavaiBackendClient
from navai_client.errors import NavaiConfigError

__all__ = ["command"]


@click.command("mcp", cls=BackendCommand)
@click.option("--http", is_flag=True, help="Speak streamable HTTP instead of standard input and output.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --http: the address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="With --http: the port; 0 takes a free one.",
)
@click.option("--path", default="/mcp", show_default=True, help="With --http: where the protocol is spoken.")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="With --http: a name by which other machines may reach it; may be repeated.",
)
@click.option(
    "--access-token", metavar="@env:NAME", help="With --http: what hosts must send as a bearer token."
)
@click.option("--name", default="navai", show_default=True, help="What hosts call this server.")
@click.option("--instructions", metavar="TEXT", help="What hosts tell their model about it.")
@click.option("--only", multiple=True, metavar="NAME", help="Offer this function alone; may be repeated.")
@click.option(
    "--read-only", multiple=True, metavar="NAME", help="A function that changes nothing; may be repeated."
)
@click.option("--show-details", is_flag=True, help="Tell models the backend's own words about a failure.")
@connection_options(timeout=20.0, bounds="Seconds for each call of a function.")
def command(
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

    A host starts this command and speaks with it over standard input and output. With --http any number of
    hosts can connect.
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
        options |= {"access_token": token, "on_listening": _tell}
    elif is_terminal(sys.stdin):
        note("Speaking MCP over standard input and output, for a host that starts this. Ctrl-C ends it.")

    async def serve() -> None:
        async with connection.make(AsyncNavaiBackendClient) as client:
            await (serve_http if http else serve_stdio)(client, **options)

    # On Ctrl-C, the HTTP server ends in its own way and raises the signal again when it is done, which must
    # not interrupt what comes after. What reads standard input cannot be interrupted: the process ends.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if http else signal.SIG_DFL)
    try:
        asyncio.run(serve())
    except NavaiConfigError as error:
        raise click.UsageError(in_words_of_options(str(error))) from None
    except BaseExceptionGroup as group:  # of the tasks that speak with a host
        if group.split(BrokenPipeError)[1] is not None:
            raise
        return Status.PIPE_CLOSED
    except OSError as error:
        # The system's own words; what Python adds to them repeats the address.
        complain(f"Cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}.")
        return Status.USAGE
    finally:
        signal.signal(signal.SIGINT, before)
    return Status.INTERRUPTED if http else Status.OK  # nothing else ends the HTTP server


def _tell(url: str) -> None:
    write_text(f"Navai MCP server listening on {url}")
