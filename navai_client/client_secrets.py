"""Sources of client secrets: a secret is minted when none is valid, once for all concurrent callers."""

import asyncio
import copy
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar, final

from navai_client._abandoned import BackgroundTasks
from navai_client._headers import HeaderSource
from navai_client._threads import forgets_parent
from navai_client.errors import NavaiConfigError
from navai_client.models import ClientSecret
from navai_client.wire._values import ClientHeaders

__all__ = ["AsyncClientSecrets", "ClientSecrets"]

# Clocks that differ by less count as equal: Date has whole seconds, and a response takes time to arrive.
_SAME_TIME: Final = 5.0  # seconds
_LONGEST_LIFE: Final = 7200.0  # seconds, of OpenAI's API; a Date that shows a longer one is wrong itself
_MOST_CALLERS: Final = 100  # whose secrets a source keeps
_log: Final = logging.getLogger("navai_client")


Source = TypeVar("Source", "ClientSecrets", "AsyncClientSecrets")


def checked_leeway(leeway: Any) -> float:
    """Return *leeway*.

    Raises:
        NavaiConfigError: If it is not a number of seconds.
    """
    if isinstance(leeway, bool) or not isinstance(leeway, int | float) or not leeway >= 0:
        raise NavaiConfigError(f"leeway (seconds) must be a number, 0 or more; it is {leeway!r}.")
    return leeway


class _SecretCache:
    """The latest client secret, while it is valid for longer than *leeway*, in seconds.

    The backend's clock counts: the ``Date`` of its responses (RFC 9110, section 6.6.1) shows how far that of
    this machine is ahead.
    """

    def __init__(self, leeway: float, unix_time: Callable[[], float]) -> None:
        self._leeway = checked_leeway(leeway)
        self._unix_time = unix_time
        self._secret: ClientSecret | None = None
        self._ahead = 0.0  # seconds
        self._has_warned = False

    def recall(self) -> ClientSecret | None:
        secret = self._secret
        if secret is None or secret.is_expired(leeway=self._leeway, now=self._unix_time() - self._ahead):
            return None
        return secret

    def remember(self, secret: ClientSecret) -> None:
        """Keep *secret*, unless its lifetime is unknown."""
        issued_at, expires_at = secret.issued_at, secret.expires_at
        if issued_at is not None and expires_at is not None and 0 < expires_at - issued_at <= _LONGEST_LIFE:
            ahead = self._unix_time() - issued_at
            self._ahead = 0.0 if abs(ahead) < _SAME_TIME else ahead
        if self._ahead and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "Set this machine's clock: it is %d s %s the backend's, by which client secrets expire.",
                round(abs(self._ahead)),
                "ahead of" if self._ahead > 0 else "behind",
            )
        self._secret = secret if expires_at is not None else None

    def forget(self, refused: ClientSecret | str | None) -> None:
        """Drop the secret, unless another one was *refused*."""
        secret = self._secret
        if secret is not None and refused in (None, secret, secret.value):
            self._secret = None


class _PerCaller(Generic[Source]):
    """A source of secrets for each caller, where the client asks who its caller is: none gets another's.

    Args:
        make: Makes a source.
    """

    def __init__(self, make: Callable[[], Source]) -> None:
        self._make: Callable[[], Source] = make
        self._sources: dict[Hashable, Source] = {}

    def of(self, headers: ClientHeaders) -> Source:
        """Return the source of the caller with these *headers*."""
        found = self._sources.get(headers.identity)
        if found is None:
            found = self._sources.setdefault(headers.identity, self._make())
            for oldest in list(self._sources)[:-_MOST_CALLERS]:
                self._sources.pop(oldest, None)
        return found

    def all(self) -> list[Source]:
        return list(self._sources.values())


