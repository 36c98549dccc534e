"""``navai secret`` and ``navai speak``: mint a client secret, and turn text into speech."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from navai_client._redaction import mask
from navai_client.cli._connection import (
    SENT,
    BackendCommand,
    Connection,
    connection_options,
    expand,
)
from navai_client.cli._errors import Status
from navai_client.cli._output import (
    check_folder,
    counted,
    examples,
    note,
    one_line,
    save,
    waiting,
    write,
    write_json,
    write_text,
)
from navai_client.cli._payload import read_file
from navai_client.models import ClientSecret
from navai_client.wire._operations import CREATE_CLIENT_SECRET, SYNTHESIZE_SPEECH, Operation

_RANGES = {"optimize_streaming_latency": click.IntRange(0, 4)}  # all other numbers are from 0 to 1


def _field_options(operation: Operation[Any]) -> Callable[[Any], Any]:
    """Return a decorator that gives a command an option for each optional field of *operation*."""

    def decorate(function: Any) -> Any:
        for field in reversed(operation.fields):
            name = field.name.replace("_", "-")
            settings: dict[str, Any] = {"help": field.doc}
            if field.type == "boolean":
                name, settings["default"] = f"{name}/--no-{name.removeprefix('use-')}", None
            elif field.type == "number":
                settings["type"] = _RANGES.get(field.name, click.FloatRange(0, 1))
            else:
                settings["metavar"] = "@env:NAME" if field.secret else "TEXT"
            if not field.required:
                function = click.option(f"--{name}", **settings)(function)
        return function

    return decorate


def _given(operation: Operation[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the *options* that were given; those of secret fields can be references."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in operation.secret_fields:
        if name in given:
            given[name] = expand(given[name], f"--{name.replace('_', '-')}")
    return given


@click.command(cls=BackendCommand, epilog=examples("navai secret --voice marin --language Spanish"))
@_field_options(CREATE_CLIENT_SECRET)
@click.option("--reveal", is_flag=True, help="Show the secret itself.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON; masked, too, without --reveal.")
@connection_options()
def secret(connection: Connection, *, reveal: bool, as_json: bool, **session: Any) -> None:
    """Mint a short-lived key with which an agent opens a Realtime session.

    The secret is masked unless --reveal is given.
    """
    given = _given(CREATE_CLIENT_SECRET, session)
    with connection.client() as client, waiting("Minting a client secret"):
        minted = client.create_client_secret(**given)
    value = minted.value if reveal else mask(minted.value)
    if as_json:
        write_json(
            {"value": value, "expires_at": minted.expires_at, "speech_provider": minted.speech_provider}
        )
        return
    write_text(f"value: {one_line(value)}{'' if reveal else '  (masked; --reveal shows it)'}")
    write_text(f"expires: {_expiry(minted)}")
    write_text(f"speech: {minted.speech_provider}")


def _expiry(minted: ClientSecret) -> str:
    try:
        moment = None if minted.expires_at is None else datetime.fromtimestamp(minted.expires_at, UTC)
    except (ValueError, OverflowError, OSError):  # outside the calendar
        moment = None
    if moment is None:
        return "unknown"
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}, in {round(minted.expires_in(now=minted.issued_at))} s"


@click.command(cls=BackendCommand, epilog=examples("navai speak 'Good morning' --out morning.mp3"))
@click.argument("text")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    metavar="FILE",
    help="The file for the audio; - is standard output.",
)
@_field_options(SYNTHESIZE_SPEECH)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON what was written.")
@connection_options(acts=True)
def speak(connection: Connection, *, text: str, out: str, as_json: bool, **voice: Any) -> int:
    """Turn TEXT into speech, with a backend that uses ElevenLabs. TEXT - is standard input."""
    if out == "-" and as_json:
        raise click.UsageError("--json and --out - would both write to standard output.")
    if out != "-":
        check_folder(out, "--out")  # before the call, which costs money
    if text == "-":
        text = read_file("-", "TEXT")
    with connection.client() as client, waiting("Waiting for the audio"):
        click.get_current_context().meta[SENT] = None
        speech = client.synthesize_speech(text, **_given(SYNTHESIZE_SPEECH, voice))
    if out == "-":
        write(speech.audio)
        return Status.OK
    status = save(out, speech.audio)
    if status == Status.OK and as_json:
        size = len(speech.audio)
        write_json({"file": out, "bytes": size, "mime_type": speech.mime_type, "provider": speech.provider})
    elif status == Status.OK:
        note(f"{out}: {counted(len(speech.audio), 'byte')} of {one_line(speech.mime_type)}")
    return status
