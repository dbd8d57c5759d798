"""Gives the keys that differ the owner's row again, at the side that does not own them; the owner's is never written.

The window rule, with the roles of reading and writing exchanged:

1. The owner's rows are read in a snapshot F, and the applier is waited for until it has brought what F shows.
2. In one transaction at the other side, as an applier (so the guard lets it pass, and nobody captures it): ownership is
   held where it is until the end (`banyan.assert_owned`), and the table is locked against other writers. The applier
   has now either committed what it has of this table, or has not begun: its position A is exact, and stays so.
3. T, as in cdc.verify.window, of F and A: keys of transactions that F does not show, or that did not end before A.
4. Every other key is here in the state of F's history, whatever became of it since. What F shows of it is written: an
   upsert, or a delete. Changes after F come after our commit, through the applier.
5. Keys of T, and all of them if the lock is not had within LOCK_MS, are tried again; parked keys are left to
   `python -m cdc parked`: what waits for them is older than the owner's row and would be written over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.owned import require_source_owns
from cdc.apply.route import key_text
from cdc.apply.session import become_applier, connect, translated_errors
from cdc.change import lsn_number
from cdc.errors import NotPrepared, TargetOwns, Transient
from cdc.mapping import Direction, Side, TableMapping, reader
from cdc.mapping import Mapping as DomainMapping
from cdc.prepare import create_origin
from cdc.verify import rows
from cdc.verify.compare import Comparison
from cdc.verify.emit import Emitter
from cdc.verify.owners import Owners
from cdc.verify.report import Difference
from cdc.verify.run import opened
from cdc.verify.snapshot import Snapshot
from cdc.verify.touches import Carrier
from cdc.verify.window import ENDS, SIDES, Stalled, Windows

BATCH_KEYS = 200
# Below deadlock_timeout (1 s): we give way, not the applier.
LOCK_MS = 300
ROUNDS = 10


@dataclass(slots=True)
class Repaired:
    """`alike`: they had come right by themselves; `left`: why a key was not repaired, in words."""

    repaired: int = 0
    alike: int = 0
    left: list[tuple[Difference, str]] = field(default_factory=list)


def repair(
    legacy_dsn: str,
    service_dsn: str,
    mapping: DomainMapping,
    carriers: Mapping[Direction, Carrier],
    drifted: Sequence[Difference],
    *,
    wait_s: float = 5.0,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Repaired:
    """Raises: Transient, VerifyError, NotPrepared. `progress`: keys seen to, of how many."""
    found = Repaired()
    with opened(legacy_dsn, service_dsn, mapping, carriers, wait_s) as windows:
        for table in mapping.tables:
            mine = [difference for difference in drifted if difference.table == table.legacy]
            for start in range(0, len(mine), BATCH_KEYS):
                _Batch(table, windows, found).run(mine[start : start + BATCH_KEYS])
                progress(found.repaired + found.alike + len(found.left), len(drifted))
    return found


class _Batch:
    """Some keys of one table."""

    def __init__(self, table: TableMapping, windows: Windows, found: Repaired) -> None:
        self._table, self._windows, self._found = table, windows, found
        self._comparison = comparison = Comparison.of(table)
        columns: dict[Side, tuple[str, ...]] = {
            "legacy": comparison.legacy_columns,
            "service": comparison.service_columns,
        }
        self._keys: dict[Side, tuple[str, ...]] = {"legacy": table.forward.source_key, "service": table.forward.key}
        self._shapes = {side: reader.shape(windows.asking[side], table.table(side), columns[side]) for side in SIDES}
        self._emitter = Emitter(table, self._shapes)
        self._owners = Owners(table, windows, self._shapes, comparison.key_of)

    def run(self, differences: Sequence[Difference]) -> None:
        named = {self._key(difference): difference for difference in differences}
        if self._table.part is not None:
            self._leave(named, named, "it is a part of a wide row: change it at its owner's side, and it is carried")
            return
        for direction, keys in self._owners.directions(list(named)).items():
            if direction is None or direction not in self._windows.carriers:
                why = "its wave is moving" if direction is None else f"there is no {direction} stream"
                self._leave(named, keys, why)
                continue
            try:
                with self._applier(direction) as target:
                    for _ in range(ROUNDS):
                        if keys:
                            keys = self._once(target, direction, keys, named)
            except TargetOwns as error:
                self._leave(named, keys, str(error))
                continue
            except Stalled:
                self._leave(named, keys, f"{self._windows.carriers[direction].stream} does not catch up")
                continue
            self._leave(named, keys, "it kept changing")

    def _once(
        self, target: psycopg.Connection[Any], direction: Direction, keys: list[Any], named: Mapping[Any, Difference]
    ) -> list[Any]:
        """The keys that must be tried again."""
        source, _ = ENDS[direction]
        carrier, windows = self._windows.carriers[direction], self._windows
        windows.listen(direction)
        reading = windows.reading[source]
        try:
            snapshot = Snapshot.parse(_one(reading, "SELECT pg_current_snapshot()::text"))
            owners_rows = self._rows(reading, source, keys)
        finally:
            reading.rollback()
        windows.passed(direction)
        again: list[Any] = []
        target.execute("BEGIN")
        try:
            target.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_MS)))
            self._require_owner(target, direction, keys)
            target.execute(
                sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(reader.name(self._table.target(direction)))
            )
            applied = lsn_number(
                _one(target, "SELECT source_lsn::text FROM banyan.stream WHERE stream = %s", carrier.stream)
            )
            touched = windows.since(direction, snapshot, applied)
            parked = self._parked(target, direction)
            here = self._rows(target, ENDS[direction][1], keys)
            done, alike, left = 0, 0, list[tuple[Difference, str]]()
            for key in keys:
                values = key if isinstance(key, tuple) else (key,)
                if touched.covers(self._table.legacy, values):
                    again.append(key)
                elif key_text(values) in parked:
                    left.append((named[key], "its changes are parked: replay or discard them first"))
                elif self._alike(direction, key, owners_rows.get(key), here.get(key)):
                    alike += 1
                elif (why := self._emitter.write(target, direction, key, owners_rows.get(key))) is None:
                    done += 1
                else:
                    left.append((named[key], why))
            target.execute("COMMIT")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            target.execute("ROLLBACK")
            return keys
        except BaseException:
            if not target.closed:
                target.execute("ROLLBACK")
            raise
        self._found.repaired += done
        self._found.alike += alike
        self._found.left += left
        return again

    def _alike(self, direction: Direction, key: Any, owners: rows.Row | None, other: rows.Row | None) -> bool:
        legacy, service = (owners, other) if direction == "forward" else (other, owners)
        return self._comparison.difference(key, legacy, service) is None

    def _rows(self, connection: psycopg.Connection[Any], side: Side, keys: list[Any]) -> dict[Any, rows.Row]:
        return rows.of_keys(connection, self._shapes[side], self._keys[side], keys, self._comparison.key_of)

    def _key(self, difference: Difference) -> Any:
        values = tuple(difference.key.values())
        return values if len(values) > 1 else values[0]

    def _parked(self, target: psycopg.Connection[Any], direction: Direction) -> set[str]:
        found = target.execute(
            'SELECT DISTINCT key FROM banyan.parked WHERE stream = %s AND "table" = %s',
            [self._windows.carriers[direction].stream, self._table.source(direction)],
        ).fetchall()
        return {key_text(key) for (key,) in found}

    def _require_owner(self, target: psycopg.Connection[Any], direction: Direction, keys: list[Any]) -> None:
        """Held until the transaction ends. Raises: TargetOwns."""
        if self._table.direction == "forward":
            return
        domain = self._windows.mapping.domain
        if len(self._windows.owners()) < 2:
            require_source_owns(target, domain, direction)
            return
        for bucket_key in sorted(set(self._owners.bucket_keys(keys).values())):
            require_source_owns(target, domain, direction, bucket_key)

    def _leave(self, named: Mapping[Any, Difference], keys: Any, why: str) -> None:
        self._found.left += [(named[key], why) for key in keys]

    @contextmanager
    def _applier(self, direction: Direction) -> Iterator[psycopg.Connection[Any]]:
        """With an origin of its own: the stream's belongs to its process."""
        carrier = self._windows.carriers[direction]
        if carrier.apply_dsn is None or carrier.origin is None:
            raise NotPrepared(f"nobody said how {carrier.stream} writes")
        origin = f"{carrier.origin[:56]}_repair"
        with connect(carrier.apply_dsn, f"banyan-cdc {carrier.stream} repair") as target, translated_errors():
            create_origin(target, origin)
            become_applier(target, origin)
            try:
                yield target
            finally:
                if not target.closed:
                    target.execute("SELECT pg_replication_origin_session_reset()")
                    target.execute("SELECT pg_replication_origin_drop(%s)", [origin])


def _one(connection: psycopg.Connection[Any], query: str, *parameters: Any) -> Any:
    row = connection.execute(query, parameters or None).fetchone()
    if row is None or row[0] is None:
        raise Transient("the stream has no position now: try again when it runs")
    return row[0]
