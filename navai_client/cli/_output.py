"""What goes where: results to standard output or a file, all else to standard error.

No text from a backend can control a terminal: control characters are written as escapes.
"""

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from navai_client.cli._errors import Status

# Control characters except tab and line feed, and those that change the direction of writing: with them, a
# text can control the terminal or look like another text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST_LINE = 600  # characters
_SPINNER_DELAY = 0.5  # seconds: what is fast needs neither a spinner nor the import of what draws it


_SPINNER_STEP = 1.0  # seconds


def _show_requests(_ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from navai_client.instrumentation import show_log  # noqa: PLC0415 - most commands do without it

        show_log("debug")


VERBOSE_OPTION = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_show_requests,
    help="Log each request to standard error.",
)


def examples(*commands: str) -> str:
    """Return the end of a command's help: *commands* to try."""
    lines = [f"Example{'s' if len(commands) > 1 else ''}:", *(f"  {command}" for command in commands)]
    return "\b\n" + "\n".join(lines)  # click's mark for a block that is not wrapped


def printable(text: str) -> str:
    r"""Return *text* with its control characters as escapes, such as ``\x1b``."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def one_line(text: str) -> str:
    """Return *text* on one line, printable and cut."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 4]} ..."


def counted(number: int, thing: str) -> str:
    """Return *number* with the name of the *thing*: ``1 function``, ``2 functions``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def wants_colour(stream: IO[str] | None) -> bool:
    """Return whether *stream* is a terminal that has not refused colour (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_text(text: str) -> None:
    """Write lines to standard output."""
    write(text if text.endswith("\n") else f"{text}\n")


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Write *value* as JSON to standard output, in colour if it is indented and the terminal takes colour."""
    separators = (",", ":") if indent is None else None
    ascii_only = getattr(sys.stdout, "encoding", "utf-8").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent, separators=separators)
    # Control characters that JSON leaves alone, and lone surrogates, which UTF-8 cannot express.
    text = re.sub("[\x7f-\x9f\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)
    if indent is not None and wants_colour(sys.stdout):
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.highlighter import JSONHighlighter  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        console = Console()
        with console.capture() as capture:
            console.print(JSONHighlighter()(Text(text)), soft_wrap=True)
        text = capture.get()
    write_text(text)


def note(text: str, *, colour: str | None = None) -> None:
    """Write a line to standard error."""
    line = click.style(text, fg=colour) if colour and wants_colour(sys.stderr) else text
    click.echo(line, err=True, color=wants_colour(sys.stderr))


def complain(message: str, command: str = "") -> None:
    """Write to standard error why there is no result, in one line that begins with the command's name.

    Args:
        message: What is wrong.
        command: The name, by default of the command that runs.
    """
    context = click.get_current_context(silent=True)
    command = command or (context.command_path if context else "navai")
    colour = wants_colour(sys.stderr)
    name = click.style(f"{command}:", fg="red", bold=True) if colour else f"{command}:"
    click.echo(f"{name} {one_line(message)}", err=True, color=colour)


def write(content: str | bytes) -> None:
    """Write *content* to standard output unchanged."""
    try:
        click.echo(content, nl=False, color=wants_colour(sys.stdout))
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):  # as behind `head`
            raise click.exceptions.Exit(Status.PIPE_CLOSED) from None
        complain(f"standard output cannot be written: {error.strerror}.")
        raise click.exceptions.Exit(Status.FAILED) from None


def _discard_output() -> None:
    """Send the rest of standard output nowhere: the interpreter flushes it at exit, and would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def check_folder(path: str, option: str) -> None:
    """Refuse a *path* whose folder is not writable, before anything is sent to a backend.

    Raises:
        click.UsageError: If it is not.
    """
    folder = Path(path).parent
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"{option} {path}: the folder {folder} does not exist or is not writable.")


def save(path: str, content: bytes) -> Status:
    """Write *content* to the file *path*, or say why that is impossible."""
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        complain(f"{path} cannot be written: {error.strerror}.")
        return Status.FAILED
    return Status.OK


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show *text* with a spinner while the block runs, if it takes long and standard error is a terminal."""
    if not is_terminal(sys.stderr):
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_spin, args=(text, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()  # the spinner's line is wiped before anything else is printed


def _spin(text: str, done: threading.Event) -> None:
    if done.wait(_SPINNER_DELAY):
        return
    from rich.console import Console  # noqa: PLC0415 - its import takes longer than most calls
    from rich.text import Text  # noqa: PLC0415

    console, started = Console(stderr=True), time.monotonic() - _SPINNER_DELAY
    dots = "dots" if console.encoding.startswith("utf") else "line"
    with console.status(Text(text), spinner=dots) as status:
        while not done.wait(_SPINNER_STEP):
            status.update(Text(f"{text} ({time.monotonic() - started:.0f} s)"))
