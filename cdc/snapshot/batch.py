"""Rows that were read, and deletes, into the target as one transaction; what the target refuses is parked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import psycopg

from cdc.apply import parked
from cdc.apply.applier import needs_care
from cdc.apply.batch import Batches
from cdc.apply.columns import Unfit
from cdc.apply.net import NotNet
from cdc.apply.script import Script, Wire
from cdc.apply.session import stream_error
from cdc.apply.writer import Writer
from cdc.capture.raw import Raw
from cdc.change import Change


class Put:
    """Bound to one applier session, whose parts it shares with the applier, if there is one."""

    def __init__(self, writer: Writer, batches: Batches, wire: Wire) -> None:
        self._writer, self._batches, self._wire = writer, batches, wire
        self.connection = writer.connection

    def write(
        self, rows: Sequence[Raw], begin: Callable[[], None], before_commit: Callable[[], object] = lambda: None
    ) -> None:
        """By columns in one piece, or with care, row by row. `begin` starts the transaction; what `before_commit`
        writes is part of it.

        Raises: TargetOwns (of `begin`), TooManyParked, Transient, TargetRefused; then nothing was written.
        """
        if self._in_one_piece(rows, begin, before_commit):
            return
        changes = [change_of(row) for row in rows]
        with self._transaction(begin, before_commit):
            self._writer.write(changes)

    def _in_one_piece(
        self, rows: Sequence[Raw], begin: Callable[[], None], before_commit: Callable[[], object]
    ) -> bool:
        """False, with nothing written, when it cannot be, or the target refuses it."""
        script = Script()
        self._batches.begin()
        try:
            self._batches.write(script, rows, self._writer.parked)
        except (NotNet, Unfit):
            return False
        try:
            with self._transaction(begin, before_commit):
                if script.statements:
                    self._wire.send(script)
                    self._wire.finish()
        except psycopg.Error as e:
            if not needs_care(e):
                raise stream_error(e) from e
            return False
        return True

    @contextmanager
    def _transaction(self, begin: Callable[[], None], before_commit: Callable[[], object]) -> Iterator[None]:
        target = self._writer.connection
        begin()
        try:
            self._writer.begin()
            yield
            before_commit()
            target.execute("COMMIT")
        except BaseException:
            if not target.closed:
                target.execute("ROLLBACK")
                self._writer.parked = parked.load_keys(target, self._writer.stream)
            raise


def change_of(row: Raw) -> Change:
    """Marked as read, so that it makes void what is parked for its key."""
    return msgspec.structs.replace(row.change(), snapshot=True)
