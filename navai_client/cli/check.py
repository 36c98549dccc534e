"""``navai check``: whether a backend, in any language, keeps the contract."""

import shutil
import sys
from collections.abc import Mapping
from typing import Any

import attrs
import click

from navai_client.cli.connection import (
    BackendCommand,
    Connection,
    connection_options,
    in_words_of_options,
    parse_headers,
)
from navai_client.cli.files import check_folder, save
from navai_client.cli.output import note, wants_colour, write_text
from navai_client.cli.payload import parse_json
from navai_client.cli.waiting import waiting
from navai_client.conformance import GROUPS, PROFILES, Report, check
from navai_client.conformance._requirement import ACTS
from navai_client.errors import NavaiConfigError

__all__ = ["command"]

_ALLOWED_BY: Mapping[str, str] = {
    "execute": "--execute NAME --payload JSON",
    "execute_failing": "--execute-failing NAME --failing-payload JSON",
    "mint": "--mint",
    "speak": "--speak TEXT",
}
_PATHS = (
    ("--client-secret-path", "Where client secrets are minted."),
    ("--functions-list-path", "Where functions are listed."),
    ("--functions-execute-path", "Where functions are executed."),
    ("--speech-synthesize-path", "Where speech is synthesized."),
)


def _path_options(function: Any) -> Any:
    for option, text in reversed(_PATHS):
        function = click.option(option, metavar="PATH", help=text)(function)
    return function


@click.command("check", cls=BackendCommand)
@click.argument("backend", metavar="[URL]", required=False)
@click.option("--profile", type=click.Choice(list(PROFILES)), default="contract", help="What is expected.")
@click.option("--group", "groups", multiple=True, type=click.Choice(GROUPS), help="Check these alone.")
@click.option("--execute", metavar="NAME", help="A function that may be executed, and succeeds; twice.")
@click.option("--payload", metavar="JSON", help="What to give it.")
@click.option("--execute-failing", metavar="NAME", help="A function that may be executed, and fails; once.")
@click.option("--failing-payload", metavar="JSON", help="What to give that.")
@click.option("--mint", is_flag=True, help="Client secrets may be minted; up to six.")
@click.option("--speak", metavar="TEXT", help="A text that may be spoken, once.")
@click.option("--origin", metavar="URL", help="The origin of the pages that must be let in.")
@click.option("--large-body", type=int, metavar="BYTES", help="From how many on a body must be refused.")
@_path_options
@click.option(
    "--fail-on",
    type=click.Choice(["must", "should"]),
    default="must",
    show_default=True,
    help="What ends with status 1 when it is broken.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the report is written.",
)
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@click.option("--output", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Where to.")
@click.option("--verbose", is_flag=True, help="Show what was skipped one by one.")
@connection_options(timeout=10.0, bounds="Seconds for each answer.")
def command(
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
    """Check whether the backend at URL, in any language, keeps the contract of Navai.

    It only looks, unless it is allowed to act with --execute, --execute-failing, --mint and --speak. Ends
    with status 1 when something that must be is not, and with 3 when no answer came.
    """
    if backend is not None:
        if connection.url is not None:
            raise click.UsageError("URL and --url are both given; one is enough.")
        connection = attrs.evolve(connection, url=backend)
    if output is not None:
        check_folder(output, "--output")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        with waiting("Checking the backend"):
            report = check(
                connection.url,
                groups=groups or None,
                execute=_call(execute, payload, "--execute", "--payload"),
                execute_failing=_call(
                    execute_failing, failing_payload, "--execute-failing", "--failing-payload"
                ),
                headers=parse_headers(connection.headers),
                timeout=connection.timeout,
                verify=connection.verify,
                proxy=connection.proxy,
                **given,
            )
    except NavaiConfigError as error:
        raise click.UsageError(in_words_of_options(str(error))) from None
    report = _in_words_of_options(report)
    return _write(report, form, output, verbose=verbose) or report.exit_status_at(fail_on)


def _call(name: str | None, payload: str | None, option: str, payload_option: str) -> tuple[str, Any] | None:
    """Return a function's name and payload as the check takes them."""
    if name is not None:
        return name, parse_json("null" if payload is None else payload, payload_option)
    if payload is not None:
        raise click.UsageError(f"{payload_option} is for {option} NAME, which is not given.")
    return None


def _in_words_of_options(report: Report) -> Report:
    """Return *report* with the check's arguments called as the options are."""
    findings = []
    for finding in report:
        reason = finding.reason
        for acts, argument in ACTS.items():
            reason = reason.replace(argument, _ALLOWED_BY[acts])
        findings.append(attrs.evolve(finding, reason=reason))
    return attrs.evolve(report, findings=tuple(findings))


def _write(report: Report, form: str, output: str | None, *, verbose: bool) -> int:
    if output is not None:
        note(report.to_text().rstrip().rpartition("\n\n")[2].replace("\n", " "))
        return save(output, _as(form, report, verbose=verbose).encode())
    if form == "text":
        width = shutil.get_terminal_size().columns
        write_text(report.to_text(color=wants_colour(sys.stdout), width=width, verbose=verbose))
    else:
        write_text(_as(form, report, verbose=verbose))
    return 0


def _as(form: str, report: Report, *, verbose: bool) -> str:
    if form == "text":
        return report.to_text(verbose=verbose)
    return report.to_json()
