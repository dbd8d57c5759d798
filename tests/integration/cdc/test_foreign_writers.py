"""Somebody who is not the owner writes past the guard: it is told, and the owner's side does not take it."""

from __future__ import annotations

import psycopg
import pytest

from cdc.guard.install import install
from cdc.guard.ownership import fence, set_owner
from cdc.guard.waves import WHOLE, Wave
from tests.integration.cdc.test_ownership import item_of, switch
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, rows, until

TOLD = 'SELECT stream, "table", role, keys, rows FROM banyan.foreign_write ORDER BY lsn'


@pytest.fixture
def guarded(shop: Shop, request: pytest.FixtureRequest) -> Shop:
    """Both streams run, and legacy owns everything."""
    waves = getattr(request, "param", WHOLE)
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 100 FROM generate_series(1, 50) n")
    for dsn, side in ((shop.legacy, "legacy"), (shop.service, "service")):
        with psycopg.connect(dsn, autocommit=True) as connection:
            install(connection, shop.mapping, side, waves)
    shop.streaming("forward")
    shop.streaming("reverse")
    return shop


def past_the_guard(dsn: str, table: str, *statements: str) -> int:
    """As a superuser who takes the triggers away; the number of the transaction."""
    with psycopg.connect(dsn, application_name="night script") as connection:
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER banyan_guard")
        connection.commit()
        for statement in statements:
            connection.execute(statement)
        (xid,) = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        connection.commit()
        connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER banyan_guard")
    return xid


def told_anywhere(dsn: str) -> bool:
    return bool(one(dsn, "SELECT 1 FROM banyan.foreign_write"))


def test_a_superuser_who_writes_at_the_service_while_legacy_owns_raises_an_alarm_and_legacy_keeps_its_rows(
    guarded: Shop,
) -> None:
    xid = past_the_guard(
        guarded.service,
        "product",
        "UPDATE product SET name = 'foreign' WHERE id = 7",
        "DELETE FROM product WHERE id = 8",
        "INSERT INTO product VALUES (99, 'new', 'foreign', 1, NULL, 'active')",
    )
    guarded.caught_up("reverse")
    found = rows(guarded.legacy, TOLD)
    assert [(stream, table, keys, count) for stream, table, _, keys, count in found] == [
        ("shop.reverse", "public.product", [[7], [8], [99]], 3)
    ]
    assert one(guarded.legacy, "SELECT xid FROM banyan.foreign_write") == xid
    assert rows(guarded.legacy, "SELECT id, name FROM item WHERE id IN (7, 8, 99) ORDER BY id") == [(7, "n"), (8, "n")]
    status = guarded.running[1].runner.status
    until(lambda: status.foreign == 1, "the status to say so")
    assert [alarm.name for alarm in status.alarms()] == ["foreign-writer"]


def test_the_role_is_named_where_its_session_is_still_there(guarded: Shop) -> None:
    execute(guarded.service, "ALTER TABLE product DISABLE TRIGGER banyan_guard")
    with psycopg.connect(guarded.service, autocommit=True, application_name="night script") as connection:
        connection.execute("UPDATE product SET name = 'foreign' WHERE id = 7")
        until(lambda: told_anywhere(guarded.legacy), "the alarm")
    role = one(guarded.legacy, "SELECT role FROM banyan.foreign_write")
    assert role == "postgres (night script)"


def test_after_a_switch_the_foreign_side_is_legacy(guarded: Shop) -> None:
    switch(guarded)
    execute(guarded.service, "UPDATE product SET name = 'accepted' WHERE id = 7")
    past_the_guard(guarded.legacy, "item", "UPDATE item SET name = 'foreign' WHERE id IN (7, 9)")
    guarded.caught_up("forward")
    guarded.caught_up("reverse")
    assert [(stream, count) for stream, *_, count in rows(guarded.service, TOLD)] == [("shop.forward", 2)]
    assert rows(guarded.service, "SELECT name FROM product WHERE id IN (7, 9) ORDER BY id") == [("accepted",), ("n",)]
    assert not told_anywhere(guarded.legacy), "what the owner writes is not foreign"


@pytest.mark.parametrize("guarded", [(Wave(0, 0, 512), Wave(1, 512, 1024))], indirect=True)
def test_with_two_owners_only_the_other_ones_rows_are_foreign(guarded: Shop) -> None:
    switch(guarded, 1)
    execute(guarded.service, "ALTER TABLE product DISABLE TRIGGER ALL")
    with psycopg.connect(guarded.service, autocommit=True) as connection:
        connection.execute("UPDATE product SET name = 'new' WHERE id IN (%s, %s)", [item_of(0), item_of(1)])
    guarded.caught_up("reverse")
    assert [(keys, count) for *_, keys, count in rows(guarded.legacy, TOLD)] == [([[item_of(0)]], 1)]
    names = [one(guarded.legacy, "SELECT name FROM item WHERE id = %s", [item_of(wave)]) for wave in (0, 1)]
    assert names == ["n", "new"]


def test_a_fence_that_was_taken_back_makes_nobody_foreign(guarded: Shop) -> None:
    with psycopg.connect(guarded.legacy, autocommit=True) as legacy:
        epoch = fence(legacy, "shop", 0, 1, 900).epoch
        set_owner(legacy, "shop", 0, "legacy", epoch, epoch)
        for name in ("first", "second"):
            legacy.execute("UPDATE item SET name = %s", [name])
            guarded.caught_up("forward")
    assert_equal(guarded)
    assert not told_anywhere(guarded.service)


def test_a_session_with_an_origin_of_its_own_passes_the_guard_but_is_written_down_with_its_role(guarded: Shop) -> None:
    with psycopg.connect(guarded.service, autocommit=True, application_name="other tool") as connection:
        connection.execute("SELECT pg_replication_origin_create('other_tool')")
        connection.execute("SELECT pg_replication_origin_session_setup('other_tool')")
        with connection.transaction():
            connection.execute("UPDATE product SET name = 'foreign' WHERE id = 7")
            connection.execute("UPDATE product SET name = 'foreign' WHERE id = 8")
        with connection.transaction():  # what is rolled back was not written
            connection.execute("UPDATE product SET name = 'foreign' WHERE id = 9")
            raise psycopg.Rollback
        connection.execute("SELECT pg_replication_origin_session_reset()")
        connection.execute("SELECT pg_replication_origin_drop('other_tool')")
    assert [(table, role) for _, table, role, *_ in rows(guarded.service, TOLD)] == [
        ("public.product", "postgres (other tool)")
    ]
    guarded.caught_up("reverse")
    assert one(guarded.legacy, "SELECT name FROM item WHERE id = 7") == "n"
