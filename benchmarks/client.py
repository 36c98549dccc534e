"""The clients take turns, each in its own process on one core; the fixed server runs on the other."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

from benchmarks.calls import EXECUTE, PAYLOAD
from benchmarks.contenders import CONTENDERS
from benchmarks.load import Load, load
from benchmarks.process import CORES, Running, fixed_server, started
from benchmarks.scale import Scale
from tests.interop.peers import install

__all__ = ["JAVASCRIPT", "JAVASCRIPT_FREE", "Rates", "measure", "take_turns"]

JAVASCRIPT = "JavaScript client"
JAVASCRIPT_FREE = "JavaScript client, both cores"  # its compiler and collector have threads of their own
LARGE = 64 * 2**10  # bytes of a result
SEQUENTIAL = 0  # calls at once: sync, one after the other


@attrs.define
class Rates:
    """What one client achieved in one case, round by round.

    Attributes:
        client: Its name.
        size: Bytes of the result.
        at_once: Calls under way; 0 for sync ones, one after the other.
        rates: Calls per second.
        cpu: Microseconds of processor time per call.
    """

    client: str
    size: int
    at_once: int
    rates: list[float] = attrs.Factory(list)
    cpu: list[float] = attrs.Factory(list)


def can(client: str, at_once: int) -> bool:
    """Return whether *client* has calls of this kind; the JavaScript client has asynchronous ones only."""
    if client not in CONTENDERS:
        return True
    contender = CONTENDERS[client]
    return (contender.sync if at_once == SEQUENTIAL else contender.concurrent) is not None


@contextmanager
def opened(names: Sequence[str]) -> Iterator[dict[str, Running]]:
    """Start the processes of the clients *names*."""
    script = str(Path(__file__).parent / "javascript_client.mjs")
    with ExitStack() as stack:
        processes = {}
        for name in names:
            command = [sys.executable, "-m", "benchmarks.runner", name]
            if name not in CONTENDERS:
                command = [install(), script]
            core = None if name == JAVASCRIPT_FREE else CORES[0]
            processes[name] = stack.enter_context(started(command, core=core))
        yield processes


def take_turns(processes: dict[str, Running], url: str, size: int, at_once: int, scale: Scale) -> list[Rates]:
    """Let the clients take turns, each calling for a while.

    Raises:
        RuntimeError: A client returned another result than the server sent.
    """
    cases = {name: Rates(name, size, at_once) for name in processes if can(name, at_once)}
    for _ in range(scale.rounds if size < LARGE else scale.slow_rounds):
        for name, case in cases.items():
            outcome = processes[name].ask(url=f"{url}/{size}", at_once=at_once, seconds=scale.seconds)
            if outcome["bytes"] != size:
                raise RuntimeError(f"{name} got a result of {outcome['bytes']} bytes instead of {size}.")
            case.rates.append(outcome["calls"] / outcome["seconds"])
            case.cpu.append(outcome["cpu"] / outcome["calls"] * 1e6)
    return list(cases.values())


def measure(scale: Scale) -> dict[str, Any]:
    """Measure every client in every case."""
    names = [*CONTENDERS, JAVASCRIPT, JAVASCRIPT_FREE]
    cases: list[Rates] = []
    with fixed_server() as url:
        # Before the clients start: they would keep the load tool's core busy.
        ceiling = {size: ceiling_of(f"{url}/{size}", scale) for size in scale.sizes}
        with opened(names) as processes:
            for size in scale.sizes:
                for process in processes.values():
                    process.ask(url=f"{url}/{size}", at_once=scale.at_once[-1], seconds=scale.warm_up)
                for at_once in (SEQUENTIAL, *scale.at_once):
                    cases += take_turns(processes, url, size, at_once, scale)
    return {
        "ceiling": [{"size": size, **attrs.asdict(each)} for size, each in ceiling.items()],
        "cases": [attrs.asdict(case) for case in cases],
    }


def ceiling_of(url: str, scale: Scale) -> Load:
    """Return how much the fixed server can handle."""
    body = {"function_name": "f", "payload": PAYLOAD}
    seconds, connections = scale.load_seconds, scale.connections
    return load(url, "POST", EXECUTE, body, connections=connections, seconds=seconds, core=CORES[0])
