"""The options of every command that talks to a backend: where it is, and how to get there."""

import functools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from navai_client._redaction import Redactor, secrets_in
from navai_client.cli.output import complain
from navai_client.cli.statuses import explain
from navai_client.client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.config import resolve_headers
from navai_client.errors import NavaiConfigError, NavaiError

__all__ = [
    "WORDS",
    "BackendCommand",
    "Connection",
    "connection_options",
    "expand",
    "in_words_of_options",
    "parse_headers",
]

Client = TypeVar("Client", NavaiBackendClient, AsyncNavaiBackendClient)

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's: a token of RFC 9110, section 5.6.2
_REFERENCE = re.compile(r"(?:^|(?<=\s))@(env|file):(.+)$", re.DOTALL)
# The client's arguments, as its errors name them, and the options that they come from.
_OPTIONS = {
    "allowed_hosts": "--allowed-host",
    "base_url": "--url",
    "headers": "--header",
    "proxy": "--proxy",
    "verify": "--ca-file",
}
_ARGUMENT = re.compile(r"^(?:base_url|headers|proxy)\b|\ballowed_hosts\b|\bverify(?==| names)")


def expand(text: str, what: str) -> str:
    """Return *text*, its last part read from where it says: ``@env:NAME`` or ``@file:PATH``.

    Raises:
        click.UsageError: If there is nothing. The message never shows a value.
    """
    reference = _REFERENCE.search(text)
    if reference is None:
        return text
    kind, where = reference[1], reference[2].strip()
    if kind == "env":
        value = os.environ.get(where, "")
    else:
        try:
            value = Path(where).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise click.UsageError(f"{what} asks for the file {where}: {reason}.") from None
    value = value.strip()
    if not value:
        kind = "the variable" if kind == "env" else "the file"
        raise click.UsageError(f"{what} asks for {kind} {where}, which is not set or empty.")
    return text[: reference.start()] + value


def parse_headers(lines: Sequence[str]) -> dict[str, str]:
    """Return the headers that *lines* such as ``Name: value`` give.

    Raises:
        click.UsageError: If one is none. The message never shows a value.
    """
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.strip()
        if not colon or not _NAME.fullmatch(name):
            raise click.UsageError("--header takes 'Name: value' in quotes (what was given is not shown).")
        if name.lower() in map(str.lower, headers):
            raise click.UsageError(f"--header {name} is given twice.")
        headers[name] = expand(value.strip(), f"--header {name}")
    try:
        resolve_headers(headers)
    except NavaiConfigError as error:
        raise click.UsageError(in_words_of_options(str(error))) from None
    return headers


@attrs.frozen(kw_only=True)
class Connection:
    """How to reach the backend, as the command line says.

    Attributes:
        url: The base URL, or None for ``NAVAI_API_URL`` or the default.
        headers: Lines such as ``Name: value``, not expanded yet.
        timeout: Seconds for one whole call.
        ca_file: Certificates to trust instead of the usual authorities, or None.
        proxy: A proxy's URL, or None for what the environment says.
    """

    url: str | None = None
    headers: tuple[str, ...] = attrs.field(default=(), repr=False)
    timeout: float = 30.0
    ca_file: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)

    @property
    def verify(self) -> bool | str:
        """Whom to trust, as the client takes it."""
        return True if self.ca_file is None else self.ca_file

    def client(self, **options: Any) -> NavaiBackendClient:
        """Make a client, as ``make`` does."""
        return self.make(NavaiBackendClient, **options)

    def make(self, kind: type[Client], **options: Any) -> Client:
        """Make a client of a *kind*; *options* win over what the command line says.

        Raises:
            click.UsageError: If it cannot work.
        """
        headers = parse_headers(self.headers)
        settings: dict[str, Any] = {"headers": headers, "timeout": self.timeout}
        if "transport" not in options:
            settings |= {"verify": self.verify, "proxy": self.proxy}
        try:
            return kind(self.url, **(settings | options))
        except NavaiConfigError as error:
            raise click.UsageError(in_words_of_options(str(error))) from None

    def secrets(self) -> tuple[str, ...]:
        """Return the values of the headers and their parts, which no message may show."""
        return secrets_in(parse_headers(self.headers).values())


def in_words_of_options(message: str) -> str:
    """Return the *message* of a client's error with its arguments called as the options are."""
    message = message.replace("headers={'Authorization': ...}", "--header 'Authorization: ...'")
    return _ARGUMENT.sub(lambda match: _OPTIONS[match[0]], message)


WORDS = "navai_client.cli.words"  # where a command's context keeps them


class BackendCommand(click.Command):
    """A command that talks to a backend."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what is too much without showing it, as click would: it may be the rest of a header."""
        ctx.allow_extra_args = True
        ctx.meta[WORDS] = (*args,)  # click forgets arguments before an option whose value is being completed
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            many = f"{len(rest)} argument{'s' * (len(rest) > 1)} too many (not shown)"
            raise click.UsageError(f"{many}. Values with blanks need quotes.", ctx)
        return rest


_CONNECTION_OPTIONS = (
    click.option(
        "--url", metavar="URL", help="Where the backend is; else NAVAI_API_URL, else localhost:3000."
    ),
    click.option(
        "--header",
        "-H",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        help="Sent with every request, may be repeated; a value may end in @env:NAME or @file:PATH.",
    ),
    click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Certificates (PEM) to trust instead of the usual authorities.",
    ),
    click.option("--proxy", metavar="URL", help="A proxy, instead of what HTTPS_PROXY and its like say."),
)


def connection_options(
    *,
    acts: bool = False,
    timeout: float = 30.0,
    bounds: str = "Seconds for one whole call, retries included.",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a connection, as one ``Connection``, and an end for errors.

    Args:
        acts: Whether the command makes the backend do something that cannot be undone.
        timeout: Seconds, by default.
        bounds: What is bounded by them.
    """
    patience = click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=timeout,
        show_default=True,
        metavar="SECONDS",
        help=bounds,
    )

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(
            *,
            url: str | None,
            headers: tuple[str, ...],
            timeout: float,
            ca_file: str | None,
            proxy: str | None,
            **others: Any,
        ) -> Any:
            connection = Connection(url=url, headers=headers, timeout=timeout, ca_file=ca_file, proxy=proxy)
            try:
                return function(connection, **others)
            except NavaiError as error:
                explanation = explain(error, acts=acts)
                complain(Redactor(connection.secrets(), patterns=False).text(str(explanation)))
                return explanation.status

        decorated: Callable[..., Any] = wrapper
        for option in (patience, *reversed(_CONNECTION_OPTIONS)):
            decorated = option(decorated)
        return decorated

    return decorate
