"""After a lost slot: a new slot, streaming from it, and everything read again through windows. Never a silent
restart.

Until all tables are done the stream's state is `snapshot`, as in a first fill: gates refuse, and no watermark is
published, since the target lacks what was written between the two slots. Clients may go on: reads that have a choice
go to the owner.
"""

from __future__ import annotations

from typing import Any

import psycopg
import structlog
from psycopg import sql

from cdc.apply.route import Routes
from cdc.apply.session import translated_errors
from cdc.apply.state import read_state
from cdc.capture import slot as slots
from cdc.change import lsn_text
from cdc.config import Stream
from cdc.errors import NotPrepared
from cdc.snapshot import chunks, requests
from cdc.snapshot.held import beginner, transaction

log = structlog.get_logger("cdc.snapshot")


def refill(source: psycopg.Connection[Any], target: psycopg.Connection[Any], stream: Stream, routes: Routes) -> int:
    """Make a new slot and ask for all tables; the stream, started again, does the rest. Returns the slot's position.

    `target` is the stream's applier session (its origin keeps a running stream away). A crash on the way leaves the
    stream where it was, refusing its lost slot, or without a position: then a first fill makes it whole.

    Raises: TargetOwns while a wave is not the source's, NotPrepared, Transient.
    """
    with translated_errors("a database of the snapshot"):
        if not requests.installed(target) or read_state(target, stream.name) is None:
            raise NotPrepared(f"stream {stream.name} is not prepared in the target: run prepare")
        with transaction(target, beginner(stream, list(routes.every()))):
            # The waves are held from here to the commit. WAL is kept from before the position is written.
            slots.drop(source, stream.slot)
            lsn = slots.create(source, stream.slot, stream.failover)
            row = source.execute("SELECT clock_timestamp()").fetchone()
            assert row is not None
            requests.clear(target, stream.name)
            for route in routes.by_source.values():
                every = chunks.select(route.source, sql.SQL("1"), sql.SQL("true"))
                requests.add_fill(target, stream.name, route.source, "strangers", chunks.expected(source, every))
            target.execute(
                "UPDATE banyan.stream SET state = 'snapshot', source_lsn = %s, source_commit_at = %s,"
                " filled_lsn = NULL, applied_at = clock_timestamp() WHERE stream = %s",
                [lsn_text(lsn), row[0], stream.name],
            )
    log.warning("slot made anew: everything is read again", stream=stream.name, lsn=lsn_text(lsn))
    return lsn
