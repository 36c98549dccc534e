"""``python -m navai_client.server`` and ``navai serve``: a Navai backend from the command line.

Both read their options here, with argparse: the extra ``server`` has no click. The help is laid out as click
lays out that of the other ``navai`` commands.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import attrs

from navai_client._env_file import load_env_file
from navai_client._extras import SERVER_PACKAGES, needs_extra
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._settings import ServerSettings
from navai_client.server._upstream_settings import BackendOptions

if TYPE_CHECKING:
    from navai_client.server._settings import BackendKeywords

_EXAMPLES: Final = """Examples:
  navai serve --demo                 sample functions, and client secrets that open no session
  navai serve --base-dir . --reload  your functions, restarted when a file changes
  navai serve app:backend            the backend of app.py, or a function in it that makes one"""

_SETTINGS: Final = (ProcessSettings, ServerSettings, BackendOptions)


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
        usage="%(prog)s [OPTIONS] [MODULE:NAME]",
        description="  Serve a Navai backend: the functions of a folder, or the NavaiBackend at MODULE:NAME.",
        epilog=_EXAMPLES,
        formatter_class=_HelpFormatter,
        add_help=False,
    )
    parser.add_argument("target", nargs="?", help=argparse.SUPPRESS)
    options = parser.add_argument_group("Options")
    _add_options(options)
    options.add_argument(
        "--env-file",
        metavar="FILE",
        help="A file with a line NAME=value for each variable that the environment does not have.",
    )
    options.add_argument("-h", "--help", action="help", help="Show this message and exit.")
    return parser


def _add_options(parser: argparse._ActionsContainer) -> None:
    """Add an option for every setting that has one; those that are not given are absent from the result."""
    for field in (field for cls in _SETTINGS for field in attrs.fields(cls) if field.metadata.get("option")):
        env, default = field.metadata["env"], field.default
        kind: dict[str, Any] = {"type": field.metadata["parse"], "metavar": field.metadata["metavar"]}
        if not field.metadata["metavar"]:  # it is on or off
            kind = {"action": argparse.BooleanOptionalAction if env else "store_true"}
        if field.metadata["metavar"] == "LIST":  # may be repeated, as those of `navai run`
            kind = {"action": "append", "metavar": "LIST"}
        notes = (
            [] if default in (None, (), "") or isinstance(default, bool) else [f"default: {_text(default)}"]
        )
        notes += [f"environment: {env}"] if env else []
        help_text = field.metadata["doc"] + (f" ({', '.join(notes)})" if notes else "")
        parser.add_argument(
            field.metadata["option"], dest=field.name, default=argparse.SUPPRESS, help=help_text, **kind
        )


def _read(given: Any, field: "attrs.Attribute[Any]") -> Any:
    return field.metadata["parse"](",".join(given)) if isinstance(given, list) else given


def _text(default: Any) -> str:
    return ",".join(default) if isinstance(default, tuple) else str(default)


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
    try:
        of_process, of_server, of_options = (
            {
                field.name: _read(given[field.name], field)
                for field in attrs.fields(cls)
                if field.name in given
            }
            for cls in _SETTINGS
        )
        if given["env_file"] is not None:
            load_env_file(given["env_file"], "server")
        process = ProcessSettings.from_env(**of_process)
    except (ImportError, ValueError) as error:
        parser.error(str(error))
    target = given["target"]
    if process.reload and process.workers > 1:
        parser.error("--reload and --workers cannot be combined")
    if process.demo and target is not None:
        parser.error(f"--demo serves sample functions, not {target}: give one of them")
    try:
        with needs_extra("server", *SERVER_PACKAGES):
            from navai_client.server._serving import ServeError, serve  # noqa: PLC0415 - --help needs none of it
    except ImportError as error:
        parser.error(str(error))
    try:
        serve(process, cast("BackendKeywords", of_server), of_options, target)
    except ServeError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
