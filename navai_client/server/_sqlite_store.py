# ruff: noqa: S608 - statements are made of parts of this file
"""The store for several processes on one machine: an SQLite file.

Operations that are wanted at the same time become one transaction. The file is in WAL mode. What a
transaction has written survives the end of the processes. With ``synchronous=full``, each transaction waits
for the disk, so that it survives a loss of power, too.

A transaction that need not wait runs on the event loop, where it takes less time than a thread needs to begin
it. Two kinds may wait, and run in a thread: one that finds another process writing, and now and then the
upkeep, which waits for the disk so that no other transaction has to.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from navai_client._threads import CallThreads
from navai_client.server._errors import StoreError
from navai_client.server._store import LAPSED, MAX_STORE_BYTES, UNKNOWN_TTL_S, BatchedStore, StoreEntry

_log: Final = logging.getLogger("navai_client.server")

_BUSY_S: Final = 2.0  # transactions of other processes take milliseconds
_UPKEEP_S: Final = 1.0
_MAX_PURGED: Final = 1000  # entries at a time: others wait meanwhile
_PRIMARY_CODE: Final = 0xFF  # of an extended result code: https://sqlite.org/rescode.html
_MAX_WAL_BYTES: Final = 4 * 2**20  # SQLite's own default, 1000 pages
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS navai_keys (
    key BLOB PRIMARY KEY, state TEXT NOT NULL, fingerprint BLOB NOT NULL, token BLOB NOT NULL, outcome BLOB,
    call BLOB, lease_ends REAL NOT NULL, expires REAL NOT NULL, waits_until REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS navai_keys_expires ON navai_keys (expires);
CREATE INDEX IF NOT EXISTS navai_keys_held ON navai_keys (waits_until) WHERE call IS NOT NULL;
CREATE TABLE IF NOT EXISTS navai_counts (name BLOB PRIMARY KEY, number INTEGER NOT NULL, ends REAL NOT NULL);
"""
# An entry with the given token, unless its claim has lapsed.
_OWNED: Final = (
    "key = :key AND token = :token AND expires > :now AND (state != 'claimed' OR lease_ends > :now)"
)
# This replaces an entry that has expired and was not purged yet.
_INSERT: Final = (
    "INSERT INTO navai_keys VALUES (?, ?, ?, ?, NULL, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "state = excluded.state, fingerprint = excluded.fingerprint, token = excluded.token, outcome = NULL, "
    "call = excluded.call, lease_ends = excluded.lease_ends, expires = excluded.expires, "
    "waits_until = excluded.waits_until WHERE expires <= ?"
)


