"""``navai doctor``: what base URL and from where, whether a backend is there, and if not, why."""

import sys
from collections.abc import Iterator

import click

from navai_client._redaction import Redactor
from navai_client.cli.connection import BackendCommand, Connection, connection_options, parse_headers
from navai_client.cli.findings import Finding, base_url_source, extras, versions
from navai_client.cli.output import one_line, printable, wants_colour, write_json, write_text
from navai_client.cli.probes import probe
from navai_client.cli.statuses import Status
from navai_client.cli.waiting import waiting

__all__ = ["command"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor", cls=BackendCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@connection_options()
def command(connection: Connection, *, as_json: bool) -> int:
    """Look at the settings, the installation and the way to the backend, and say what to do.

    Nothing is minted or executed. Ends with status 1 when something fails.
    """
    parse_headers(connection.headers)  # a slip of the command line, told as by every other command
    findings = []
    for finding in _findings(connection):
        findings.append(finding)
        if not as_json:
            _show(finding, connection)
    healthy = all(finding.level != "fail" for finding in findings)
    if as_json:
        checks = [
            {
                "check": finding.check,
                "level": finding.level,
                "message": _clean(finding.message, connection),
                "remedy": finding.remedy,
            }
            for finding in findings
        ]
        write_json({"healthy": healthy, "checks": checks})
    return Status.OK if healthy else Status.FAILED


def _findings(connection: Connection) -> Iterator[Finding]:
    yield versions()
    yield extras()
    url, source = base_url_source(connection.url)
    try:
        connection.client().close()
    except click.UsageError as error:
        yield Finding("settings", "fail", error.message, f"The base URL comes from {source}.")
        return
    yield Finding("base URL", "ok", f"{url} (from {source})")
    steps = probe(connection, url)
    while True:
        with waiting("Looking at the way to the backend"):
            finding = next(steps, None)
        if finding is None:
            return
        yield finding


def _show(finding: Finding, connection: Connection) -> None:
    colour = wants_colour(sys.stdout)
    level = f"{finding.level:<5}"
    if colour:
        level = click.style(level, fg=_COLOURS[finding.level], bold=True)
    write_text(f"{level}{finding.check}: {_clean(finding.message, connection)}")
    if finding.remedy is not None:
        write_text(f"     -> {printable(finding.remedy)}")


def _clean(text: str, connection: Connection) -> str:
    return one_line(Redactor(connection.secrets(), patterns=False).text(text))
