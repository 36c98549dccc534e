"""The restaurant's backend: its own pages on FastAPI, and the functions that its voice agent may call."""

import os
from datetime import date
from decimal import Decimal
from typing import TypedDict

from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from examples.restaurant.database import SEATINGS, Booking, Dish, Seating, Table, open_database
from navai_client.server import BackendOptions, NavaiBackend, ToolError


class Confirmation(TypedDict):
    """The confirmation of a booking."""

    booking: int
    table: int
    day: date
    seating: Seating
    party: int


class Restaurant:
    """The functions that the voice agent may call; each public method is one of them."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def menu(self, *, vegetarian: bool = False) -> dict[str, Decimal]:
        """List the dishes and their prices in euros.

        Args:
            vegetarian: Only dishes without meat and fish.
        """
        with self._sessions() as session:
            dishes = session.scalars(select(Dish).order_by(Dish.cents)).all()
            return {dish.name: dish.price for dish in dishes if dish.vegetarian or not vegetarian}

    def free_seatings(self, day: date, party: int) -> list[Seating]:
        """List the seatings for which there is a free table.

        Args:
            day: The day, such as 2030-05-17.
            party: How many people.
        """
        with self._sessions() as session:
            return [seating for seating in SEATINGS if self._free_table(session, day, seating, party)]

    def book(self, day: date, seating: Seating, party: int, guest: str) -> Confirmation:
        """Book a table. A second call for the same guest, day and seating returns the same booking.

        Args:
            day: The day, such as 2030-05-17.
            seating: One of the free seatings, such as 20:00.
            party: How many people.
            guest: The name of the guest.
        """
        same = select(Booking).filter_by(day=day, seating=seating, guest=guest)
        while True:
            with self._sessions() as session:
                booking = session.scalars(same).first()
                if booking is None:
                    table = self._free_table(session, day, seating, party)
                    if table is None:
                        raise ToolError(f"There is no table for {party} left on {day} at {seating}.")
                    booking = Booking(table, day, seating, guest, party)
                    session.add(booking)
                    try:
                        session.commit()
                    except IntegrityError:  # another booking took the table: look for a free one
                        continue
                return Confirmation(
                    booking=booking.id, table=booking.table, day=day, seating=seating, party=booking.party
                )

    def cancel(self, booking: int) -> str:
        """Cancel a booking.

        Args:
            booking: The number of the booking.
        """
        with self._sessions.begin() as session:
            found = session.get(Booking, booking)
            if found is None:
                raise ToolError(f"There is no booking {booking}.")
            session.delete(found)
        return "cancelled"

    def _free_table(self, session: Session, day: date, seating: Seating, party: int) -> int | None:
        """Return the smallest table that is large enough and free."""
        taken = select(Booking.table).filter_by(day=day, seating=seating)
        fits = select(Table.number).where(Table.seats >= party, Table.number.not_in(taken))
        return session.scalars(fits.order_by(Table.seats)).first()


def make_app(database: str, options: BackendOptions | None = None) -> FastAPI:
    """Return the application; without *options*, the environment configures client secrets."""
    restaurant = Restaurant(open_database(database))
    backend = NavaiBackend(options)
    backend.function(effect="read")(restaurant.menu)
    backend.function(effect="read")(restaurant.free_seatings)
    backend.function(effect="write")(restaurant.book)
    backend.function(effect="dangerous")(restaurant.cancel)  # the agent asks the person first
    app = FastAPI(title="Restaurant", lifespan=backend.lifespan)

    @app.get("/menu")
    def menu() -> dict[str, Decimal]:
        return restaurant.menu()

    app.mount("/", backend)  # last: it handles every path that the routes above do not
    return app


def main() -> FastAPI:
    """Return the application, configured by the environment."""
    return make_app(os.environ.get("DATABASE_URL", "sqlite:///restaurant.db"))
