"""What happens with a seed: how many replicas, over which store, who asks what, and what goes wrong when."""

import asyncio
import contextlib
import dataclasses
import functools
import gc
import logging
import random
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import uvicorn
from uvicorn.server import ServerState

from navai_client import (
    ApprovalPendingError,
    AsyncNavaiBackendClient,
    FunctionFailedError,
    NavaiHTTPError,
    NavaiTransportError,
    OutcomeUnknownError,
    _ids as ids,
)
from navai_client.server import (
    BackendOptions,
    BackendRequest,
    FunctionContext,
    NavaiBackend,
    Principal,
    RedisStore,
    ToolError,
)
from navai_client.server._connections import Connection, Connections
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._store import MemoryStore
from navai_client.transports import _connecting
from navai_client.transports.fast import AsyncFastTransport
from tests.simulation import redis
from tests.simulation.history import Answer, Began, Call, Decision, Ended, Fault, History, Key
from tests.simulation.world import Process, Trace, World

__all__ = ["simulate"]

_BACKEND: Final = "10.0.0.1"  # the virtual address of all replicas
_PORT: Final = 3000
_REPLICAS: Final = ("10.0.0.11", "10.0.0.12", "10.0.0.13")
_REDIS: Final = "10.0.0.50"
_CLIENTS: Final = ("10.0.1.1", "10.0.1.2")
_CALLERS: Final = ("ann", "bob")
_PERSON: Final = "eve"  # who approves
_HTTP_TEXTS: Final = (b"POST ", b"HTTP/1.1 200")
# To the store, and what it answers.
_STORE_TEXTS: Final = (b"begin\r\n", b"started\r\n", b"finish\r\n", b":1\r\n")
# Between a claim and its start, another process may take over.
_STORE_TEXTS_ELSEWHERE: Final = (*(b"claimed\r\n",) * 3, b"claim\r\n", b"start\r\n", b"finish\r\n", b":1\r\n")
_SETTLED_S: Final = 5.0  # after the last fault, until all keys are asked for once more
_AUDIT_S: Final = 60.0  # the timeout of that; a lease and the largest jump of a clock are shorter
_LARGEST_JUMP_S: Final = 30.0
_WARMING: Final = (-1, -2, -3)
_LATE_S: Final = 0.5  # a call may end so late: its client works through what arrived, without a pause


def simulate(seed: int, *, trace: Trace | None = None) -> History:
    """Return the history of *seed*, which decides everything.

    Args:
        seed: Any number.
        trace: Called with the world and a line for each event.
    """
    if seed not in _WARMING:
        _warm_up()
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL if trace is None else logging.NOTSET)
    gc.disable()  # what is collected cleans up, and when that happens is not the seed's decision
    gc.freeze()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # connections of killed processes were never closed
            history = _simulate(World(seed, trace))
            gc.collect()
            gc.collect()  # what the first one has finalized
    finally:
        gc.unfreeze()
        gc.enable()
        logging.disable(disabled)
    return history


@functools.cache
def _warm_up() -> None:
    """Load whatever is loaded late, at the cost of random bytes: it would change the first history."""
    for seed in _WARMING:
        simulate(seed)


def _simulate(world: World) -> History:
    with world.environment(), _fresh_process():
        scenario = _Scenario(world)
        scenario.run()
    return scenario.history


@contextlib.contextmanager
def _fresh_process() -> Iterator[None]:
    """Let the client know no more than in a new process."""
    before = ids._process, ids._numbers
    ids._process, ids._numbers = "0" * 16, iter(range(1, 10**6))  # type: ignore[misc, assignment]
    _connecting._reached.clear()
    try:
        yield
    finally:
        ids._process, ids._numbers = before  # type: ignore[misc]


def _who(request: BackendRequest) -> Principal:
    name = request.headers["authorization"].removeprefix("Bearer ")
    return Principal(name, ["navai:approve"] if name == _PERSON else [])


_FaultAt = Callable[["_Replica"], None]


