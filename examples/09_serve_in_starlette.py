"""Mount a Navai backend into a Starlette application: ``uvicorn examples.09_serve_in_starlette:app``.

Needs ``pip install starlette``. FastAPI takes the same: ``FastAPI(lifespan=backend.lifespan)`` and
``app.mount("/voice", backend)``.
"""

from typing import Any, cast

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
