"""The command as a whole: its subcommands, and the exit status of each."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from navai_client._version import __version__
from navai_client.cli._errors import Status
from navai_client.cli._output import VERBOSE_OPTION, complain

# The file of each command, and its text in help and completion: neither loads the file.
_COMMANDS = {
    "functions": ("_functions_and_call", "List the backend's functions."),
    "call": ("_functions_and_call", "Execute a function."),
    "secret": ("_secret_and_speak", "Mint a client secret."),
    "speak": ("_secret_and_speak", "Turn text into speech."),
    "run": ("_run", "Talk with the voice agent of a folder (extra agents)."),
    "serve": ("_app", "Serve a backend (extra server)."),
    "check": ("_check", "Check whether a backend follows the contract."),
    "mcp": ("_mcp", "Offer the functions to MCP hosts (extra mcp)."),
    "doctor": ("_doctor", "Find out what is wrong."),
    "completion": ("_completion", "Print the completion script of a shell."),
}


class _Commands(click.Group):
    """Imports the file of a command when the command is needed."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        file, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"navai_client.cli.{file}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        close = get_close_matches(args[0], _COMMANDS, n=1)
        if close and args[0] not in _COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=text)
            for name, (_, text) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit statuses: 0 done, 1 the backend failed or refused, 2 wrong usage, 3 no response, "
    "4 no result but the call may have been executed, 5 the call waits for approval, 130 interrupted.",
)
@VERBOSE_OPTION
@click.version_option(__version__, "-V", "--version", prog_name="navai")
def navai() -> None:
    """Call a Navai backend, serve one, or find out what is wrong with one."""


class _Served(click.Command):
    """Passes its whole command line to the server's own parser."""

    def shell_complete(self, _ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from navai_client.server.__main__ import option_helps  # noqa: PLC0415 - other commands do without it

        start = incomplete or "--"
        return [CompletionItem(name, help=text) for name, text in option_helps() if name.startswith(start)]


@click.command(cls=_Served, add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> int:
    """Serve a Navai backend."""
    from navai_client.server.__main__ import main  # noqa: PLC0415 - as above

    return main(arguments, prog="navai serve")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by the shell, as with >&-
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # of a TextIOWrapper
    if "_NAVAI_COMPLETE" in os.environ:
        import_module("navai_client.cli._completion")  # registers the completion of bash
    try:
        status = navai.main(
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
