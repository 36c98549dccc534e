"""How a test suite looks that injects a mock transport. Run it with ``pytest examples/04_test_suite.py``.

The code under test takes a client; the test gives it one whose transport answers from memory.
"""

import json

import httpx
import pytest

from navai_client import FunctionFailedError, NavaiBackendClient


def weather_sentence(client: NavaiBackendClient, city: str) -> str:
    """Stand for the code under test."""
    weather = client.execute_function("get_weather", {"location": city})
    return f"It is {weather['temperature']} degrees in {city}."


def backend(request: httpx.Request) -> httpx.Response:
    """Stand for the backend."""
    call = json.loads(request.content)
    if call["payload"]["location"] == "Atlantis":
        return httpx.Response(200, json={"ok": False, "error": "Failed.", "details": "No such city."})
    return httpx.Response(200, json={"ok": True, "result": {"temperature": 21}})


@pytest.fixture
def client() -> NavaiBackendClient:
    return NavaiBackendClient("https://navai.test", transport=httpx.MockTransport(backend))


def test_the_weather_becomes_a_sentence(client: NavaiBackendClient) -> None:
    assert weather_sentence(client, "Paris") == "It is 21 degrees in Paris."


def test_an_unknown_city_is_an_error(client: NavaiBackendClient) -> None:
    with pytest.raises(FunctionFailedError, match="No such city"):
        weather_sentence(client, "Atlantis")
