"""One window of a re-snapshot (DBLog, arXiv 2010.12597): which rows of a chunk are still true at its high mark.
Pure.

    low mark ──── the chunk is read, at some moment S ──── high mark
       └──────── the stream's commits in between: "touched" ───┘

1. A key that no commit between the marks touched has at the high mark the row that was read at S.
2. A key that was touched has in the target what the stream brought, if that was its whole row or its delete:
   dropped.
3. One that was touched by partial updates only (unchanged TOAST) has at the high mark the row read at S with what
   those updates brought laid over it: the columns that none of them brought did not change between the marks.
4. A row that was moved to another key while not all of its columns were known may carry an old value there: the new
   key is to be read again.
5. What the target has and the chunk, which asked for it, has not: the source does not have it at the high mark
   either, unless it was touched.

For 1 every commit that precedes the low mark in the WAL must be visible at S. A commit is in the WAL a moment before
others can see it, so S is taken anew as long as it does not see a transaction that the stream has brought already
(`cdc.snapshot.sight`). DBLog and Debezium lack this step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from cdc.apply.route import Route
from cdc.capture.raw import UNCHANGED, Described, Raw, Values
from cdc.change import Transaction
from cdc.snapshot.table import numbered, with_key

#: Keys touched in one window. More means that it has been open for too long: it is read again.
MAX_TOUCHED = 100_000

Identity = tuple[Any, ...]
Known = dict[str, bytes | None]
Fate = Known | Literal["whole", "gone", "again"]
"""What became of a touched key; known columns: what partial updates brought."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was read between the marks: rows, and keys (texts, in the order of the source key) that are not there."""

    table: Described
    rows: Sequence[Values] = ()
    absent: Sequence[Sequence[bytes]] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """One captured row change as a window looks at it. Read by value, since equal keys may be written in two ways."""

    key: Identity
    before: Identity | None  # the key that the row had until now, if that was another
    known: Known | None  # the mapped columns that came; None: deleted
    whole: bool

    @classmethod
    def of(cls, raw: Raw, route: Route) -> Seen:
        table = raw.table
        at = numbered(route.source_key, table)
        old = raw.before()
        if raw.new is None:
            return cls(tuple([(old or {}).get(name) for name in route.source_key]), None, None, True)
        key = identity(table, at, raw.new)
        before = None
        if old is not None and any(
            name in old and old[name] != value for name, value in zip(route.source_key, key, strict=True)
        ):
            before = tuple([old.get(name) for name in route.source_key])
        known = {
            column.name: value
            for column, value in zip(table.relation.columns, raw.new, strict=True)
            if value is not UNCHANGED and column.name in route.source_columns
        }
        return cls(key, before, known, len(known) == len(route.source_columns))

    @property
    def moved_in_part(self) -> bool:
        return self.before is not None and not self.whole


def identity(table: Described, at: Sequence[int], values: Values) -> Identity:
    """A row's key, by the positions of its columns."""
    return tuple([None if values[n] is None else table.loaders[n](values[n]) for n in at])


@dataclass(slots=True)
class Window:
    """Fed by the apply thread, from its low mark to its high mark."""

    route: Route
    token: str = field(default_factory=lambda: uuid4().hex)
    touched: dict[Identity, Fate] = field(default_factory=dict)
    cleared: bool = False
    opened: bool = False

    @property
    def overflown(self) -> bool:
        return len(self.touched) > MAX_TOUCHED

    def clear(self) -> None:
        """The table was truncated."""
        self.cleared = True
        self.touched.clear()

    def see(self, change: Seen) -> None:
        """A change of the window's table that was committed between the marks."""
        if change.known is None:
            self.touched[change.key] = "gone"
            return
        if change.before is not None:
            self.touched[change.before] = "gone"
        if change.whole:
            self.touched[change.key] = "whole"
        elif change.before is not None:
            self.touched[change.key] = "again"
        else:
            self.touched[change.key] = _fate(self.touched.get(change.key), change.known)

    def rows(self, chunk: Chunk, tx: Transaction) -> Iterator[Raw]:
        """What the target is to be given at the high mark, whose transaction is `tx`."""
        if self.cleared:
            return
        table, lsn = chunk.table, tx.commit_lsn
        at = numbered(self.route.source_key, table)
        for values in chunk.rows:
            fate = self.touched.get(identity(table, at, values)) if self.touched else None
            if fate is None:
                yield Raw("r", tx, lsn, table, values)
            elif not isinstance(fate, str):
                yield Raw("r", tx, lsn, table, _laid_over(table, values, fate))
        for key in chunk.absent:
            old = with_key(table, at, key)
            if identity(table, at, old) not in self.touched:
                yield Raw("d", tx, lsn, table, None, old)


def _fate(before: Fate | None, known: Known) -> Fate:
    match before:
        case None:
            return known
        case "whole" | "again":
            return before
        case "gone":
            return "again"
        case _:
            return {**before, **known}


def _laid_over(table: Described, values: Values, known: Known) -> Values:
    return [known.get(column.name, value) for column, value in zip(table.relation.columns, values, strict=True)]
