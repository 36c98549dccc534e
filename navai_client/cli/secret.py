"""``navai secret``: mint a client secret."""

from datetime import UTC, datetime
from typing import Any

import click

from navai_client._redaction import mask
from navai_client.cli.connection import BackendCommand, Connection, connection_options, expand
from navai_client.cli.output import one_line, write_json, write_text
from navai_client.cli.waiting import waiting
from navai_client.models import ClientSecret

__all__ = ["command"]


@click.command("secret", cls=BackendCommand)
@click.option("--model", help="The realtime model.")
@click.option("--voice", help="The voice.")
@click.option("--instructions", metavar="TEXT", help="What the agent is told.")
@click.option("--language", help="The language that it replies in.")
@click.option("--voice-accent", metavar="TEXT", help="The accent that it speaks with.")
@click.option("--voice-tone", metavar="TEXT", help="The tone that it speaks in.")
@click.option(
    "--api-key", metavar="@env:NAME", help="An OpenAI key, for backends that take one from requests."
)
@click.option("--reveal", is_flag=True, help="Show the secret itself.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON; masked too, unless --reveal.")
@connection_options()
def command(
    connection: Connection, *, api_key: str | None, reveal: bool, as_json: bool, **session: Any
) -> None:
    """Mint a short-lived key with which an agent opens a Realtime session.

    The secret is masked unless --reveal is given.
    """
    if api_key is not None:
        session["api_key"] = expand(api_key, "--api-key")
    given = {name: value for name, value in session.items() if value is not None}
    with connection.client() as client, waiting("Minting a client secret"):
        secret = client.create_client_secret(**given)
    value = secret.value if reveal else mask(secret.value)
    if as_json:
        write_json(
            {"value": value, "expires_at": secret.expires_at, "speech_provider": secret.speech_provider}
        )
        return
    write_text(f"value: {one_line(value)}{'' if reveal else '  (masked; --reveal shows it)'}")
    write_text(f"expires: {_expiry(secret)}")
    write_text(f"speech: {secret.speech_provider}")


def _expiry(secret: ClientSecret) -> str:
    try:
        moment = datetime.fromtimestamp(secret.expires_at, UTC) if secret.expires_at is not None else None
    except (ValueError, OverflowError, OSError):  # beyond what a calendar holds
        moment = None
    if moment is None:
        return "not told"
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}, in {round(secret.expires_in())} s"
