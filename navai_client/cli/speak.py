"""``navai speak``: turn text into sound, in a file."""

from typing import Any

import click

from navai_client.cli.connection import BackendCommand, Connection, connection_options
from navai_client.cli.files import check_folder, save
from navai_client.cli.output import note, one_line, write_bytes, write_json
from navai_client.cli.payload import read_file
from navai_client.cli.statuses import Status
from navai_client.cli.waiting import waiting

__all__ = ["command"]

_UNIT = click.FloatRange(0, 1)


@click.command("speak", cls=BackendCommand)
@click.argument("text")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    metavar="FILE",
    help="Where the sound goes; - is standard output.",
)
@click.option("--voice-id", metavar="ID", help="The voice.")
@click.option("--model-id", metavar="ID", help="The speech model.")
@click.option("--output-format", metavar="NAME", help="The audio format, such as mp3_44100_128.")
@click.option("--optimize-streaming-latency", type=click.IntRange(0, 4), help="Quality given for speed.")
@click.option("--stability", type=_UNIT, help="From lively to even.")
@click.option("--similarity-boost", type=_UNIT, help="How close to the original voice.")
@click.option("--style", type=_UNIT, help="How much of the voice's style.")
@click.option("--use-speaker-boost/--no-speaker-boost", default=None, help="Whether likeness is boosted.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@connection_options(acts=True)
def command(connection: Connection, *, text: str, out: str, as_json: bool, **voice: Any) -> int:
    """Turn TEXT into sound, where the backend speaks through ElevenLabs. With TEXT - it is standard input."""
    if out == "-" and as_json:
        raise click.UsageError("--json and --out - would both write to standard output.")
    if out != "-":
        check_folder(out, "--out")  # each call costs: look before
    if text == "-":
        text = read_file("-")
    given = {name: value for name, value in voice.items() if value is not None}
    with connection.client() as client, waiting("Waiting for the sound"):
        speech = client.synthesize_speech(text, **given)
    if out == "-":
        write_bytes(speech.audio)
        return Status.OK
    status = save(out, speech.audio)
    if status != Status.OK:
        return status
    if as_json:
        write_json(
            {
                "file": out,
                "bytes": len(speech.audio),
                "mime_type": speech.mime_type,
                "provider": speech.provider,
            }
        )
    else:
        note(f"{out}: {len(speech.audio):,} bytes of {one_line(speech.mime_type)}")
    return Status.OK
