"""``navai functions`` and ``navai call``: list the backend's functions, and execute one."""

import sys
from typing import Any

import attrs
import click

from navai_client.cli._completion import complete_function, complete_parameter
from navai_client.cli._connection import BackendCommand, Connection, connection_options
from navai_client.cli._output import (
    is_terminal,
    note,
    one_line,
    printable,
    waiting,
    wants_colour,
    write_json,
    write_text,
)
from navai_client.cli._payload import parameters_of, parse_json, parse_pairs, read_file
from navai_client.client import NavaiBackendClient
from navai_client.errors import NavaiTransportError
from navai_client.models import FunctionList


@click.command(cls=BackendCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON, with the warnings.")
@connection_options()
def functions(connection: Connection, *, as_json: bool) -> None:
    """List the functions that the backend offers, with their parameters.

    On a terminal this is a table. Elsewhere each line has name, parameters and description, separated by
    tabs. The backend's warnings go to standard error.
    """
    with connection.client() as client, waiting("Listing the functions"):
        listed = client.list_functions()
    if listed.error is not None:
        raise listed.error
    if as_json:
        write_json({"functions": [attrs.asdict(each) for each in listed], "warnings": list(listed.warnings)})
        return
    if listed.functions and is_terminal(sys.stdout):
        _write_table(listed)
    elif listed.functions:
        for function in listed:
            fields = function.name, ", ".join(parameters_of(function.parameters)), function.description or ""
            write_text("\t".join(map(one_line, fields)))
    for warning in listed.warnings:
        note(f"warning: {one_line(warning)}", colour="yellow")
    if not listed.functions:
        note("The backend offers no functions.")


def _write_table(listed: FunctionList) -> None:
    from rich import box  # noqa: PLC0415 - only a terminal needs it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("Function", "Parameters", "Description", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].style = "bold"
    table.columns[0].overflow = "fold"
    for function in listed:
        known = function.parameters is not None
        parameters = "\n".join(parameters_of(function.parameters)) if known else "(unknown)"
        row = function.name, parameters, function.description or ""
        table.add_row(*(Text(printable(text)) for text in row))
    console = Console(no_color=not wants_colour(sys.stdout))
    with console.capture() as capture:
        console.print(table)
    write_text(capture.get())


@click.command(cls=BackendCommand)
@click.argument("name", shell_complete=complete_function)
@click.option("--payload", metavar="JSON", help="The payload.")
@click.option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_parameter,
    help="One member of the payload; may be repeated. With KEY:=JSON the value is read as JSON.",
)
@click.option(
    "--payload-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="A file with the payload as JSON; - is standard input.",
)
@click.option("--idempotency-key", metavar="KEY", help="Repeat a call whose response was lost.")
@click.option("--json", "as_json", is_flag=True, help="Print the result on one line.")
@connection_options(acts=True)
def call(
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

    The value of KEY=VALUE is typed by the function's schema, if the backend sends one: a string stays as it
    is; a number, boolean, array or object is read as JSON. Without a schema, what is JSON is read as JSON,
    and everything else is a string.
    """
    if (payload is not None) + bool(pairs) + (payload_file is not None) > 1:
        raise click.UsageError("--payload, --payload-file and -p exclude each other.")
    value: Any = None
    if payload is not None:
        value = parse_json(payload, "--payload")
    elif payload_file is not None:
        value = parse_json(read_file(payload_file, "--payload-file"), "--payload-file")
    with connection.client() as client, waiting(f"Calling {name}"):
        if pairs:
            value = parse_pairs(pairs, _schema(client, name))
        result = client.execute_function(name, value, idempotency_key=idempotency_key)
    write_json(result, indent=None if as_json else 2)


def _schema(client: NavaiBackendClient, name: str) -> Any:
    """Return the schema of the function's payload, or None if the backend does not send one."""
    listed = client.list_functions()
    if isinstance(listed.error, NavaiTransportError):
        listed.error.may_have_executed = False  # listing has no effect
        raise listed.error
    function = listed.get(name)  # after other errors the list is empty: the call itself will say more
    return None if function is None else function.parameters
