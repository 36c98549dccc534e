"""``navai completion``, and what a shell asks for: the backend's functions and their parameters."""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from navai_client.cli.connection import WORDS, Connection
from navai_client.cli.output import one_line, write_text
from navai_client.cli.schemas import properties_of
from navai_client.cli.shells import COMPLETE_VARIABLE, SHELLS
from navai_client.errors import NavaiError

__all__ = ["command", "complete_function", "complete_parameter"]

_FRESH = 60.0  # seconds that a list is kept: several keystrokes, but not long after a function was added
_PATIENCE = 1.0  # seconds that a shell waits for a backend, unless NAVAI_COMPLETE_TIMEOUT says otherwise

Known = list[dict[str, Any]]


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> None:
    r"""Print the script that teaches SHELL to complete the commands, options and functions of navai.

    \b
    bash: eval "$(navai completion bash)"       in ~/.bashrc
    zsh:  eval "$(navai completion zsh)"        in ~/.zshrc, after compinit
    fish: navai completion fish | source        in ~/.config/fish/config.fish
    """
    root = click.get_current_context().find_root().command
    write_text(SHELLS[shell](root, {}, "navai", COMPLETE_VARIABLE).source())


def complete_function(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the functions whose names begin so."""
    return [
        CompletionItem(each["name"], help=one_line(each["description"]))
        for each in _known(ctx)
        if each["name"].startswith(incomplete)
    ]


def complete_parameter(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the parameters of the function whose names begin so, each with its ``=``."""
    return [
        CompletionItem(f"{name}=", help=one_line(text))
        for each in _known(ctx)
        if each["name"] in ctx.meta[WORDS]
        for name, text in each["parameters"].items()
        if name.startswith(incomplete)
    ]


def _known(ctx: click.Context) -> Known:
    """Return the functions of the backend that the command line speaks of; none, when there is no telling."""
    given = ctx.params
    connection = Connection(
        url=given.get("url"),
        headers=given.get("headers") or (),
        ca_file=given.get("ca_file"),
        proxy=given.get("proxy"),
    )
    identity = [connection.url or os.environ.get("NAVAI_API_URL"), connection.headers, connection.proxy]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    path = _cache_folder() / f"{name}.json"
    with contextlib.suppress(OSError, ValueError):  # no file, or not one of ours
        if 0 <= time.time() - path.stat().st_mtime < _FRESH:
            kept: Known = json.loads(path.read_text(encoding="utf-8"))
            return kept
    try:
        patience = float(os.environ.get("NAVAI_COMPLETE_TIMEOUT") or _PATIENCE)
        with connection.client(timeout=patience, max_retries=0) as client:
            listed = client.list_functions()
    except (NavaiError, click.UsageError, ValueError):  # the shell must not be told
        return []
    known: Known = [
        {
            "name": function.name,
            "description": function.description or "",
            "parameters": {
                name: _description(schema) for name, schema in properties_of(function.parameters).items()
            },
        }
        for function in listed
    ]
    if listed.error is None:
        _keep(path, known)
    return known


def _description(schema: Any) -> str:
    said = schema.get("description") if isinstance(schema, dict) else None
    return said if isinstance(said, str) else ""


def _keep(path: Path, known: Known) -> None:
    """Write the list for this user alone, whole or not at all."""
    with contextlib.suppress(OSError):  # a disk that is full or read-only costs speed, nothing else
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".new", delete=False
        ) as file:
            json.dump(known, file)
        Path(file.name).replace(path)


def _cache_folder() -> Path:
    """Return where this user's caches are: by the XDG base directory specification, or as Windows has it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "navai-client" / "completion"