@final
class ClientSecrets:
    """Returns valid client secrets to any number of threads.

    Call it to get only the value of a secret, for libraries that accept a function as their key.

    Args:
        mint: Returns a new secret.
        leeway: Seconds that a secret must have left to be handed out again.
        unix_time: Returns the seconds since the Unix epoch.
        headers: Where the client asks for its headers, if it does.
    """

    def __init__(
        self,
        mint: Callable[[], ClientSecret],
        leeway: float,
        unix_time: Callable[[], float] = time.time,
        headers: HeaderSource | None = None,
    ) -> None:
        self._mint = mint
        self._headers = headers
        self._callers: _PerCaller[ClientSecrets] = _PerCaller(lambda: ClientSecrets(mint, leeway, unix_time))
        self._cache = _SecretCache(leeway, unix_time)
        self.forget_parent()
        forgets_parent(self)

    def forget_parent(self) -> None:
        """Wait for no thread of the parent process after fork(): there is none of them in a child."""
        self._lock = threading.Lock()
        self._minting: Future[ClientSecret | None] | None = None

    def get(self) -> ClientSecret:
        """Return a secret that is valid for longer than the leeway. It is minted if there is none.

        Threads that ask while one is minted share the outcome, even a failure; the next call tries again. If
        the backend's secrets expire within the leeway, or their lifetime is unknown, each call mints one.

        Raises:
            NavaiError: As ``create_client_secret`` does.
        """
        if self._headers is not None:
            return self._callers.of(self._headers.ask()).get()
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

    def _lead(self, minting: Future[ClientSecret | None]) -> ClientSecret:
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

    def invalidate(self, refused: ClientSecret | str | None = None) -> None:
        """Drop the secret, so that the next call mints another: after OpenAI has refused it, for example.

        Args:
            refused: The secret, or its value, that was refused. If the source has a newer one, that is kept.
        """
        self._cache.forget(refused)
        for source in self._callers.all():
            source.invalidate(refused)

    def __call__(self) -> str:
        """Return the value of a valid secret."""
        return self.get().value


@final
class AsyncClientSecrets:
    """Returns valid client secrets to any number of tasks.

    Call it to get only the value of a secret. The ``api_key`` of the OpenAI Agents SDK accepts such a
    function.

    Args:
        mint: Returns a new secret.
        leeway: Seconds that a secret must have left to be handed out again.
        background: Lets a minting go on when all of its callers were cancelled.
        unix_time: Returns the seconds since the Unix epoch.
        headers: Where the client asks for its headers, if it does.
        timeout: Seconds that this may take, or None for no limit.
    """

    def __init__(  # noqa: PLR0917 - made by the client alone
        self,
        mint: Callable[[], Awaitable[ClientSecret]],
        leeway: float,
        background: BackgroundTasks,
        unix_time: Callable[[], float] = time.time,
        headers: HeaderSource | None = None,
        timeout: float | None = None,
    ) -> None:
        self._mint = mint
        self._headers = headers
        self._timeout = timeout
        self._callers: _PerCaller[AsyncClientSecrets] = _PerCaller(
            lambda: AsyncClientSecrets(mint, leeway, background, unix_time)
        )
        self._cache = _SecretCache(leeway, unix_time)
        self._background = background
        self._minting: asyncio.Task[ClientSecret] | None = None

    async def get(self) -> ClientSecret:
        """Return a secret that is valid for longer than the leeway. It is minted if there is none.

        Tasks that ask while one is minted share the outcome, even a failure; the next call tries again. If
        one of them is cancelled, the others are not affected.

        Raises:
            NavaiError: As ``create_client_secret`` does.
        """
        if self._headers is not None:
            return await self._callers.of(await self._headers.ask_async(self._timeout)).get()
        if (secret := self._cache.recall()) is not None:
            return secret
        if self._minting is None or self._minting.get_loop() is not asyncio.get_running_loop():
            self._minting = self._background.start(self._lead(), "create_client_secret")
        return await self._background.result(self._minting)

    async def _lead(self) -> ClientSecret:
        try:
            secret = await self._mint()
            self._cache.remember(secret)
            return secret
        finally:
            if self._minting is asyncio.current_task():
                self._minting = None

    def invalidate(self, refused: ClientSecret | str | None = None) -> None:
        """Drop the secret, as ``ClientSecrets.invalidate`` does."""
        self._cache.forget(refused)
        for source in self._callers.all():
            source.invalidate(refused)

    async def __call__(self) -> str:
        """Return the value of a valid secret."""
        return (await self.get()).value
