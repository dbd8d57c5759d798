"""What a stream's target remembers of schemas: accepted shapes, halts, changes of the target's own tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from cdc.change import lsn_number, lsn_text
from cdc.schema.judge import Side
from cdc.schema.shape import Shape

TABLES = ("banyan.shape", "banyan.halt", "banyan.ddl")


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a stream stands. `lsn`: commit of the source's change, None for a change of the target."""

    id: int
    side: Side
    table: str
    lsn: int | None
    what: str
    halted_at: datetime

    def words(self, stream: str, domain: str) -> str:
        """For people: which table, what changed, what to do."""
        at = f", at {lsn_text(self.lsn)}" if self.lsn is not None else ""
        return (
            f"halted, a schema changed at the {self.side}{at}: {self.what}. Nothing of it was applied, nothing is lost:"
            f" make mapping and both schemas fit, then `banyan stream resume {domain} --reason …`"
            f" (or `python -m cdc resume --stream {stream} --reason …`)"
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """Shapes by table; source changes that committed before `through` were looked at by a person."""

    source: dict[str, Shape]
    target: dict[str, Shape]
    through: int


def accepted(target: psycopg.Connection[Any], stream: str) -> Accepted:
    found: dict[str, dict[str, Shape]] = {"source": {}, "target": {}}
    for side, table, shape in target.execute(
        'SELECT side, "table", shape FROM banyan.shape WHERE stream = %s', [stream]
    ):
        found[side][table] = msgspec.convert(shape, Shape)
    row = target.execute("SELECT max(through)::text FROM banyan.halt WHERE stream = %s", [stream]).fetchone()
    return Accepted(found["source"], found["target"], lsn_number(row[0]) if row is not None and row[0] else 0)


def accept(
    target: psycopg.Connection[Any], stream: str, side: Side, shapes: Mapping[str, Shape], *, anew: bool = True
) -> None:
    """Without `anew` a shape that is known stays."""
    for table, shape in shapes.items():
        target.execute(
            'INSERT INTO banyan.shape AS s (stream, side, "table", shape) VALUES (%s, %s, %s, %s::jsonb)'
            ' ON CONFLICT (stream, side, "table") DO UPDATE'
            " SET shape = excluded.shape, accepted_at = clock_timestamp() WHERE %s",
            [stream, side, table, shape.to_json(), anew],
        )


def settle(target: psycopg.Connection[Any], stream: str) -> None:
    """The target's changes that are there now are judged."""
    target.execute(
        "UPDATE banyan.ddl SET settled_at = clock_timestamp() WHERE stream = %s AND settled_at IS NULL", [stream]
    )


def open_halt(target: psycopg.Connection[Any], stream: str) -> Halt | None:
    row = target.execute(
        'SELECT id, side, "table", lsn::text, what, halted_at FROM banyan.halt'
        " WHERE stream = %s AND resumed_at IS NULL ORDER BY id LIMIT 1",
        [stream],
    ).fetchone()
    if row is None:
        return None
    number, side, table, lsn, what, at = row
    return Halt(number, side, table, lsn_number(lsn) if lsn else None, what, at)


def halt(target: psycopg.Connection[Any], stream: str, side: Side, table: str, what: str, lsn: int | None) -> None:
    """A stream has one open halt: the first."""
    target.execute(
        'INSERT INTO banyan.halt (stream, side, "table", what, lsn) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING',
        [stream, side, table, what, lsn_text(lsn) if lsn is not None else None],
    )


def close_halt(target: psycopg.Connection[Any], stream: str, actor: str, reason: str, through: int | None) -> int:
    """How many were open."""
    return target.execute(
        "UPDATE banyan.halt SET resumed_at = clock_timestamp(), resumed_by = %s, reason = %s, through = %s"
        " WHERE stream = %s AND resumed_at IS NULL",
        [actor, reason, lsn_text(through) if through is not None else None, stream],
    ).rowcount


def forget(target: psycopg.Connection[Any], streams: Iterable[str]) -> None:
    for table in TABLES:
        target.execute(f"DELETE FROM {table} WHERE stream = ANY(%s)", [list(streams)])  # noqa: S608  names of ours
