"""Mount a Navai backend into a Starlette application.

Needs: pip install 'navai-client[server]' starlette; no key, except to mint client secrets (OPENAI_API_KEY).
Run: python examples/09_serve_in_starlette.py, then navai functions --url http://127.0.0.1:8000/voice
For a real voice: OPENAI_API_KEY here, and an agent whose NAVAI_API_URL is that URL; see examples 05 to 07.
"""

from typing import Any, cast

import _explain
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from navai_client.server import NavaiBackend

backend = NavaiBackend()


@backend.function
def get_weather(location: str) -> dict[str, object]:
    """Get the current weather of a place.

    Args:
        location: City or region.
    """
    return {"location": location, "temperature": 21}


async def home(_request: Request) -> PlainTextResponse:
    """Respond to requests that are not for Navai."""
    return PlainTextResponse("The shop's own pages.")


app = Starlette(
    routes=[Route("/", home), Mount("/voice", app=cast("Any", backend))],
    lifespan=backend.lifespan,
)


if __name__ == "__main__":
    uvicorn.run(app)
