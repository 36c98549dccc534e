"""``navai serve``: the reference server, with the options of ``python -m navai_client.server``."""

import click
from click.shell_completion import CompletionItem

from navai_client.server.__main__ import main, make_parser

__all__ = ["command"]


class _Served(click.Command):
    """Hands its whole command line to the server's own parser."""

    def shell_complete(self, _ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        actions = make_parser()._actions  # noqa: SLF001 - argparse tells no other way
        return [
            CompletionItem(option, help=action.help)
            for action in actions
            for option in action.option_strings
            if option.startswith(incomplete or "--")
        ]


@click.command(
    "serve",
    cls=_Served,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Serve a Navai backend."""
    return main(arguments, make_parser("navai serve"))
