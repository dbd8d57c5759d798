"""Commits in a mapped table by somebody who does not own it: told with transaction, position and role, not carried on.

The guard refuses normal writers, so these are superusers who took its triggers away, or a restore. What they wrote is
captured on the side that does not own, and would go to the owner as if it had been accepted there.

1. The target's own row in banyan.ownership decides, as it does for the guard. A target that owns a wave became its
   owner only after the source's marker was applied (or never was anything else), so nothing that the source accepted
   as an owner is still to come: a change of that wave that comes now is foreign. No clock and no order of two logs is
   asked.
2. The target can lose a wave at any time, and the source's first change follows. So before a change is called foreign
   the row is read anew, after the change has come: `moving`, or the source's, and it is carried on.
3. The target can only gain a wave when the source's marker has come through here. So while the source owns all waves
   and no marker has come, nothing is looked up: a stream in use costs nothing.
4. The alarm is written before the position moves past the commit, once for each transaction and table.

A foreign commit therefore shows as drift of the side it was made on, and `banyan verify --repair` takes it back. What
came between a marker and the moment at which the target opened is carried on, and told by nobody.

A session that sets up an origin of its own passes the guard, and is not captured: the guard itself writes it down, with
its role (banyan.witness).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any

import psycopg
import structlog

from cdc.apply.route import Route, Routes, key_text
from cdc.apply.session import translated_errors
from cdc.capture.raw import Captured, Raw, as_event
from cdc.change import FENCE, Change, lsn_text
from cdc.config import Stream
from cdc.errors import Transient, first_line

BUCKETS = 1024
KEYS_TOLD = 10
COUNT_EVERY_S = 60.0
UNKNOWN = "unknown"

OWNERSHIP = """
SELECT bucket_from, bucket_to, owner FROM banyan.ownership WHERE domain = %s
"""
HAS = "SELECT to_regclass('banyan.ownership') IS NOT NULL"
TELL = """
INSERT INTO banyan.foreign_write AS f (stream, xid, "table", lsn, commit_at, role, keys, rows)
VALUES (%s, %s, %s, %s::pg_lsn, %s, %s, %s, %s)
ON CONFLICT (stream, lsn, "table") DO UPDATE SET rows = f.rows + excluded.rows RETURNING xmax = 0
"""
UNSETTLED = "SELECT count(*) FROM banyan.foreign_write WHERE stream = %s AND settled_at IS NULL"
# The session is often still there, its last statement too: the newest writers of the table that are none of ours.
# Who hides its statements from us stays unknown.
SUSPECTS = """
SELECT DISTINCT a.usename || CASE WHEN a.application_name <> '' THEN ' (' || a.application_name || ')' ELSE '' END
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
   AND a.application_name NOT LIKE 'banyan-%%' AND a.state_change > clock_timestamp() - interval '1 min'
   AND (a.query ~* %s OR a.state = 'idle' AND a.query ~* '^\\s*(commit|end)')
 ORDER BY 1 LIMIT 3
