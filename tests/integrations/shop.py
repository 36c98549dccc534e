"""A backend over real HTTP in a thread, with blocking functions that record their calls."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn

from navai_client.server import NavaiBackend

__all__ = ["Shop", "served"]


class Shop:
    """Functions of a shop, and a record of their calls.

    Attributes:
        ran: The names of functions that ran to their end, in order.
        crowd: How many calls of ``meet`` wait for each other.
    """

    def __init__(self, crowd: int = 10) -> None:
        self.ran: list[str] = []
        self.entered = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.barrier = threading.Barrier(crowd)

    def offer(self, backend: NavaiBackend) -> None:
        """Register the functions."""
        backend.function(self.get_weather)
        backend.function(self.fails)
        backend.function(self.book)
        backend.function(self.meet)

    def get_weather(self, location: str) -> dict[str, Any]:
        """Get the weather of a place."""
        self.ran.append("get_weather")
        return {"location": location, "temperature": 21}

    def fails(self) -> None:
        """Fail."""
        self.ran.append("fails")
        raise ValueError("the database said sk-not-for-the-model")

    def book(self, table: int) -> str:
        """Book a table, which takes until the test sets ``may_end``."""
        self.entered.release()
        self.may_end.wait(60)
        self.ran.append("book")
        return f"table {table} is yours"

    def meet(self, who: str) -> str:
        """Return when all others have been called: calls in sequence would never end."""
        self.barrier.wait(60)
        self.ran.append("meet")
        return f"{who} met the others"


@contextmanager
def served(shop: Shop, openai_base_url: str = "http://127.0.0.1:9", **env: str) -> Iterator[str]:
    """Serve a backend with the functions of *shop* over HTTP; yield its URL."""
    given = {"OPENAI_API_KEY": "sk-of-the-backend", "OPENAI_BASE_URL": openai_base_url, **env}
    backend = NavaiBackend(env=given, discover=False)
    shop.offer(backend)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            cast("Any", backend), log_config=None, access_log=False, lifespan="on", loop="asyncio"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            shop.may_end.set()
            server.should_exit = True
            thread.join()
