"""The options of every command that calls a backend: where it is, and how to reach it."""

import functools
import logging
import os
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from navai_client._headers import client_headers, resolve_headers
from navai_client._redaction import Redactor, secrets_in
from navai_client.cli._errors import Status, explain, uncertain
from navai_client.cli._output import VERBOSE_OPTION, complain, counted
from navai_client.client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.config import access_token_for, resolve_base_url, wordpress_site
from navai_client.errors import NavaiConfigError, NavaiError
from navai_client.wire._wordpress import is_wordpress

Client = TypeVar("Client", NavaiBackendClient, AsyncNavaiBackendClient)

# Keys in a context's meta: for the words of the command line, and for the idempotency key of a call that was
# sent and may act (None for one without a key).
WORDS = "navai_client.cli.words"
SENT = "navai_client.cli.sent"

_REFERENCE = re.compile(r"(?:^|(?<=\s))@(env|file):(.+)$", re.DOTALL)
# Arguments of the client as its errors name them, and the options that set them.
_OPTIONS = {
    "access_token": "--access-token",
    "allowed_hosts": "--allowed-host",
    "base_url": "--url",
    "headers": "--header",
    "proxy": "--proxy",
    "verify": "--ca-file",
}
_ARGUMENT = re.compile(r"^(?:access_token|base_url|headers|proxy)\b|\ballowed_hosts\b|\bverify(?==| names)")


def with_option_names(message: str) -> str:
    """Return the *message* of a client's error with the names of options for those of arguments."""
    message = message.replace("headers={'Authorization': ...}", "--header 'Authorization: ...'")
    return _ARGUMENT.sub(lambda match: _OPTIONS[match[0]], message)


def expand(text: str, option: str) -> str:
    """Return *text* with ``@env:NAME`` or ``@file:PATH`` at its end replaced by what is there.

    Raises:
        click.UsageError: If nothing is there. The message never shows a value.
    """
    reference = _REFERENCE.search(text)
    if reference is None:
        return text
    kind, name = reference[1], reference[2].strip()
    if kind == "env":
        kind, value = "variable", os.environ.get(name, "")
    else:
        try:
            value = Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the content is not UTF-8"
            raise click.UsageError(f"{option} names the file {name}: {reason}.") from None
    if not value.strip():
        raise click.UsageError(f"{option} names the {kind} {name}, which is empty or not set.")
    return text[: reference.start()] + value.strip()


def parse_headers(lines: Sequence[str]) -> dict[str, str]:
    """Return the headers in *lines* such as ``Name: value``.

    Raises:
        click.UsageError: If one is malformed. The message never shows a value.
    """
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.strip()
        if not colon or " " in name:
            raise click.UsageError("--header takes 'Name: value' in quotes (the argument is not shown).")
        if name.lower() in map(str.lower, headers):
            raise click.UsageError(f"--header {name} is given twice.")
        headers[name] = expand(value.strip(), f"--header {name}")
    try:
        resolve_headers(headers)
    except NavaiConfigError as error:
        raise click.UsageError(with_option_names(str(error))) from None
    return headers


