"""Makes and removes what a stream needs in both databases. Everything may run twice; no table is altered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql

from cdc import tables
from cdc.apply.route import DomainMapping, Routes, routes
from cdc.apply.state import install_state, read_state
from cdc.capture import slot as slots
from cdc.capture.replication import connect as connect_replication
from cdc.change import lsn_text
from cdc.config import Stream, load_mapping
from cdc.errors import ConfigError, NotPrepared, Transient, first_line
from cdc.kafka.standing import stand
from cdc.mapping import Mapping
from cdc.mapping.reference import references
from cdc.schema import examine, store, watch
from cdc.snapshot import requests
from cdc.snapshot.worker import drop_origins

MINIMUM_VERSION = 160000
# What a stream leaves in schema banyan of its target, its own row last.
OWN_TABLES = (
    "parked", "fence_applied", "foreign_write", "shape", "halt", "ddl", "kafka_partition", "row_lsn", "stream",
)  # fmt: skip


def prepare(stream: Stream, source_owner_dsn: str, target_owner_dsn: str, mapping: DomainMapping | None = None) -> None:
    """Publication, grants, origin, state, and for a stream without snapshot its slot.

    A stream with a snapshot gets its slot when it first runs, so that no WAL is kept meanwhile.

    Raises: TableRefused, NotPrepared, SlotLost, SlotAhead, Transient.
    """
    mapping = mapping or load_mapping(stream)
    to = routes(mapping, stream.direction)
    if not to.by_source:
        raise ConfigError(f"stream {stream.name}: its mapping has no table for direction {stream.direction}")
    with _owner(source_owner_dsn, "source") as source, _owner(target_owner_dsn, "target") as target:
        _prepare_source(source, stream, to)
        _prepare_target(target, stream, to)
        for reference in references(mapping) if isinstance(mapping, Mapping) else ():
            at_source = (reference.side == "legacy") == (stream.direction == "forward")
            tables.grant_reference(source if at_source else target, reference.table)
        _watch(source, target, stream, to)
        if not stream.snapshot:
            _prepare_slot(source, target, stream)
        _prepare_failover(source, source_owner_dsn, stream)


def drop(stream: Stream, source_owner_dsn: str, target_owner_dsn: str) -> None:
    """Remove slot, publication, origin and state; the tables' rows stay. The stream must not run. Raises: Transient."""
    with _owner(source_owner_dsn, "source") as source, _owner(target_owner_dsn, "target") as target:
        slots.drop(source, stream.slot)
        watch.forget(source, stream.name, "source")
        watch.forget(target, stream.name, "target")
        source.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(stream.publication)))
        _drop_origin(target, stream.origin)
        if read_state(target, stream.name) is not None:
            if requests.installed(target):
                requests.clear(target, stream.name)
                drop_origins(target, stream)
            for table in OWN_TABLES:
                query = sql.SQL("DELETE FROM {} WHERE stream = %s").format(sql.Identifier("banyan", table))
                target.execute(query, [stream.name])


def _prepare_source(source: psycopg.Connection[Any], stream: Stream, to: Routes) -> None:
    if source.info.server_version < MINIMUM_VERSION:
        raise NotPrepared(
            "the source is older than PostgreSQL 16: it cannot leave out what an applier wrote (origin 'none')"
        )
    row = source.execute("SHOW wal_level").fetchone()
    if row is None or row[0] != "logical":
        raise NotPrepared("the source's wal_level is not logical: set it in postgresql.conf and restart the server")
    _bound_wal(source, stream)
    for route in to.by_source.values():
        tables.check_source(source, route)
    tables.publish(source, stream.publication, to.by_source.values())
    tables.grant_source(source, to.by_source.values())


def _bound_wal(source: psycopg.Connection[Any], stream: Stream) -> None:
    """A slot whose stream is away keeps WAL: bounded, so that it is lost before the source's disk is full."""
    if _kept(source) != "-1":
        return
    bound = sql.Literal(f"{stream.slot_keep_mb}MB")
    with suppress(psycopg.errors.InsufficientPrivilege):
        source.execute(sql.SQL("ALTER SYSTEM SET max_slot_wal_keep_size = {}").format(bound))
        source.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 5
    while _kept(source) == "-1":
        if time.monotonic() > deadline:
            raise NotPrepared(
                "the source keeps WAL for slots without bound (max_slot_wal_keep_size = -1), and this role cannot set"
                f" it: let it be {stream.slot_keep_mb}MB or so, or a stream that stands fills the source's disk"
            )
        time.sleep(0.05)  # a reload reaches each process by a signal, and nobody is told


