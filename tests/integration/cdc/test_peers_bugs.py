"""Mistakes that other tools have made, each named; here they must not happen."""

from __future__ import annotations

import psycopg
import pytest

from tests.integration.cdc.toy import Shop, assert_equal, execute, one, rows


@pytest.mark.parametrize("count", [1, 20, 120, 700])
def test_toast_placeholder_in_a_mixed_batch(shop: Shop, count: int) -> None:
    """airbyte#30518, artie-labs/transfer#100, debezium-server-iceberg#196: rows with and without a large value in one
    batch, and the unknown one was written as NULL or as a placeholder. In every size of batch.
    """
    shop.streaming()
    execute(shop.legacy, "ALTER TABLE item ALTER note SET STORAGE EXTERNAL")
    numbers = f"generate_series(1, {count}) n"
    execute(shop.legacy, f"INSERT INTO item SELECT n, 'c' || n, 'old', 1, repeat('x', 5000) || n FROM {numbers}")
    shop.caught_up()
    with psycopg.connect(shop.legacy) as connection:
        connection.execute(f"INSERT INTO item SELECT 10000 + n, NULL, 'new', 1, repeat('y', 5000) FROM {numbers}")
        connection.execute("UPDATE item SET name = 'patched', price_cents = id")  # all large values unchanged
        connection.execute("UPDATE item SET note = NULL WHERE id % 5 = 1")
        connection.execute("UPDATE item SET note = 'short', name = 'whole' WHERE id % 5 = 2")
        connection.execute("UPDATE item SET status = 'I' WHERE id % 2 = 0")  # again unknown, after whole rows
        connection.execute("DELETE FROM item WHERE id % 7 = 3")
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT count(*) FROM product WHERE note LIKE '%unavailable%' OR note = ''") == 0
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0


def test_commit_lsn_versus_event_lsn_on_resume(shop: Shop) -> None:
    """risingwave#14060, debezium#3620: who stores the position of a change skips, after a restart, transactions that
    began before it and commit after it.
    """
    running = shop.streaming()
    with psycopg.connect(shop.legacy) as early, psycopg.connect(shop.legacy) as late:
        early.execute("INSERT INTO item VALUES (1, 'early', 'written first, committed last', 1)")
        late.execute("INSERT INTO item VALUES (2, 'late', 'written last, committed first', 1)")
        late.commit()
        shop.caught_up()
        running.stop()
        second = shop.start(shop.stream("forward"))
        shop.caught_up()
        assert rows(shop.service, "SELECT id FROM product") == [(2,)]
        early.commit()
    shop.caught_up()
    assert_equal(shop)
    second.stop()
    assert one(shop.service, "SELECT rows FROM banyan.stream") == 2, "each row once"


def test_long_transaction_open_across_restarts_and_other_commits(shop: Shop) -> None:
    """airbyte#27647, vitess#9400: a transaction that is open for long holds the slot's start, not its position."""
    running = shop.streaming()
    with psycopg.connect(shop.legacy) as long:
        for round_ in range(4):
            long.execute("INSERT INTO item VALUES (%s, NULL, 'long', 1)", [round_])
            execute(shop.legacy, "INSERT INTO item VALUES (%s, NULL, 'short', 1)", [100 + round_])
            shop.caught_up()
            running.stop()
            running = shop.start(shop.stream("forward"))
        assert one(shop.service, "SELECT count(*) FROM product") == 4
        long.execute("UPDATE item SET name = 'long and short' WHERE id IN (0, 100)")
        long.commit()
    shop.caught_up()
    assert_equal(shop)


@pytest.mark.parametrize("count", [3, 400])
def test_primary_key_update_in_a_batch(shop: Shop, count: int) -> None:
    """A changed key is a delete and an insert for consumers, who lost one of them, or their order. Keys are handed
    from row to row within one batch here.
    """
    shop.streaming()
    execute(shop.legacy, f"INSERT INTO item SELECT n, 'c' || n, 'n', n FROM generate_series(1, {count}) n")
    with psycopg.connect(shop.legacy) as connection:
        connection.execute("UPDATE item SET id = -id")
        connection.execute("UPDATE item SET id = -id + 1, name = 'took the next one''s key'")
        connection.execute("DELETE FROM item WHERE id = 2")
        connection.execute("UPDATE item SET id = 2 WHERE id = 3")
        connection.execute("INSERT INTO item VALUES (1, 'c1 again', 'n', 1)")
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0