@attrs.frozen(kw_only=True)
class Connection:
    """How to reach the backend, as the command line says.

    Attributes:
        url: The base URL, or None for ``NAVAI_API_URL`` or the default.
        headers: Lines such as ``Name: value``, not expanded yet.
        token: The access token, not expanded yet, or None for that of the environment.
        timeout: Seconds for one whole call.
        ca_file: Certificates to trust instead of the usual authorities, or None.
        proxy: The URL of a proxy, or None for those of the environment.
    """

    url: str | None = None
    headers: tuple[str, ...] = attrs.field(default=(), repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    timeout: float = 30.0
    ca_file: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)

    @property
    def verify(self) -> bool | str:
        """The certificates to trust, as the client takes them."""
        return True if self.ca_file is None else self.ca_file

    def credentials(self) -> dict[str, Any]:
        """Return what a client takes as ``headers`` and ``access_token``.

        Raises:
            click.UsageError: If something cannot be sent. The message never shows a value.
        """
        headers = parse_headers(self.headers)
        token = None if self.token is None else expand(self.token, "--access-token")
        try:
            client_headers(headers, token, None)
        except NavaiConfigError as error:
            raise click.UsageError(with_option_names(str(error))) from None
        return {"headers": headers, "access_token": token}

    def all_headers(self) -> dict[str, str]:
        """Return the headers of every request, ``Authorization`` included, as a client would send them.

        Raises:
            click.UsageError: As ``credentials`` does.
            NavaiConfigError: If the base URL or ``NAVAI_ACCESS_TOKEN`` cannot work.
        """
        given = self.credentials()
        site, _ = wordpress_site(self.url, None)
        fallback = access_token_for(resolve_base_url(site, None), None)
        headers, _ = client_headers(given["headers"], given["access_token"], fallback)
        return dict(headers.plain)

    def client(self, **options: Any) -> NavaiBackendClient:
        """Make a client, as ``make`` does, for a command that says itself what fails."""
        client = self.make(NavaiBackendClient, **options)
        logging.getLogger("navai_client").addHandler(logging.NullHandler())  # nothing on standard error
        return client

    def make(self, kind: type[Client], **options: Any) -> Client:
        """Make a client of a *kind*; *options* take precedence over the command line.

        An address with ``/wp-json`` or ``?rest_route=`` is that of upstream's plugin for WordPress.

        Raises:
            click.UsageError: If its configuration cannot work.
        """
        settings: dict[str, Any] = {**self.credentials(), "timeout": self.timeout}
        try:
            if "transport" in options:
                pass
            elif kind is NavaiBackendClient and find_spec("httptools") is not None:
                # It starts faster: the default one loads httpx, which loads click, rich and pygments.
                from navai_client.transports.fast import FastTransport  # noqa: PLC0415 - may be missing

                settings["transport"] = FastTransport(self.verify, self.proxy)
            else:
                settings |= {"verify": self.verify, "proxy": self.proxy}
            address = self.url or os.environ.get("NAVAI_API_URL", "")
            make: Any = kind.for_wordpress if is_wordpress(address) else kind
            client: Client = make(self.url, **(settings | options))
        except NavaiConfigError as error:
            raise click.UsageError(with_option_names(str(error))) from None
        return client

    def redact(self, text: str) -> str:
        """Return *text* without the values of the headers and the access token."""
        given = self.credentials()
        secrets = (*given["headers"].values(), given["access_token"] or "")
        return Redactor(secrets_in(secrets), patterns=False).text(text)


class BackendCommand(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse surplus arguments without showing them, as click would: they can be the rest of a header."""
        ctx.allow_extra_args = True
        ctx.meta[WORDS] = (*args,)  # click forgets the arguments before an option whose value is completed
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            many = counted(len(rest), "argument")
            raise click.UsageError(f"{many} too many (not shown). Values with blanks need quotes.", ctx)
        return rest


_CONNECTION_OPTIONS = {
    "url": click.option(
        "--url", metavar="URL", help="The base URL; else NAVAI_API_URL, else http://localhost:3000."
    ),
    "headers": click.option(
        "--header",
        "-H",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        help="Sent with every request; may be repeated. A value may end in @env:NAME or @file:PATH.",
    ),
    "token": click.option(
        "--access-token",
        "token",
        metavar="TOKEN",
        help="Sent as Authorization: Bearer; may be @env:NAME or @file:PATH. Else NAVAI_ACCESS_TOKEN, but "
        "only to the origin of NAVAI_API_URL.",
    ),
    "ca_file": click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Certificates (PEM) to trust instead of the usual authorities.",
    ),
    "proxy": click.option(
        "--proxy", metavar="URL", help="A proxy, instead of HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
    ),
}


def connection_options(
    *,
    acts: bool = False,
    timeout: float = 30.0,
    timeout_help: str = "Seconds for a whole call, including retries.",
    logs: bool = True,
    token: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a connection, as one ``Connection``, and turn errors into exit statuses.

    Args:
        acts: Whether the command has an effect that cannot be undone.
        timeout: The default of --timeout, in seconds.
        timeout_help: What --timeout limits.
        logs: Whether the command takes --verbose to log its requests.
        token: Whether --access-token is the option of the connection, and not one of the command.
    """
    timeout_option = click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=timeout,
        show_default=True,
        metavar="SECONDS",
        help=timeout_help,
    )

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**options: Any) -> Any:
            fields = attrs.fields_dict(Connection).keys() & options
            connection = Connection(**{name: options.pop(name) for name in fields})
            sent = click.get_current_context().meta
            try:
                return function(connection, **options)
            except NavaiError as error:
                explanation = explain(error, acts=acts, key=sent.get(SENT))
                complain(connection.redact(str(explanation)))
                return explanation.status
            except KeyboardInterrupt:
                if SENT not in sent:
                    raise
                complain(f"The call was interrupted. {uncertain(sent[SENT])}")
                return Status.INTERRUPTED

        decorated: Callable[..., Any] = command
        log_options = (VERBOSE_OPTION,) if logs else ()
        chosen = [each for name, each in _CONNECTION_OPTIONS.items() if token or name != "token"]
        for option in (*log_options, timeout_option, *reversed(chosen)):
            decorated = option(decorated)
        return decorated

    return decorate
