"""The database: tables, dishes and bookings, in SQLite through SQLAlchemy."""

from datetime import date
from decimal import Decimal
from typing import Literal, get_args

from sqlalchemy import ForeignKey, UniqueConstraint, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column, sessionmaker

Seating = Literal["18:00", "20:00"]
SEATINGS: tuple[Seating, ...] = get_args(Seating)


class Base(MappedAsDataclass, DeclarativeBase):
    """The tables of the database."""


class Table(Base):
    """A table in the dining room."""

    __tablename__ = "tables"
    number: Mapped[int] = mapped_column(primary_key=True)
    seats: Mapped[int]


class Dish(Base):
    """A dish on the menu."""

    __tablename__ = "dishes"
    name: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]
    vegetarian: Mapped[bool]

    @property
    def price(self) -> Decimal:
        """In euros."""
        return Decimal(self.cents) / 100


class Booking(Base):
    """One party at one table. The unique constraint guarantees that no table is booked twice."""

    __tablename__ = "bookings"
    __table_args__ = (UniqueConstraint("table", "day", "seating"),)
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    table: Mapped[int] = mapped_column(ForeignKey("tables.number"))
    day: Mapped[date]
    seating: Mapped[str]
    guest: Mapped[str]
    party: Mapped[int]


def open_database(url: str) -> sessionmaker[Session]:
    """Return a session factory for the database at *url*, which is filled if it is new."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    with sessions.begin() as session:
        if session.get(Table, 1) is None:
            session.add_all([Table(1, 2), Table(2, 4), Table(3, 6)])
            session.add_all(
                [
                    Dish("mushroom risotto", 1450, vegetarian=True),
                    Dish("grilled trout", 1900, vegetarian=False),
                    Dish("lemon tart", 650, vegetarian=True),
                ]
            )
    return sessions
