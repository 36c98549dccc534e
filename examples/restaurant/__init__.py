"""A small but complete product: a restaurant's voice agent, its backend on FastAPI, its database, its tests.

::

    pip install 'navai-client[agents,server,testing]' fastapi sqlalchemy
    python -m examples.restaurant.agent --offline      # a scripted caller books a table; needs no API key
    pytest examples/restaurant                         # its tests

For real: ``OPENAI_API_KEY=... uvicorn --factory examples.restaurant.backend:main --port 3000``, then
``python -m examples.restaurant.agent`` in another terminal.
"""
