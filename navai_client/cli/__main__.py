"""``navai``, also as ``python -m navai_client.cli``: the way in, which says what to install when it must."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from navai_client._extras import missing_extra

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; docs/cli.md lists them.

    Args:
        arguments: The command line, by default the process's own.
    """
    # httpx loads its own command line where it can, and with it rich and pygments, which takes half of a
    # command's time for nothing. None stands for a module that is not there.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # as the language reference has it
    try:
        missing = [name for name in ("click", "rich") if find_spec(name) is None]
        if missing:
            if "_NAVAI_COMPLETE" not in os.environ:  # a shell that completes shows what it is told
                sys.stderr.write(f"navai: {missing_extra('cli', *missing)}\n")
            return 2
        from navai_client.cli.app import run  # noqa: PLC0415 - needs what was looked for above

        return run(arguments)
    except KeyboardInterrupt:  # before or after the command itself, which has its own way to end
        return 130


if __name__ == "__main__":
    sys.exit(main())
