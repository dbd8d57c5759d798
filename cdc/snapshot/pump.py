"""COPY … TO STDOUT piped into COPY … FROM STDIN. Python moves buffers and looks into none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus

# Rows are handed on in pieces of this size, bytes; after each one `each` is told how many rows it had.
PIECE = 1 << 16


def pump(
    source: psycopg.Connection[Any],
    target: psycopg.Connection[Any],
    out: sql.Composable,
    into: sql.Composable,
    each: Callable[[int], None],
) -> int:
    """Rows copied. Whatever fails, `each` included, is raised when both sides have left COPY; the caller rolls back.

    psycopg's own copy() costs twice as much per row, so this goes down to libpq: one call gets one row.
    """
    reading, writing = source.pgconn, target.pgconn
    _expect(writing, into.as_bytes(target), ExecStatus.COPY_IN, target)
    try:
        _expect(reading, out.as_bytes(source), ExecStatus.COPY_OUT, source)
    except BaseException:
        _end_writing(writing, b"the source does not answer")
        raise
    rows = total = size = 0
    pieces: list[memoryview | bytes] = []
    get, keep = reading.get_copy_data, pieces.append
    try:
        while True:
            length, data = get(0)
            if length < 0:
                break
            keep(data)
            rows += 1
            size += length
            if size >= PIECE:
                writing.put_copy_data(b"".join(pieces))
                pieces.clear()
                each(rows)
                total, rows, size = total + rows, 0, 0
        _finish(reading, source)
        if pieces:
            writing.put_copy_data(b"".join(pieces))
        each(rows)
    except BaseException:
        _end_writing(writing, b"the source's rows did not come whole")
        _drain(reading, source)
        raise
    writing.put_copy_end()
    _finish(writing, target)
    return total + rows


def _expect(pg: psycopg.pq.abc.PGconn, query: bytes, status: ExecStatus, connection: psycopg.Connection[Any]) -> None:
    result = pg.exec_(query)
    if result.status != status:
        raise _error(result, connection)


def _finish(pg: psycopg.pq.abc.PGconn, connection: psycopg.Connection[Any]) -> None:
    """What the server says at the end of COPY."""
    failed: psycopg.Error | None = None
    while (result := pg.get_result()) is not None:
        if result.status != ExecStatus.COMMAND_OK and failed is None:
            failed = _error(result, connection)
            if result.status in (ExecStatus.COPY_IN, ExecStatus.COPY_OUT):
                break
    if failed is not None:
        raise failed


def _end_writing(pg: psycopg.pq.abc.PGconn, why: bytes) -> None:
    if pg.status == psycopg.pq.ConnStatus.OK:
        try:
            pg.put_copy_end(why)
            while pg.get_result() is not None:
                pass
        except psycopg.Error:
            pg.finish()  # it cannot be brought out of COPY: its transaction ends with the connection


def _drain(pg: psycopg.pq.abc.PGconn, connection: psycopg.Connection[Any]) -> None:
    """Take the source out of COPY: cancelled, or by reading what is left."""
    if pg.status != psycopg.pq.ConnStatus.OK or pg.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
        return
    try:
        connection.cancel_safe(timeout=5)
        while pg.get_copy_data(0)[0] >= 0:
            pass
        while pg.get_result() is not None:
            pass
    except psycopg.Error:
        if pg.status != psycopg.pq.ConnStatus.OK or pg.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
            pg.finish()


def _error(result: psycopg.pq.abc.PGresult, connection: psycopg.Connection[Any]) -> psycopg.Error:
    return psycopg.errors.error_from_result(result, encoding=connection.info.encoding)
