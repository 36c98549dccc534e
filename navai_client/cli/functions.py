"""``navai functions``: which functions the backend offers."""

import sys
from typing import Any

import click

from navai_client.cli.connection import BackendCommand, Connection, connection_options
from navai_client.cli.output import (
    for_people,
    note,
    one_line,
    printable,
    wants_colour,
    write_json,
    write_text,
)
from navai_client.cli.schemas import signature
from navai_client.cli.waiting import waiting
from navai_client.models import BackendFunction, FunctionList

__all__ = ["command"]


@click.command("functions", cls=BackendCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON, warnings included.")
@connection_options()
def command(connection: Connection, *, as_json: bool) -> None:
    """List the functions that the backend offers, with their parameters.

    On a terminal this is a table; elsewhere each line has a name, parameters and description, with tabs
    between them. Warnings of the backend go to standard error.
    """
    with connection.client() as client, waiting("Asking for the functions"):
        listed = client.list_functions()
    if listed.error is not None:
        raise listed.error
    if as_json:
        write_json(_as_json(listed))
        return
    if listed.functions and for_people():
        _write_table(listed)
    elif listed.functions:
        write_text("\n".join(_line(function) for function in listed))
    for warning in listed.warnings:
        note(f"warning: {one_line(warning)}", colour="yellow")
    if not listed.functions:
        note("The backend offers no functions.")


def _as_json(listed: FunctionList) -> dict[str, Any]:
    return {
        "functions": [
            {
                "name": function.name,
                "description": function.description,
                "source": function.source,
                "parameters": function.parameters,
            }
            for function in listed
        ],
        "warnings": list(listed.warnings),
    }


def _line(function: BackendFunction) -> str:
    fields = (function.name, ", ".join(signature(function.parameters)), function.description or "")
    return "\t".join(one_line(field) for field in fields)


def _write_table(listed: FunctionList) -> None:
    from rich import box  # noqa: PLC0415 - only people need it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("Function", "Parameters", "Description", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].style = "bold"
    table.columns[0].overflow = "fold"
    for function in listed:
        parameters = (
            "(not told)" if function.parameters is None else "\n".join(signature(function.parameters))
        )
        row = (function.name, parameters, function.description or "")
        table.add_row(*(Text(printable(text)) for text in row))
    console = Console(no_color=not wants_colour(sys.stdout))
    with console.capture() as capture:
        console.print(table)
    write_text(capture.get())
