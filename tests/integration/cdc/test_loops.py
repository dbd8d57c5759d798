"""Forward and reverse together: what an applier wrote is never captured again."""

from __future__ import annotations

import threading

import psycopg

from tests.integration.cdc.toy import Shop, assert_equal, execute, one


def test_two_streams_against_each_other_do_not_echo_and_converge(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', n FROM generate_series(1, 500) n")
    reverse = shop.streaming("reverse")  # its slot is older than the forward snapshot: those rows must not come back
    forward = shop.streaming("forward")

    def write(dsn: str, statements: list[str]) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for n in range(200):
                for statement in statements:
                    connection.execute(statement, {"n": n})

    # one owner a key: the monolith below 1000, the service from 1000 on
    legacy = threading.Thread(
        target=write, args=(shop.legacy, ["UPDATE item SET price_cents = price_cents + 1 WHERE id = %(n)s %% 20"])
    )
    inserts = "INSERT INTO product VALUES (1000 + %(n)s, NULL, 's', %(n)s, 'x', 'active')"
    service = threading.Thread(
        target=write, args=(shop.service, [inserts, "UPDATE product SET price = price + 1 WHERE id = 1000 + %(n)s"])
    )
    for thread in (legacy, service):
        thread.start()
    for thread in (legacy, service):
        thread.join()
    shop.caught_up("forward")
    shop.caught_up("reverse")
    shop.caught_up("forward")
    assert_equal(shop)
    assert reverse.runner.status.rows == 400
    assert forward.runner.status.rows == 190  # id 0 does not exist
    assert one(shop.legacy, "SELECT count(*) FROM item") == 700
    assert one(shop.legacy, "SELECT count(*) FROM banyan.parked") == 0


def test_a_table_that_goes_forward_only_is_not_captured_in_reverse(shop: Shop) -> None:
    shop.streaming("reverse")
    execute(shop.service, "INSERT INTO product_kind VALUES (1, 'x')")
    shop.caught_up("reverse")
    assert one(shop.legacy, "SELECT count(*) FROM kind") == 0
