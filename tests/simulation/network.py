"""A network of TCP: packets are lost and sent again, late, doubled or blocked; the streams stay in order.

A process cannot see whether what it has written was received. What is received twice is dropped, as by TCP.
Whole requests that arrive twice come from a proxy that sends again: see ``Network.doubles``.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulation.world import Process, World

__all__ = ["Network", "Transport"]

_RESEND_S: Final = 0.2  # Linux' shortest time until a packet is sent again, doubled each time
_RESENDS: Final = 8  # about 50 seconds; Linux takes 15 minutes, which no call here waits for
_SYN_S: Final = 1.0
_END: Final = b""  # in a stream, where the others are packets


class Network:
    """Links between hosts, and the connections over them.

    Attributes:
        loss: The share of packets that are lost.
        late: The share that take up to a second.
        doubled: The share that arrive twice.
        doubles: The share of connections to a virtual address whose first requests arrive once more, later,
            perhaps at another replica.
        plan: What happens when a packet with a text is sent for the n-th time, by the text; it is called with
            the two hosts.
        virtual: The hosts behind each virtual address.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.latency = 0.0002, 0.003
        self.loss = self.late = self.doubled = self.doubles = 0.0
        self.plan: list[tuple[bytes, int, Callable[[str, str], None]]] = []
        self.virtual: dict[str, list[str]] = {}
        self._blocked: dict[tuple[str, str], float] = {}
        self._listeners: dict[tuple[str, int], tuple[Process, Callable[[], Any]]] = {}
        self._open: dict[Transport, None] = {}
        self.machines_down: set[str] = set()
        self.pairs: list[tuple[socket.socket, socket.socket]] = []

    def listen(self, process: "Process", port: int, factory: Callable[[], Any]) -> None:
        self._listeners[process.address, port] = process, factory

    def block(self, source: str, target: str, seconds: float) -> None:
        """Lose all packets from *source* to *target*."""
        self._world.trace(f"packets from {source} to {target} are lost for {seconds:.1f} s")
        self._blocked[source, target] = max(
            self._blocked.get((source, target), 0.0), self._world.now + seconds
        )

    def forget(self, process: "Process") -> None:
        """Close what a killed process had; if its machine has gone too, nobody is told."""
        for listened, (owner, _) in list(self._listeners.items()):
            if owner is process:
                del self._listeners[listened]
        for transport in list(self._open):
            if transport.process is process:
                transport.vanish()

    def look_at(self, source: str, target: str, piece: bytes) -> None:
        """Do what is planned for such a packet."""
        for planned in list(self.plan):
            text, number, action = planned
            if text in piece:
                self.plan.remove(planned)
                if number > 1:
                    self.plan.append((text, number - 1, action))
                else:
                    action(source, target)

    def send(self, source: str, target: str, arrive: Callable[..., object], *args: Any) -> None:
        """Send a packet, as often as it takes."""
        self._send(source, target, 0, arrive, args)

    def _send(
        self, source: str, target: str, attempt: int, arrive: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        world, chance = self._world, self._world.random.random
        is_lost = self._blocked.get((source, target), 0.0) > world.now or chance() < self.loss
        if is_lost or source in self.machines_down or target in self.machines_down:
            if attempt < _RESENDS:
                world.after(_RESEND_S * 2**attempt, self._send, source, target, attempt + 1, arrive, args)
            return
        shortest, longest = self.latency
        delay = shortest + chance() * (longest - shortest)
        if self.late and chance() < self.late:
            delay += chance()
        world.after(delay, arrive, *args)
        if self.doubled and chance() < self.doubled:
            world.after(delay + chance() * 0.1, arrive, *args)

    def connect(self, process: "Process", host: str, port: int) -> "asyncio.Future[Transport]":
        """Return a future of a connection of *process* to what listens at *host* or behind it."""
        world = self._world
        connected: asyncio.Future[Transport] = process.loop.create_future()
        targets = self.virtual.get(host)
        target = host if targets is None else world.random.choice(targets)
        answered = False

        def arrive() -> None:
            nonlocal answered
            if answered:  # the packet came twice
                return
            answered = True
            listener = self._listeners.get((target, port))
            if listener is None:
                self.send(target, process.address, process.receive, refuse)
                return
            owner, factory = listener
            near, far = Transport(self, process), Transport(self, owner)
            near.peer, far.peer = far, near
            self._open[near] = self._open[far] = None
            if targets is not None and world.random.random() < self.doubles:
                near.copy = []
                world.after(0.05 + world.random.random() * 5, self._double, near, host, port)
            owner.receive(lambda: far.begin(factory()))
            self.send(target, process.address, process.receive, establish, near)

        def refuse() -> None:
            if not connected.done():
                connected.set_exception(
                    ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
                )

        def establish(near: "Transport") -> None:
            if connected.done():
                if connected.cancelled() or connected.exception() or connected.result() is not near:
                    near.abort()
            else:
                connected.set_result(near)

        self.send(process.address, target, arrive)
        return connected

    def _double(self, original: "Transport", host: str, port: int) -> None:
        """Send the requests of a connection once more, as a proxy does that got no response."""
        request = b"".join(original.copy or [])
        original.copy = None
        if not request:
            return
        proxy = self._world.process("proxy", "10.0.0.99")
        self._world.trace("a proxy sends a request once more")
        request = request.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nX-Doubled: yes\r\n")

        async def send() -> None:
            try:
                transport = await self.connect(proxy, host, port)
            except OSError:
                return
            transport.begin(asyncio.Protocol())
            transport.write(request)

        proxy.start(send())

    def closed(self, transport: "Transport") -> None:
        self._open.pop(transport, None)


class _Socket:
    """What a transport shows of its socket. The real one inside lets the owner poll for unread bytes."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._is_readable = False
        self.type, self.family, self.proto = socket.SOCK_STREAM, socket.AF_INET, socket.IPPROTO_TCP

    def fileno(self) -> int:
        if self._pair is None:
            self._pair = socket.socketpair()
            self._transport._network.pairs.append(self._pair)
        return self._pair[0].fileno()

    def show(self, *, unread: bool) -> None:
        """Let it be readable or not."""
        if self._pair is not None and unread is not self._is_readable:
            self._is_readable = unread
            if unread:
                self._pair[1].send(b"!")
            else:
                self._pair[0].recv(1)

    def setsockopt(self, *_: Any) -> None:
        pass

    def getpeername(self) -> tuple[str, int]:
        return self._transport.peer.process.address, self._transport.peer.process.number

    def getsockname(self) -> tuple[str, int]:
        return self._transport.process.address, self._transport.process.number


class Transport(asyncio.Transport):
    """One end of a connection."""

    peer: "Transport"

    def __init__(self, network: Network, process: "Process") -> None:
        super().__init__()
        self._network, self.process = network, process
        self.socket = _Socket(self)
        self.copy: list[bytes] | None = None
        self._protocol: Any = None
        self._closing = self._lost = self._reading_paused = False
        self._sent = self._expected = 0
        self._early: dict[int, bytes] = {}
        self._unread: list[bytes] = []

    # The process' side.

    def begin(self, protocol: Any) -> None:
        self._protocol = protocol
        protocol.connection_made(self)
        if self._lost:  # before this process had a look
            self.process.loop.call_soon(protocol.connection_lost, _reset_error())
        else:
            self._deliver()

    def write(self, data: Any) -> None:
        if data and not self._closing and not self._lost:
            data = bytes(data)
            if self.copy is not None:
                self.copy.append(data)
            cut = len(data)
            if len(data) > 1 and self._network._world.random.random() < 0.1:  # TCP keeps no boundaries
                cut = 1 + int(self._network._world.random.random() * (len(data) - 1))
            for piece in (data[:cut], data[cut:]):
                if piece:
                    self._send(piece)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not self._closing and not self._lost:
            self._send(_END)

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._lost:
                self._send(_END)
            self.process.loop.call_soon(self._lose, None)

    abort = close  # nothing is buffered here

    def is_closing(self) -> bool:
        return self._closing or self._lost

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self.socket
        if name == "peername":
            return self.socket.getpeername()
        return self.socket.getsockname() if name == "sockname" else default

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self.process.receive(self._deliver)

    def is_reading(self) -> bool:
        return not self._reading_paused

    # The systems' side.

    def _send(self, piece: bytes) -> None:
        peer = self.peer
        if self._network.plan:
            self._network.look_at(self.process.address, peer.process.address, piece)
        self._network.send(self.process.address, peer.process.address, peer.arrive, self._sent, piece)
        self._sent += 1

    def arrive(self, number: int, piece: bytes) -> None:
        """Take a packet: once, and in its turn."""
        if self._lost or self._closing:
            if piece:
                self._reset_peer()
            return
        if number < self._expected:
            return
        self._early[number] = piece
        while self._expected in self._early:
            self._unread.append(self._early.pop(self._expected))
            self._expected += 1
            self.socket.show(unread=True)
            self.process.receive(self._deliver)

    def _deliver(self) -> None:
        while self._unread and self._protocol is not None and not self._reading_paused and not self._lost:
            piece = self._unread.pop(0)
            self.socket.show(unread=bool(self._unread))
            if self._closing:
                continue
            if piece:
                self._protocol.data_received(piece)
            elif not self._protocol.eof_received():
                self.close()

    def _reset_peer(self) -> None:
        peer = self.peer
        self._network.send(self.process.address, peer.process.address, peer.process.receive, peer.reset)

    def reset(self) -> None:
        if not self._closing:
            self._closing = True
            self._lose(_reset_error())

    def vanish(self) -> None:
        """End with the process that has it."""
        self._lost = True
        self._network.closed(self)
        self._reset_peer()

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._network.closed(self)
            if self._protocol is not None:
                self._protocol.connection_lost(error)


def _reset_error() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
