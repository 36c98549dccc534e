"""A server that speaks Redis' protocol (RESP3): the commands that the store sends, and its script in Lua 5.1.

Each command runs at once, in the memory of the process. Before anything is answered, what has changed is
written to the file: ``appendfsync always``. So what was confirmed is there when the server is started again,
and of the rest any part. Times are those of the host's wall clock, which can jump.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import lupa.lua51

if TYPE_CHECKING:
    from tests.simulation.world import Process

__all__ = ["PORT", "Disk", "Server"]

PORT: Final = 6379

_lua: Final = lupa.lua51.LuaRuntime(encoding=None, register_eval=False, unpack_returned_tuples=True)
_functions: Final[dict[bytes, Any]] = {}
_called: "list[Callable[..., Any]]" = []  # what redis.call() calls, of the server that runs a script
_lua.execute(b"redis = {}")
_lua.globals()[b"redis"][b"call"] = lambda *given: _called[-1](*given)  # noqa: PLW0108 - it is the last one
_compile: Final = _lua.eval(
    b"function(body) return assert(loadstring('return function(KEYS, ARGV) ' .. body .. ' end'))() end"
)

_CONFIG: Final = {
    b"appendonly": b"yes",
    b"appendfsync": b"always",
    b"no-appendfsync-on-rewrite": b"no",
    b"maxmemory": b"0",
    b"maxmemory-policy": b"noeviction",
}


class _Entry:
    def __init__(self, fields: dict[bytes, bytes], expires: int | None = None) -> None:
        self.fields, self.expires = fields, expires

    def copy(self) -> "_Entry":
        return _Entry(dict(self.fields), self.expires)


class _CommandError(Exception):
    """A command fails."""


def _increment(entry: _Entry, _: list[bytes], _now: int) -> int:
    number = int(entry.fields.get(b"", b"0")) + 1
    entry.fields[b""] = b"%d" % number
    return number


def _set(entry: _Entry, given: list[bytes], _now: int) -> int:
    pairs = dict(zip(given[::2], given[1::2], strict=True))
    new = len(pairs.keys() - entry.fields.keys())
    entry.fields.update(pairs)
    return new


def _remove(entry: _Entry, given: list[bytes], _now: int) -> int:
    return sum(entry.fields.pop(each, None) is not None for each in given)


def _expire_at(entry: _Entry, given: list[bytes], _now: int) -> int:
    if entry.fields:
        entry.expires = int(given[0])
    return int(bool(entry.fields))


def _left(entry: _Entry, _: list[bytes], now: int) -> int:
    if not entry.fields:
        return -2
    return -1 if entry.expires is None else entry.expires - now


def _remove_by_score(entry: _Entry, given: list[bytes], now: int) -> int:
    low, high = map(float, given)
    return _remove(entry, [each for each, score in entry.fields.items() if low <= float(score) <= high], now)


# A hash has its fields, a sorted set its members with their scores, a number one field without a name.
_COMMANDS: Final[dict[bytes, Callable[[_Entry, list[bytes], int], Any]]] = {
    b"DEL": lambda entry, _, now: int(bool(entry.fields)),
    b"HDEL": _remove,
    b"HMGET": lambda entry, given, _: [entry.fields.get(each) for each in given],
    b"HSET": _set,
    b"INCR": _increment,
    b"PEXPIRE": lambda entry, given, now: _expire_at(entry, [b"%d" % (now + int(given[0]))], now),
    b"PEXPIREAT": _expire_at,
    b"PTTL": _left,
    b"ZADD": lambda entry, given, now: _set(entry, [given[1], given[0]], now),
    b"ZRANGE": lambda entry, _, now: sorted(entry.fields, key=lambda each: (float(entry.fields[each]), each)),
    b"ZREM": _remove,
    b"ZREMRANGEBYSCORE": _remove_by_score,
}
_ANSWERS: Final[dict[bytes, Any]] = {
    b"CLIENT": True,
    b"CONFIG": _CONFIG,
    b"HELLO": {b"server": b"redis", b"version": b"7.2.4", b"proto": 3},
    b"INFO": b"# Replication\r\nrole:master\r\nconnected_slaves:0\r\n",
    b"PING": b"PONG",
}


class Disk:
    """The file of a server, which outlives it.

    Attributes:
        forgets: Whether the server confirms what it has not written: ``appendfsync everysec``, although it
            says ``always``.
    """

    forgets = False

    def __init__(self) -> None:
        self.entries: dict[bytes, _Entry] = {}

    def write(self, changes: dict[bytes, _Entry | None]) -> None:
        for key, entry in changes.items():
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry.copy()


class Server:
    """A running server."""

    def __init__(self, process: "Process", disk: Disk) -> None:
        self._process, self._disk = process, disk
        self._entries = {key: entry.copy() for key, entry in disk.entries.items()}
        self._unwritten: dict[bytes, _Entry | None] = {}
        self._answers: list[tuple[Any, bytes]] = []
        self._scripts: dict[bytes, Any] = {}
        self._now = 0
        process.world.network.listen(process, PORT, lambda: _Protocol(self, process.loop))

    def crash(self) -> None:
        """Write a part of what was not confirmed, as the system may have done before the end."""
        chance = self._process.world.random.random
        if not self._disk.forgets:
            self._disk.write({key: entry for key, entry in self._unwritten.items() if chance() < 0.5})

    def answer(self, transport: Any, command: list[bytes]) -> None:
        self._now = int(self._process.wall() * 1000)
        try:
            answer = _encode(self._run(command))
        except _CommandError as error:
            answer = b"-%s\r\n" % str(error).encode()
        if not self._answers:
            self._process.loop.call_soon(self._confirm)
        self._answers.append((transport, answer))

    def _confirm(self) -> None:
        if not self._disk.forgets:
            self._disk.write(self._unwritten)
            self._unwritten = {}
        answers, self._answers = self._answers, []
        for transport, answer in answers:
            transport.write(answer)

    def _run(self, command: list[bytes]) -> Any:
        name, arguments = command[0].upper(), command[1:]
        if name == b"EVALSHA":
            return self._evaluate(arguments)
        if name == b"SCRIPT":
            digest = hashlib.sha1(arguments[1], usedforsecurity=False).hexdigest().encode()
            if digest not in _functions:
                _functions[digest] = _compile(arguments[1])
            self._scripts[digest] = _functions[digest]
            return digest
        answer = _ANSWERS.get(name)
        return self._call(name, *arguments) if answer is None else answer

    def _evaluate(self, arguments: list[bytes]) -> Any:
        function = self._scripts.get(arguments[0])
        if function is None:
            raise _CommandError("NOSCRIPT No matching script. Please use EVAL.")
        keys = int(arguments[1])
        _called.append(self._call_from_script)
        try:
            answer = function(
                _lua.table_from(arguments[2 : 2 + keys]), _lua.table_from(arguments[2 + keys :])
            )
        finally:
            _called.pop()
        return _of_lua(answer)

    def _call_from_script(self, *arguments: Any) -> Any:
        answer = self._call(arguments[0].upper(), *map(_as_text, arguments[1:]))
        return (
            _lua.table_from([False if each is None else each for each in answer])
            if isinstance(answer, list)
            else answer
        )

    def _call(self, name: bytes, *arguments: bytes) -> Any:
        if name == b"TIME":
            return [b"%d" % (self._now // 1000), b"%d" % (self._now % 1000 * 1000)]
        key, *given = arguments
        entry = self._entries.get(key)
        if entry is not None and entry.expires is not None and entry.expires <= self._now:
            entry = None
            self._change(key, None)
        command = _COMMANDS.get(name)
        if command is None:
            raise _CommandError(f"ERR unknown command {name!r}")
        changed = _Entry({}) if entry is None else entry
        before = changed.copy()
        answer = command(changed, given, self._now)
        if name == b"DEL" or (not changed.fields and before.fields):
            self._change(key, None)
        elif changed.fields != before.fields or changed.expires != before.expires:
            self._change(key, changed)
        return answer

    def _change(self, key: bytes, entry: _Entry | None) -> None:
        if entry is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry
        self._unwritten[key] = None if entry is None else entry.copy()


class _Protocol(asyncio.Protocol):
    """A connection: commands as arrays of texts."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (parsed := _parse(self._received)) is not None:
            command, end = parsed
            self._received = self._received[end:]
            self._server.answer(self._transport, command)


