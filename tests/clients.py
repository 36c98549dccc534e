"""Both clients with one interface, so that each test of their behaviour is written once."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

import httpx
import httpx2

from navai_client import AsyncNavaiBackendClient, ClientSecret, NavaiBackendClient
from navai_client.transports.fast import AsyncFastTransport, FastTransport

__all__ = ["GIVEN", "KINDS", "THROUGH", "Client", "Secrets", "make_client"]

KINDS: Final = ("sync", "async")
THROUGH: Final = ("default", "fast")  # the transports of this package; each keeps every promise
# What can be passed in, and keeps those promises that docs/transports.md lists.
GIVEN: Final = ("httpx", "httpx2", "httpx client", "httpx2 client")

_OF_THE_TRANSPORT: Final = ("verify", "proxy", "cert", "uds")


class Client:
    """A client of either kind whose methods block; those of an async one run in an event loop of its own.

    Attributes:
        real: The client itself.
    """

    def __init__(self, kind: str, *args: Any, **options: Any) -> None:
        self._runner: asyncio.Runner | None = None
        self._given = options.get("http_client")
        self._is_derived = False
        made = NavaiBackendClient if kind == "sync" else _made
        try:
            self.real: Any = self.run(made(*args, **options))
        except BaseException:
            self._close_loop()
            raise

    def run(self, work: Any) -> Any:
        """Return the result of *work*, awaited in the client's event loop if it must be."""
        if not asyncio.iscoroutine(work):
            return work
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(work)

    def derive(self, **options: Any) -> "Client":
        """Return a client of ``with_options()``, in the same event loop."""
        return self._with(self.real.with_options(**options))

    @property
    def raw(self) -> "Client":
        """The operations of ``with_raw_response``, in the same event loop."""
        return self._with(self.real.with_raw_response)

    def _with(self, real: Any) -> "Client":
        other = Client.__new__(Client)
        vars(other).update(vars(self), real=real, _is_derived=True)
        return other

    def close(self) -> None:
        """Close the client, then its event loop."""
        try:
            self.run(self.real.close())
            if self._given is not None:  # it stays its owner's to close
                self.run(self._given.aclose() if hasattr(self._given, "aclose") else self._given.close())
        finally:
            self._close_loop()

    def _close_loop(self) -> None:
        if self._runner is not None and not self._is_derived:
            self._runner.close()
            self._runner = None

    def __enter__(self) -> Self:
        enter = getattr(self.real, "__aenter__", None) or self.real.__enter__
        assert self.run(enter()) is self.real
        return self

    def __exit__(self, *error: object) -> None:
        leave = getattr(self.real, "__aexit__", None) or self.real.__exit__
        self.run(leave(*error))
        self.close()

    def client_secrets(self, **options: Any) -> "Secrets":
        """Return a source of client secrets that blocks as this client does."""
        return Secrets(self.real.client_secrets(**options), self.run)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.real, name)
        return lambda *args, **options: self.run(method(*args, **options))

    def __repr__(self) -> str:
        return repr(self.real)


class Secrets:
    """A source of client secrets of either kind, whose methods block."""

    def __init__(self, real: Any, run: Callable[[Any], Any]) -> None:
        self._real = real
        self._run = run

    def get(self) -> ClientSecret:
        """Return a valid secret."""
        secret: ClientSecret = self._run(self._real.get())
        return secret

    def __call__(self) -> str:
        value: str = self._run(self._real())
        return value


async def _made(*args: Any, **options: Any) -> AsyncNavaiBackendClient:
    return AsyncNavaiBackendClient(*args, **options)


def make_client(kind: str, *args: Any, through: str = "default", **options: Any) -> Client:
    """Return a client of *kind*, ``sync`` or ``async``, that sends *through* one of THROUGH or GIVEN."""
    if through != "default":
        given = {str(name): options.pop(name) for name in _OF_THE_TRANSPORT if name in options}
        options["http_client" if "client" in through else "transport"] = _made_of(kind, through, given)
    return Client(kind, *args, **options)


def _made_of(kind: str, through: str, given: dict[str, Any]) -> Any:
    if through == "fast":
        return FastTransport(**given) if kind == "sync" else AsyncFastTransport(**given)
    library: Any = httpx2 if "httpx2" in through else httpx
    name = "Client" if "client" in through else "HTTPTransport"
    return getattr(library, name if kind == "sync" else f"Async{name}")(**given)
