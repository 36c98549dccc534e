"""``navai serve``: the reference server, with the options of ``python -m navai_client.server``."""

import click
from click.shell_completion import CompletionItem

from navai_client.server.__main__ import main, option_helps

__all__ = ["command"]


class _Served(click.Command):
    """Hands its whole command line to the server's own parser."""

    def shell_complete(self, _ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [
            CompletionItem(option, help=text)
            for option, text in option_helps()
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
    return main(arguments, prog="navai serve")