def _parse(received: bytes) -> tuple[list[bytes], int] | None:
    """Return the first command and its length, or None if it is not complete."""
    end = received.find(b"\r\n")
    if end < 0:
        return None
    texts: list[bytes] = []
    position = end + 2
    for _ in range(int(received[1:end])):
        end = received.find(b"\r\n", position)
        if end < 0:
            return None
        start = end + 2
        position = start + int(received[position + 1 : end]) + 2
        if len(received) < position:
            return None
        texts.append(received[start : position - 2])
    return texts, position


def _encode(answer: Any) -> bytes:
    if answer is None or answer is False:
        return b"_\r\n"
    if answer is True:
        return b"+OK\r\n"
    if isinstance(answer, bytes):
        return b"$%d\r\n%b\r\n" % (len(answer), answer)
    if isinstance(answer, int | float):
        return b":%d\r\n" % int(answer)
    if isinstance(answer, dict):
        return b"%%%d\r\n%b" % (
            len(answer),
            b"".join(_encode(each) for pair in answer.items() for each in pair),
        )
    return b"*%d\r\n%b" % (len(answer), b"".join(map(_encode, answer)))


def _of_lua(value: Any) -> Any:
    """Return what a script has returned. A table ends at its first nil."""
    if lupa.lua51.lua_type(value) != "table":
        return value
    return [_of_lua(each) for each in value.values()]


def _as_text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b"%.17g" % value
