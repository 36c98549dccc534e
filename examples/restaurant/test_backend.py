"""The backend's functions, as the agent calls them, and its own page."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from examples.restaurant.backend import make_app
from navai_client import AsyncNavaiBackendClient, FunctionFailedError

DINNER = {"day": "2030-05-17", "seating": "20:00", "party": 4}


@asynccontextmanager
async def restaurant(folder: Path) -> AsyncIterator[AsyncNavaiBackendClient]:
    """Yield a client of a new restaurant, whose database is in *folder*."""
    app = make_app(f"sqlite:///{folder}/restaurant.db")
    async with (
        app.router.lifespan_context(app),
        AsyncNavaiBackendClient("http://test", transport=httpx.ASGITransport(app)) as client,
    ):
        yield client


def test_a_booking_is_confirmed_and_takes_the_smallest_table_that_is_large_enough(tmp_path: Path) -> None:
    async def main() -> None:
        async with restaurant(tmp_path) as client:
            booked = await client.execute_function("book", {**DINNER, "guest": "Ana"})
            assert (booked["table"], booked["seating"], booked["party"]) == (2, "20:00", 4)
            assert await client.execute_function("book", {**DINNER, "guest": "Ana"}) == booked

    asyncio.run(main())


def test_guests_who_book_at_the_same_moment_get_different_tables_or_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with restaurant(tmp_path) as client:
            calls = [client.execute_function("book", {**DINNER, "guest": f"guest {n}"}) for n in range(5)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            booked = [answer["table"] for answer in answers if isinstance(answer, dict)]
            refused = [answer for answer in answers if isinstance(answer, FunctionFailedError)]
            assert sorted(booked) == [2, 3]
            assert ["There is no table for 4 left" in str(error) for error in refused] == [True] * 3
            free = await client.execute_function("free_seatings", {"day": "2030-05-17", "party": 4})
            assert free == ["18:00"]

    asyncio.run(main())


def test_a_cancelled_table_is_free_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with restaurant(tmp_path) as client:
            booked = await client.execute_function("book", {**DINNER, "guest": "Ana"})
            assert await client.execute_function("cancel", {"booking": booked["booking"]}) == "cancelled"
            with pytest.raises(FunctionFailedError, match="There is no booking"):
                await client.execute_function("cancel", {"booking": booked["booking"]})

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seating": "13:00"}, "seating"),
        ({"day": "tomorrow"}, "day"),
        ({"party": 40}, "There is no table for 40 left"),
    ],
)
def test_what_cannot_be_booked_is_told_so_that_a_model_can_ask_again(
    wrong: dict[str, object], message: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with restaurant(tmp_path) as client:
            with pytest.raises(FunctionFailedError, match=message):
                await client.execute_function("book", {**DINNER, "guest": "Ana", **wrong})

    asyncio.run(main())


def test_the_restaurants_own_page_stands_beside_the_functions(tmp_path: Path) -> None:
    async def main() -> None:
        app = make_app(f"sqlite:///{tmp_path}/restaurant.db")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as browser:
            assert (await browser.get("/menu")).json()["lemon tart"] == "6.5"

    asyncio.run(main())
