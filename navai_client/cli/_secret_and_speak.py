"""``navai secret`` and ``navai speak``: mint a client secret, and turn text into speech."""

from datetime import UTC, datetime
from typing import Any

import click

from navai_client._redaction import mask
from navai_client.cli._connection import BackendCommand, Connection, connection_options, expand
from navai_client.cli._errors import Status
from navai_client.cli._output import (
    check_folder,
    note,
    one_line,
    save,
    waiting,
    write_bytes,
    write_json,
    write_text,
)
from navai_client.cli._payload import read_file
from navai_client.models import ClientSecret

_UNIT = click.FloatRange(0, 1)


@click.command(cls=BackendCommand)
@click.option("--model", help="The Realtime model.")
@click.option("--voice", help="The voice.")
@click.option("--instructions", metavar="TEXT", help="The instructions of the agent.")
@click.option("--language", help="The language of its replies.")
@click.option("--voice-accent", metavar="TEXT", help="The accent of its voice.")
@click.option("--voice-tone", metavar="TEXT", help="The tone of its voice.")
@click.option(
    "--api-key", metavar="@env:NAME", help="An OpenAI key, for backends that accept one in a request."
)
@click.option("--reveal", is_flag=True, help="Show the secret itself.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON; masked, too, without --reveal.")
@connection_options()
def secret(
    connection: Connection, *, api_key: str | None, reveal: bool, as_json: bool, **session: Any
) -> None:
    """Mint a short-lived key with which an agent opens a Realtime session.

    The secret is masked unless --reveal is given.
    """
    if api_key is not None:
        session["api_key"] = expand(api_key, "--api-key")
    with connection.client() as client, waiting("Minting a client secret"):
        minted = client.create_client_secret(**_given(session))
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
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}, in {round(minted.expires_in())} s"


@click.command(cls=BackendCommand)
@click.argument("text")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    metavar="FILE",
    help="The file for the audio; - is standard output.",
)
@click.option("--voice-id", metavar="ID", help="The voice.")
@click.option("--model-id", metavar="ID", help="The speech model.")
@click.option("--output-format", metavar="NAME", help="The audio format, such as mp3_44100_128.")
@click.option("--optimize-streaming-latency", type=click.IntRange(0, 4), help="Quality to trade for speed.")
@click.option("--stability", type=_UNIT, help="From lively to even.")
@click.option("--similarity-boost", type=_UNIT, help="How close to the original voice.")
@click.option("--style", type=_UNIT, help="How much of the voice's style.")
@click.option("--use-speaker-boost/--no-speaker-boost", default=None, help="Whether likeness is boosted.")
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
        speech = client.synthesize_speech(text, **_given(voice))
    if out == "-":
        write_bytes(speech.audio)
        return Status.OK
    status = save(out, speech.audio)
    if status == Status.OK and as_json:
        size = len(speech.audio)
        write_json({"file": out, "bytes": size, "mime_type": speech.mime_type, "provider": speech.provider})
    elif status == Status.OK:
        note(f"{out}: {len(speech.audio):,} bytes of {one_line(speech.mime_type)}")
    return status


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
