"""The first fill: a slot with an exported snapshot, every mapped table copied inside it in parallel, streaming from
there.

A fill is cut into ranges of heap blocks. Each is one transaction at the target, which also strikes the range off the
list of what is left (banyan.snapshot_blocks), and holds the waves at the source's side, so that a switch cannot
cross it.

A fill that was cut off (kill -9, a lost connection, too much WAL) goes on. Its snapshot died with its session, but
its slot lives and nobody has confirmed anything past L, the position of the slot and of the snapshot. So the next
start streams from L and copies what is left through windows beside it (`cdc.snapshot.windows`), which is right,
because a row of the source that the target lacks then is one of these:

1. It lies in a block range that is left, where it lay at L: a window reads it there.
2. It was written after L. The stream, which begins at L, brings it whole, or is told in part only (unchanged TOAST),
   finds nothing to complete, and parks its key: parked keys of the table are read again by key at the end.

This needs that rows lie where they lay (the table's file is the same, else it was rewritten), and that 2 finds no
older row to complete: the target's table was empty when the fill began (`fresh`). A table without either is read
again as a whole, through windows in the order of its keys, of which nothing of the kind can be said. A fill that was
cut off before its list was written starts over: nobody has read from its slot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import sql

from cdc.apply import parked
from cdc.apply.batch import Batches
from cdc.apply.route import Routes
from cdc.apply.script import Wire
from cdc.apply.session import translated_errors
from cdc.apply.state import position_parameters
from cdc.apply.statements import table_name
from cdc.apply.writer import Writer
from cdc.capture import slot as slots
from cdc.capture.replication import connect as connect_replication
from cdc.change import Transaction, lsn_text
from cdc.config import Stream
from cdc.errors import NotPrepared
from cdc.snapshot import chunks, requests
from cdc.snapshot.batch import Put
from cdc.snapshot.brake import Brake
from cdc.snapshot.crew import TooMuchWal, gather, work
from cdc.snapshot.held import Begin, beginner, transaction
from cdc.snapshot.progress import Progress
from cdc.snapshot.projected import expressions
from cdc.snapshot.strangers import blank_strangers, makers, remove_strangers
from cdc.snapshot.table import describe, reading
from cdc.snapshot.worker import Job, drop_origins, source_session

log = structlog.get_logger("cdc.snapshot")


@dataclass(frozen=True, slots=True)
class Filled:
    """`whole`: nothing is left; else what is left is read through windows by the stream, which begins at `lsn`."""

    lsn: int
    rows: int
    seconds: float
    whole: bool = True

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


def fill(
    dsns: tuple[str, str],
    target: psycopg.Connection[Any],
    stream: Stream,
    routes: Routes,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> Filled:
    """`dsns`: source and target; `target` is the stream's applier session, which keeps a second fill away.

    Raises: Transient, Interrupted, TableRefused, TargetOwns (before anything was dropped or written, unless a wave
    changed hands between two of the fill's transactions: then before the next write).
    """
    began = time.monotonic()
    progress = progress or Progress()
    brake = Brake(stream.snapshot_limits, progress, stopping)
    begin = beginner(stream, list(routes.every()))
    with ExitStack() as stack, translated_errors("a database of the snapshot"):
        replication = stack.enter_context(connect_replication(dsns[0], f"banyan-cdc {stream.name}"))
        source = stack.enter_context(source_session(dsns[0], stream.name))
        watch = stack.enter_context(source_session(dsns[0], stream.name))
        _start_over(source, target, stream, begin)
        exported = slots.create_exported(replication, stream.slot, stream.failover)
        log.info("snapshot begins", stream=stream.name, lsn=lsn_text(exported.lsn))
        source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        source.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported.snapshot)))
        row = source.execute("SELECT statement_timestamp()").fetchone()
        assert row is not None
        tx = Transaction(0, exported.lsn, row[0])
        jobs = _list(source, target, stream, routes, tx, begin, progress)
        crew = gather(stream, routes, len(jobs), dsns, exported.snapshot, begin, stack)
        whole = True
        try:
            put = Put(Writer(target, stream.name, routes), Batches(target, routes), Wire(target))
            old = {job.route.source: job.table for job in jobs if not job.fresh}
            for source_table, table in old.items():
                for route in makers(routes, source_table):
                    remove_strangers(source, put, route, table, tx, begin, brake)
                for route in routes.of_table(source_table):
                    if not route.makes and _any_row(target, route.target):
                        blank_strangers(source, target, route, table, tx, begin)
            # Rows that parts fill come before the parts; all others go side by side.
            alone = [name for name in routes.by_source if not routes.ordinary(name)]
            stages = [[job for job in jobs if job.route.source == name] for name in alone]
            for stage in ([job for job in jobs if job.route.source not in alone], *stages):
                work(crew, stage, tx, brake, watch, target, progress)
        except TooMuchWal as e:
            whole = False
            log.warning("the rest of the fill goes through windows", stream=stream.name, reason=str(e))
        source.execute("COMMIT")
        if whole:
            _finish(target, stream, Writer(target, stream.name, routes), begin)
    with translated_errors():
        drop_origins(target, stream)
    filled = Filled(exported.lsn, progress.rows, time.monotonic() - began, whole)
    log.info(
        "snapshot done" if whole else "snapshot goes on beside the stream",
        stream=stream.name,
        rows=filled.rows,
        seconds=round(filled.seconds, 2),
        rows_per_s=round(filled.rows_per_s),
    )
    return filled


def _start_over(source: psycopg.Connection[Any], target: psycopg.Connection[Any], stream: Stream, begin: Begin) -> None:
    with translated_errors():
        if not requests.installed(target):
            raise NotPrepared(f"the target cannot keep snapshots of {stream.name} yet: run prepare again")
        drop_origins(target, stream)
    with transaction(target, begin):
        slots.drop(source, stream.slot)
        parked.clear_stream(target, stream.name)
        requests.clear(target, stream.name)
        target.execute(
            "UPDATE banyan.stream SET state = 'snapshot', source_lsn = NULL, filled_lsn = NULL, snapshot_rows = 0,"
            " rows = 0 WHERE stream = %s",
            [stream.name],
        )


def _list(
    source: psycopg.Connection[Any],
    target: psycopg.Connection[Any],
    stream: Stream,
    routes: Routes,
    tx: Transaction,
    begin: Begin,
    progress: Progress,
) -> list[Job]:
    """What there is to copy, and the position that goes with it, in one transaction: from then on it can be resumed."""
    jobs: list[Job] = []
    with transaction(target, begin):
        for name in routes.by_source:
            route = reading(routes, name)
            table = describe(source, route.source, route.source_key, route.source_columns)
            # It locks the table: from then on its rows lie where they lie until the snapshot ends.
            rows = chunks.expected(source, chunks.select(route.source, sql.SQL("1"), sql.SQL("true")))
            heap = chunks.heap_of(source, route.source)
            fresh = routes.ordinary(name) and not _any_row(target, route.target)
            step: requests.Step = "blocks" if fresh and heap.file is not None else "strangers"
            request = requests.add_fill(target, stream.name, route.source, step, rows, heap.file)
            projected = expressions(source, target, route) if routes.ordinary(name) else None
            if projected is None:
                log.info("mapped in Python, row by row: a converter has no SQL", table=route.source)
            found = chunks.ranges(heap, stream.snapshot_limits.range_blocks)
            target.cursor().executemany(
                "INSERT INTO banyan.snapshot_blocks (snapshot, first_block, end_block) VALUES (%s, %s, %s)",
                [(request, blocks.first, blocks.end) for blocks in found],
            )
            progress.expected += rows
            columns = tuple(projected) if projected is not None else None
            jobs += [Job(request, route, table, blocks, fresh, columns) for blocks in found]
        target.execute(
            "UPDATE banyan.stream SET source_lsn = %(lsn)s, source_commit_at = %(at)s, applied_at = clock_timestamp()"
            " WHERE stream = %(stream)s",
            position_parameters(stream.name, tx.commit_lsn, tx.commit_at, 0),
        )
    return jobs


def _any_row(target: psycopg.Connection[Any], table: str) -> bool:
    row = target.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table_name(table))).fetchone()
    return row is not None and bool(row[0])


def _finish(target: psycopg.Connection[Any], stream: Stream, writer: Writer, begin: Begin) -> None:
    with transaction(target, begin):
        writer.parked = parked.load_keys(target, stream.name)
        for key in sorted(writer.parked):
            writer.replay(key)
        target.execute(
            "UPDATE banyan.stream SET state = 'streaming', filled_lsn = source_lsn, applied_at = clock_timestamp(),"
            " snapshot_rows ="
            " (SELECT coalesce(sum(rows), 0) FROM banyan.snapshot s WHERE s.stream = %s AND fills) WHERE stream = %s",
            [stream.name, stream.name],
        )