class _Replica:
    """A backend at an address, in one process after the other."""

    def __init__(self, scenario: "_Scenario", address: str) -> None:
        self.scenario, self.address = scenario, address
        self.start()

    def start(self) -> None:
        world = self.scenario.world
        world.network.machines_down.discard(self.address)
        self.process = world.process(f"replica {self.address}", self.address)
        with world.inside(self.process):
            self.process.start(self._serve())

    async def _serve(self) -> None:
        scenario, process = self.scenario, self.process
        memory = MemoryStore(clock=process.monotonic)
        store = RedisStore(f"redis://{_REDIS}:{redis.PORT}/0") if scenario.survives else memory
        self.backend = NavaiBackend(
            BackendOptions(),
            env={},
            discover=False,
            store=store,
            access_log=None,
            allowed_hosts=(_BACKEND,),
            function_timeout=scenario.function_timeout,
            authenticate=_who,
        )
        self.backend.function(
            scenario.function_of(process),
            name="charge",
            approval=scenario.approves,
            runs_in=_Elsewhere(scenario, process) if scenario.runs_elsewhere else None,
        )
        settings = ProcessSettings()
        connections = Connections(settings, self.backend.settings.body_timeout)
        config = uvicorn.Config(
            self.backend, access_log=False, lifespan="off", log_config=None, ws="none", proxy_headers=False
        )
        config.load()
        state = ServerState()

        def connect() -> Connection:
            return Connection(
                connections, config=config, server_state=state, app_state={}, _loop=process.loop
            )

        await self.backend._open()
        scenario.world.network.listen(process, _PORT, connect)

    def stop(self) -> None:
        """Stop as on SIGTERM, when the grace is over."""

        async def close() -> None:
            await self.backend.aclose()
            self.kill()

        if self.process.alive and hasattr(self, "backend"):
            self.scenario.fault(f"{self.process} stops", killed=repr(self.process))
            self.process.start(close())

    def kill(self, *, silently: bool = False) -> None:
        """Kill the process; *silently* the machine goes with it. Later it is started again."""
        if not self.process.alive:
            return
        self.scenario.fault(f"{self.process} is killed", killed=repr(self.process))
        if silently:
            self.scenario.world.network.machines_down.add(self.address)
        self.process.kill()
        self.scenario.later(self.start)


@attrs.frozen
class _Order:
    """What the function is to do.

    Attributes:
        seconds: How long it takes.
        fails: Whether it then fails.
        stubborn: Whether it goes on when it is cancelled.
    """

    seconds: float
    fails: bool
    stubborn: bool


class _Redis:
    """The store, in one process after the other, with one disk."""

    def __init__(self, scenario: "_Scenario") -> None:
        self.scenario = scenario
        self.disk = redis.Disk()
        self.start()

    def start(self) -> None:
        self.process = self.scenario.world.process("redis", _REDIS)
        self.server = redis.Server(self.process, self.disk)

    def kill(self) -> None:
        if self.process.alive:
            self.scenario.fault("the store is killed")
            self.server.crash()
            self.process.kill()
            self.scenario.later(self.start)


