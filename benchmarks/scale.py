"""How much is measured: everything, or just enough to show that it runs."""

import attrs

from benchmarks.calls import BIG, SMALL

__all__ = ["FULL", "QUICK", "Scale"]


@attrs.frozen(kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: How often the contenders take turns.
        slow_rounds: The same for large results, which vary less.
        seconds: How long a client makes calls in each round.
        load_seconds: How long a server is loaded in each round.
        warm_up: How long each client or server runs before it is measured, for just-in-time compilers.
        at_once: Numbers of concurrent calls.
        connections: How many connections load a server.
        sizes: Bytes of the results with which clients are compared.
        growing: Bytes of the results with which growth is measured.
        functions: How many functions a server has when growth is measured.
        starts: How many new processes import a package.
        sessions: How many voice sessions an agent has.
        turn_seconds: How long turns are measured under each load.
        turns_hurry: How many times as often as the load says they come.
    """

    rounds: int
    slow_rounds: int
    seconds: float
    load_seconds: float
    warm_up: float
    at_once: tuple[int, ...]
    connections: int
    sizes: tuple[int, ...]
    growing: tuple[int, ...]
    functions: tuple[int, ...]
    starts: int
    sessions: int
    turn_seconds: float
    turns_hurry: float


FULL = Scale(
    rounds=5,
    slow_rounds=3,
    seconds=0.3,
    load_seconds=2,
    warm_up=2.0,
    at_once=(1, 8, 32, 128),
    connections=32,
    sizes=(SMALL, BIG),
    growing=(2**10, 2**13, 2**16, 2**19, 2**22, 2**23),
    functions=(10, 50, 250, 1000, 2000),
    starts=15,
    sessions=500,
    turn_seconds=10.0,
    turns_hurry=1.0,
)
QUICK = Scale(
    rounds=1,
    slow_rounds=1,
    seconds=0.02,
    load_seconds=0.1,
    warm_up=0.05,
    at_once=(1, 32),
    connections=4,
    sizes=(SMALL, BIG),
    growing=(2**10, 2**13),
    functions=(10, 50),
    starts=1,
    sessions=5,
    turn_seconds=0.2,
    turns_hurry=100.0,
)