"""

log = structlog.get_logger("cdc.foreign")


@dataclass(slots=True)
class _Written:
    """What one foreign transaction did to one table."""

    xid: int
    commit_at: Any
    keys: list[str]
    rows: int = 0


class Foreign:
    """Asks over connections of its own: the applier's is at work. Used by one thread."""

    def __init__(self, stream: Stream, routes: Routes, source_dsn: str, target_dsn: str) -> None:
        self._stream, self._domain, self._routes = stream.name, stream.domain, routes
        forward = stream.direction == "forward"
        self._source_side, self._side = ("legacy", "service") if forward else ("service", "legacy")
        self._source_dsn, self._target_dsn = source_dsn, target_dsn
        self._target: psycopg.Connection[Any] | None = None
        self._quiet = False  # the target owns nothing, and no marker has come through since it was asked
        self._unsettled, self._counted_at = 0, float("-inf")

    def close(self) -> None:
        if self._target is not None:
            self._target.close()
            self._target = None

    def admit(self, events: Sequence[Captured]) -> Sequence[Captured]:
        """The events without those of foreign writers. Raises: Transient, TargetRefused."""
        if self._quiet:
            self._quiet = not any(type(event) is Change and _is_marker(event) for event in events)
            return events  # what comes in one batch with the marker came before anybody could see it applied
        if not any(_table(event) in self._routes.by_source for event in events):
            return events
        with translated_errors():
            waves = self._waves()
            owned = [range(first, last) for first, last, owner in waves if owner == self._side]
            if owned:
                return self._sift(events, owned)
            # Nothing is the target's. It cannot become so without a marker, unless one has just come through and the
            # switch is still at work: then the source says that it does not own.
            self._quiet = (bool(waves) or self._side == "service") and self._source_owns_all()
        return events

    def unsettled(self) -> int:
        """How many commits nobody has seen to yet, here and in what the source's guard has written down.

        As of the last look, which is taken now and then, and which nobody waits for.
        """
        if time.monotonic() - self._counted_at >= COUNT_EVERY_S:
            self._counted_at = time.monotonic()
            threading.Thread(target=self._count, name=f"foreign-{self._stream}", daemon=True).start()
        return self._unsettled

    def _count(self) -> None:
        try:
            counts = []
            for dsn in (self._source_dsn, self._target_dsn):
                with self._open(dsn) as connection:
                    row = connection.execute(UNSETTLED, [self._stream]).fetchone()
                    counts.append(row[0] if row else 0)
            self._unsettled = sum(counts)
        except psycopg.Error:
            return  # a stream that cannot reach its ends says so itself

    def _sift(self, events: Sequence[Captured], owned: list[range]) -> list[Captured]:
        kept: list[Captured] = []
        written: dict[tuple[int, str], _Written] = {}
        whole = sum(len(waves) for waves in owned) >= BUCKETS
        for event in events:
            route = self._routes.by_source.get(_table(event))
            if route is None or not route.changes_hands:
                kept.append(event)
                continue
            change = as_event(event)
            assert isinstance(change, Change)
            if not (whole or self._in(change, route, owned)):
                kept.append(event)
                continue
            found = written.setdefault(
                (change.tx.commit_lsn, route.source), _Written(change.tx.xid, change.tx.commit_at, [])
            )
            found.rows += 1
            if len(found.keys) < KEYS_TOLD and change.op != "t":
                found.keys.append(key_text(route.identity(change)))
        if written:
            self._tell(written)
        return kept

    @staticmethod
    def _in(change: Change, route: Route, owned: list[range]) -> bool:
        """A change that does not say its bucket is somebody's own: it is not called foreign."""
        column = route.mapping.bucket_key("legacy" if route.direction == "forward" else "service")
        row = change.after if change.after is not None else change.before
        value = (row or {}).get(column) if column is not None else None
        if value is None:
            return False
        bucket = int.from_bytes(md5(str(value).encode()).digest()[:4]) % BUCKETS  # noqa: S324  the guard's hash
        return any(bucket in waves for waves in owned)

    def _waves(self) -> list[tuple[int, int, str]]:
        """None without a guard."""
        target = self._connection()
        row = target.execute(HAS).fetchone()
        return target.execute(OWNERSHIP, [self._domain]).fetchall() if row is not None and row[0] else []

    def _source_owns_all(self) -> bool:
        try:
            with self._open(self._source_dsn) as source:
                row = source.execute(HAS).fetchone()
                if row is None or not row[0]:
                    return True
                return all(owner == self._source_side for _, _, owner in source.execute(OWNERSHIP, [self._domain]))
        except psycopg.Error:
            return False  # asked again with the next change

    def _open(self, dsn: str) -> psycopg.Connection[Any]:
        name = f"banyan-cdc {self._stream} ownership"
        options = "-c statement_timeout=1000"
        return psycopg.connect(dsn, autocommit=True, connect_timeout=2, application_name=name, options=options)

    def _tell(self, written: dict[tuple[int, str], _Written]) -> None:
        target = self._connection()
        for (lsn, table), found in written.items():
            role, keys = self._role(table), f"[{', '.join(found.keys)}]"
            at = lsn_text(lsn)
            row = target.execute(
                TELL, [self._stream, found.xid, table, at, found.commit_at, role, keys, found.rows]
            ).fetchone()
            if row is not None and row[0]:
                self._unsettled += 1
                told = {"xid": found.xid, "lsn": at, "role": role, "rows": found.rows, "keys": keys}
                log.error("foreign writer", stream=self._stream, table=table, **told)

    def _role(self, table: str) -> str:
        """The log has no role. Whose newest statement was about the table; several, or nobody, is said as it is."""
        try:
            with self._open(self._source_dsn) as source:
                rows = source.execute(SUSPECTS, [rf"\m{table.rpartition('.')[2]}\M"]).fetchall()
        except psycopg.Error:
            return UNKNOWN
        return " or ".join(role for (role,) in rows) or UNKNOWN

    def _connection(self) -> psycopg.Connection[Any]:
        if self._target is None or self._target.closed:
            try:
                self._target = psycopg.connect(
                    self._target_dsn,
                    autocommit=True,
                    connect_timeout=5,
                    application_name=f"banyan-cdc {self._stream} ownership",
                )
            except psycopg.OperationalError as e:
                raise Transient(f"cannot connect to the target: {first_line(e)}") from e
        return self._target


def _table(event: Captured) -> str:
    """The captured table of a row's change or a truncate; of anything else none."""
    if isinstance(event, Raw):
        return event.table.relation.name
    return event.relation.name if isinstance(event, Change) and event.relation is not None else ""


def _is_marker(event: Captured) -> bool:
    return type(event) is Change and event.message is not None and event.message.prefix == FENCE