class SQLiteStore(BatchedStore):
    """A store in a file, for all processes that open it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = MAX_STORE_BYTES,
        synchronous: Literal["normal", "full"] = "normal",
        temporary: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep everything in the file at *path*. The first use makes it, for this user alone.

        Args:
            path: The file, on a disk of this machine: SQLite's locks do not work over networks.
            max_bytes: How large it may become. When it is full, no further key is claimed.
            synchronous: With ``"full"``, each transaction waits for the disk, and survives a loss of power.
                With ``"normal"``, a loss of power may lose the latest ones, and the log warns of that.
            temporary: Whether the file is deleted once its processes have ended. Then nothing waits for the
                disk, and the log does not warn.
            clock: Returns the time, which all processes must share.

        Raises:
            ValueError: An argument cannot work.
        """
        super().__init__()
        if not os.fspath(path) or synchronous not in ("normal", "full"):
            raise ValueError("An SQLite store needs a path, and synchronous must be normal or full.")
        self._path = os.fspath(path)
        self._max_bytes = max_bytes
        self._synchronous = "off" if temporary else synchronous
        self._clock = clock
        self._threads = CallThreads(1)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = 0  # how often: operations from before must not reopen the file
        self._upkeep_at = 0.0

    async def aclose(self) -> None:
        """Close the file."""
        await super().aclose()
        with self._lock:
            self._closed += 1
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def _run(self, operations: list[tuple[Any, ...]]) -> list[Any]:
        closed = self._closed
        is_quick = self._synchronous != "full" and self._clock() < self._upkeep_at
        if is_quick and self._connection is not None and self._lock.acquire(blocking=False):
            try:
                return self._transact(self._connection, operations)
            except sqlite3.Error as error:
                if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                    raise _unusable(error) from None
            finally:
                self._lock.release()
        return await self._threads.run("store", lambda: self._wait_and_transact(operations, closed))

    def _wait_and_transact(self, operations: list[tuple[Any, ...]], closed: int) -> list[Any]:
        with self._lock:
            if closed != self._closed:
                raise StoreError("The store of idempotency keys was closed.")
            try:
                if self._connection is None:
                    self._connection = self._open()
                self._connection.execute(f"PRAGMA busy_timeout={_BUSY_S * 1000:.0f}")
                try:
                    if Path(f"{self._path}-wal").stat().st_size > _MAX_WAL_BYTES:
                        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    return self._transact(self._connection, operations)
                finally:
                    self._connection.execute("PRAGMA busy_timeout=0")
            except (sqlite3.Error, OSError) as error:
                raise _unusable(error) from None

    def _transact(self, connection: sqlite3.Connection, operations: list[tuple[Any, ...]]) -> list[Any]:
        with connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            now = self._clock()
            if now >= self._upkeep_at:
                self._purge(transaction, now)
            run = _Operations(transaction, now)
            return [getattr(run, name)(*arguments) for name, *arguments in operations]

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            connection.execute("PRAGMA wal_autocheckpoint=0")  # an automatic one waits for the disk
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count={max(16, self._max_bytes // page_bytes)}")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        if mode != "wal":  # in memory, or on a disk that processes cannot share
            connection.close()
            raise sqlite3.OperationalError("it cannot be in WAL mode, for several processes")
        if self._synchronous == "normal":
            _log.warning(
                "A loss of power may lose the latest idempotency keys; synchronous=full prevents that."
            )
        return connection

    def _purge(self, transaction: sqlite3.Connection, now: float) -> None:
        purged = transaction.execute(
            "DELETE FROM navai_keys WHERE key IN (SELECT key FROM navai_keys WHERE expires <= ? LIMIT ?)",
            (now, _MAX_PURGED),
        ).rowcount
        self._upkeep_at = now + (_UPKEEP_S if purged < _MAX_PURGED else _UPKEEP_S / 20)
        transaction.execute("DELETE FROM navai_counts WHERE ends <= ?", (now,))


def _unusable(error: Exception) -> StoreError:
    return StoreError(f"The store of idempotency keys cannot be used: {error}")


class _Operations:
    """The operations of a store, within a transaction that began *now*."""

    def __init__(self, transaction: sqlite3.Connection, now: float) -> None:
        self._execute = transaction.execute
        self._now = now

    def claim(self, key: bytes, token: bytes, fingerprint: bytes, lease: float) -> StoreEntry:
        return self._claim(key, StoreEntry("claimed", fingerprint, token), lease)

    def begin(self, key: bytes, token: bytes, fingerprint: bytes, lease: float) -> StoreEntry:
        return self._claim(key, StoreEntry("started", fingerprint, token), lease)

    def start(self, key: bytes, token: bytes, lease: float) -> int:
        return self._lease(
            "state = 'started', expires = max(waits_until, :ends + :unknown)", key, token, lease
        )

    def renew(self, key: bytes, token: bytes, lease: float) -> int:
        expires = "max(waits_until, :ends + (state = 'started') * :unknown)"
        return self._lease(f"expires = {expires}", key, token, lease)

    def finish(self, key: bytes, token: bytes, outcome: bytes | None, ttl: float) -> int:
        ours = {"key": key, "token": token, "now": self._now}
        if outcome is not None:
            return self._execute(
                "UPDATE navai_keys SET outcome = coalesce(outcome, :outcome), call = NULL, "
                "expires = CASE WHEN outcome IS NULL THEN :ends ELSE expires END, "
                f"state = CASE WHEN outcome IS NULL THEN 'done' ELSE state END WHERE {_OWNED}",
                {**ours, "outcome": outcome, "ends": self._now + ttl},
            ).rowcount
        row = self._execute(
            f"SELECT state, outcome, waits_until FROM navai_keys WHERE {_OWNED}", ours
        ).fetchone()
        if row is None:
            return 0
        state, ended, waits_until = row
        if ended is None and state in LAPSED and waits_until > self._now:
            self._execute(
                "UPDATE navai_keys SET state = 'waiting', token = x'', expires = waits_until "
                "WHERE key = :key",
                ours,
            )
        elif ended is None:
            self._execute("DELETE FROM navai_keys WHERE key = :key", ours)
        return 1

    def hold(self, key: bytes, token: bytes, fingerprint: bytes, ttl: float, *held: Any) -> StoreEntry | None:
        call, limit = held
        entry = self.read(key)
        if entry is None and len(self.list_held()) < limit:
            entry = self._insert(key, StoreEntry("waiting", fingerprint, token, None, call), ttl)
        return entry

    def approve(self, key: bytes, token: bytes, fingerprint: bytes, lease: float) -> StoreEntry | None:
        entry = self.read(key)
        if entry is None or entry.fingerprint != fingerprint:
            return None
        if entry.state != "waiting":
            return entry
        self._execute(
            "UPDATE navai_keys SET state = 'claimed', token = :token, lease_ends = :ends, "
            "expires = max(waits_until, :ends) WHERE key = :key",
            {"key": key, "token": token, "ends": self._now + lease},
        )
        return self.read(key)

    def reject(self, key: bytes, fingerprint: bytes, outcome: bytes, ttl: float) -> bool:
        entry = self.read(key)
        if entry is None or entry.fingerprint != fingerprint:
            return False
        if entry.state != "waiting":
            return entry.state == "rejected"
        self._execute(
            "UPDATE navai_keys SET state = 'rejected', outcome = ?, call = NULL, expires = ? WHERE key = ?",
            (outcome, self._now + ttl, key),
        )
        return True

    def list_held(self, *_name: bytes) -> list[bytes]:
        found = self._execute(
            "SELECT key FROM navai_keys WHERE call IS NOT NULL AND waits_until > ?", (self._now,)
        )
        return [key for (key,) in found]

    def read(self, key: bytes) -> StoreEntry | None:
        row = self._execute(
            "SELECT state, fingerprint, token, outcome, call, lease_ends FROM navai_keys "
            "WHERE key = ? AND expires > ?",
            (key, self._now),
        ).fetchone()
        if row is None:
            return None
        state, fingerprint, token, outcome, call, lease_ends = row
        if lease_ends <= self._now:
            state = LAPSED.get(state, state)
        return StoreEntry(state, fingerprint, token, outcome, call)

    def count(self, name: bytes, window: float) -> tuple[int, float]:
        number, ends = self._execute(
            "INSERT INTO navai_counts VALUES (:name, 1, :now + :window) ON CONFLICT (name) DO UPDATE SET "
            "number = CASE WHEN ends > :now THEN number + 1 ELSE 1 END, "
            "ends = CASE WHEN ends > :now THEN ends ELSE :now + :window END RETURNING number, ends",
            {"name": name, "now": self._now, "window": window},
        ).fetchone()
        return number, ends - self._now

    def _claim(self, key: bytes, claim: StoreEntry, lease: float) -> StoreEntry:
        entry = self._insert(key, claim, lease)
        if entry is not claim and entry.token == claim.token and self.renew(key, claim.token, lease):
            entry = self.read(key) or entry
        return entry

    def _insert(self, key: bytes, entry: StoreEntry, seconds: float) -> StoreEntry:
        """Keep *entry* if *key* is free, and return the entry of *key*."""
        ends = self._now + seconds
        expires = ends + UNKNOWN_TTL_S if entry.state == "started" else ends
        waits_until = 0.0 if entry.call is None else ends
        row = (key, entry.state, entry.fingerprint, entry.token, entry.call, ends, expires, waits_until)
        is_kept = self._execute(_INSERT, (*row, self._now)).rowcount
        return entry if is_kept else self.read(key) or entry

    def _lease(self, change: str, key: bytes, token: bytes, lease: float) -> int:
        ends = self._now + lease
        return self._execute(
            f"UPDATE navai_keys SET {change}, lease_ends = :ends "
            f"WHERE {_OWNED} AND state IN ('claimed', 'started')",
            {"key": key, "token": token, "now": self._now, "ends": ends, "unknown": UNKNOWN_TTL_S},
        ).rowcount
