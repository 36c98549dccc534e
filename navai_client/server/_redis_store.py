"""The store of any number of machines: a server that speaks Redis' protocol, such as Redis 7 or Valkey.

What is asked at the same time is one run of a script on the server, so it is atomic and its times are the
server's. An entry is a hash, and expires by itself.

What the server confirms must be there after a restart: the store counts as shared only if the server appends
each change to its file before it confirms it, evicts nothing, and no replica could take its place without the
latest changes. Who knows better than this check says ``shared=True``.
"""

import asyncio
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

_TIMEOUT_S: Final = 2.0  # of a connection and of a response: calls wait for it
_EVICTION: Final = "maxmemory-policy"
_DURABLE: Final = {"appendonly": "yes", "appendfsync": "always", _EVICTION: "noeviction"}
# For each of its keys, the script is given the number of an operation's arguments, and these, its name first.
_SCRIPT: Final = (
    f"local unknown_ttl = {UNKNOWN_TTL_S * 1000:.0f}"
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function milliseconds(seconds) return math.ceil(tonumber(seconds) * 1000) end
local function hold(key, state, lease, ...)
  redis.call('HSET', key, 'state', state, 'lease_ends', now + lease, ...)
  redis.call('PEXPIRE', key, state == 'started' and lease + unknown_ttl or lease)
end
local function count(key, window)
  local number = redis.call('INCR', key)
  if number == 1 then redis.call('PEXPIRE', key, milliseconds(window)) end
  return {number, redis.call('PTTL', key)}
end
local claims = {claim = 'claimed', begin = 'started'}
local function run(key, operation, token, value, seconds)
  if operation == 'count' then return count(key, token) end
  local entry = redis.call('HMGET', key, 'state', 'fingerprint', 'token', 'outcome', 'lease_ends')
  local state = entry[1]
  if claims[operation] and not state then
    state = claims[operation]
    hold(key, state, milliseconds(seconds), 'fingerprint', value, 'token', token)
    return {state, value, token, false}
  end
  if claims[operation] or operation == 'read' then
    if not state then return false end
    if state == 'started' and tonumber(entry[5]) <= now then state = 'unknown' end
    return {state, entry[2], entry[3], entry[4]}
  end
  if entry[3] ~= token then return 0 end
  if operation == 'finish' then
    if state == 'done' then return 1 end
    redis.call('HSET', key, 'state', 'done', 'outcome', value)
    redis.call('PEXPIRE', key, milliseconds(seconds))
  elseif operation == 'free' then
    if state ~= 'done' then redis.call('DEL', key) end
  else
    if state == 'done' then return 0 end
    hold(key, operation == 'start' and 'started' or state, milliseconds(value))
  end
  return 1
end
local results, last = {}, 0
for number, key in ipairs(KEYS) do
  local first = last + 2
  last = last + 1 + tonumber(ARGV[last + 1])
  results[number] = run(key, unpack(ARGV, first, last))
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
            shared: Whether clients are told that all replicas share this store, by default if the settings
                of the server allow that.

        Raises:
            ImportError: The extra ``redis`` is not installed.
            ValueError: The URL cannot work.
        """
        super().__init__()
        with needs_extra("redis", "redis"):
            import redis.asyncio  # noqa: PLC0415 - only for who needs it
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.exceptions import NoScriptError, RedisError, ResponseError  # noqa: PLC0415
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self._prefix = (options.pop("prefix", "navai:") if prefix is None else prefix).encode()
        # Once more after a connection that had broken: all operations can be repeated.
        self._connect = functools.partial(
            redis.asyncio.Redis.from_url,
            parts._replace(query=urlencode(options)).geturl(),
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
        self._errors = RedisError, OSError
        self._no_script, self._response_error = NoScriptError, ResponseError
        self._declared = shared
        self.shared = bool(shared)
        self._server: Redis = self._connect()
        self._server_loop: asyncio.AbstractEventLoop | None = None
        self._script: str | None = None

    async def aclose(self) -> None:
        """Close the connection."""
        await super().aclose()
        await self._server.aclose()

    async def _run(self, operations: list[tuple[Any, ...]]) -> list[Any]:
        loop = asyncio.get_running_loop()
        if loop is not self._server_loop:  # a connection belongs to the loop that opened it
            self._server, self._server_loop, self._script = self._connect(), loop, None
        try:
            try:
                answers = await self._send(operations)
            except self._no_script:  # the server was started again: look at it again, too
                self._script = None
                answers = await self._send(operations)
        except self._errors as error:
            self._script = None
            raise StoreError(f"The store of idempotency keys cannot be used: {error}") from None
        return [_result(name, answer) for (name, *_), answer in zip(operations, answers, strict=True)]

    async def _send(self, operations: list[tuple[Any, ...]]) -> list[Any]:
        if self._script is None:
            if self._declared is None:
                self.shared = await self._is_durable()
            self._script = await self._server.script_load(_SCRIPT)
        keys: list[bytes] = []
        arguments: list[Any] = []
        for name, key, *given in operations:
            keys.append(self._prefix + key.hex().encode())
            if name == "finish" and given[1] is None:
                arguments += (2, "free", given[0])
            else:
                arguments += (1 + len(given), name, *given)
        answers: list[Any] = await self._server.evalsha(self._script, len(keys), *keys, *arguments)
        return answers

    async def _is_durable(self) -> bool:
        """Return whether the server keeps what it has confirmed, and log what is missing for that."""
        try:
            found = await self._server.config_get("append*", "maxmemory*")
        except self._response_error:
            missing = ["its settings cannot be read"]
        else:
            info = await self._server.info("replication")
            missing = [
                f"{name} is {found.get(name)!r} and not {wanted!r}"
                for name, wanted in _DURABLE.items()
                if found.get(name) != wanted and not (name == _EVICTION and found.get("maxmemory") == "0")
            ]
            if info.get("role") != "master" or info.get("connected_slaves"):
                missing.append("a replica could take its place without the latest changes")
        if missing:
            _log.warning(
                "Clients are not told that all replicas share the store of idempotency keys: it could lose "
                "what it has confirmed: %s.",
                "; ".join(missing),
            )
        return not missing


def _result(name: str, answer: Any) -> Any:
    if name == "count":
        number, milliseconds = answer
        return number, milliseconds / 1000
    if isinstance(answer, list):
        state, *others = answer
        return StoreEntry(state.decode(), *others)
    return answer
