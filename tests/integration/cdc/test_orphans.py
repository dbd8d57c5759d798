"""Foreign keys and triggers at the target: passed by while applying, and looked after."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cdc import orphans
from cdc.__main__ import main
from tests.integration.cdc.toy import Shop, assert_equal, execute, one

KEYS = """
ALTER TABLE product ADD kind_id bigint REFERENCES product_kind;
ALTER TABLE product_kind ADD UNIQUE (id, name);
ALTER TABLE product ADD kind_name text;
ALTER TABLE product ADD CONSTRAINT pair FOREIGN KEY (kind_id, kind_name) REFERENCES product_kind (id, name);
"""
TABLES = ["public.product", "public.product_kind"]


def test_children_may_come_before_their_parents_and_triggers_stay_quiet(shop: Shop) -> None:
    execute(shop.service, "ALTER TABLE everything ADD FOREIGN KEY (i8) REFERENCES product")
    execute(
        shop.service,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON product FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    shop.streaming()
    execute(shop.legacy, "INSERT INTO everything (id, i8) SELECT n, n FROM generate_series(1, 50) n")
    shop.caught_up()
    found = orphans.find(shop.service, ["public.everything"], again_after=0)
    assert [(o.table, o.parent, o.columns, o.rows) for o in found] == [("everything", "product", ("i8",), 50)]
    execute(shop.legacy, "INSERT INTO item SELECT n, NULL, 'n', 1 FROM generate_series(1, 50) n")
    shop.caught_up()
    assert_equal(shop)
    assert orphans.find(shop.service, ["public.everything"], again_after=0) == []


def test_a_key_of_several_columns_misses_nothing_while_one_is_null(shop: Shop) -> None:
    execute(shop.service, KEYS)
    execute(shop.service, "INSERT INTO product_kind VALUES (1, 'a')")
    execute(
        shop.service,
        "SET session_replication_role = replica;"
        "INSERT INTO product (id, name, price, state, kind_id, kind_name)"
        " VALUES (1, 'n', 1, 'active', 1, 'a'), (2, 'n', 1, 'active', 1, NULL), (3, 'n', 1, 'active', 1, 'b')",
    )
    (found,) = orphans.find(shop.service, TABLES, again_after=0)
    assert (found.constraint, found.columns, found.values) == ("pair", ("kind_id", "kind_name"), (("1", "b"),))


def test_the_command_tells_them_and_what_comes_late_is_none(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARGET_DSN", shop.service)
    monkeypatch.setattr(
        orphans.time, "sleep", lambda _: execute(shop.service, "INSERT INTO product_kind VALUES (2, 'b')")
    )
    execute(shop.service, KEYS)
    execute(
        shop.service,
        "SET session_replication_role = replica; INSERT INTO product (id, name, price, state, kind_id)"
        " VALUES (1, 'n', 1, 'active', 2), (2, 'n', 1, 'active', 3)",
    )
    path = str(shop.file(shop.stream("forward")))
    done = CliRunner().invoke(main, ["orphans", "--stream", path])
    assert done.exit_code == 1
    (line,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (line["table"], line["parent"], line["values"]) == ("product", "product_kind", [["3"]])
    execute(shop.service, "DELETE FROM product WHERE id = 2")
    assert CliRunner().invoke(main, ["orphans", "--stream", path]).exit_code == 0
    assert one(shop.service, "SELECT count(*) FROM product") == 1
