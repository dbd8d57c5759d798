"""The ground of `banyan bench cdc`: two PostgreSQL clusters, workloads written as a backlog, and what a contestant is.

A contestant has its own slot on the same publication, made before the backlog is written, so that all are given the
same WAL. Its clock starts when the server says that its slot is read, and stops when the backlog's marker has arrived.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from banyan.servers import Postgres

PUBLICATION = "banyan_bench"
TABLES = ("purchase", "document", "marker")

SOURCE = """
CREATE TABLE purchase (
    id bigint PRIMARY KEY, customer_id bigint NOT NULL, code varchar(20), amount_cents int NOT NULL,
    status char(1) NOT NULL, created timestamp NOT NULL, note text);
CREATE TABLE document (id bigint PRIMARY KEY, title text NOT NULL, pages int NOT NULL, body text NOT NULL);
ALTER TABLE document ALTER body SET STORAGE EXTERNAL;
CREATE TABLE marker (id bigint PRIMARY KEY);
"""
TARGET = """
CREATE TABLE purchases (
    id bigint PRIMARY KEY, customer_id bigint NOT NULL, code text, amount numeric(12,2) NOT NULL,
    state text NOT NULL, created_at timestamptz NOT NULL, note text);
CREATE TABLE documents (id bigint PRIMARY KEY, title text NOT NULL, pages int NOT NULL, body text NOT NULL);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
CREATE TABLE marker (id bigint PRIMARY KEY);
"""
MAPPING = """
domain: bench
tables:
  - legacy: public.purchase
    service: public.purchases
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: customer_id, service: customer_id}
    columns:
      - id
      - customer_id
      - code
      - {legacy: amount_cents, service: amount, convert: cents}
      - {legacy: status, service: state, convert: enum, values: {O: open, P: paid, X: cancelled}}
      - {legacy: created, service: created_at, convert: local_time, zone: Europe/Amsterdam}
      - note
  - legacy: public.document
    service: public.documents
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: id, service: id}
    columns: [id, title, pages, body]
  - legacy: public.marker
    service: public.marker
    direction: forward
    key: {legacy: [id], service: [id]}
    columns: [id]
"""

# Written by the server itself, so that a backlog of many small transactions is there in a second.
PROCEDURES = """
CREATE FUNCTION purchase_row(n bigint) RETURNS purchase LANGUAGE sql AS $$
    SELECT n, n % 5000, 'C' || n, (n % 90000)::int, substr('OPX', 1 + (n % 3)::int, 1),
           timestamp '2024-04-01' + n % 200000 * interval '61 s', 'purchase number ' || n $$;
CREATE PROCEDURE bench_inserts(first bigint, rows int, each int) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 0 .. rows / each - 1 LOOP
        INSERT INTO purchase SELECT (purchase_row(first + k)).* FROM generate_series(n * each, (n + 1) * each - 1) k;
        COMMIT;
    END LOOP;
END $$;
CREATE PROCEDURE bench_mixed(first bigint, transactions int) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 0 .. transactions - 1 LOOP
        INSERT INTO purchase SELECT (purchase_row(first + 2 * n + k)).* FROM generate_series(0, 1) k;
        UPDATE purchase SET status = 'P', amount_cents = amount_cents + 1
            WHERE id IN (first + 2 * n - 7, first + n);
        DELETE FROM purchase WHERE id = first + 2 * n - 100 AND n % 2 = 0;
        COMMIT;
    END LOOP;
END $$;
CREATE PROCEDURE bench_change(first bigint) LANGUAGE sql AS $$
    INSERT INTO purchase SELECT (purchase_row(first + k)).* FROM generate_series(0, 2) k;
    UPDATE purchase SET status = 'P', amount_cents = amount_cents + 1 WHERE id IN (first, first - 5);
$$;
CREATE PROCEDURE bench_wide(first bigint, rows int) LANGUAGE plpgsql AS $$
DECLARE body text := (SELECT string_agg(md5(k::text), '') FROM generate_series(1, 128) k);
BEGIN
    FOR n IN 0 .. rows / 50 - 1 LOOP
        INSERT INTO document SELECT first + n * 50 + k, 'document ' || k, k, body FROM generate_series(0, 49) k;
        UPDATE document SET pages = pages + 1 WHERE id BETWEEN first + n * 50 AND first + n * 50 + 49;
        COMMIT;
    END LOOP;
