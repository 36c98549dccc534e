"""``navai functions`` and ``navai call``: list the backend's functions, and execute one."""

import difflib
import json
import sys
from collections.abc import Iterable
from typing import Any

import attrs
import click

from navai_client._ids import new_uuid
from navai_client.cli._completion import complete_function, complete_parameter
from navai_client.cli._connection import SENT, BackendCommand, Connection, connection_options
from navai_client.cli._errors import Status
from navai_client.cli._output import (
    check_folder,
    examples,
    is_terminal,
    note,
    one_line,
    printable,
    save,
    waiting,
    wants_colour,
    write_json,
    write_text,
)
from navai_client.cli._payload import parameters_of, parse_json, parse_pairs, read_file, split_pairs
from navai_client.client import NavaiBackendClient
from navai_client.errors import NavaiTransportError
from navai_client.models import BackendFunction, FunctionList


@click.command(
    cls=BackendCommand,
    epilog=examples("navai functions --url https://api.example.com", "navai functions --diff functions.json"),
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON, with the warnings.")
@click.option("--save", "to", metavar="FILE", help="Write the list to FILE, as JSON that --diff reads.")
@click.option(
    "--diff",
    "saved",
    metavar="FILE",
    help="Print what differs from the list in FILE, and exit with status 1 if anything does.",
)
@connection_options()
def functions(connection: Connection, *, as_json: bool, to: str | None, saved: str | None) -> int:
    """List the functions that the backend offers, with their parameters.

    On a terminal this is a table. Elsewhere each line has name, parameters and description, separated by
    tabs. The backend's warnings go to standard error.
    """
    before = None if saved is None else _read_list(saved)
    if to is not None:
        check_folder(to, "--save")
    with connection.client() as client, waiting("Listing the functions"):
        listed = client.list_functions().raise_for_error()
    printed = {"functions": [attrs.asdict(each) for each in listed], "warnings": list(listed.warnings)}
    if to is not None and (status := save(to, f"{json.dumps(printed, indent=2)}\n".encode())):
        return status
    if before is not None:
        return _write_differences(before, _by_name(listed.functions))
    if as_json:
        write_json(printed)
    elif to is None:
        _write_list(listed)
    return Status.OK


def _write_list(listed: FunctionList) -> None:
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


def _read_list(name: str) -> dict[str, str]:
    """Return the functions of a saved list, for :func:`_write_differences`.

    Raises:
        click.UsageError: The file cannot be read, or is not such a list.
    """
    saved = parse_json(read_file(name, "--diff"), "--diff")
    try:
        return _by_name([BackendFunction(**each) for each in saved["functions"]])
    except (KeyError, TypeError):
        raise click.UsageError(f"--diff {name}: this is not a list that --save or --json wrote.") from None


def _by_name(functions: Iterable[BackendFunction]) -> dict[str, str]:
    """Return what agents rely on, as text: the source is none of it, for a function may move."""
    return {
        each.name: json.dumps(
            {"description": each.description, "parameters": each.parameters}, indent=2, sort_keys=True
        )
        for each in functions
    }


def _write_differences(before: dict[str, str], after: dict[str, str]) -> int:
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            write_text(f"added: {one_line(name)}")
        elif name not in after:
            write_text(f"removed: {one_line(name)}")
        elif before[name] != after[name]:
            write_text(f"changed: {one_line(name)}")
            lines = list(
                difflib.unified_diff(before[name].splitlines(), after[name].splitlines(), lineterm="")
            )
            write_text("\n".join(f"  {line}" for line in lines[2:]))  # without the names of files
    return Status.OK if before == after else Status.FAILED


def _write_table(listed: FunctionList) -> None:
    from rich import box  # noqa: PLC0415 - only a terminal needs it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(no_color=not wants_colour(sys.stdout))
    table = Table("Function", "Parameters", "Description", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].style = "bold"
    for column in table.columns:
        column.overflow = "fold"
    for function in listed:
        known = function.parameters is not None
        parameters = "\n".join(parameters_of(function.parameters)) if known else "(unknown)"
        row = function.name, parameters, function.description or ""
        table.add_row(*(Text(printable(text)) for text in row))
    with console.capture() as capture:
        console.print(table)
    write_text(capture.get())


class _Call(BackendCommand):
    """Says how parameters are given where one is given as an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name.lstrip("-")
            text = f"{error.format_message()} A parameter of the function is given as {name}=VALUE."
            raise click.UsageError(text, ctx) from None


@click.command(
    cls=_Call,
    epilog=examples(
        "navai call get_weather location=Oslo", "navai call create_order --payload-file order.json"
    ),
)
@click.argument("name", shell_complete=complete_function)
@click.argument("members", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_parameter)
@click.option("--payload", metavar="JSON", help="The payload, which is sent as it is.")
@click.option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_parameter,
    help="The same as KEY=VALUE without -p; may be repeated.",
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
    members: tuple[str, ...],
    payload: str | None,
    pairs: tuple[str, ...],
    payload_file: str | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Execute the function NAME and print its result as JSON.

    If the backend sends a schema of the function, it decides the type of VALUE: a string stays as it is; a
    number, boolean, array or object is read as JSON. A value that the schema refuses is not sent. Without a
    schema, VALUE is read as JSON if it is JSON, and else is a string. KEY:=JSON is sent as it is.
    """
    pairs = (*pairs, *members)
    if (payload is not None) + bool(pairs) + (payload_file is not None) > 1:
        raise click.UsageError("--payload, --payload-file and KEY=VALUE exclude each other.")
    split_pairs(pairs)  # what is none is refused before anything is sent
    value: Any = None
    if payload is not None:
        value = parse_json(payload, "--payload")
    elif payload_file is not None:
        value = parse_json(read_file(payload_file, "--payload-file"), "--payload-file")
    with connection.client() as client, waiting(f"Calling {name}"):
        if pairs:
            value = parse_pairs(pairs, _schema(client, name), name)
        key = click.get_current_context().meta[SENT] = idempotency_key or new_uuid()
        result = client.execute_function(name, value, idempotency_key=key)
    write_json(result, indent=None if as_json else 2)


def _schema(client: NavaiBackendClient, name: str) -> Any:
    """Return the schema of the function's payload, or None if the backend does not send one."""
    listed = client.list_functions()
    if isinstance(listed.error, NavaiTransportError):
        listed.error.may_have_executed = False  # listing has no effect
        raise listed.error
    function = listed.get(name)  # after other errors the list is empty: the call itself will say more
    return None if function is None else function.parameters
