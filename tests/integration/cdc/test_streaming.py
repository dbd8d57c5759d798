"""A stream end to end: what is committed at the source is in the target, whatever it is."""

from __future__ import annotations

from decimal import Decimal

from tests.integration.cdc.toy import Shop, assert_equal, execute, one


def test_a_snapshot_fills_the_target_and_later_commits_follow(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'name ' || n, n * 10 FROM generate_series(1, 1000) n")
    shop.streaming()
    assert_equal(shop)
    execute(
        shop.legacy,
        "INSERT INTO item VALUES (2000, 'new', 'new', 100); UPDATE item SET price_cents = 7 WHERE id = 5; DELETE FROM item WHERE id = 6",
    )
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT price FROM product WHERE id = 5") == Decimal("0.07")
