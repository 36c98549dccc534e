"""Sources of client secrets: a secret is minted when none is valid, once for all concurrent callers."""

import copy
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, final

from navai_client._abandoned import BackgroundTasks
from navai_client.models import ClientSecret

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncClientSecrets", "ClientSecrets"]


class _SecretCache:
    """The latest client secret, while it is valid for longer than *leeway*, in seconds."""

    def __init__(self, leeway: float, unix_time: Callable[[], float]) -> None:
        self._leeway = leeway
        self._unix_time = unix_time
        self._secret: ClientSecret | None = None

    def recall(self) -> ClientSecret | None:
        secret = self._secret
        if secret is None or secret.is_expired(leeway=self._leeway, now=self._unix_time()):
            return None
        return secret

    def remember(self, secret: ClientSecret) -> None:
        """Keep *secret*, unless its lifetime is unknown."""
        self._secret = secret if secret.expires_at is not None else None


@final
class ClientSecrets:
    """Returns valid client secrets to any number of threads.

    Calling it returns the secret's value alone, for libraries that accept a function for their key.

    Args:
        mint: Returns a new secret.
        leeway: Seconds that a secret must have left to be handed out again.
        unix_time: Returns the seconds since the Unix epoch.
    """

    def __init__(
        self, mint: Callable[[], ClientSecret], leeway: float, unix_time: Callable[[], float] = time.time
    ) -> None:
        self._mint = mint
        self._cache = _SecretCache(leeway, unix_time)
        self._lock = threading.Lock()
        self._minting: Future[ClientSecret | None] | None = None

    def get(self) -> ClientSecret:
        """Return a secret that is valid for longer than the leeway. It is minted if there is none.

        Threads that ask during a minting share its outcome, a failure too; the next call tries again. If the
        backend's secrets expire within the leeway, or their lifetime is unknown, each call mints one.

        Raises:
            NavaiError: As ``create_client_secret`` does.
        """
        while True:
            with self._lock:
                if (secret := self._cache.recall()) is not None:
                    return secret
                minting, leads = self._minting, self._minting is None
                if minting is None:
                    minting = self._minting = Future()
            if leads:
                return self._lead(minting)
            try:
                shared = minting.result()
            except Exception as error:  # noqa: BLE001 - any error is raised in this thread, too
                raise copy.copy(error) from None
            if shared is not None:
                return shared

    def _lead(self, minting: "Future[ClientSecret | None]") -> ClientSecret:
        try:
            secret = self._mint()
            self._cache.remember(secret)
        except Exception as error:
            self._minting = None
            minting.set_exception(error)
            raise
        except BaseException:  # such as KeyboardInterrupt: it ends this thread alone
            self._minting = None
            minting.set_result(None)
            raise
        self._minting = None
        minting.set_result(secret)
        return secret

    def __call__(self) -> str:
        """Return the value of a valid secret."""
        return self.get().value


@final
class AsyncClientSecrets:
    """Returns valid client secrets to any number of tasks.

    Calling it returns the secret's value alone, as the ``api_key`` of the OpenAI Agents SDK accepts it.

    Args:
        mint: Returns a new secret.
        leeway: Seconds that a secret must have left to be handed out again.
        background: Lets a minting go on when all of its callers were cancelled.
        unix_time: Returns the seconds since the Unix epoch.
    """

    def __init__(
        self,
        mint: Callable[[], Awaitable[ClientSecret]],
        leeway: float,
        background: BackgroundTasks,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._mint = mint
        self._cache = _SecretCache(leeway, unix_time)
        self._background = background
        self._minting: asyncio.Task[ClientSecret] | None = None

    async def get(self) -> ClientSecret:
        """Return a secret with the leeway to live, minted if there is none.

        Tasks that ask during a minting share its outcome, a failure too; the next call tries again.
        Cancelling one of them does not affect the others.

        Raises:
            NavaiError: As ``create_client_secret`` does.
        """
        if (secret := self._cache.recall()) is not None:
            return secret
        if self._minting is None:
            self._minting = self._background.start(self._lead(), "create_client_secret")
        return await self._background.result(self._minting)

    async def _lead(self) -> ClientSecret:
        try:
            secret = await self._mint()
            self._cache.remember(secret)
            return secret
        finally:
            self._minting = None

    async def __call__(self) -> str:
        """Return the value of a valid secret."""
        return (await self.get()).value
