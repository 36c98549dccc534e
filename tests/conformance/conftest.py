"""Our own server on a free port, behind a token and on paths of its own."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from navai_client.server import NavaiBackend
from navai_client.server._serving import bind
from navai_client.wire._operations import OPERATIONS

TOKEN = "token-of-the-tests"
PATHS: dict[str, Any] = {operation.path_option: f"/api/voice/{operation.name}" for operation in OPERATIONS}


@pytest.fixture(scope="session")
def guarded() -> Iterator[dict[str, Any]]:
    """The arguments with which a server is checked that has an access token, other paths and one origin."""
    backend = NavaiBackend(
        env={},
        demo=True,
        discover=False,
        access_token=TOKEN,
        cors_origins=["https://app.example.com"],
        **PATHS,
    )
    with bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(backend, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield {
                "url": f"http://127.0.0.1:{listener.getsockname()[1]}",
                "headers": {"Authorization": f"Bearer {TOKEN}"},
                "origin": "https://app.example.com",
                **PATHS,
            }
        finally:
            server.should_exit = True
            thread.join()
