"""A small but complete product: a restaurant's voice agent, its backend on FastAPI, its database, its tests.

Needs: pip install 'navai-client[agents,server,testing]' fastapi sqlalchemy; no key with --offline.
Run: python -m examples.restaurant.agent --offline
    Its tests: python -m pytest --confcutdir=examples examples/restaurant
For a real voice: no --offline, and in another terminal its backend with an OpenAI key
    (``OPENAI_API_KEY=... uvicorn --factory examples.restaurant.backend:main --port 3000``).
    You type what the caller says; example 05 has the microphone.
"""

from examples import _explain
