"""``python -m navai_client.server``: a Navai backend from the command line."""

import argparse
import os

from navai_client.server.serving import ServeOptions, serve

__all__ = ["main"]


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m navai_client.server", description="Serve a Navai backend."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 3000))
    parser.add_argument("--demo", action="store_true")
    given = parser.parse_args()
    serve(ServeOptions(host=given.host, port=given.port, demo=given.demo))


if __name__ == "__main__":
    main()
