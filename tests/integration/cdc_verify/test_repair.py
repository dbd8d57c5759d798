"""A repair gives the other side the owner's row again, while both live; the owner's side is never written."""

from __future__ import annotations

import random

import psycopg
import pytest

from cdc.guard.install import install
from cdc.guard.waves import Wave
from cdc.verify import Carrier, Difference, verify
from cdc.verify.repair import Repaired, repair
from tests.integration.cdc.test_ownership import item_of
from tests.integration.cdc.test_ownership import switch as switch_wave
from tests.integration.cdc.toy import Shop, execute, one
from tests.integration.cdc_verify.test_windows import FILL, carriers, compare, write_items, writing

ROWS = 2_000


@pytest.fixture
def filled(shop: Shop) -> Shop:
    execute(shop.legacy, FILL, {"rows": ROWS})
    execute(
        shop.legacy,
        "INSERT INTO everything (id, js, jb, tt, iv, n) VALUES (1, '{\"a\": 1.5}', '[1]', '{a,b}', '1 day', 7.10)",
    )
    shop.streaming("forward")
    return shop


def mended(shop: Shop, drifted: tuple[Difference, ...], *directions: str) -> Repaired:
    known = {
        name: Carrier(
            one_.stream, one_.capture_dsn, one_.publication, shop.target(shop.stream(name)), shop.stream(name).origin
        )
        for name, one_ in carriers(shop, *directions).items()
    }
    return repair(shop.legacy, shop.service, shop.mapping, known, drifted)


def all_drift(shop: Shop, *directions: str) -> tuple[Difference, ...]:
    return tuple(found for table in compare(shop, *directions).tables for found in table.drifted)


def test_changed_missing_and_extra_rows_come_right_under_a_constant_load(filled: Shop) -> None:
    odd = [*range(1, ROWS, 2)]
    random.Random(5).shuffle(odd)
    execute(filled.service, "UPDATE product SET note = 'drift', price = 0 WHERE id = ANY (%s)", [odd[:200]])
    execute(filled.service, "DELETE FROM product WHERE id = ANY (%s)", [odd[200:400]])
    execute(
        filled.service,
        "INSERT INTO product SELECT 100001 + 2 * n, NULL, 'x', 1, NULL, 'active' FROM generate_series(1, 200) n",
    )
    execute(filled.service, "UPDATE everything SET js = '{}', tt = NULL WHERE id = 1")
    with writing(filled.legacy, write_items):
        drifted = all_drift(filled, "forward")
        assert len(drifted) == 601
        found = mended(filled, drifted, "forward")
        assert (found.repaired, found.alike, found.left) == (601, 0, [])
        assert all_drift(filled, "forward") == ()
    filled.caught_up()
    assert verify(filled.legacy, filled.service, filled.mapping, carriers=carriers(filled, "forward")).clean


def test_keys_that_are_written_all_the_time_never_get_an_older_row(filled: Shop) -> None:
    """Each is said to differ, over and over, while it is inserted, changed and deleted."""
    hot = tuple(Difference("different", "public.item", {"id": 2 * n}) for n in range(1, 6))
    with writing(filled.legacy, write_items):
        for _ in range(10):
            mended(filled, hot, "forward")
    filled.caught_up()
    assert all_drift(filled, "forward") == ()


def test_a_parked_key_is_left_to_its_queue_and_a_refused_row_says_why(filled: Shop) -> None:
    execute(filled.legacy, "UPDATE item SET price_cents = 200000000 WHERE id = 4")
    filled.caught_up()
    execute(filled.service, "DELETE FROM product WHERE id = 6")
    execute(filled.service, "ALTER TABLE product ADD CHECK (id <> 6)")
    found = mended(filled, all_drift(filled, "forward"), "forward")
    assert found.repaired == 0
    assert {difference.key["id"]: why.split(":")[0] for difference, why in found.left} == {
        4: "its changes are parked",
        6: 'new row for relation "product" violates check constraint "product_id_check"',
    }


def test_the_owners_side_is_never_written_whichever_owns(filled: Shop) -> None:
    filled.streaming("reverse")
    waves = (Wave(0, 0, 512), Wave(1, 512, 1024))
    for dsn, side in ((filled.legacy, "legacy"), (filled.service, "service")):
        with psycopg.connect(dsn, autocommit=True) as connection:
            install(connection, filled.mapping, side, waves)
    switch_wave(filled, 1)
    here, there = item_of(0), item_of(1)
    for dsn, table in ((filled.legacy, "item"), (filled.service, "product")):
        execute(dsn, f"ALTER TABLE {table} DISABLE TRIGGER USER")
    execute(filled.service, "UPDATE product SET name = 'foreign' WHERE id = %s", [here])  # legacy's wave
    execute(filled.legacy, "UPDATE item SET name = 'foreign' WHERE id = %s", [there])  # the service's
    filled.caught_up("forward")
    filled.caught_up("reverse")
    drifted = all_drift(filled, "forward", "reverse")
    assert {found.key["id"] for found in drifted} == {here, there}
    assert mended(filled, drifted, "forward", "reverse").repaired == 2
    assert all_drift(filled, "forward", "reverse") == ()
    for dsn, table in ((filled.legacy, "item"), (filled.service, "product")):
        for key in (here, there):
            assert one(dsn, f"SELECT name FROM {table} WHERE id = %s", [key]) == f"name {key}"
    assert one(filled.service, "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE '%repair'") == 0
