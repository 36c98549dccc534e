"""``--env-file``: variables from a file such as ``.env``."""

import io
import os
from pathlib import Path

from navai_client._extras import needs_extra


def load_env_file(path: str, extra: str) -> None:
    """Add the variables in the file at *path* to the environment, which takes precedence.

    Raises:
        ImportError: The *extra* is not installed.
        ValueError: The file cannot be read, or a line sets nothing: what it was to restrict would be open.
    """
    with needs_extra(extra, "dotenv"):
        from dotenv.parser import parse_stream  # noqa: PLC0415 - only with a file
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the content is not UTF-8"
        raise ValueError(f"--env-file {path}: {reason}.") from None
    found: dict[str, str] = {}
    for line in parse_stream(io.StringIO(text)):
        if line.error or (line.key and (line.value is None or "\0" in line.value)):
            text = line.original.string
            number = line.original.line + text[: -len(text.lstrip())].count("\n")  # blank lines come with it
            raise ValueError(f"--env-file {path}: line {number} is not NAME=value (it is not shown).")
        if line.key:
            found[line.key] = line.value or ""
    for name, value in found.items():  # as it is written: a ${...} may be a part of a password
        os.environ.setdefault(name, value)
