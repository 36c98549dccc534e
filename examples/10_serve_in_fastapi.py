"""Mount a Navai backend into a FastAPI application, whose own routes may call the same functions.

Needs: pip install 'navai-client[server]' fastapi; no key, except to mint client secrets (OPENAI_API_KEY).
Run: python examples/10_serve_in_fastapi.py, then navai functions --url http://127.0.0.1:8000/voice
For a real voice: OPENAI_API_KEY here, and an agent whose NAVAI_API_URL is that URL; see examples 05 to 07.
"""

import _explain
import uvicorn
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


if __name__ == "__main__":
    uvicorn.run(app)
