"""``navai call``: execute a function and print what it gives."""

from typing import Any

import click

from navai_client.cli.completion import complete_function, complete_parameter
from navai_client.cli.connection import BackendCommand, Connection, connection_options
from navai_client.cli.output import write_json
from navai_client.cli.payload import parse_json, parse_pairs, read_file
from navai_client.cli.waiting import waiting
from navai_client.client import NavaiBackendClient
from navai_client.errors import NavaiTransportError

__all__ = ["command"]


@click.command("call", cls=BackendCommand)
@click.argument("name", shell_complete=complete_function)
@click.option("--payload", metavar="JSON", help="What to give the function.")
@click.option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_parameter,
    help="One part of the payload, may be repeated; KEY:=JSON gives JSON as it is.",
)
@click.option(
    "--payload-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="A file with the payload as JSON; - is standard input.",
)
@click.option("--idempotency-key", metavar="KEY", help="Ask again for a call whose answer was missed.")
@click.option("--json", "as_json", is_flag=True, help="Print the result on one line.")
@connection_options(acts=True)
def command(
    connection: Connection,
    *,
    name: str,
    payload: str | None,
    pairs: tuple[str, ...],
    payload_file: str | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Execute the function NAME and print its result as JSON.

    The value of KEY=VALUE is typed by the function's schema, when the backend sends one: a string stays as
    it is, a number, bool, list or object is read as JSON. Without a schema, what is JSON is read as JSON, and
    all else is a string.
    """
    if (payload is not None) + bool(pairs) + (payload_file is not None) > 1:
        raise click.UsageError("--payload, --payload-file and -p exclude each other.")
    given: Any = None
    if payload is not None:
        given = parse_json(payload, "--payload")
    elif payload_file is not None:
        given = parse_json(read_file(payload_file), "--payload-file")
    with connection.client() as client, waiting(f"Calling {name}"):
        if pairs:
            given = parse_pairs(pairs, _schema(client, name))
        result = client.execute_function(name, given, idempotency_key=idempotency_key)
    write_json(result, indent=None if as_json else 2)


def _schema(client: NavaiBackendClient, name: str) -> Any:
    """Return the schema of the function's payload, or None when the backend does not send one."""
    listed = client.list_functions()
    if isinstance(listed.error, NavaiTransportError):
        listed.error.may_have_executed = False  # asking for the list does nothing
        raise listed.error
    function = listed.get(name)  # a list that failed otherwise is empty: the call itself will tell more
    return None if function is None else function.parameters
