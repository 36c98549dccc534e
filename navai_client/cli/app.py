"""The command as a whole: which commands there are, and how each of them ends."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from navai_client._version import __version__
from navai_client.cli.output import complain
from navai_client.cli.statuses import Status

__all__ = ["run"]

# What help and completion show, so that neither loads the commands.
_COMMANDS = {
    "functions": "List the backend's functions.",
    "call": "Execute a function.",
    "secret": "Mint a client secret.",
    "speak": "Turn text into sound.",
    "serve": "Serve a backend (extra server).",
    "check": "Check whether a backend keeps the contract.",
    "mcp": "Offer the functions to hosts of MCP (extra mcp).",
    "doctor": "Find out what is wrong.",
    "completion": "Print a shell's completion script.",
}


class _Commands(click.Group):
    """Loads a command's file when the command is asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"navai_client.cli.{cmd_name}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=text) for name, text in _COMMANDS.items() if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit statuses: 0 done, 1 the backend failed or refused, 2 wrong usage, 3 no answer, "
    "4 no answer but it may have been done, 130 interrupted.",
)
@click.version_option(__version__, "-V", "--version", prog_name="navai")
def _navai() -> None:
    """Talk to a Navai backend, serve one, or find out what is wrong with one."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by the shell, as with >&-
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # of a TextIOWrapper
    if "_NAVAI_COMPLETE" in os.environ:
        import_module("navai_client.cli.shells")  # tells click of our bash
    try:
        status = _navai.main(
            None if arguments is None else list(arguments), prog_name="navai", standalone_mode=False
        )
    except click.UsageError as error:
        return _refuse(error)
    except click.Abort:
        return Status.INTERRUPTED
    return Status.OK if status is None else int(status)


def _refuse(error: click.UsageError) -> int:
    """Say in one line what is wrong with the command line."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return Status.USAGE
    path = error.ctx.command_path if error.ctx else "navai"
    message = error.format_message().rstrip()
    complain(f"{message} See `{path} --help`.", path)
    return Status.USAGE
