"""What a table must have to be captured or written, and what the role `banyan_cdc` needs for it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.route import Route
from cdc.apply.statements import table_name
from cdc.errors import TableRefused

ROLE = "banyan_cdc"
READER = "banyan_ctl"
STATE_TABLES = (
    "banyan.stream", "banyan.fence_applied", "banyan.parked", "banyan.foreign_write", "banyan.verified", "banyan.drift",
    "banyan.shape", "banyan.halt", "banyan.ddl", "banyan.kafka_partition", "banyan.row_lsn",
    "banyan.snapshot", "banyan.snapshot_blocks", "banyan.snapshot_again",
)  # fmt: skip
ORIGIN_FUNCTIONS = [
    "pg_replication_origin_create",
    "pg_replication_origin_drop",
    "pg_replication_origin_oid",
    "pg_replication_origin_session_setup",
    "pg_replication_origin_session_reset",
    "pg_replication_origin_xact_setup",
]


def check_source(connection: psycopg.Connection[Any], route: Route) -> None:
    """The replica identity must cover the mapping's key, or deletes could not be told apart. Raises: TableRefused."""
    identity, oid = _table(connection, route.source, "source")
    if identity == "f":
        return
    if identity == "n":
        raise TableRefused(
            f"{route.source} has REPLICA IDENTITY NOTHING: give it a primary key and REPLICA IDENTITY DEFAULT"
        )
    which = "indisprimary" if identity == "d" else "indisreplident"
    covered = _index_columns(connection, oid, which)
    if not covered:
        raise TableRefused(
            f"{route.source} has no primary key: add one, or ALTER TABLE {route.source} REPLICA IDENTITY FULL"
        )
    if not set(route.source_key) <= set(covered[0]):
        key = ", ".join(route.source_key)
        raise TableRefused(
            f"the replica identity of {route.source} ({', '.join(covered[0])}) does not cover the mapping's key ({key})"
        )


def check_target(connection: psycopg.Connection[Any], route: Route) -> None:
    """Upserts need a unique index on exactly the key. Raises: TableRefused."""
    _, oid = _table(connection, route.target, "target")
    unique = _index_columns(connection, oid, "indisunique AND indimmediate AND indpred IS NULL AND indexprs IS NULL")
    if not any(sorted(columns) == sorted(route.key) for columns in unique):
        raise TableRefused(f"{route.target} has no primary key or unique index on ({', '.join(route.key)}): add one")


def publish(connection: psycopg.Connection[Any], publication: str, routes: Iterable[Route]) -> None:
    """Create the publication, or bring the one that exists to these tables."""
    names = sql.SQL(", ").join(table_name(route.source) for route in routes)
    exists = connection.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", [publication]).fetchone()
    command = "ALTER PUBLICATION {} SET TABLE {}" if exists else "CREATE PUBLICATION {} FOR TABLE {}"
    connection.execute(sql.SQL(command).format(sql.Identifier(publication), names))
    options = sql.SQL("ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate')")
    connection.execute(options.format(sql.Identifier(publication)))


def grant_source(connection: psycopg.Connection[Any], routes: Iterable[Route]) -> None:
    connection.execute(files("cdc.snapshot").joinpath("source.sql").read_bytes())
    if _has_role(connection, ROLE):
        load = "GRANT USAGE ON SCHEMA banyan TO {0}; GRANT EXECUTE ON FUNCTION banyan.source_load() TO {0}"
        connection.execute(sql.SQL(load).format(sql.Identifier(ROLE)))
        for route in routes:
            _grant(connection, route.source, "SELECT", ROLE)


def grant_reference(connection: psycopg.Connection[Any], table: str) -> None:
    """A small table that a mapping looks values up in."""
    for role in (ROLE, READER):
        if _has_role(connection, role):
            _grant(connection, table, "SELECT", role)


def grant_target(connection: psycopg.Connection[Any], routes: Iterable[Route]) -> None:
    if _has_role(connection, READER):
        for table in STATE_TABLES:
            _grant(connection, table, "SELECT", READER)
        # Whoever controls may ask for a re-snapshot and end it; how far it is, is told by the stream alone.
        _grant(connection, "banyan.snapshot", 'INSERT (stream, "table", scope, rows_per_s, expected)', READER)
        _grant(connection, "banyan.snapshot", "UPDATE (state, ended_at)", READER)
    if not _has_role(connection, ROLE):
        return
    role = sql.Identifier(ROLE)
    for table in (*(route.target for route in routes), *STATE_TABLES):
        _grant(connection, table, "SELECT, INSERT, UPDATE, DELETE", ROLE)
    connection.execute(sql.SQL("GRANT SET ON PARAMETER session_replication_role TO {}").format(role))
    functions = connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p"
        " WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%s)",
        [ORIGIN_FUNCTIONS],
    ).fetchall()
    for (signature,) in functions:
        connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(sql.SQL(signature), role))


def _table(connection: psycopg.Connection[Any], name: str, side: str) -> tuple[str, int]:
    row = connection.execute(
        "SELECT relreplident::text, oid::bigint FROM pg_class WHERE oid = to_regclass(%s) AND relkind IN ('r', 'p')",
        [table_name(name).as_string(connection)],
    ).fetchone()
    if row is None:
        raise TableRefused(
            f"{side} table {name} does not exist in database {connection.info.dbname}:"
            " migrate it, or correct the mapping"
        )
    return row[0], row[1]


def _index_columns(connection: psycopg.Connection[Any], table: int, which: str) -> list[list[str]]:
    query = sql.SQL(
        "SELECT array_agg(a.attname::text)"
        " FROM pg_index i CROSS JOIN unnest(i.indkey[0:i.indnkeyatts - 1]) AS k(attnum)"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
        " WHERE i.indrelid = %s AND i.indisvalid AND {} GROUP BY i.indexrelid"
    ).format(sql.SQL(which))
    return [row[0] for row in connection.execute(query, [table]).fetchall()]


def _has_role(connection: psycopg.Connection[Any], role: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None


def _grant(connection: psycopg.Connection[Any], table: str, rights: str, to: str) -> None:
    role = sql.Identifier(to)
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(table.split(".", 1)[0]), role))
    connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(rights), table_name(table), role))
