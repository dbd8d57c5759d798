"""A change that the target refuses parks its key; the rest goes on; people replay or discard."""

from __future__ import annotations

import json

import pytest

from cdc import parking
from cdc.errors import ConfigError
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, rows


@pytest.fixture
def poisoned(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Key 7 is too expensive for the target (a CHECK), amid a large batch; key 8 has an unknown status (mapping)."""
    monkeypatch.setenv("TARGET_DSN", shop.service)
    shop.streaming()
    execute(
        shop.legacy,
        "INSERT INTO item"
        " SELECT n, 'c' || n, 'n', CASE n WHEN 7 THEN 2000000000 ELSE n END, NULL, CASE n WHEN 8 THEN 'Z' ELSE 'A' END"
        " FROM generate_series(1, 3000) n",
    )
    execute(shop.legacy, "UPDATE item SET name = 'second' WHERE id IN (6, 7, 8)")
    execute(shop.legacy, "UPDATE item SET name = 'third' WHERE id IN (7, 9)")
    shop.caught_up()
    return shop


def test_only_the_guilty_keys_stay_behind_and_their_later_changes_queue(poisoned: Shop) -> None:
    assert one(poisoned.service, "SELECT count(*) FROM product") == 2998
    assert rows(poisoned.service, "SELECT id, name FROM product WHERE id IN (6, 9) ORDER BY id") == [
        (6, "second"),
        (9, "third"),
    ]
    parked = parking.listed(poisoned.stream("forward"))
    assert [(p.table, p.key, p.changes) for p in parked] == [("public.item", "[7]", 3), ("public.item", "[8]", 2)]
    assert "check constraint" in parked[0].reason
    assert "'Z' is not one of" in parked[1].reason
    assert parked[0].attempts >= 1


def test_a_replay_that_still_fails_changes_nothing_and_counts(poisoned: Shop) -> None:
    stream = poisoned.stream("forward")
    before = parking.listed(stream)[0].attempts
    assert parking.replay(stream, poisoned.mapping) == (0, 2)
    assert parking.listed(stream)[0].attempts == before + 1
    assert one(poisoned.service, "SELECT count(*) FROM product") == 2998


def test_after_a_replay_the_key_flows_again_beside_the_running_stream(poisoned: Shop) -> None:
    stream = poisoned.stream("forward")
    execute(poisoned.service, "ALTER TABLE product DROP CONSTRAINT product_price_check")
    assert parking.replay(stream, poisoned.mapping, "public.item", "[7]") == (1, 0)
    assert rows(poisoned.service, "SELECT name FROM product WHERE id = 7") == [("third",)]
    execute(poisoned.legacy, "UPDATE item SET name = 'fourth' WHERE id = 7")
    poisoned.caught_up()
    assert rows(poisoned.service, "SELECT name FROM product WHERE id = 7") == [("fourth",)]
    assert [p.key for p in parking.listed(stream)] == ["[8]"]


def test_what_a_replay_writes_is_not_captured_by_the_other_direction(poisoned: Shop) -> None:
    poisoned.streaming("reverse")
    execute(poisoned.service, "ALTER TABLE product DROP CONSTRAINT product_price_check")
    parking.replay(poisoned.stream("forward"), poisoned.mapping, "public.item", "[7]")
    poisoned.caught_up("reverse")
    assert one(poisoned.legacy, "SELECT rows FROM banyan.stream") == 0


def test_a_discarded_key_flows_again_from_its_next_change(poisoned: Shop) -> None:
    stream = poisoned.stream("forward")
    assert parking.discard(stream, "public.item", "[8]") == 2
    execute(poisoned.legacy, "UPDATE item SET status = 'I' WHERE id = 8")
    poisoned.caught_up()
    assert rows(poisoned.service, "SELECT name, state FROM product WHERE id = 8") == [("second", "inactive")]
    with pytest.raises(ConfigError, match="nothing is parked"):
        parking.discard(stream, "public.item", "[8]")


def test_a_truncate_frees_what_waited(poisoned: Shop) -> None:
    execute(poisoned.legacy, "TRUNCATE item")
    execute(poisoned.legacy, "INSERT INTO item VALUES (7, 'c7', 'fresh', 1)")
    poisoned.caught_up()
    assert_equal(poisoned)
    assert parking.listed(poisoned.stream("forward")) == []


def test_parked_keys_survive_a_restart(poisoned: Shop) -> None:
    poisoned.running[0].stop()
    execute(poisoned.legacy, "UPDATE item SET name = 'later' WHERE id IN (7, 10)")
    poisoned.start(poisoned.stream("forward"))
    poisoned.caught_up()
    assert [p.changes for p in parking.listed(poisoned.stream("forward"))] == [4, 2]
    assert rows(poisoned.service, "SELECT name FROM product WHERE id = 10") == [("later",)]


SWAP = "UPDATE item SET code = CASE code WHEN 'a' THEN 'b' ELSE 'a' END"


@pytest.fixture
def pair(shop: Shop) -> Shop:
    """Two rows whose codes may be exchanged at the source, where the constraint is deferred."""
    execute(
        shop.legacy, "ALTER TABLE item DROP CONSTRAINT item_code_key, ADD UNIQUE (code) DEFERRABLE INITIALLY DEFERRED"
    )
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1), (2, 'b', 'n', 1)")
    shop.streaming()
    return shop


def test_an_exchange_of_unique_values_passes_a_target_that_defers_them_too(pair: Shop) -> None:
    execute(
        pair.service,
        "ALTER TABLE product DROP CONSTRAINT product_code_key, ADD UNIQUE (code) DEFERRABLE INITIALLY DEFERRED",
    )
    execute(pair.legacy, SWAP)
    pair.caught_up()
    assert_equal(pair)
    assert one(pair.service, "SELECT count(*) FROM banyan.parked") == 0


def test_an_exchange_of_unique_values_that_the_target_cannot_defer_is_parked_and_not_lost(pair: Shop) -> None:
    execute(pair.legacy, SWAP)
    pair.caught_up()
    assert rows(pair.service, "SELECT key FROM banyan.parked ORDER BY id") == [([1],), ([2],)]
    assert rows(pair.service, "SELECT code FROM product ORDER BY id") == [("a",), ("b",)]


def test_the_snapshot_parks_what_the_target_refuses(shop: Shop) -> None:
    execute(
        shop.legacy,
        "INSERT INTO item SELECT n, 'c' || n, 'n', CASE n WHEN 7 THEN 2000000000 ELSE n END"
        " FROM generate_series(1, 3000) n",
    )
    shop.streaming()
    assert one(shop.service, "SELECT count(*) FROM product") == 2999
    (change,) = (json.loads(json.dumps(change)) for (change,) in rows(shop.service, "SELECT change FROM banyan.parked"))
    assert change["payload"]["op"] == "r"
    assert change["payload"]["after"]["id"] == 7
