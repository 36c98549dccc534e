"""``navai completion``, and the completion of the backend's functions and their parameters."""

import contextlib
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from navai_client._version import __version__
from navai_client.cli._connection import WORDS, Connection
from navai_client.cli._output import examples, one_line, write_text
from navai_client.cli._payload import properties_of, values_of
from navai_client.errors import NavaiError

_MAX_AGE = 60.0  # seconds that a list is kept: several keystrokes, but not long after a function was added
_TIMEOUT = 1.0  # seconds that a shell waits for a backend, unless NAVAI_COMPLETE_TIMEOUT is set

Functions = list[dict[str, Any]]


@add_completion_class
class _Bash(BashComplete):
    """Click's, with two additions for bash, which ends words at ``:`` and ``=``, as in URLs and ``-p KEY=``.

    The line is split here in the way that the shell will split it, and no blank follows a completed ``=``.
    """

    source_template = BashComplete.source_template.replace(
        "COMP_CWORD=$COMP_CWORD", 'COMP_CWORD=$COMP_CWORD COMP_LINE="$COMP_LINE" COMP_POINT=$COMP_POINT'
    ).replace("COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace")

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = split_arg_string(line)
        incomplete = "" if line[-1:].isspace() else words.pop()
        self._before, equals, _ = incomplete.rpartition("=")
        self._before += equals
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Leave out what precedes ``=``: for bash, a word begins after it."""
        item.value = item.value.removeprefix(self._before)
        return super().format_completion(item)


@click.command(
    epilog=examples(
        'eval "$(navai completion bash)"    in ~/.bashrc',
        'eval "$(navai completion zsh)"     in ~/.zshrc, after compinit',
        "navai completion fish | source     in ~/.config/fish/config.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
def completion(shell: str) -> None:
    """Print the script that teaches SHELL to complete the commands, options and functions of navai."""
    root = click.get_current_context().find_root().command
    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101 - one of click's own
    write_text(complete(root, {}, "navai", "_NAVAI_COMPLETE").source())


def complete_function(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the functions whose names begin with *incomplete*."""
    return [
        CompletionItem(function["name"], help=one_line(function["description"]))
        for function in _functions(ctx)
        if function["name"].startswith(incomplete)
    ]


def complete_parameter(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the function's parameters, each with its ``=``, and after that the values it lists."""
    wanted, equals, _ = incomplete.partition("=")
    items = [
        CompletionItem(f"{name}={value}", help=one_line(parameter["description"]))
        for function in _functions(ctx)
        if function["name"] in ctx.meta[WORDS]
        for name, parameter in function["parameters"].items()
        if name == wanted or not equals
        for value in (parameter["values"] if equals else [""])
    ]
    return [item for item in items if item.value.startswith(incomplete)]


def _functions(ctx: click.Context) -> Functions:
    """Return the functions of the backend that the command line names; none if it cannot be asked."""
    given = ctx.params
    connection = Connection(
        url=given.get("url"),
        headers=given.get("headers") or (),
        token=given.get("token"),
        ca_file=given.get("ca_file"),
        proxy=given.get("proxy"),
    )
    environment = [os.environ.get(name) for name in ("NAVAI_API_URL", "NAVAI_ACCESS_TOKEN")]
    identity = [
        __version__,
        connection.url,
        connection.headers,
        connection.token,
        connection.proxy,
        *environment,
    ]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    path = _cache_folder() / f"{name}.json"
    with contextlib.suppress(OSError, ValueError):  # there is no file, or its content is not ours
        if 0 <= time.time() - path.stat().st_mtime < _MAX_AGE:
            cached: Functions = json.loads(path.read_text(encoding="utf-8"))
            return cached
    try:
        timeout = float(os.environ.get("NAVAI_COMPLETE_TIMEOUT") or _TIMEOUT)
        with connection.client(timeout=timeout, max_retries=0) as client:
            listed = client.list_functions()
    except (NavaiError, click.UsageError, ValueError):  # a shell would print it amid the user's typing
        return []
    functions: Functions = [
        {
            "name": function.name,
            "description": function.description or "",
            "parameters": {
                name: {"description": _description(schema), "values": values_of(schema)}
                for name, schema in properties_of(function.parameters).items()
            },
        }
        for function in listed
    ]
    if listed.error is None:
        _write(path, functions)
    return functions


def _description(schema: Any) -> str:
    description = schema.get("description") if isinstance(schema, dict) else None
    return description if isinstance(description, str) else ""


def _write(path: Path, functions: Functions) -> None:
    """Write the list atomically, readable by this user alone."""
    with contextlib.suppress(OSError):  # without a cache, completion is only slower
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.touch(mode=0o600)
        new.write_text(json.dumps(functions), encoding="utf-8")
        new.replace(path)


def _cache_folder() -> Path:
    """Return the folder of this user's caches, by the XDG base directory specification or as on Windows."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "navai-client" / "completion"
