"""What goes where: results to standard output, the rest to standard error; no text steers a terminal."""

import json
import os
import re
import sys
from typing import IO, Any

import click

from navai_client.cli.statuses import Status

__all__ = [
    "complain",
    "for_people",
    "give_up_output",
    "is_terminal",
    "note",
    "one_line",
    "printable",
    "wants_colour",
    "write_bytes",
    "write_json",
    "write_text",
]

# Control characters but tab and line feed, and what turns the direction of writing: a backend's text must
# neither steer the terminal nor look like another text.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST_LINE = 600


def printable(text: str) -> str:
    r"""Return *text* with everything that steers a terminal spelt out, such as ``\x1b``."""
    return _STEERING.sub(lambda match: _spelt(match[0]), text)


def _spelt(character: str) -> str:
    return ascii(character)[1:-1]


def one_line(text: str, limit: int = _LONGEST_LINE) -> str:
    """Return *text* on one line, printable and not too long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 4]} ..."


def is_terminal(stream: IO[str] | None) -> bool:
    """Return whether people read *stream*."""
    return stream is not None and not stream.closed and stream.isatty()


def for_people() -> bool:
    """Return whether people read standard output."""
    return is_terminal(sys.stdout)


def wants_colour(stream: IO[str] | None) -> bool:
    """Return whether *stream* takes colour: a terminal that has not refused it (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_text(text: str) -> None:
    """Write lines to standard output."""
    _write(text if text.endswith("\n") else f"{text}\n")


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Write *value* as JSON to standard output, in colour for people when it is indented."""
    separators = (",", ":") if indent is None else None
    escaped = getattr(sys.stdout, "encoding", "utf-8").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=escaped, indent=indent, separators=separators)
    text = re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text)
    # A lone surrogate cannot be written in UTF-8, but in JSON it can.
    text = re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)
    if indent is not None and wants_colour(sys.stdout):
        from rich.console import Console  # noqa: PLC0415 - only people need it
        from rich.highlighter import JSONHighlighter  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        console = Console()
        with console.capture() as capture:
            console.print(JSONHighlighter()(Text(text)), soft_wrap=True)
        text = capture.get()
    write_text(text)


def write_bytes(content: bytes) -> None:
    """Write *content* to standard output as it is."""
    _write(content)


def note(text: str, *, colour: str | None = None) -> None:
    """Write a line for people to standard error."""
    line = click.style(text, fg=colour) if colour and wants_colour(sys.stderr) else text
    click.echo(line, err=True, color=wants_colour(sys.stderr))


def complain(message: str, command: str = "") -> None:
    """Say on standard error, in one line that begins with the command's name, why there is no result.

    Args:
        message: What is wrong.
        command: The command's name, by default of the one that runs.
    """
    context = click.get_current_context(silent=True)
    command = command or (context.command_path if context else "navai")
    colour = wants_colour(sys.stderr)
    name = click.style(f"{command}:", fg="red", bold=True) if colour else f"{command}:"
    click.echo(f"{name} {one_line(message)}", err=True, color=colour)


def _write(content: str | bytes) -> None:
    try:
        click.echo(content, nl=False, color=wants_colour(sys.stdout))
    except OSError as error:
        raise click.exceptions.Exit(give_up_output(error)) from None


def give_up_output(error: OSError) -> Status:
    """Return the status for standard output that takes no more, and let the rest of it go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())  # the interpreter flushes at its end, and would complain again
    os.close(nowhere)
    if isinstance(error, BrokenPipeError):  # as `head` does; that is how pipes end
        return Status.PIPE_CLOSED
    complain(f"standard output cannot be written: {error.strerror}.")
    return Status.FAILED