END $$;
"""


@dataclass(slots=True)
class Rig:
    """`source` has the tables and the publication; contestants make their own databases in the `target` cluster."""

    folder: Path
    source: Postgres
    target: Postgres
    marker: int = 0

    @property
    def source_dsn(self) -> str:
        return self.source.dsn("bench")

    def write(self, statement: str) -> int:
        """Run a workload at the source; returns the number of changes that it is, its marker not counted."""
        with psycopg.connect(self.source_dsn, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            before = _changes(connection)
            connection.execute(statement.encode())
            made = _changes(connection) - before
            self.marker += 1
            connection.execute("INSERT INTO marker VALUES (%s)", [self.marker])
        return made

    def slot(self, name: str) -> None:
        with psycopg.connect(self.source_dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])


Arrived = Callable[[int], bool]
"""Whether everything up to this row of table marker is where the contestant brings it; asked every 5 ms."""


class Contestant(Protocol):
    """One who captures, and perhaps applies. Everything happens inside `running`."""

    name: str
    slot: str
    bound: float | None  # seconds after which its rate is that of what it has `captured` by then
    captured: int  # changes since it runs, where it is bound

    def prepare(self, rig: Rig) -> None:
        """Slot, target database, tables: before any backlog is written."""

    def running(self, rig: Rig) -> AbstractContextManager[Arrived]:
        """Starts at the slot's position; at the end it has stopped and the slot is free."""

    def landing(self, rig: Rig) -> str | None:
        """The database where the rows end up, table `marker` among them; None: it applies nothing."""


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    settings = {"max_wal_size": "4GB", "checkpoint_timeout": "30min"}
    made = Rig(folder, *(Postgres(folder / name, folder / f"{name}.log", settings=settings) for name in ("src", "dst")))
    with contextlib.ExitStack() as stack:
        for server in (made.source, made.target):
            server.start()
            stack.callback(server.stop)
        database(made.source, "bench", SOURCE + PROCEDURES)
        with psycopg.connect(made.source_dsn, autocommit=True) as connection:
            names = sql.SQL(", ").join(map(sql.Identifier, TABLES))
            connection.execute(sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(sql.Identifier(PUBLICATION), names))
        yield made


def database(server: Postgres, name: str, tables: str) -> str:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        connection.execute(tables.encode())
    return server.dsn(name)


class Behind(Exception):
    """A contestant was not at the end of the backlog when its time was over: `captured` changes in `seconds`."""

    def __init__(self, name: str, captured: int, seconds: float) -> None:
        super().__init__(f"{name} had captured {captured:,} changes after {seconds:.0f} s, which is its rate")
        self.per_s = round(captured / seconds)


def drain(rig: Rig, contestant: Contestant, timeout: float = 120.0) -> float:
    """Seconds from the slot being read until the last marker has arrived. Raises: Behind, TimeoutError."""
    deadline = time.monotonic() + timeout
    with psycopg.connect(rig.source_dsn, autocommit=True) as source, contestant.running(rig) as arrived:
        wait_active(source, contestant, arrived, deadline)
        began = time.monotonic()
        while not arrived(rig.marker):
            took = time.monotonic() - began
            if contestant.bound is not None and took > contestant.bound:
                raise Behind(contestant.name, contestant.captured, took)
            pause(deadline, f"{contestant.name} does not come to the end of the backlog")
        return time.monotonic() - began


def wait_active(source: psycopg.Connection[Any], contestant: Contestant, arrived: Arrived, deadline: float) -> None:
    while not _active(source, contestant.slot):
        arrived(0)  # which says so when it ended
        pause(deadline, f"{contestant.name} does not start")


def pause(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(what)
    time.sleep(0.005)


def _active(connection: psycopg.Connection[Any], slot: str) -> bool:
    row = connection.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [slot]).fetchone()
    return row is not None and row[0]


def _changes(connection: psycopg.Connection[Any]) -> int:
    """Rows inserted, updated and deleted so far, by the server's own count."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables").fetchone()
    assert row is not None
    return int(row[0])
