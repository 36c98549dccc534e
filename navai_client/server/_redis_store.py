"""The store for any number of machines: a server that speaks the Redis protocol, such as Redis 7 or Valkey.

Operations that are wanted at the same time become one run of a script on the server. So they are atomic, and
their times are the server's. An entry is a hash, which expires by itself.

What the server confirms must survive a restart. So the store counts as shared only if the server appends each
change to its file before it confirms it, and evicts nothing. There must also be no replica that could take
its place without the latest changes. If you know better than this check, pass ``shared=True``.
"""

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from navai_client._extras import needs_extra
from navai_client.server._errors import StoreError
from navai_client.server._store import UNKNOWN_TTL_S, BatchedStore, StoreEntry

if TYPE_CHECKING:
    from redis.asyncio import Redis

_log: Final = logging.getLogger("navai_client.server")

_TIMEOUT_S: Final = 2.0  # to connect, and to respond: calls wait meanwhile
_EVICTION: Final = "maxmemory-policy"
_DURABLE: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    _EVICTION: "noeviction",
}
_NOT_SHARED: Final = (
    "Clients are not told that all replicas share the store of idempotency keys: it could lose what it has "
    "confirmed: %s."
)
# For each key, the script gets one operation: the number of its arguments, then these, its name first.
_SCRIPT: Final = (
    f"local unknown_ttl = {UNKNOWN_TTL_S * 1000:.0f}"
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function milliseconds(seconds) return math.ceil(tonumber(seconds) * 1000) end
local held = KEYS[#KEYS] -- the index of the calls that wait for approval
local function count(key, window)
  local number = redis.call('INCR', key)
  if number == 1 then redis.call('PEXPIRE', key, milliseconds(window)) end
  return {number, redis.call('PTTL', key)}
end
local function list_held()
  redis.call('ZREMRANGEBYSCORE', held, '-inf', now)
  return redis.call('ZRANGE', held, 0, -1)
end
local function lease(key, state, ends, waits_until, ...)
  redis.call('HSET', key, 'state', state, 'lease_ends', ends, ...)
  if state == 'started' then ends = ends + unknown_ttl end
  redis.call('PEXPIREAT', key, math.max(ends, waits_until))
end
local function hold(key, token, fingerprint, ttl, call, limit)
  if #list_held() >= tonumber(limit) then return false end
  local ends = now + milliseconds(ttl)
  redis.call('HSET', key, 'state', 'waiting', 'fingerprint', fingerprint, 'token', token,
    'call', call, 'waits_until', ends)
  redis.call('PEXPIREAT', key, ends)
  redis.call('ZADD', held, ends, key)
  if redis.call('PTTL', held) < ends - now then redis.call('PEXPIREAT', held, ends) end
  return {'waiting', fingerprint, token, false, call}
end
local claims = {claim = 'claimed', begin = 'started'}
local reads = {claim = true, begin = true, hold = true, read = true}
local function run(key, operation, token, value, seconds, ...)
  if operation == 'count' then return count(key, token) end
  if operation == 'list_held' then return list_held() end
  local entry = redis.call(
    'HMGET', key, 'state', 'fingerprint', 'token', 'outcome', 'call', 'lease_ends', 'waits_until')
  local state, outcome, call, waits_until = entry[1], entry[4], entry[5], tonumber(entry[7] or 0)
  local runs, lapsed = state == 'claimed' or state == 'started', false
  if runs and tonumber(entry[6]) <= now then
    lapsed = state == 'claimed'
    state = not lapsed and 'unknown' or waits_until > now and 'waiting'
    if not state then redis.call('DEL', key) end
  end
  if claims[operation] and not state then
    lease(key, claims[operation], now + milliseconds(seconds), 0, 'fingerprint', value, 'token', token)
    return {claims[operation], value, token, false, false}
  end
  if claims[operation] and runs and not lapsed and entry[3] == token then
    state = entry[1]
    lease(key, state, now + milliseconds(seconds), waits_until)
  end
  if operation == 'hold' and not state then return hold(key, token, value, seconds, ...) end
  if reads[operation] then return state and {state, entry[2], entry[3], outcome, call} end
  local function keep(kept)
    redis.call('HSET', key, 'state', kept, 'outcome', value)
    redis.call('PEXPIRE', key, milliseconds(seconds))
    if call then
      redis.call('HDEL', key, 'call')
      redis.call('ZREM', held, key)
    end
  end
  if operation == 'approve' then
    if not state or entry[2] ~= value then return false end
    if state == 'waiting' then
      lease(key, 'claimed', now + milliseconds(seconds), waits_until, 'token', token)
      state, entry[3] = 'claimed', token
    end
    return {state, entry[2], entry[3], outcome, call}
  end
  if operation == 'reject' then
    if not state or entry[2] ~= token then return 0 end -- here, the fingerprint
    if state == 'waiting' then
      keep('rejected')
      return 1
    end
    return state == 'rejected' and 1 or 0
  end
  if not state or lapsed or entry[3] ~= token then return 0 end
  if operation == 'finish' then
    if not outcome then keep('done') end
  elseif operation == 'free' then
    if runs and waits_until > now then
      redis.call('HSET', key, 'state', 'waiting', 'token', '')
      redis.call('PEXPIREAT', key, waits_until)
    elseif not outcome then
      redis.call('DEL', key)
      redis.call('ZREM', held, key)
    end
  else
    if not runs then return 0 end
    lease(key, operation == 'start' and 'started' or entry[1], now + milliseconds(value), waits_until)
  end
  return 1
end
local results, last = {}, 0
for number = 1, #KEYS - 1 do
  local first = last + 2
  last = last + 1 + tonumber(ARGV[last + 1])
  results[number] = run(KEYS[number], unpack(ARGV, first, last))
end
return results
"""
)


class RedisStore(BatchedStore):
    """A store in a Redis or Valkey server."""

    def __init__(self, url: str, *, prefix: str | None = None, shared: bool | None = None) -> None:
        """Use the server at *url*.

        Args:
            url: Such as ``redis://[user:password@]host:6379/0``, ``rediss://`` with TLS, or ``unix:///path``;
                its query may have a ``prefix``.
            prefix: What its keys begin with, by default ``navai:``. Backends with other functions need
                another prefix.
            shared: Whether clients are told that all replicas share this store. By default, the settings of
                the server decide.

        Raises:
            ImportError: The extra ``redis`` is not installed.
            ValueError: The URL cannot work.
        """
        super().__init__()
        with needs_extra("redis", "redis"):
            import hiredis  # noqa: PLC0415 - only for those who need it
            import redis.asyncio  # noqa: PLC0415
            from redis import exceptions  # noqa: PLC0415
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self._prefix = (options.pop("prefix", "navai:") if prefix is None else prefix).encode()
        self._pack = hiredis.pack_command
        self._connect = functools.partial(
            redis.asyncio.Redis.from_url,
            parts._replace(query=urlencode(options)).geturl(),
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=None,  # _run does it
            single_connection_client=True,
        )
        self._errors = exceptions.RedisError, OSError
        self._response_error = exceptions.ResponseError
        # All operations can be repeated. A server that was restarted has forgotten the script.
        self._repeatable = (
            exceptions.ConnectionError,
            exceptions.TimeoutError,
            exceptions.NoScriptError,
            OSError,
        )
        self._declared = shared
        self.shared = bool(shared)
        self._server: Redis = self._connect()
        self._server_loop: asyncio.AbstractEventLoop | None = None
        self._script: str | None = None

    async def aclose(self) -> None:
        """Close the connection."""
        writer = getattr(self._server.connection, "_writer", None)
        await super().aclose()
        self._script = None
        with contextlib.suppress(*self._errors):
            await self._server.aclose()
        if writer is not None:  # redis-py leaves open what waits for the server to take more
            writer.transport.abort()

    async def _run(self, operations: list[tuple[Any, ...]]) -> list[Any]:
        loop = asyncio.get_running_loop()
        if loop is not self._server_loop:  # a connection belongs to the loop that opened it
            self._server, self._server_loop, self._script = self._connect(), loop, None
        try:
            try:
                answers = await self._send(operations)
            except self._repeatable:  # once more, after another look at the server
                self._script = None
                answers = await self._send(operations)
        except self._errors as error:
            self._script = None
            raise StoreError(f"The store of idempotency keys cannot be used: {error}") from None
        return [self._result(name, answer) for (name, *_), answer in zip(operations, answers, strict=True)]

    async def _send(self, operations: list[tuple[Any, ...]]) -> list[Any]:
        if self._script is None:
            missing = await self._look()
            if self._declared is None:
                self.shared = not missing
                if missing:
                    _log.warning(_NOT_SHARED, "; ".join(missing))
            self._script = await self._server.script_load(_SCRIPT)
        keys: list[bytes] = []
        arguments: list[Any] = []
        for name, key, *given in operations:
            keys.append(self._prefix + key.hex().encode())
            if name == "finish" and given[1] is None:
                arguments += (2, "free", given[0])
            else:
                arguments += (1 + len(given), name, *given)
        keys.append(self._prefix + b"held")
        connection = self._server.connection
        assert connection is not None  # noqa: S101 - it has loaded the script
        # Not through redis-py's client around the connection, which takes as long again.
        await connection.send_packed_command(
            self._pack(("EVALSHA", self._script, len(keys), *keys, *arguments))
        )
        answers: list[Any] = await connection.read_response()
        return answers

    async def _look(self) -> list[str]:
        """Return why the server may lose what it has confirmed.

        Raises:
            StoreError: It cannot be written to, or not with this prefix.
        """
        missing = []
        try:
            info = await self._server.info()
        except self._response_error:
            missing.append("its replicas cannot be listed (INFO)")
        else:
            if info.get("slave_read_only"):
                raise StoreError("The store of idempotency keys is a replica that cannot be written to.")
            if info.get("cluster_enabled") and b"{" not in self._prefix:
                raise StoreError(
                    "The store of idempotency keys is a cluster. It needs a prefix such as {navai}: "
                    "(?prefix={navai}:), which keeps all keys at one node, and the URL of that node."
                )
            if info.get("role") != "master" or info.get("connected_slaves"):
                missing.append("a replica could take its place without the latest changes")
        try:
            found = await self._server.config_get("append*", "no-append*", "maxmemory*")
        except self._response_error:
            missing.append("its settings cannot be read (CONFIG GET)")
        else:
            missing += [
                f"{name} is {found.get(name)!r} and not {wanted!r}"
                for name, wanted in _DURABLE.items()
                if found.get(name) != wanted and not (name == _EVICTION and found.get("maxmemory") == "0")
            ]
        return missing

    def _result(self, name: str, answer: Any) -> Any:
        if name == "count":
            number, milliseconds = answer
            return number, milliseconds / 1000
        if name == "list_held":
            return [bytes.fromhex(key.removeprefix(self._prefix).decode()) for key in answer]
        if isinstance(answer, list):
            state, *others = answer
            return StoreEntry(state.decode(), *others)
        return answer
