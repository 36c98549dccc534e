"""Both clients behind one face, so that each test of their behaviour is written once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient

__all__ = ["Blocking", "make_client"]


class Blocking:
    """An async client whose methods block, each in the same event loop."""

    def __init__(self, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.client = self.run(_made(options))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run *work* in the client's event loop."""
        return self._runner.run(work)

    def close(self) -> None:
        """Close the client, then its event loop."""
        self.run(self.client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def blocking(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            return self.run(result) if asyncio.iscoroutine(result) else result

        return blocking


async def _made(options: dict[str, Any]) -> AsyncNavaiBackendClient:
    return AsyncNavaiBackendClient(**options)


def make_client(kind: str, **options: Any) -> Any:
    """Return a client of the *kind* ``sync`` or ``async``."""
    return NavaiBackendClient(**options) if kind == "sync" else Blocking(**options)
