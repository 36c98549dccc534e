"""What may be answered from memory: client secrets and the function list. Pure; the clock is handed in."""

from attrs import field, frozen

from navai_client.models import ClientSecret, FunctionList

__all__ = ["FunctionListCache", "KnownFunctions", "SecretCache"]


class SecretCache:
    """The latest client secret, for as long as it is good.

    Args:
        leeway: Seconds that a secret must have left to be handed out again.
    """

    def __init__(self, leeway: float) -> None:
        self._leeway = leeway
        self._secret: ClientSecret | None = None

    def recall(self, unix_now: float) -> ClientSecret | None:
        """Return the secret if it is good for longer than the leeway. *unix_now* is in seconds."""
        secret = self._secret
        if secret is None or secret.is_expired(leeway=self._leeway, now=unix_now):
            return None
        return secret

    def remember(self, secret: ClientSecret) -> None:
        """Keep *secret*, unless nobody knows how long it is good."""
        self._secret = secret if secret.expires_at is not None else None


@frozen
class KnownFunctions:
    """A function list, and how to ask whether it still holds.

    Attributes:
        functions: The list.
        etag: The ``ETag`` that it came with, or None.
        seen_at: When it last held, on a clock that never goes back.
    """

    functions: FunctionList = field(repr=False)
    etag: str | None
    seen_at: float


class FunctionListCache:
    """The last good function list. Replaced as a whole, so that threads may share it."""

    def __init__(self) -> None:
        self.known: KnownFunctions | None = None

    def recall(self, now: float, max_age: float) -> FunctionList | None:
        """Return the list if it held less than *max_age* seconds ago."""
        known = self.known
        return known.functions if known is not None and now - known.seen_at < max_age else None

    def remember(self, functions: FunctionList, etag: str | None, now: float) -> None:
        """Keep *functions*."""
        self.known = KnownFunctions(functions, etag, now)
