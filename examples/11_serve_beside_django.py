"""A Navai backend beside Django, in one process. Any other WSGI application can take Django's place.

Needs: pip install 'navai-client[server]' starlette django a2wsgi; no key, except to mint client secrets
    (OPENAI_API_KEY).
Run: python examples/11_serve_beside_django.py, then navai functions --url http://127.0.0.1:8000/voice
For a real voice: OPENAI_API_KEY here, and an agent whose NAVAI_API_URL is that URL; see examples 05 to 07.
"""

from typing import Any, cast

import _explain
import uvicorn
from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.routing import Mount

from navai_client.server import NavaiBackend


def home(_request: HttpRequest) -> HttpResponse:
    """Respond to requests that are not for Navai."""
    return HttpResponse("The shop's own pages.")


urlpatterns = [path("", home)]
# A real project has a settings module of its own.
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="only-for-this-example")  # noqa: S106

backend = NavaiBackend()


@backend.function
def get_weather(location: str) -> dict[str, object]:
    """Get the current weather of a place. Synchronous functions run in threads: they may use Django's models.

    Args:
        location: City or region.
    """
    return {"location": location, "temperature": 21}


# The backend comes first: Django takes every path that is left.
app = Starlette(
    routes=[
        Mount("/voice", app=cast("Any", backend)),
        Mount("/", app=cast("Any", WSGIMiddleware(get_wsgi_application()))),
    ],
    lifespan=backend.lifespan,
)


if __name__ == "__main__":
    uvicorn.run(app)
