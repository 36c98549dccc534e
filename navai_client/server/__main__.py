"""``python -m navai_client.server``: a Navai backend from the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from navai_client._extras import SERVER_PACKAGES, needs_extra

__all__ = ["main", "make_parser"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def make_parser(prog: str = "python -m navai_client.server") -> argparse.ArgumentParser:
    """Return the parser of the command line; *prog* is what its messages call the program."""
    parser = _Parser(prog=prog, description="Serve a Navai backend.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=None, help="0 takes a free one (default: PORT, else 3000)"
    )
    parser.add_argument("--base-dir", help="where functions are looked for (default: working directory)")
    parser.add_argument("--functions-folders", help="which folders below it, with commas between them")
    parser.add_argument("--reload", action="store_true", help="start anew when a file changes")
    parser.add_argument("--workers", type=int, default=1, help="how many processes (default: %(default)s)")
    parser.add_argument("--demo", action="store_true", help="serve sample functions and demo secrets")
    parser.add_argument(
        "--inspector",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="serve a page to look at the backend with, at /navai/ (default: with --demo and --reload)",
    )
    parser.add_argument(
        "--access-log",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write a line for each answer (default: yes)",
    )
    return parser


def main(arguments: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Read the command line and serve; end with status 2 when that cannot be.

    Args:
        arguments: The command line, by default the process's own.
        parser: What ``make_parser`` made, for a program of another name.
    """
    parser = make_parser() if parser is None else parser
    given = parser.parse_args(arguments)
    if given.workers < 1:
        parser.error("--workers must be at least 1")
    if given.reload and given.workers > 1:
        parser.error("--reload and --workers cannot be combined")
    port = given.port
    if port is None:
        text = (os.environ.get("PORT") or "").strip() or "3000"
        if not text.isdecimal():
            parser.error(f"PORT must be a number: {text!r}")
        port = int(text)
    try:
        with needs_extra("server", *SERVER_PACKAGES):
            from navai_client.server._serving import ServeError, ServeOptions, serve  # noqa: PLC0415 - see needs_extra
    except ImportError as error:
        parser.error(str(error))
    try:
        serve(
            ServeOptions(
                host=given.host,
                port=port,
                base_dir=given.base_dir,
                functions_folders=given.functions_folders,
                reload=given.reload,
                workers=given.workers,
                demo=given.demo,
                inspector=given.inspector,
                access_log=given.access_log,
            )
        )
    except ServeError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