class _Scenario:
    """A world with its inhabitants."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = chance = random.Random(f"scenario {world.seed}")
        self.survives = chance.random() < 0.7
        self.is_calm = is_calm = chance.random() < 0.15
        self.approves = not is_calm and chance.random() < 0.25
        self.history = History(world.seed, self.survives, self.approves)
        self.healed = (
            80.0 if is_calm else chance.choice((25.0, 50.0, 80.0))
        )  # from then on nothing goes wrong
        self.runs_elsewhere = self.survives and chance.random() < 0.5
        self.function_timeout = 40.0 if is_calm else chance.choice((10.0, 10.0, 40.0))
        self.orders: dict[str, _Order] = {}
        self.keys: dict[str, str] = {}
        self.executions = self.begun_elsewhere = 0
        self.begun: dict[int, str] = {}
        self.calls = 0
        self.open = 0
        self.redis = _Redis(self) if self.survives else None
        addresses = _REPLICAS[: chance.choice((2, 2, 3))] if self.survives else _REPLICAS[:1]
        world.network.virtual[_BACKEND] = list(addresses)
        self.replicas = [_Replica(self, address) for address in addresses]
        self.requests = self.make_requests()
        clients = [_Client(self, address) for address in _CLIENTS]
        for request in self.requests:
            caller, key, order, at, timeout, leaves = request
            client = chance.choice(clients)
            world.at(at, client.ask, caller, key, order, timeout, leaves)
        if not is_calm:
            self.plan_faults()

    # Time.

    def note(self, event: Any) -> None:
        self.history.events.append((round(self.world.now, 6), event))
        self.world.trace(str(event))

    def fault(self, what: str, killed: str = "") -> None:
        self.note(Fault(what, killed))

    def later(self, callback: Callable[[], None]) -> None:
        """Call *callback* after some time, while things may go wrong."""
        when = self.world.now + self.seconds(0.01, 40)
        self.world.at(min(when, max(self.healed, self.world.now + 0.05)), callback)

    def pause(self, process: Process, seconds: float) -> None:
        self.fault(f"{process} is paused")
        process.pause(min(seconds, max(0.0, self.healed - self.world.now)))

    def seconds(self, shortest: float, longest: float) -> float:
        """Return a time; short ones are as frequent as long ones."""
        return float(shortest * (longest / shortest) ** self.chance.random())

    def run(self) -> None:
        self.world.run(self.healed)
        self.heal()
        self.world.run(self.healed + _SETTLED_S)
        client = _Client(self, "10.0.1.9")
        for caller, key, order in {request[:2]: request[:3] for request in self.requests}.values():
            client.ask(caller, key, order, _AUDIT_S, audits=True)
        self.world.run(self.world.now + 2 * _AUDIT_S, lambda: self.open == 0)
        self.history.problems += self.world.problems

    def heal(self) -> None:
        """Repair everything."""
        network = self.world.network
        network.loss = network.late = network.doubled = network.doubles = 0.0
        network.plan.clear()
        network._blocked.clear()
        for each in self.replicas:
            each.process.plan.clear()

    # Who asks.

    def make_requests(self) -> list[tuple[str, str, str, float, float, float | None]]:
        """Return caller, key, order, time, timeout, and when the caller leaves, of each call."""
        chance = self.chance
        requests = []
        span = self.seconds(0.01, self.healed / 3)
        for number in range(chance.choice((1, 1, 2, 3))):
            longest = 1.3 * min(self.function_timeout, self.healed / 2)
            seconds = chance.choice((0.0, self.seconds(0.01, longest), chance.random() * longest))
            order, another = f"order {number}", f"another order {number}"
            self.keys[order] = self.keys[another] = f"key-{number}"
            self.orders[another] = _Order(0.0, fails=False, stubborn=False)
            self.orders[order] = _Order(seconds, fails=chance.random() < 0.1, stubborn=chance.random() < 0.2)
            begin = 0.5 + chance.random() * span
            for _ in range(chance.choice((1, 2, 2, 3, 4))):
                given = another if chance.random() < 0.07 else order
                caller = _CALLERS[chance.random() < 0.12]
                at = begin
                if self.is_calm:  # all who ask while it runs wait for its result, however long that takes
                    at += chance.random() * self.healed / 2
                elif chance.random() < 0.7:
                    at += self.seconds(0.0005, self.healed / 2)
                timeout = chance.choice((3.0, 10.0, 30.0, 30.0, 45.0))
                leaves = self.seconds(0.001, 5) if chance.random() < 0.1 else None
                requests.append((caller, f"key-{number}", given, at, timeout, leaves))
        return requests

    async def ask(
        self, client: "_Client", caller: str, key: str, order: str, timeout: float, *, audits: bool
    ) -> None:
        """Execute the function once, and note how that ends."""
        self.calls += 1
        number, due = self.calls, self.world.now + timeout + _LATE_S
        request_id = f"call-{number}"
        self.note(Call(number, (caller, key), order, request_id, audits, due))
        answer = Answer(number, "left", told=True)
        try:
            value = await client.of(caller).execute_function(
                "charge",
                {"order": order},
                idempotency_key=key,
                timeout=timeout,
                headers={"X-Request-ID": request_id},
            )
            answer = Answer(number, "result", value)
        except FunctionFailedError as error:
            execution = re.search(r"execution (\d+)", str(error.details))
            value = {"execution": int(execution[1])} if execution else str(error.details)
            answer = Answer(number, "failed", value, told=error.may_have_executed)
        except ApprovalPendingError as error:
            answer = Answer(number, "pending", error.approval_id, 202)
            if error.approval_id is not None and not audits:
                self.let_decide(error.approval_id, (caller, key), order)
        except OutcomeUnknownError as error:
            answer = Answer(number, "unknown", str(error), error.status_code, told=True)
        except NavaiHTTPError as error:
            answer = Answer(number, "refused", str(error), error.status_code)
        except NavaiTransportError as error:
            answer = Answer(number, "lost", str(error), told=error.may_have_executed)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - nothing else may escape
            answer = Answer(number, "escaped", repr(error))
        finally:
            self.note(answer)

    def let_decide(self, approval: str, key: Key, order: str) -> None:
        """Let a person decide on a call, or two at once who know nothing of each other."""
        after = self.seconds(0.001, 20)
        for _ in range(self.chance.choice((0, 1, 1, 2, 2))):
            self.world.after(after, self.decide, approval, key, order)

    def decide(self, approval: str, key: Key, order: str) -> None:
        decision = Decision(key, order, self.chance.random() < 0.8)
        process = self.world.process("person", "10.0.1.8")
        body = f'{{"decision": "{"approve" if decision.approves else "reject"}"}}'
        request = (
            f"POST /navai/approvals/{approval} HTTP/1.1\r\nHost: {_BACKEND}:{_PORT}\r\n"
            f"Authorization: Bearer {_PERSON}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        )

        async def send() -> None:
            self.note(decision)
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(_BACKEND, _PORT)
                writer.write(request.encode())
                response = await reader.read()
                if response:
                    self.note(dataclasses.replace(decision, status=int(response.split()[1])))

        process.start(send())

    def function_of(self, process: Process) -> Callable[..., Any]:
        """Return the function that the backend in *process* offers.

        An order says how long it takes, whether it fails, and whether it goes on when it is cancelled.
        """

        def begin(order: str, context: FunctionContext) -> int:
            request, principal = context.request, context.principal
            assert principal is not None
            self.executions += 1
            key = principal.id, self.keys[order]
            doubled = "x-doubled" in request.headers
            began = Began(self.executions, key, order, repr(process), request.request_id, doubled)
            self.note(began)
            self.begun[began.number] = order
            return began.number

        async def charge(order: str, context: FunctionContext) -> dict[str, Any]:
            number = begin(order, context)
            await self.execute(number, order, process)
            if self.orders[order].fails:
                raise ToolError(f"execution {number} failed")
            return {"execution": number, "order": order}

        def charge_elsewhere(order: str, context: FunctionContext) -> dict[str, Any]:
            number = self.begun_elsewhere = begin(order, context)
            if self.orders[order].fails:
                raise ToolError(f"execution {number} failed")
            return {"execution": number, "order": order}

        return charge_elsewhere if self.runs_elsewhere else charge

    async def execute(self, number: int, order: str, process: Process) -> None:
        """Take the time that *order* takes."""
        ends = process.monotonic() + self.orders[order].seconds
        while (left := ends - process.monotonic()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                if not self.orders[order].stubborn:
                    raise
        self.note(Ended(number, self.orders[order].fails))

    # What goes wrong.

    def plan_faults(self) -> None:
        """Decide what goes wrong, and when: at a packet, before a step of a process, or at a time."""
        chance, network = self.chance, self.world.network
        if chance.random() < 0.4:
            self.fault("packets are lost, late and doubled")
            network.loss, network.late, network.doubled = (chance.random() * 0.1 for _ in range(3))
        if chance.random() < 0.3 and not self.approves:  # who decides cannot tell a call from its copy
            self.fault("a proxy sends requests once more")
            network.doubles = 0.3
        texts: tuple[bytes, ...] = _HTTP_TEXTS
        if self.survives:
            texts += _STORE_TEXTS_ELSEWHERE if self.runs_elsewhere else _STORE_TEXTS
        for _ in range(chance.choice((1, 1, 2, 2, 3, 4))):
            replica, fault = chance.choice(self.replicas), self.make_fault()
            kind = chance.random()
            if kind < 0.6:
                network.plan.append(
                    (chance.choice(texts), chance.choice((1, 1, 2, 3, 5)), self.at_packet(fault))
                )
            elif kind < 0.75:
                replica.process.plan[int(self.seconds(10, 300))] = functools.partial(fault, replica)
            else:
                when = chance.choice(self.requests)[3] + self.seconds(0.0005, 20)
                self.world.at(when, fault, replica)

    def at_packet(self, fault: "_FaultAt") -> Callable[[str, str], None]:
        """Return what lets *fault* happen to the replica that sends or gets a packet, or soon after that."""
        after = self.chance.choice((0, 0, 1, 2, 3, 4, 5, 6, 8, 10, 12))  # of its steps

        def happen(source: str, target: str) -> None:
            for replica in self.replicas:
                if replica.address in {source, target}:
                    if after:
                        replica.process.plan[replica.process.steps + after] = functools.partial(
                            fault, replica
                        )
                    else:
                        fault(replica)

        return happen

    def make_fault(self) -> "_FaultAt":
        """Return something that goes wrong, most often with a replica."""
        chance, world, network = self.chance, self.world, self.world.network
        # Often as long as a lease, and a little longer.
        seconds = self.seconds(0.05, 45) if chance.random() < 0.4 else 13 + 10 * chance.random()
        silently, store = chance.random() < 0.3, self.redis
        other = _REDIS if store is not None and chance.random() < 0.7 else chance.choice(_CLIENTS)
        ways = chance.choice(((True, True), (True, False), (False, True)))
        skew = self.seconds(1, _LARGEST_JUMP_S) * chance.choice((-1, 1))
        of_store = chance.random() < 0.7

        def block(replica: _Replica) -> None:
            there, back = ways
            self.fault(f"the link of {replica.process} and {other} is blocked")
            if there:
                network.block(replica.address, other, seconds)
            if back:
                network.block(other, replica.address, seconds)

        def jump(replica: _Replica) -> None:
            host = _REDIS if of_store else replica.address
            self.fault(f"the clock of {host} jumps by {skew:.1f} s")
            world.skew[host] = world.skew.get(host, 0.0) + skew

        faults: list[tuple[float, _FaultAt]] = [
            (0.35, lambda replica: self.pause(replica.process, seconds)),
            (0.2 if self.survives else 0.5, lambda replica: replica.kill(silently=silently)),
            (0.05, lambda replica: replica.stop()),
            (0.2, block),
        ]
        if store is not None:
            faults += [
                (0.08, lambda _: store.kill()),
                (0.06, lambda _: self.pause(store.process, seconds)),
                (0.06, jump),
            ]
        return chance.choices([fault for _, fault in faults], [weight for weight, _ in faults])[0]


class _Elsewhere:
    """Runs the function as a cluster does: its claim is started when that accepts the call."""

    def __init__(self, scenario: _Scenario, process: Process) -> None:
        self.scenario, self.process = scenario, process

    def submit(self, work: Callable[[], Any]) -> asyncio.Task[Any]:
        async def do() -> Any:
            done = work()
            number = self.scenario.begun_elsewhere
            order = self.scenario.begun[number]
            await self.scenario.execute(number, order, self.process)
            return done

        return self.process.start(do())

    def cancel(self, submitted: asyncio.Task[Any] | None) -> None:
        if submitted is not None:
            submitted.cancel()


class _Client:
    """A program that calls the backend for several callers."""

    def __init__(self, scenario: _Scenario, address: str) -> None:
        self.scenario = scenario
        self.process = scenario.world.process("client", address)
        self._clients: dict[str, AsyncNavaiBackendClient] = {}

    def of(self, caller: str) -> AsyncNavaiBackendClient:
        """Return the client that calls for *caller*."""
        if caller not in self._clients:
            self._clients[caller] = AsyncNavaiBackendClient(
                f"http://{_BACKEND}:{_PORT}",
                env={},
                access_token=caller,
                transport=AsyncFastTransport() if self.scenario.chance.random() < 0.5 else None,
            )
        return self._clients[caller]

    def ask(
        self,
        caller: str,
        key: str,
        order: str,
        timeout: float,
        leaves: float | None = None,
        *,
        audits: bool = False,
    ) -> None:
        """Begin a call, which the caller leaves after some seconds if *leaves* says so."""
        scenario = self.scenario

        async def ask() -> None:
            client = self.of(caller)
            if not audits:  # as agents do, and so learns whether the replicas share a store
                await client.list_functions(max_age=60, timeout=5)
            call = asyncio.ensure_future(scenario.ask(self, caller, key, order, timeout, audits=audits))
            if leaves is not None:
                asyncio.get_running_loop().call_later(leaves, call.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await call
            scenario.open -= 1

        scenario.open += 1
        self.process.start(ask())
