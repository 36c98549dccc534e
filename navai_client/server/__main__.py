"""``python -m navai_client.server`` and ``navai serve``: a Navai backend from the command line.

Both read their options here, with argparse: the extra ``server`` has no click. The help is laid out as click
lays out that of the other ``navai`` commands.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import attrs

from navai_client._extras import SERVER_PACKAGES, needs_extra
from navai_client.server._settings import ProcessSettings, ServerSettings

if TYPE_CHECKING:
    from navai_client.server._settings import BackendKeywords


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Begins with click's ``Usage:``."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, "Usage: " if prefix is None else prefix)


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        usage="%(prog)s [OPTIONS]",
        description="  Serve a Navai backend.",
        formatter_class=_HelpFormatter,
        add_help=False,
    )
    options = parser.add_argument_group("Options")
    _add_options(options)
    options.add_argument("-h", "--help", action="help", help="Show this message and exit.")
    return parser


def _add_options(parser: argparse._ActionsContainer) -> None:
    """Add an option for every setting that has one; those that are not given are absent from the result."""
    for field in (*attrs.fields(ProcessSettings), *attrs.fields(ServerSettings)):
        option, env, default = field.metadata.get("option"), field.metadata.get("env"), field.default
        if option is None:
            continue
        name, _, negation = option.partition("/")
        kind: dict[str, Any] = {"metavar": "TEXT"}
        if negation:
            kind = {"action": argparse.BooleanOptionalAction}
        elif default is False:
            kind = {"action": "store_true"}
        elif isinstance(default, int):
            kind = {"type": int, "metavar": "INTEGER"}
        notes = [] if default is None or isinstance(default, bool) else [f"default: {default}"]
        notes += [f"environment: {env}"] if env else []
        help_text = field.metadata["doc"] + (f" ({', '.join(notes)})" if notes else "")
        parser.add_argument(name, dest=field.name, default=argparse.SUPPRESS, help=help_text, **kind)


def option_helps() -> Iterator[tuple[str, str]]:
    """Yield each option and its help, for the completion of ``navai serve``."""
    for action in _make_parser("")._actions:  # noqa: SLF001 - argparse offers no public way
        for option in action.option_strings:
            yield option, action.help or ""


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m navai_client.server") -> int:
    """Read the command line and serve; exit with status 2 if that is not possible.

    Args:
        arguments: The command line, by default that of the process.
        prog: The program's name in messages.
    """
    parser = _make_parser(prog)
    given = vars(parser.parse_args(arguments))
    names = {field.name for field in attrs.fields(ProcessSettings)}
    try:
        process = ProcessSettings.from_env(**{name: given.pop(name) for name in names & given.keys()})
    except ValueError as error:
        parser.error(str(error))
    if process.workers < 1:
        parser.error("--workers must be at least 1")
    if process.reload and process.workers > 1:
        parser.error("--reload and --workers cannot be combined")
    try:
        with needs_extra("server", *SERVER_PACKAGES):
            from navai_client.server._serving import ServeError, serve  # noqa: PLC0415 - --help needs none of it
    except ImportError as error:
        parser.error(str(error))
    try:
        serve(process, cast("BackendKeywords", given))
    except ServeError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
