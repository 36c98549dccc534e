"""A test suite: the code under test takes a client, and the tests pass that of a backend in memory.

Needs: pip install 'navai-client[testing]'; no backend, no key. The fixtures come with the package.
Run: python examples/04_test_suite.py; in a project of your own, ``pytest``
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import _explain
import httpx
import pytest

from navai_client import AsyncNavaiBackendClient, FunctionFailedError, NavaiBackendClient, NavaiTransportError
from navai_client.testing import FakeBackend, LiveServer


def weather_sentence(client: NavaiBackendClient, city: str) -> str:
    """The code under test."""
    weather = client.execute_function("get_weather", {"location": city})
    return f"It is {weather['temperature']} degrees in {city}."


async def total(client: AsyncNavaiBackendClient, orders: list[str]) -> float:
    """Asynchronous code under test."""
    calls = [client.execute_function("get_price", {"order": order}) for order in orders]
    prices: list[float] = await asyncio.gather(*calls)
    return sum(prices)


@pytest.fixture
def backend(navai_backend: FakeBackend) -> FakeBackend:
    @navai_backend.function
    def get_weather(location: str) -> dict[str, int]:
        if location == "Atlantis":
            raise LookupError("No such city.")
        return {"temperature": 21}

    return navai_backend


def test_the_weather_becomes_a_sentence(backend: FakeBackend, navai_client: NavaiBackendClient) -> None:
    assert weather_sentence(navai_client, "Paris") == "It is 21 degrees in Paris."
    backend.assert_called_once_with("get_weather", {"location": "Paris"})


def test_an_unknown_city_is_an_error(backend: FakeBackend, navai_client: NavaiBackendClient) -> None:
    with pytest.raises(FunctionFailedError, match="No such city"):
        weather_sentence(navai_client, "Atlantis")
    backend.assert_called("get_weather", times=1)


def test_a_busy_backend_is_retried(backend: FakeBackend, navai_client: NavaiBackendClient) -> None:
    backend.fail_next(503, retry_after=0, function="get_weather")

    assert weather_sentence(navai_client, "Paris") == "It is 21 degrees in Paris."


def test_a_call_with_a_lost_response_is_not_retried(
    backend: FakeBackend, navai_client: NavaiBackendClient
) -> None:
    backend.drop_next(before="answering")

    with pytest.raises(NavaiTransportError) as caught:
        weather_sentence(navai_client, "Paris")
    assert caught.value.may_have_executed


def test_prices_are_requested_at_the_same_time(
    navai_backend: FakeBackend, async_navai_client: AsyncNavaiBackendClient
) -> None:
    at_once = asyncio.Barrier(2)

    @navai_backend.function
    async def get_price(order: str) -> float:
        await at_once.wait()
        return len(order) * 1.5

    assert asyncio.run(total(async_navai_client, ["a1", "b22"])) == pytest.approx(7.5)


def test_the_sentence_over_real_sockets(navai_server: LiveServer) -> None:
    @navai_server.function
    def get_weather(location: str) -> dict[str, int]:
        return {"temperature": len(location)}

    with NavaiBackendClient(navai_server.url) as client:
        assert weather_sentence(client, "Rome") == "It is 4 degrees in Rome."


def test_the_sentence_with_a_mock_transport_of_httpx() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"ok": True, "result": {"temperature": 3}})

    with NavaiBackendClient("https://navai.test", transport=httpx.MockTransport(answer)) as client:
        assert weather_sentence(client, "Oslo") == "It is 3 degrees in Oslo."


if __name__ == "__main__":
    folder = Path(__file__).parent  # without the conftest.py of this repository, which needs more
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", f"--confcutdir={folder}", __file__]))
