"""Puts the event triggers that see DDL into a database, and tells them which tables to look at."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import psycopg

from cdc.schema.judge import Side

TRIGGERS = ("banyan_ddl", "banyan_drop")
INSTALLED = "SELECT count(*) = 2 FROM pg_event_trigger WHERE evtname = ANY(%s) AND evtenabled <> 'D'"


def install(connection: psycopg.Connection[Any]) -> bool:
    """False where this role may not create event triggers; then nothing was changed. Needs the schema banyan."""
    folder = files("cdc.schema")
    shape = folder.joinpath("shape.sql").read_text("utf-8").strip()
    shape = "\n".join(line for line in shape.splitlines() if not line.startswith("--"))
    script = folder.joinpath("watch.sql").read_text("utf-8")
    try:
        with connection.transaction():
            connection.execute(script.replace("{shape}", shape).encode())
    except psycopg.errors.InsufficientPrivilege:
        return installed(connection)
    return True


def installed(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(INSTALLED, [list(TRIGGERS)]).fetchone()
    return row is not None and bool(row[0])


def watch(
    connection: psycopg.Connection[Any], stream: str, side: Side, tables: Iterable[str], publication: str | None = None
) -> None:
    """The stream's tables in this database, as they are now; others of the stream are forgotten."""
    names = list(tables)
    with connection.transaction():
        connection.execute(
            'DELETE FROM banyan.watched WHERE stream = %s AND side = %s AND NOT "table" = ANY(%s)',
            [stream, side, names],
        )
        connection.execute(
            'INSERT INTO banyan.watched AS w (stream, side, "table", publication)'
            " SELECT %s, %s, t, %s FROM unnest(%s::text[]) t"
            ' ON CONFLICT (stream, side, "table") DO UPDATE SET publication = excluded.publication',
            [stream, side, publication, names],
        )
        connection.execute(
            "UPDATE banyan.watched w SET shape = banyan.watched_now(w) WHERE w.stream = %s AND w.side = %s",
            [stream, side],
        )


def forget(connection: psycopg.Connection[Any], stream: str, side: Side) -> None:
    """The triggers go with the last table that they look at."""
    row = connection.execute("SELECT to_regclass('banyan.watched') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return
    connection.execute("DELETE FROM banyan.watched WHERE stream = %s AND side = %s", [stream, side])
    left = connection.execute("SELECT EXISTS (SELECT FROM banyan.watched)").fetchone()
    if left is not None and not left[0]:
        for name in TRIGGERS:
            connection.execute(f"DROP EVENT TRIGGER IF EXISTS {name}")
