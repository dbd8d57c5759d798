"""Bounds and rights: a blocked target does not grow memory, keepalives go on, and a role with little is enough."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from cdc import streams
from cdc.errors import TableRefused
from tests.integration.cdc.toy import Running, Shop, assert_equal, execute, one, until


def test_a_blocked_target_pauses_reading_and_the_source_keeps_the_connection(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.capture.buffer.Buffer.__init__.__defaults__", (1000, 1_000_000))
    execute(shop.legacy, "INSERT INTO item VALUES (0, NULL, 'n', 1)")
    name = one(shop.legacy, "SELECT current_database()")
    execute(shop.legacy, f"ALTER DATABASE {name} SET wal_sender_timeout = '2s'")
    running = shop.streaming()
    shop.caught_up()
    with psycopg.connect(shop.service) as blocker:
        blocker.execute("LOCK TABLE product IN ACCESS EXCLUSIVE MODE")
        for n in range(1, 41):
            execute(
                shop.legacy,
                "INSERT INTO item SELECT n, NULL, 'n', 1 FROM generate_series(%s::int, %s::int) n",
                [n * 1000, n * 1000 + 999],
            )
        pid = one(
            shop.legacy,
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s",
            [shop.stream("forward").slot],
        )
        replies = "SELECT count(*) FROM pg_stat_replication WHERE pid = %s AND reply_time > now() - interval '1500 ms'"
        began = one(shop.legacy, "SELECT clock_timestamp()")
        until(
            lambda: one(shop.legacy, "SELECT clock_timestamp() > %s + interval '5 s'", [began]),
            "five seconds, over twice wal_sender_timeout",
        )
        assert one(shop.legacy, replies, [pid]) == 1
        received = one(
            shop.legacy,
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), write_lsn) FROM pg_stat_replication WHERE pid = %s",
            [pid],
        )
        assert received > 1_000_000  # what was not read is still the server's
    shop.caught_up()
    assert_equal(shop)
    assert running.runner.status.restarts == 0


def test_a_target_connection_that_breaks_comes_back(shop: Shop) -> None:
    running = shop.streaming()
    for _ in range(2):
        execute(
            shop.service,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'banyan-cdc shop.forward'",
        )
        execute(shop.legacy, "INSERT INTO item SELECT coalesce(max(id), 0) + 1, NULL, 'n', 1 FROM item")
        shop.caught_up()
    assert_equal(shop)
    assert running.runner.status.restarts >= 1


def test_a_source_connection_that_breaks_comes_back(shop: Shop) -> None:
    running = shop.streaming()
    execute(
        shop.legacy,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'banyan-cdc shop.forward'",
    )
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1)")
    shop.caught_up()
    assert_equal(shop)
    assert running.runner.status.restarts >= 1


@pytest.fixture
def cdc_role(shop: Shop) -> str:
    """The role as the deployment makes it, on both clusters; what it needs in the databases must come from prepare."""
    for dsn in (shop.legacy, shop.service):
        if one(dsn, "SELECT 1 FROM pg_roles WHERE rolname = 'banyan_cdc'") is None:
            execute(dsn, "CREATE ROLE banyan_cdc LOGIN REPLICATION PASSWORD 'cdc'")
    return "banyan_cdc"


def as_role(dsn: str, role: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    return psycopg.conninfo.make_conninfo(**{**parts, "user": role, "password": "cdc"})


def test_the_role_banyan_cdc_has_what_a_stream_needs_after_prepare(shop: Shop, cdc_role: str) -> None:
    from cdc.runner import Runner

    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 1 FROM generate_series(1, 1000) n")
    stream = shop.prepare("forward")
    running = Running(
        Runner(stream, shop.mapping, as_role(shop.legacy, cdc_role), as_role(shop.service, cdc_role))
    ).start()
    shop.running.append(running)
    until(lambda: running.runner.status.state == "streaming" or running.error, "streaming")
    execute(shop.legacy, "DELETE FROM item WHERE id = 3; INSERT INTO item VALUES (7000, 'x', 'n', 2000000000)")
    shop.caught_up()
    assert one(shop.service, "SELECT count(*) FROM product") == 999
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 1


def test_prepare_twice_is_prepare_once(shop: Shop) -> None:
    for direction in ("forward", "reverse"):
        stream = shop.prepare(direction)
        before = streams.position(shop.target(stream), stream.name)
        streams.prepare(stream, shop.source(stream), shop.target(stream))
        assert streams.position(shop.target(stream), stream.name) == before
    tables = "SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_publication_tables WHERE pubname = %s"
    assert one(shop.legacy, tables, [shop.stream("forward").publication]) == "everything,item,kind"
    assert one(shop.service, tables, [shop.stream("reverse").publication]) == "everything,product"


def test_drop_leaves_nothing_but_the_rows(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1)")
    shop.streaming().stop()
    stream = shop.stream("forward")
    streams.drop(stream, shop.legacy, shop.service)
    assert one(shop.legacy, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", [stream.slot]) == 0
    assert one(shop.legacy, "SELECT count(*) FROM pg_publication") == 0
    assert one(shop.service, "SELECT count(*) FROM pg_replication_origin WHERE roname = %s", [stream.origin]) == 0
    assert one(shop.service, "SELECT count(*) FROM banyan.stream") == 0
    assert one(shop.service, "SELECT count(*) FROM product") == 1


@pytest.mark.parametrize(
    ("side", "statement", "message"),
    [
        ("legacy", "ALTER TABLE item DROP CONSTRAINT item_pkey", "has no primary key"),
        ("legacy", "ALTER TABLE item REPLICA IDENTITY NOTHING", "REPLICA IDENTITY NOTHING"),
        (
            "legacy",
            "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (code)",
            "does not cover the mapping's key",
        ),
        ("legacy", "DROP TABLE item", "source table public.item does not exist"),
        ("service", "ALTER TABLE product DROP CONSTRAINT product_pkey", "no primary key or unique index on \\(id\\)"),
        ("service", "DROP TABLE product", "target table public.product does not exist"),
    ],
)
def test_prepare_refuses_tables_that_cannot_be_synced(shop: Shop, side: str, statement: str, message: str) -> None:
    execute(getattr(shop, side), statement)
    with pytest.raises(TableRefused, match=message):
        shop.prepare("forward")


def test_a_table_with_full_identity_and_no_primary_key_is_captured(shop: Shop) -> None:
    execute(
        shop.legacy,
        "ALTER TABLE item DROP CONSTRAINT item_pkey; ALTER TABLE item REPLICA IDENTITY FULL;"
        "ALTER TABLE item ALTER note SET STORAGE EXTERNAL",
    )
    shop.streaming()
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 1, repeat('x', 5000) FROM generate_series(1, 5) n")
    execute(
        shop.legacy,
        "UPDATE item SET name = 'm' WHERE id = 1; UPDATE item SET id = 9 WHERE id = 2; DELETE FROM item WHERE id = 3",
    )
    shop.caught_up()
    assert_equal(shop)


def test_a_table_name_that_needs_quotes(shop: Shop) -> None:
    assert sql.Identifier("a b").as_string(None) == '"a b"'
    mapping = shop.mapping_path
    mapping.write_text(
        mapping.read_text().replace("public.kind", "public.Kind").replace("public.product_kind", "public.Order")
    )
    execute(
        shop.legacy, 'CREATE TABLE "Kind" (id bigint PRIMARY KEY, name text); INSERT INTO "Kind" VALUES (1, \'one\')'
    )
    execute(shop.service, 'CREATE TABLE "Order" (id bigint PRIMARY KEY, name text)')
    shop.streaming()
    execute(shop.legacy, "UPDATE \"Kind\" SET name = 'two'")
    shop.caught_up()
    assert one(shop.service, 'SELECT name FROM "Order"') == "two"
