"""``navai check``: whether a backend, in any language, keeps the contract."""

import shutil
import sys
from collections.abc import Mapping
from typing import Any

import attrs
import click

from navai_client import conformance
from navai_client.cli._connection import (
    BackendCommand,
    Connection,
    connection_options,
    with_option_names,
)
from navai_client.cli._output import check_folder, examples, note, save, waiting, wants_colour, write_text
from navai_client.cli._payload import parse_json
from navai_client.conformance import GROUPS, PROFILES, Report
from navai_client.conformance._catalogue import ACTS
from navai_client.errors import NavaiConfigError
from navai_client.wire._operations import OPERATIONS

_ACT_OPTIONS: Mapping[str, str] = {
    "execute": "--execute NAME --payload JSON",
    "execute_failing": "--execute-failing NAME --failing-payload JSON",
    "mint": "--mint",
    "speak": "--speak TEXT",
}


def _path_options(function: Any) -> Any:
    for operation in reversed(OPERATIONS):
        option = f"--{operation.path_option.replace('_', '-')}"
        purpose = operation.summary[0].lower() + operation.summary[1:]
        function = click.option(option, metavar="PATH", help=f"The path to {purpose}.")(function)
    return function


@click.command(
    "check",
    cls=BackendCommand,
    epilog=examples(
        "navai check https://api.example.com", "navai check --mint --execute get_time --group execute"
    ),
)
@click.argument("backend", metavar="[URL]", required=False)
@click.option("--profile", type=click.Choice(list(PROFILES)), default="contract", help="What to expect.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    type=click.Choice(GROUPS),
    help="Check only this group; may be repeated.",
)
@click.option(
    "--execute", metavar="NAME", help="A function that the check may call, up to three times; it succeeds."
)
@click.option("--payload", metavar="JSON", help="Its payload.")
@click.option("--execute-failing", metavar="NAME", help="A function that the check may call once; it fails.")
@click.option("--failing-payload", metavar="JSON", help="Its payload.")
@click.option("--mint", is_flag=True, help="Allow the check to mint up to six client secrets.")
@click.option("--speak", metavar="TEXT", help="A text that the backend may speak, once.")
@click.option("--origin", metavar="URL", help="An origin that CORS must allow.")
@click.option("--large-body", type=int, metavar="BYTES", help="The size from which a body must be refused.")
@_path_options
@click.option(
    "--fail-on",
    type=click.Choice(["must", "should"]),
    default="must",
    show_default=True,
    help="The severity of violations that end with status 1.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="The format of the report.",
)
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the report to FILE.",
)
@click.option("-v", "--verbose", is_flag=True, help="List what was skipped.")
@connection_options(timeout=10.0, timeout_help="Seconds for each response.", logs=False)
def check(
    connection: Connection,
    *,
    backend: str | None,
    execute: str | None,
    payload: str | None,
    execute_failing: str | None,
    failing_payload: str | None,
    groups: tuple[str, ...],
    fail_on: Any,
    form: str,
    output: str | None,
    verbose: bool,
    **options: Any,
) -> int:
    """Check whether the backend at URL, in any language, follows the Navai contract.

    It changes nothing, unless you allow that with --execute, --execute-failing, --mint or --speak. Ends with
    status 1 if the backend violates a requirement, and with 3 if there is no response.
    """
    if backend is not None:
        if connection.url is not None:
            raise click.UsageError("URL and --url exclude each other.")
        connection = attrs.evolve(connection, url=backend)
    if output is not None:
        check_folder(output, "--output")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        with waiting("Checking the backend"):
            report = conformance.check(
                connection.url,
                groups=groups or None,
                execute=_call(execute, payload, "--execute", "--payload"),
                execute_failing=_call(
                    execute_failing, failing_payload, "--execute-failing", "--failing-payload"
                ),
                headers=connection.all_headers(),
                timeout=connection.timeout,
                verify=connection.verify,
                proxy=connection.proxy,
                **given,
            )
    except NavaiConfigError as error:
        raise click.UsageError(with_option_names(str(error))) from None
    failed = _write(_with_option_names(report), form, output, verbose=verbose)
    if not report.reached:
        note("`navai doctor` says why.")
    return failed or report.exit_status_at(fail_on)


def _call(name: str | None, payload: str | None, option: str, payload_option: str) -> tuple[str, Any] | None:
    """Return the name and the payload of a function, as the check takes them."""
    if name is not None:
        return name, parse_json("null" if payload is None else payload, payload_option)
    if payload is not None:
        raise click.UsageError(f"{payload_option} is for {option} NAME, which is not given.")
    return None


def _with_option_names(report: Report) -> Report:
    findings = []
    for finding in report:
        reason = finding.reason
        for acts, argument in ACTS.items():
            reason = reason.replace(argument, _ACT_OPTIONS[acts])
        findings.append(attrs.evolve(finding, reason=reason))
    return attrs.evolve(report, findings=tuple(findings))


def _write(report: Report, form: str, output: str | None, *, verbose: bool) -> int:
    if output is None and form == "text":
        width = shutil.get_terminal_size().columns
        write_text(report.to_text(color=wants_colour(sys.stdout), width=width, verbose=verbose))
        return 0
    text = report.to_text(verbose=verbose) if form == "text" else report.to_json()
    if output is None:
        write_text(text)
        return 0
    summary = report.to_text().rstrip().rpartition("\n\n")[2]
    note(summary.replace("\n", " "))
    return save(output, text.encode())
