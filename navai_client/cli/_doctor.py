"""``navai doctor``: examines settings, installation and the way to the backend, and says what to do."""

import contextlib
import json
import os
import platform
import re
import ssl
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from importlib import metadata
from urllib.parse import quote

import click

from navai_client._version import __version__
from navai_client.cli._connection import BackendCommand, Connection, connection_options
from navai_client.cli._errors import Status
from navai_client.cli._output import (
    examples,
    one_line,
    printable,
    waiting,
    wants_colour,
    write_json,
    write_text,
)
from navai_client.cli._reachability import Diagnosis, base_url_source, diagnose_backend
from navai_client.transports import Call
from navai_client.transports._default import HTTPXTransport
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_PACKAGE = "navai-client"
_MAX_MODEL_BYTES = 2**16  # a model is described in five fields
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[([^]]*)\])?")
_EXTRA = re.compile(r"^extra == ['\"]([^'\"]+)['\"]$")


@click.command(cls=BackendCommand, epilog=examples("navai doctor --url https://api.example.com"))
@click.option("--json", "as_json", is_flag=True, help="Print the diagnoses as JSON.")
@connection_options()
def doctor(connection: Connection, *, as_json: bool) -> int:
    """Check the settings, the installation and the connection to the backend, and say what to do.

    It mints no secret and calls no function. If OPENAI_API_KEY is set, it asks OpenAI when the model shuts
    down. Ends with status 1 if a check fails.
    """
    connection.credentials()  # a mistake in the command line is reported as by every command
    diagnoses = []
    for diagnosis in _diagnose(connection):
        diagnoses.append(diagnosis)
        if not as_json:
            _show(diagnosis, connection)
    healthy = all(diagnosis.level != "fail" for diagnosis in diagnoses)
    if as_json:
        checks = [
            {
                "check": diagnosis.subject,
                "level": diagnosis.level,
                "message": one_line(connection.redact(diagnosis.message)),
                "remedy": diagnosis.remedy,
            }
            for diagnosis in diagnoses
        ]
        write_json({"healthy": healthy, "checks": checks})
    return Status.OK if healthy else Status.FAILED


def _diagnose(connection: Connection) -> Iterator[Diagnosis]:
    yield _versions()
    yield _extras()
    if os.environ.get("OPENAI_API_KEY", "").strip():
        with waiting("Asking OpenAI about the model"):
            about_model = _model(connection.timeout)
        yield about_model
    url, source = base_url_source(connection.url)
    try:
        connection.client().close()
    except click.UsageError as error:
        yield Diagnosis("settings", "fail", error.message, f"The base URL comes from {source}.")
        return
    yield Diagnosis("base URL", "ok", f"{url} (from {source})")
    steps = diagnose_backend(connection, url)
    while True:
        with waiting("Examining the way to the backend"):
            diagnosis = next(steps, None)
        if diagnosis is None:
            return
        yield diagnosis


def _show(diagnosis: Diagnosis, connection: Connection) -> None:
    level = f"{diagnosis.level:<5}"
    if wants_colour(sys.stdout):
        level = click.style(level, fg=_COLOURS[diagnosis.level], bold=True)
    write_text(f"{level}{diagnosis.subject}: {one_line(connection.redact(diagnosis.message))}")
    if diagnosis.remedy is not None:
        write_text(f"     -> {printable(diagnosis.remedy)}")


def _versions() -> Diagnosis:
    """Return the versions of everything that takes part in a call."""
    found = {name: _version(name) for name in ("httpx", "httpx2", "attrs", "click")}
    parts = [
        f"navai-client {__version__}",
        f"Python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {version}" for name, version in found.items() if version is not None),
        ssl.OPENSSL_VERSION,
    ]
    return Diagnosis("versions", "ok", ", ".join(parts))


def _extras() -> Diagnosis:
    needs: dict[str, list[str]] = {}
    for requirement in metadata.requires(_PACKAGE) or ():
        package, _, marker = requirement.partition(";")
        extra = _EXTRA.match(marker.strip())  # a marker with more, such as a platform, is left out
        if extra:
            needs.setdefault(extra[1], []).append(package)
    extras = sorted(needs.keys() - {"all"})
    missing = [extra for extra in extras if not _is_installed(extra, needs)]
    installed = [extra for extra in extras if extra not in missing]
    message = f"installed: {', '.join(installed) or 'none'}"
    if missing:
        message += f"; not installed: {', '.join(missing)} (pip install '{_PACKAGE}[{missing[0]}]')"
    return Diagnosis("extras", "ok", message)


def _model(timeout: float) -> Diagnosis:
    """Ask OpenAI when the model that a backend would mint for shuts down, with the key of the environment."""
    from navai_client.server._upstream_settings import BackendOptions  # noqa: PLC0415 - most have no key here

    try:
        options = BackendOptions.from_env()
    except ValueError as error:
        return Diagnosis("model", "warn", f"not examined: {error}")
    base, mark, query = options.openai_base_url.partition("?")
    endpoint = Endpoint("GET", f"{base}/models/{quote(options.default_model, safe='')}{mark}{query}")
    headers = (("Authorization", f"Bearer {options.openai_api_key}"), ("Accept", "application/json"))
    with contextlib.closing(HTTPXTransport()) as transport:
        call = Call(timeout=timeout, max_response_bytes=_MAX_MODEL_BYTES)
        outcome = transport.send(Request(endpoint, headers), call)
    if isinstance(outcome, TransportFailure):
        return Diagnosis("model", "warn", f"not examined, as OpenAI did not respond: {outcome.message}")
    return _judge_model(options.default_model, outcome)


def _judge_model(model: str, response: Response) -> Diagnosis:
    """Judge by the field ``shutdown_date`` (https://developers.openai.com/api/docs/deprecations)."""
    remedy = "Set OPENAI_REALTIME_MODEL to another."
    if response.status == HTTPStatus.UNAUTHORIZED:
        return Diagnosis("model", "fail", "OpenAI refuses the key", "Correct OPENAI_API_KEY.")
    if response.status == HTTPStatus.NOT_FOUND:
        return Diagnosis("model", "warn", f"OpenAI has no model {model} for this key", remedy)
    try:
        described = json.loads(response.content)
    except (ValueError, RecursionError):
        described = None
    if response.status != HTTPStatus.OK or not isinstance(described, dict):
        return Diagnosis("model", "warn", f"not examined: HTTP {response.status}, and not about a model")
    if described.get("shutdown_date") is None:
        return Diagnosis("model", "ok", f"{model}, whose end is not announced")
    return Diagnosis("model", "warn", f"{model} shuts down on {described['shutdown_date']}", remedy)


def _is_installed(extra: str, needs: Mapping[str, list[str]]) -> bool:
    for requirement in needs.get(extra, ()):
        match = _REQUIREMENT.match(requirement.strip())
        name, inner = (match[1], match[2]) if match else ("", None)
        if name == _PACKAGE:
            if not all(_is_installed(each.strip(), needs) for each in (inner or "").split(",")):
                return False
        elif _version(name) is None:
            return False
    return True


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
