"""Mount a Navai backend into a FastAPI application: ``uvicorn examples.10_serve_in_fastapi:app``.

Needs ``pip install fastapi``. The functions may be those that FastAPI's own routes call.
"""

from fastapi import FastAPI

from navai_client.server import NavaiBackend

backend = NavaiBackend()
app = FastAPI(lifespan=backend.lifespan)
app.mount("/voice", backend)


@app.get("/weather/{location}")
@backend.function
def get_weather(location: str) -> dict[str, object]:
    """Get the current weather of a place.

    Args:
        location: City or region.
    """
    return {"location": location, "temperature": 21}
