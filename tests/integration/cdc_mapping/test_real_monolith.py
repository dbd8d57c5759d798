"""The energy retailer's mappings against the real schemas of both sides, and every row of a seeded monolith."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from banyan.servers import Postgres
from cdc.mapping import Mapping, declared, lint_databases, load, reader, roundtrip
from cdc.verify import verify
from legacy_monolith.loader import prices
from legacy_monolith.migrate import migrate as migrate_legacy
from legacy_monolith.seed import seed
from services.chassis.migrate import migrate as migrate_service
from tests.fixtures.servers import create_database

ROOT = Path(__file__).parents[3]
DOMAINS = ("pricing", "devices", "notifications")
# What the seed does not make, and what is awkward: repeated hours, negative prices, trailing blanks, odd characters.
MORE = """
INSERT INTO price (area, ts, hour_flag, eur_mwh, source, updated) VALUES
    ('BE', '2024-10-27 02:00', 'A', -500.00, 'test', '2024-10-27 02:30'),
    ('BE', '2024-10-27 02:00', 'B', 0, 'test', '2024-10-27 03:00'),
    ('BE', '2024-03-31 03:00', 'N', 4000.01, 'test', '2024-03-31 01:59:59.999999');
INSERT INTO quote (client_ref, customer_id, tariff_code, kwh, amount_cents, status, created)
    SELECT CASE WHEN n % 2 = 0 THEN 'ref-' || n END, (SELECT min(id) FROM customer), 'VAST-2023', n * 0.125,
           n * 31 - 40, CASE WHEN n % 3 = 0 THEN 'X' ELSE 'O' END, timestamp '2024-01-01' + n * interval '61 minutes'
      FROM generate_series(1, 500) n;
INSERT INTO ack (device_id, ref, state, note, observed, received)
    SELECT d.id, 'r' || n, substr('DSFX', n % 4 + 1, 1), CASE WHEN n % 2 = 0 THEN 'ok Ω ' ELSE '' END,
           timestamp '2024-05-05', timestamp '2024-05-05'
      FROM device d, generate_series(1, 20) n;
INSERT INTO battery_command (device_id, ref, mode, power_w, status, issued, expires)
    SELECT d.id, 'c' || d.id || '-' || n, substr('CDH', n % 3 + 1, 1), n, substr('QSX', n % 3 + 1, 1),
           timestamp '2024-05-05', timestamp '2024-05-06'
      FROM device d, generate_series(1, 9) n;
INSERT INTO notification (customer_id, channel, recipient, subject, body, status, error, created, sent)
    SELECT c.id, substr('ESP', n % 3 + 1, 1), 'x@example.org', 'Täglich ', E'two\\nlines', substr('QSF', n % 3 + 1, 1),
           CASE WHEN n % 3 = 2 THEN 'refused' END, timestamp '2024-05-05',
           CASE WHEN n % 3 = 1 THEN timestamp '2024-05-05 01:00' END
      FROM customer c, generate_series(1, 9) n;
UPDATE notification_pref SET quiet_from = '22:30', quiet_to = '07:00' WHERE customer_id % 2 = 0;
"""


@pytest.fixture(scope="module")
def legacy(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    dsn = create_database(postgres, "monolith")
    migrate_legacy(dsn)
    seed(dsn, 30, "a secret of the test")
    list(prices.load(dsn, since=2024))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(MORE)
        yield connection


@pytest.fixture(scope="module", params=DOMAINS)
def mapping(request: pytest.FixtureRequest) -> Mapping:
    return load(ROOT / "migration_plan" / "mappings" / f"{request.param}.yaml")


@pytest.fixture(scope="module")
def service(service_postgres: Postgres, mapping: Mapping) -> Iterator[psycopg.Connection[Any]]:
    dsn = create_database(service_postgres, mapping.domain)
    migrations = ROOT / "services" / mapping.domain / "migrations"
    migrate_service(mapping.domain, migrations, {f"{mapping.domain.upper()}_OWNER_DATABASE_URL": dsn})
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def dsn(connection: psycopg.Connection[Any]) -> str:
    return f"{connection.info.dsn} password={connection.info.password}"


def fill(mapping: Mapping, legacy: psycopg.Connection[Any], service: psycopg.Connection[Any]) -> None:
    """What the first fill does, row by row."""
    service.execute("SET session_replication_role = replica")
    for table in mapping.tables:
        shape = reader.shape(legacy, table.legacy, table.source_columns("forward"))
        columns = table.columns("forward")
        copy_in = sql.SQL("COPY {} ({}) FROM STDIN").format(
            reader.name(table.service), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with service.cursor() as cursor, cursor.copy(copy_in) as copy:
            for batch in reader.stream(legacy, shape, table.source_key("forward")):
                for row in batch:
                    there = table.translate(dict(zip(shape.columns, row, strict=True)), "forward")
                    copy.write_row([Jsonb(v) if isinstance(v, list) else v for v in map(there.get, columns)])


def test_no_column_that_is_needed_is_missing_and_none_is_lost(mapping, legacy, service) -> None:
    assert [str(finding) for finding in lint_databases(mapping, legacy, service)] == []


def checked(connection: psycopg.Connection[Any], mapping: Mapping, side: str) -> list[roundtrip.Checked]:
    with roundtrip.connect(dsn(connection)) as reading:
        return [state for state in roundtrip.check_side(reading, mapping, side) if state.complete]


def test_every_row_survives_the_way_there_and_back(mapping, legacy) -> None:
    tables = checked(legacy, mapping, "legacy")
    assert sum(table.rows for table in tables) > 30
    assert [sample for table in tables for sample in table.samples] == []
    assert all(table.holds for table in tables)
    assert [finding for finding in declared(mapping) if finding.severity != "limit"] == []


def test_every_row_fits_the_services_schema_and_compares_equal(mapping, legacy, service) -> None:
    fill(mapping, legacy, service)
    report = verify(dsn(legacy), dsn(service), mapping)
    assert [str(sample) for sample in report.samples] == []
    assert report.clean
    assert all(table.rows > 0 for table in report.tables)
    assert all(table.holds and table.rows > 0 for table in checked(service, mapping, "service"))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("XX", "2024-10-27 02:00", "N"), "happens twice"),
        (("XX", "2024-10-27 04:00", "A"), "happens once"),
        (("XX", "2024-03-31 02:30", "N"), "does not exist"),
    ],
)
def test_a_row_that_would_not_come_back_is_reported_with_its_key(legacy, row, says) -> None:
    pricing = load(ROOT / "migration_plan" / "mappings" / "pricing.yaml")
    (key,) = legacy.execute(
        "INSERT INTO price (area, ts, hour_flag, eur_mwh, source, updated)"
        " VALUES (%s, %s, %s, 1, 'x', timestamp '2024-01-01') RETURNING id",
        row,
    ).fetchone()
    try:
        reports = {table.table: table for table in checked(legacy, pricing, "legacy")}
    finally:
        legacy.execute("DELETE FROM price WHERE id = %s", (key,))
    assert [table for table, report in reports.items() if report.violated] == ["public.price"]
    (sample,) = reports["public.price"].samples
    assert (sample.table, sample.key) == ("public.price", {"id": key})
    assert says in sample.reason
