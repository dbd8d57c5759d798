"""Schema safety on real servers: a stream stops before the first row of a changed table, and goes on when resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import pytest

from cdc.errors import NotReady
from cdc.recover import recover
from cdc.runner import Runner
from cdc.schema.resume import Resumed, resume
from tests.integration.cdc.toy import MAPPING, Running, Shop, assert_equal, execute, one, rows, until

HALT = 'SELECT side, "table", what, lsn IS NOT NULL FROM banyan.halt WHERE stream = %s AND resumed_at IS NULL'


def start(shop: Shop, on_ddl: str = "stop", **tables: str) -> Running:
    """Streaming, with a policy; a halt reads the mapping anew, as the process does."""
    stream = msgspec.structs.replace(shop.prepare("forward"), on_ddl=on_ddl, on_ddl_tables=tables)
    runner = Runner(stream, shop.mapping, shop.legacy, shop.service, reload=lambda: (stream, shop.mapping))
    running = Running(runner).start()
    shop.running.append(running)
    until(lambda: running.runner.status.state == "streaming" or running.error, "the stream to start")
    assert running.error is None, running.error
    return running


def halted(shop: Shop, running: Running) -> tuple[str, str, str, bool]:
    until(lambda: running.runner.status.state == "halted" or running.error, "the stream to halt")
    assert running.error is None, running.error
    [found] = rows(shop.service, HALT, ["shop.forward"])
    assert f"`banyan stream resume {running.runner.stream.domain}" in running.runner.status.problem
    assert found[2] in running.runner.status.problem
    return found


def go_on(shop: Shop, running: Running, reason: str = "both sides are ready") -> Resumed:
    done = resume(running.runner.stream, shop.mapping, shop.legacy, shop.service, "ann", reason)
    until(lambda: running.runner.status.state == "streaming" or running.error, "the stream to go on")
    assert running.error is None, running.error
    return done


def without_triggers(*sides: str) -> None:
    for dsn in sides:
        execute(dsn, "DROP EVENT TRIGGER IF EXISTS banyan_ddl; DROP EVENT TRIGGER IF EXISTS banyan_drop")


def test_a_schema_change_mid_stream_stops_before_the_first_row_of_the_new_shape_and_loses_nothing(shop: Shop) -> None:
    running = start(shop)
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 1, 'old' FROM generate_series(1, 500) n")
    with psycopg.connect(shop.legacy) as connection:  # rows, the change and more rows in one transaction
        connection.execute("INSERT INTO kind VALUES (1, 'one')")
        connection.execute("ALTER TABLE item RENAME note TO remark")
        connection.execute("INSERT INTO item (id, name, price_cents, remark) VALUES (901, 'new shape', 1, 'kept')")
    execute(shop.legacy, "INSERT INTO item (id, name, price_cents, remark) VALUES (902, 'new shape', 1, 'kept too')")
    side, table, what, positioned = halted(shop, running)
    assert (side, table, positioned) == ("source", "public.item", True)
    assert "column note renamed to remark (ALTER TABLE by postgres)" in what
    assert one(shop.service, "SELECT count(*) FROM product") == 500  # all before the change, nothing of it
    assert one(shop.service, "SELECT count(*) FROM product_kind") == 0
    with pytest.raises(NotReady, match=r"public\.item has no note, which the mapping names"):
        resume(running.runner.stream, shop.mapping, shop.legacy, shop.service, "ann", "too early")
    assert running.runner.status.state == "halted"

    shop.mapping_path.write_text(MAPPING.replace("- note", "- {legacy: remark, service: note}"))
    done = go_on(shop, running)
    assert done.tried == 101
    shop.caught_up()
    assert rows(shop.service, "SELECT id, note FROM product WHERE id > 500 ORDER BY id") == [
        (901, "kept"), (902, "kept too"),
    ]  # fmt: skip
    assert one(shop.service, "SELECT count(*) FROM product") == 502
    assert one(shop.service, "SELECT name FROM product_kind") == "one"
    resumed = rows(shop.service, "SELECT resumed_by, reason, through IS NOT NULL FROM banyan.halt")
    assert resumed == [("ann", "both sides are ready", True)]
    running.stop()  # what was resumed stays so
    shop.running.clear()
    again = shop.start(shop.stream("forward"))
    execute(shop.legacy, "UPDATE item SET remark = 'later' WHERE id = 901")
    shop.caught_up()
    assert again.runner.status.state == "streaming"
    assert one(shop.service, "SELECT note FROM product WHERE id = 901") == "later"


def test_rows_of_both_shapes_in_one_transaction_are_never_guessed_and_come_over_again_by_one_command(
    shop: Shop,
) -> None:
    running = start(shop)
    with psycopg.connect(shop.legacy) as connection:
        connection.execute("INSERT INTO item VALUES (1, 'a', 'old shape', 1, 'kept')")
        connection.execute("ALTER TABLE item RENAME note TO remark")
    halted(shop, running)
    shop.mapping_path.write_text(MAPPING.replace("- note", "- {legacy: remark, service: note}"))
    resume(running.runner.stream, shop.mapping, shop.legacy, shop.service, "ann", "try")
    until(lambda: "no mapping fits both" in running.runner.status.problem, "the stream to halt again")
    again = Runner(running.runner.stream, shop.mapping, shop.legacy, shop.service)
    done = recover(again, shop.legacy, "ann", "rows of both shapes", force=True)
    assert done.way == "refill"
    until(lambda: running.runner.status.state == "streaming" or running.error, "the stream to go on")
    execute(shop.legacy, "INSERT INTO item (id, name, price_cents, remark) VALUES (2, 'new shape', 1, 'too')")
    shop.caught_up()
    assert rows(shop.service, "SELECT id, note FROM product ORDER BY id") == [(1, "kept"), (2, "too")]


def test_a_change_that_is_rolled_back_stops_nobody(shop: Shop) -> None:
    running = start(shop)
    with psycopg.connect(shop.legacy) as connection:
        connection.execute("ALTER TABLE item DROP note")
        connection.rollback()
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1, 'still here')")
    shop.caught_up()
    assert_equal(shop)
    assert running.runner.status.state == "streaming"


SOURCE_CHANGES = [
    ("ALTER TABLE item DROP note", "column note dropped"),
    ("ALTER TABLE item ALTER price_cents TYPE bigint", "type of column price_cents integer → bigint"),
    ("ALTER TABLE item ADD colour text", "column colour (text) added"),
    ("ALTER TABLE item ALTER name DROP NOT NULL", "column name may be NULL now"),
    ("ALTER TABLE item REPLICA IDENTITY FULL", "replica identity DEFAULT → FULL"),
    ("ALTER TABLE item RENAME TO article", "table renamed to public.article"),
    ("DROP TABLE item", "table dropped"),
    ("ALTER PUBLICATION {publication} DROP TABLE item", "table taken out of the publication"),
]


@pytest.mark.parametrize(("change", "what"), SOURCE_CHANGES)
def test_every_change_of_a_sources_table_is_told_by_the_event_trigger(shop: Shop, change: str, what: str) -> None:
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1)")
    running = start(shop)
    execute(shop.legacy, change.format(publication=running.runner.stream.publication))
    assert what in halted(shop, running)[2]
    assert one(shop.service, "SELECT count(*) FROM product") == 1


@pytest.mark.parametrize(
    ("change", "write", "what"),
    [
        ("ALTER TABLE item DROP note", "UPDATE item SET name = 'm'", "column note dropped"),
        ("ALTER TABLE item ALTER price_cents TYPE bigint", "UPDATE item SET name = 'm'", "price_cents integer → int8"),
        ("ALTER TABLE item ALTER code TYPE varchar(30)", "UPDATE item SET name = 'm'", "type of column code"),
        ("ALTER TABLE item RENAME note TO remark", "DELETE FROM item", "column note dropped; column remark"),
        ("ALTER TABLE item RENAME TO article", "DELETE FROM article", "table renamed to public.article"),
        ("ALTER TABLE item REPLICA IDENTITY FULL", "DELETE FROM item", "replica identity DEFAULT → FULL"),
        ("DROP TABLE item", "SELECT", "public.item: changes do not come any more"),
    ],
)
def test_where_no_event_trigger_may_be_installed_relation_messages_stop_the_stream_as_well(
    shop: Shop, change: str, write: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1)")
    running = start(shop)
    without_triggers(shop.legacy, shop.service)
    execute(shop.legacy, change)
    execute(shop.legacy, write)
    if write == "SELECT":  # nothing comes of it, so somebody must look
        from cdc.beacon import Tables

        tables = Tables(running.runner._routes, running.runner.stream.publication)
        with psycopg.connect(shop.legacy) as connection:
            running.runner.status.lost_tables = tables.lost(connection)
    assert what in halted(shop, running)[2]
    assert rows(shop.service, "SELECT id, name FROM product") == [(1, "n")]


TARGET_CHANGES = [
    ("ALTER TABLE product ADD colour text NOT NULL DEFAULT 'x'", "column colour (text) added"),
    ("ALTER TABLE product ADD colour text; ALTER TABLE product ALTER colour SET NOT NULL", "demands colour"),
    ("ALTER TABLE product DROP note", "column note dropped"),
    ("ALTER TABLE product RENAME note TO remark", "column note renamed to remark"),
    ("ALTER TABLE product ALTER price TYPE numeric(12,0)", "type of column price numeric(12,2) → numeric(12,0)"),
    ("ALTER TABLE product DROP CONSTRAINT product_pkey", "no unique key on (id)"),
    ("DROP TABLE product", "public.product does not exist at the target"),
]


@pytest.mark.parametrize(("change", "what"), TARGET_CHANGES)
def test_every_change_of_a_targets_table_stops_the_stream_before_it_writes_there(
    shop: Shop, change: str, what: str
) -> None:
    running = start(shop)
    execute(shop.service, change)
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 199)")
    side, table, found, positioned = halted(shop, running)
    assert (side, table, positioned) == ("target", "public.product", False)
    assert what in found
    assert "DROP TABLE" in change or one(shop.service, "SELECT count(*) FROM product") == 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("ALTER TABLE product ADD colour text; ALTER TABLE product ALTER colour SET NOT NULL", "demands colour"),
        ("ALTER TABLE product DROP note", "has no note"),
        ("ALTER TABLE product DROP CONSTRAINT product_pkey", "no unique key on (id)"),
        ("DROP TABLE product", "does not exist at the target"),
    ],
)
def test_a_target_that_does_not_fit_stops_the_stream_without_event_triggers_too_and_parks_nothing(
    shop: Shop, change: str, what: str
) -> None:
    running = start(shop)
    without_triggers(shop.legacy, shop.service)
    execute(shop.service, change)
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 199)")
    assert what in halted(shop, running)[2]
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0


def test_the_new_not_null_column_at_the_target_is_given_a_default_and_the_stream_goes_on(shop: Shop) -> None:
    running = start(shop)
    execute(shop.service, "ALTER TABLE product ADD colour text; ALTER TABLE product ALTER colour SET NOT NULL")
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 199)")
    halted(shop, running)
    with pytest.raises(NotReady, match="demands colour"):
        resume(running.runner.stream, shop.mapping, shop.legacy, shop.service, "ann", "too early")
    execute(shop.service, "ALTER TABLE product ALTER colour SET DEFAULT 'none'")
    go_on(shop, running)
    shop.caught_up()
    assert rows(shop.service, "SELECT id, colour FROM product") == [(1, "none")]


def test_a_row_of_now_that_the_target_refuses_keeps_the_stream_halted(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 199)")
    running = start(shop)
    execute(shop.service, "ALTER TABLE product ALTER price TYPE numeric(2,1)")
    execute(shop.legacy, "UPDATE item SET price_cents = 1900")
    halted(shop, running)
    with pytest.raises(NotReady, match=r"public\.item → public\.product: a row of now is refused: numeric field over"):
        resume(running.runner.stream, shop.mapping, shop.legacy, shop.service, "ann", "it will do")
    assert one(shop.service, "SELECT price FROM product") == 2
    assert one(shop.service, "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE '%resume'") == 0


@pytest.mark.parametrize("forget", [lambda shop: None, lambda shop: without_triggers(shop.legacy, shop.service)])
def test_new_columns_that_nobody_must_fill_pass_where_the_plan_says_expand(
    shop: Shop, forget: Callable[[Shop], Any]
) -> None:
    running = start(shop, on_ddl="expand")
    forget(shop)
    execute(shop.legacy, "ALTER TABLE item ADD colour text NOT NULL DEFAULT 'x'")
    execute(shop.service, "ALTER TABLE product ADD size int; ALTER TABLE product ADD kind text NOT NULL DEFAULT 'k'")
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1)")
    shop.caught_up()
    assert_equal(shop)
    execute(shop.legacy, "ALTER TABLE item DROP note; INSERT INTO item VALUES (2, 'b', 'n', 1)")  # is no expansion
    assert "column note dropped" in halted(shop, running)[2]
    assert one(shop.service, "SELECT count(*) FROM product") == 1


def test_a_policy_may_be_of_one_table(shop: Shop) -> None:
    running = start(shop, **{"public.product": "expand"})
    execute(shop.legacy, "ALTER TABLE item ADD colour text; INSERT INTO item VALUES (1, 'a', 'n', 1)")
    shop.caught_up()
    assert_equal(shop)
    execute(shop.legacy, "ALTER TABLE kind ADD colour text")
    assert halted(shop, running)[1] == "public.kind"


def test_ddl_by_a_role_without_any_right_to_schema_banyan_is_noted_and_other_tables_concern_nobody(shop: Shop) -> None:
    running = start(shop)
    execute(shop.legacy, "DROP ROLE IF EXISTS keeper; CREATE ROLE keeper LOGIN PASSWORD 'k'")
    execute(shop.legacy, "GRANT CREATE ON SCHEMA public TO keeper; ALTER TABLE kind OWNER TO keeper")
    keeper = psycopg.conninfo.make_conninfo(shop.legacy, user="keeper", password="k")
    execute(keeper, "CREATE TABLE diary (d text); ALTER TABLE diary ADD e int; CREATE TEMP TABLE x (y int)")
    execute(keeper, "DROP TABLE diary; CREATE INDEX ON kind (name); ALTER TABLE kind ALTER name SET DEFAULT 'd'")
    execute(shop.legacy, "INSERT INTO kind VALUES (1, 'one')")
    shop.caught_up()
    assert one(shop.service, "SELECT name FROM product_kind") == "one"
    execute(keeper, "ALTER TABLE kind ADD e int")
    assert "ALTER TABLE by keeper" in halted(shop, running)[2]
    execute(shop.legacy, "DROP OWNED BY keeper; DROP ROLE keeper")