def _kept(source: psycopg.Connection[Any]) -> str:
    row = source.execute("SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size'").fetchone()
    assert row is not None
    return str(row[0])


def _prepare_target(target: psycopg.Connection[Any], stream: Stream, to: Routes) -> None:
    for route in to.every():
        tables.check_target(target, route)
    install_state(target)
    requests.install(target)
    target.execute(
        "INSERT INTO banyan.stream (stream, transport) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [stream.name, stream.transport],
    )
    create_origin(target, stream.origin)
    tables.grant_target(target, to.every())


def _watch(source: psycopg.Connection[Any], target: psycopg.Connection[Any], stream: Stream, to: Routes) -> None:
    """DDL on the tables is noted where event triggers may be made; the stream goes by what they are now."""
    source.execute("CREATE SCHEMA IF NOT EXISTS banyan")
    if watch.install(source):
        watch.watch(source, stream.name, "source", to.by_source, stream.publication)
    if watch.install(target):
        watch.watch(target, stream.name, "target", sorted({route.target for route in to.every()}))
    shapes = examine.source_shapes(source, to, stream.publication)
    store.accept(target, stream.name, "source", shapes, anew=False)
    store.accept(target, stream.name, "target", examine.target_shapes(target, to), anew=False)


def _prepare_slot(source: psycopg.Connection[Any], target: psycopg.Connection[Any], stream: Stream) -> None:
    """1. The slot is made. 2. Its position is stored. A crash between leaves a slot that nobody read: made again."""
    state = read_state(target, stream.name)
    if state is not None and state.lsn is not None:
        if stand(target, stream.name)[0] == "kafka":
            return  # the slot is where Kafka has come to, which the relay judges
        if (refusal := slots.judge(stream.slot, slots.find(source, stream.slot), state.lsn)) is not None:
            raise refusal
        return
    slots.drop(source, stream.slot)
    lsn = slots.create(source, stream.slot, stream.failover)
    row = source.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    target.execute(
        "UPDATE banyan.stream"
        " SET state = 'streaming', source_lsn = %s, source_commit_at = %s, applied_at = clock_timestamp()"
        " WHERE stream = %s",
        [lsn_text(lsn), row[0], stream.name],
    )


def _prepare_failover(source: psycopg.Connection[Any], dsn: str, stream: Stream) -> None:
    """A slot that is there follows the setting; one that is being read keeps what it has until the next time."""
    found = slots.find(source, stream.slot)
    if found is None or found.active or found.failover == stream.failover or not slots.follows(source):
        return
    with connect_replication(dsn, f"banyan-cdc {stream.name} prepare") as replication:
        slots.set_failover(replication, stream.slot, stream.failover)


def create_origin(connection: psycopg.Connection[Any], origin: str) -> None:
    if connection.execute("SELECT 1 FROM pg_replication_origin WHERE roname = %s", [origin]).fetchone() is None:
        connection.execute("SELECT pg_replication_origin_create(%s)", [origin])


def _drop_origin(connection: psycopg.Connection[Any], origin: str, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while connection.execute("SELECT 1 FROM pg_replication_origin WHERE roname = %s", [origin]).fetchone() is not None:
        try:
            connection.execute("SELECT pg_replication_origin_drop(%s)", [origin])
        except psycopg.errors.ObjectInUse as e:
            if time.monotonic() > deadline:
                raise Transient(f"origin {origin} is still in use: stop the stream first") from e
            time.sleep(0.05)  # the drop does not wait, and nobody is told when a session lets go of an origin


@contextmanager
def _owner(dsn: str, side: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(
            dsn, autocommit=True, connect_timeout=5, options="-c client_min_messages=warning"
        ) as connection:
            connection.execute("SET lock_timeout = '5s'")
            yield connection
    except psycopg.errors.InsufficientPrivilege as e:
        raise NotPrepared(f"{side}: {first_line(e)}: prepare needs the database's superuser") from e
    except (psycopg.OperationalError, psycopg.errors.LockNotAvailable) as e:
        raise Transient(f"{side}: {first_line(e)}") from e
