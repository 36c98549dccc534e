"""Serving a backend with uvicorn: the socket, the line that names the URL, start and stop."""

import socket

import attrs
import uvicorn

from navai_client.server.app import NavaiBackend

__all__ = ["ServeOptions", "serve"]


@attrs.frozen(kw_only=True)
class ServeOptions:
    """What ``python -m navai_client.server`` was asked for."""

    host: str = "127.0.0.1"
    port: int = 3000
    demo: bool = False


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            print(f"Navai backend listening on {url_of(sockets[0])}", flush=True)  # noqa: T201


def serve(options: ServeOptions) -> None:
    """Serve until told to stop."""
    listener = bind(options.host, options.port)
    config = uvicorn.Config(
        NavaiBackend(demo=options.demo), log_level="warning", access_log=False, lifespan="on"
    )
    _Server(config).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """Listen on *host* and *port*; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def url_of(listener: socket.socket) -> str:
    """Return the URL under which *listener* is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
