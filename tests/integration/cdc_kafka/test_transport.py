"""Through a real broker: what arrives, in which shape, and what a fence means over partitions."""

from __future__ import annotations

import json

import pytest
from kafka import TopicPartition

from banyan.servers.kafka import Kafka
from cdc import streams
from cdc.errors import ConfigError
from cdc.kafka import client
from cdc.kafka.settings import Settings
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, rows, until


def settings(shop: Shop) -> Settings:
    found = shop.transport["kafka"]
    assert isinstance(found, Settings)
    return found


def records(shop: Shop, topic: str) -> list[tuple[bytes | None, dict[str, object] | None]]:
    """(key, payload) of everything in the topic so far, partition by partition."""
    places = [TopicPartition(topic, n) for n in range(settings(shop).partitions)]
    found = []
    with client.consumer(settings(shop), "test", 1000, group=False) as reader:
        reader.assign(places)
        ends = reader.end_offsets(places)
        reader.seek_to_beginning()
        while any(reader.position(place) < ends[place] for place in places):
            for batch in reader.poll(timeout_ms=500).values():
                found += [(record.key, json.loads(record.value) if record.value else None) for record in batch]
    return found


def test_changes_of_every_kind_arrive_and_the_topics_have_debeziums_shape(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', n FROM generate_series(1, 50) n")
    shop.streaming()
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', n FROM generate_series(51, 1000) n")
    execute(shop.legacy, "UPDATE item SET name = 'new', price_cents = price_cents * 2 WHERE id % 3 = 0")
    execute(shop.legacy, "DELETE FROM item WHERE id % 7 = 0")
    execute(shop.legacy, "UPDATE item SET id = id + 10000 WHERE id % 5 = 0")  # keeps unique codes, changes partitions
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0
    found = records(shop, f"{settings(shop).prefix}.public.item")
    assert {key for key, _ in found} >= {b'{"id":51}', b'{"id":10005}'}
    at = [payload for key, payload in found if key == b'{"id":7}']
    deleted, tombstone = at[-2:]
    assert deleted is not None
    assert (deleted["op"], deleted["after"], tombstone) == ("d", None, None)
    source = deleted["source"]
    assert isinstance(source, dict)
    assert (source["schema"], source["table"], source["connector"]) == ("public", "item", "postgresql")


def test_every_type_survives_the_topic(shop: Shop) -> None:
    shop.streaming()
    row = """
    (1, true, 1, 2, 3, 1.5, 0.1, 12345678901234567890.123, 1.10, E'a\\n"b', '', 'ab', '\\x00ff',
     '2024-03-31 02:30:00.5', '2024-03-31 02:30+02', '2024-02-29',
     '23:59:59.999999', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
     '{"a": 1.10}', '[1, null]', '{1,NULL}', '{"a,b",NULL}', '{1.50,NaN}', '1 day 02:00:00', '10.0.0.1/8'),
    (2, NULL, NULL, NULL, NULL, 'NaN', '-Infinity', 'NaN', NULL, '__', NULL, NULL, NULL, 'infinity',
     '-infinity', 'infinity', '24:00:00', NULL, NULL, NULL, '{}', NULL, NULL, NULL, NULL)
    """
    execute(shop.legacy, f"INSERT INTO everything VALUES {row}")
    shop.caught_up()
    query = """
    SELECT to_jsonb(e) - 'js' || jsonb_build_object('js', js::jsonb, 'f4', f4::text, 'f8', f8::text)
    FROM everything e ORDER BY id"""
    assert rows(shop.service, query) == rows(shop.legacy, query)
    assert len(rows(shop.service, query)) == 2
    # Larger batches are written in other forms: VALUES, arrays, COPY.
    for copies in (10, 60, 400):
        execute(
            shop.legacy,
            "INSERT INTO everything SELECT (jsonb_populate_record(e, jsonb_build_object('id', e.id + 1000 * copy))).*"
            f" FROM everything e, generate_series({copies}, {2 * copies - 1}) copy WHERE id < 3",
        )
        shop.caught_up()
        assert rows(shop.service, query) == rows(shop.legacy, query)
    execute(shop.legacy, "DELETE FROM everything WHERE id > 3")
    shop.caught_up()
    assert len(rows(shop.service, query)) == 2


def test_a_fence_waits_for_every_partition(shop: Shop) -> None:
    shop.streaming()
    with streams.fence_listener(shop.service) as listener:
        for epoch in (1, 2):
            marker = json.dumps({"domain": "shop", "wave": 0, "epoch": epoch})
            execute(
                shop.legacy,
                f"BEGIN; INSERT INTO item SELECT n + {epoch}000, NULL, 'n', 1 FROM generate_series(1, 300) n;"
                f" SELECT pg_logical_emit_message(true, 'banyan.fence', '{marker}'); COMMIT",
            )
            listener.wait("shop.forward", "shop", 0, epoch, 20)
            assert one(shop.service, "SELECT count(*) FROM product") == epoch * 300


def test_a_truncate_empties_the_table_in_its_place_over_all_partitions(shop: Shop) -> None:
    shop.streaming()
    execute(shop.legacy, "INSERT INTO item SELECT n, NULL, 'old', 1 FROM generate_series(1, 100) n")
    execute(
        shop.legacy,
        "BEGIN; INSERT INTO item VALUES (101, NULL, 'gone', 1); TRUNCATE item;"
        " INSERT INTO item SELECT n, NULL, 'new', 1 FROM generate_series(51, 120) n; COMMIT",
    )
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT count(*) FROM product WHERE name = 'new'") == 70


def test_a_changed_key_with_an_unchanged_toasted_value_keeps_the_value(shop: Shop) -> None:
    shop.streaming()
    execute(shop.legacy, "ALTER TABLE item ALTER note SET STORAGE EXTERNAL")
    execute(shop.legacy, "INSERT INTO item SELECT n, NULL, 'n', 1, repeat('x', 9000) FROM generate_series(1, 20) n")
    execute(shop.legacy, "UPDATE item SET price_cents = id")  # leaves the values out
    execute(shop.legacy, "UPDATE item SET id = id + 100 WHERE id % 2 = 0")
    shop.caught_up()
    assert_equal(shop)


def test_a_topic_with_another_number_of_partitions_is_refused(shop: Shop, kafka: Kafka) -> None:
    running = shop.streaming()
    running.stop()
    wrong = Settings(prefix=settings(shop).prefix, partitions=settings(shop).partitions + 1)
    shop.transport = {"transport": "kafka", "kafka": wrong}
    failure = shop.start(shop.stream("forward")).failure()
    assert isinstance(failure, ConfigError)
    assert "has 3 partitions, the stream 4" in str(failure)


def test_guards_are_forgotten_once_the_watermark_has_passed(shop: Shop) -> None:
    shop.streaming()
    execute(shop.legacy, "INSERT INTO item SELECT n, NULL, 'n', 1 FROM generate_series(1, 500) n")
    shop.caught_up()
    until(lambda: one(shop.service, "SELECT count(*) FROM banyan.row_lsn") == 0, "the guards to be forgotten")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prefix": "no spaces"}, "use 1 to 100 of"),
        ({"prefix": "p", "partitions": 0}, "use 1 to 256"),
        ({"prefix": "p", "replicas": 99}, "use 1 to 9"),
    ],
)
def test_bad_settings_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**fields)  # type: ignore[arg-type]
