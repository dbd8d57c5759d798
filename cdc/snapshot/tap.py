"""The apply thread's part in a re-snapshot: looks at what comes by, and writes a window's rows at its high mark."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg.types.json import Jsonb

from cdc.apply.applier import Applied, Applier
from cdc.apply.route import Route, Routes
from cdc.capture.raw import UNCHANGED, Captured, Raw
from cdc.change import Boundary, Change, Transaction
from cdc.config import Stream
from cdc.errors import TargetOwns
from cdc.snapshot.batch import Put
from cdc.snapshot.chunks import text_of
from cdc.snapshot.held import beginner
from cdc.snapshot.requests import Key, Request, Step
from cdc.snapshot.table import reading
from cdc.snapshot.window import Chunk, Seen, Window

WINDOW = "banyan.window"
# So many transactions are remembered, to tell whether a snapshot sees them.
REMEMBERED = 100_000


class Cancelled(Exception):
    """Raised when a person ended the request."""


@dataclass(slots=True)
class Pending:
    """A window on its way: the reader fills in chunk, step and position, the apply thread the verdict: how many rows it
    removed, why it was refused, or None: nothing was written, the window must be done again."""

    window: Window
    request: Request
    opened: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    chunk: Chunk | None = None
    step: Step = "rows"
    position: Sequence[str] | None = None
    also: Callable[[psycopg.Connection[tuple[object, ...]]], object] = lambda target: None
    rate: float | None = None  # rows a second of late, for those who look
    verdict: BaseException | int | None = None


class Tap:
    """`feed` and what it calls belong to the apply thread; the reader thread sets `pending`, `table` and `filling`."""

    def __init__(self, stream: Stream, routes: Routes, applier: Applier) -> None:
        self._stream, self._routes, self._applier = stream, routes, applier
        self._put = Put(applier.writer, applier.batches, applier.wire)
        self.pending: Pending | None = None
        self.table: Route | None = None
        self.xids: deque[int] = deque(maxlen=REMEMBERED)
        self.again: Callable[[str, Sequence[Key]], None] = lambda source, keys: None
        self._filling: dict[str, bool] = {}
        self._found: dict[str, set[Key]] = {}
        self._reading = {source: reading(routes, source) for source in routes.by_source}

    def fill(self, tables: dict[str, bool]) -> None:
        """Source tables whose fill is not done: a partial update that finds no row does nothing, for the row is read
        later. True: only if its key is remembered (`again`), since it may lie where was read already."""
        self._filling = tables
        self._applier.tolerate(frozenset(tables))

    def read_anew(self, table: str) -> None:
        """All its rows are read in the order of their keys: a row that is missing now has not been read yet."""
        self.fill({table: False, **self._filling})

    def filled(self, table: str) -> None:
        self.fill({name: by_key for name, by_key in self._filling.items() if name != table})

    def feed(self, events: Sequence[Captured], size: int = 0) -> list[Applied]:
        """Give the events to the applier; between them, what a window that closes leaves to write."""
        pending, applier = self.pending, self._applier
        if pending is None and self.table is None and not self._filling:
            return applier.feed(events, size)
        done: list[Applied] = []
        start = 0
        for at, event in enumerate(events):
            if isinstance(event, Boundary):
                continue
            self._note(event, pending)
            if pending is None or (mark := _mark(event)) is None:
                continue
            if mark == f"{pending.window.token} low":
                pending.window.opened = True
                pending.opened.set()
            elif mark == f"{pending.window.token} high" and pending.window.opened:
                self._remember()
                done += applier.feed(events[start:at], size)
                start, size = at, 0
                done += [applied for applied in (applier.settle(), applier.finish()) if applied is not None]
                self._close(pending, event.tx)
                pending = None
        self._remember()
        return done + applier.feed(events[start:], size)

    def _note(self, event: Raw | Change, pending: Pending | None) -> None:
        if not self.xids or self.xids[-1] != event.tx.xid:
            self.xids.append(event.tx.xid)
        relation = event.table.relation if isinstance(event, Raw) else event.relation
        if relation is None or relation.name not in self._routes.by_source:
            return
        route = self._reading[relation.name]
        within = pending is not None and pending.window.opened and pending.window.route.source == route.source
        if isinstance(event, Change):
            if pending is not None and within and event.op == "t":
                pending.window.clear()
            return
        in_part = event.new is not None and UNCHANGED in event.new
        watched = route.source in self._filling or (self.table is not None and self.table.source == route.source)
        if not within and not (in_part and watched):
            return
        seen = Seen.of(event, route)
        # Moved: perhaps from where was not read yet to where was already.
        again = (seen.before is not None and watched) or self._filling.get(route.source)
        if again and seen.known is not None and not seen.whole:
            self._found.setdefault(route.source, set()).add(tuple(map(text_of, seen.key)))
        if pending is not None and within and not pending.window.overflown:
            pending.window.see(seen)

    def _remember(self) -> None:
        """Before what was seen is written: a crash between must not lose it."""
        for source, keys in self._found.items():
            self.again(source, sorted(keys))
        self._found.clear()

    def _close(self, pending: Pending, tx: Transaction) -> None:
        """The high mark has come: everything before it is in the target."""
        try:
            if pending.chunk is not None and not pending.window.overflown:
                pending.verdict = self._write(pending, pending.chunk, tx)
        except (TargetOwns, Cancelled) as e:
            pending.verdict = e
        finally:
            self.pending = None
            pending.closed.set()

    def _write(self, pending: Pending, chunk: Chunk, tx: Transaction) -> int:
        rows = list(pending.window.rows(chunk, tx))
        removed = sum(row.new is None for row in rows)
        target, begin = self._put.connection, beginner(self._stream, self._routes.of_table(pending.window.route.source))

        def progress() -> None:
            position = Jsonb(pending.position) if pending.position is not None else None
            count = 0 if pending.step == "again" else len(chunk.rows)
            done = target.execute(
                "UPDATE banyan.snapshot SET step = %s, position = %s, rows = rows + %s, removed = removed + %s,"
                " rate = %s WHERE id = %s AND state = 'running'",
                [pending.step, position, count, removed, pending.rate, pending.request.id],
            )
            if not done.rowcount:
                raise Cancelled
            pending.also(target)

        self._put.write(rows, lambda: begin(target), progress)
        return removed


def _mark(event: Raw | Change) -> str | None:
    message = event.message if isinstance(event, Change) else None
    return message.content.decode(errors="replace") if message is not None and message.prefix == WINDOW else None
