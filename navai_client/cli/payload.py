"""From the command line to a payload: JSON, files, and ``key=value`` typed by the function's schema."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from navai_client.cli.schemas import admitted_types, properties_of, type_of

__all__ = ["parse_json", "parse_pairs", "read_file"]


def parse_json(text: str, what: str) -> Any:
    """Return the value that *text* is in JSON.

    Raises:
        click.UsageError: If it is none. The message shows where, and nothing of the text.
    """
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(
            f"{what} is not JSON: {error.msg}, at line {error.lineno}, column {error.colno}."
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise click.UsageError(f"{what} is not JSON: {reason}.") from None


def read_file(name: str) -> str:
    """Return the text of the file *name*, or of standard input for ``-``.

    Raises:
        click.UsageError: If it cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise click.UsageError(f"--payload-file {name}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--payload-file {name}: it is not text in UTF-8.") from None


def parse_pairs(pairs: Sequence[str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the payload that *pairs* such as ``key=value`` and ``key:=json`` make.

    Args:
        pairs: As they were given.
        schema: The JSON Schema of the payload, or None.

    Raises:
        click.UsageError: If one cannot be. The message shows its key and no value.
    """
    payload: dict[str, Any] = {}
    properties = properties_of(schema)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        is_json = key.endswith(":")
        key = key.removesuffix(":")
        if not equals or not key:
            raise click.UsageError("-p takes KEY=VALUE or KEY:=JSON (what was given is not shown).")
        if key in payload:
            raise click.UsageError(f"-p {key} is given twice; a list goes as {key}:='[...]'.")
        payload[key] = parse_json(text, f"-p {key}") if is_json else _typed(key, text, properties.get(key))
    return payload


def _typed(key: str, text: str, schema: Any) -> Any:
    """Return the value that *text* is meant to be."""
    types = admitted_types(schema)
    if types is not None and types <= {"string", "null"}:
        return text
    try:
        value = _loads(text)
    except (ValueError, RecursionError):
        fits = False
        value = text
    else:
        found = type_of(value)
        fits = types is None or found in types or (found == "integer" and "number" in types)
    if fits:
        return value
    if types is None or "string" in types:
        return text
    wanted = " or ".join(sorted(types))
    raise click.UsageError(f"-p {key} must be {wanted} in JSON, says the function's schema.")


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")
