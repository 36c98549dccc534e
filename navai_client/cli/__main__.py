"""The entry point of ``navai``, ``python -m navai_client`` and ``python -m navai_client.cli``."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from navai_client._extras import missing_extra


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; docs/cli.md lists them.

    Args:
        arguments: The command line, by default that of the process.
    """
    try:
        if missing := [name for name in ("click", "rich") if find_spec(name) is None]:
            if "_NAVAI_COMPLETE" not in os.environ:  # a shell would print it amid the user's typing
                sys.stderr.write(f"navai: {missing_extra('cli', *missing)}\n")
            return 2
        from navai_client.cli._app import run  # noqa: PLC0415 - needs the packages looked for above

        return run(arguments)
    except KeyboardInterrupt:  # before or after the command, which handles its own
        return 130


if __name__ == "__main__":
    sys.exit(main())
