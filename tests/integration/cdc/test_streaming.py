"""A stream end to end: what is committed at the source is in the target, whatever it is."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

import psycopg
import pytest

from cdc import streams
from cdc.change import PULSE
from cdc.emit import EMIT_FLUSHED
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, rows, until

EVERYTHING = "SELECT * FROM everything ORDER BY id"


def test_a_snapshot_fills_the_target_and_later_commits_follow(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'name ' || n, n * 10 FROM generate_series(1, 1000) n")
    shop.streaming()
    assert_equal(shop)
    execute(shop.legacy, "INSERT INTO item VALUES (2000, 'new', 'new', 100)")
    execute(shop.legacy, "UPDATE item SET price_cents = 7 WHERE id = 5")
    execute(shop.legacy, "DELETE FROM item WHERE id = 6")
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT price FROM product WHERE id = 5") == Decimal("0.07")


@pytest.mark.parametrize("when", ["snapshot", "stream"])
def test_every_type_arrives_as_it_was(shop: Shop, when: str) -> None:
    insert = r"""
    INSERT INTO everything VALUES
    (1, true, -32768, -2147483648, 9223372036854775807, 1.5, 0.1, 12345678901234567890.123456789, -0.50,
     E'tab\t nl\n back\\ "q" ''s'' ü€😀', 'v', 'ab',
     '\x00ff10', '2024-10-27 02:30:00.123456', '2024-10-27 00:30:00.5+00',
     '2024-02-29', '23:59:59.999999', '6f1c3e0a-1d2b-4c3d-8e4f-5a6b7c8d9e0f', '{"a": [1, 2.50]}',
     '{"n": 12345678901234567890.12345678901234567890, "s": "x\"y", "l": [null, true]}',
     '{1,NULL,-3}', E'{"a b","c\\\\d",NULL,"NULL","{x}","q\\"q",""}', '{1.50,NaN}', '1 day 02:00:00', '10.0.0.0/8'),
    (2, false, NULL, NULL, NULL, 'NaN', '-Infinity', 'NaN', NULL, '', '', '', '', 'infinity', '-infinity', 'infinity',
     '24:00:00', NULL, 'null', '"x"', '{}', '{}', NULL, '-1 mons', '::1'),
    (3, NULL, 1, 1, 1, 1e-30, 1e300, 'Infinity', 99999999.99, E'\\N', 'N', 'x', NULL, '0044-03-15 00:00:00 BC',
     '10000-01-01 00:00:00+00', '0001-01-01 BC', '00:00:00', NULL, '1.10', '[]', '{{1,2},{3,4}}', '[0:1]={a,b}', '{}',
     NULL, NULL)
    """
    if when == "snapshot":
        execute(shop.legacy, insert)
    shop.streaming()
    if when == "stream":
        execute(shop.legacy, insert)
        shop.caught_up()
    text = """
    SELECT to_jsonb(e) - 'js' || jsonb_build_object('js', js::jsonb, 'f4', f4::text, 'f8', f8::text)
    FROM everything e ORDER BY id"""
    assert one(shop.service, "SELECT count(*) FROM everything") == 3
    assert rows(shop.service, text) == rows(shop.legacy, text)
    assert rows(shop.service, "SELECT count(*) FROM banyan.parked") == [(0,)]


def test_an_unchanged_toasted_value_is_left_alone(shop: Shop) -> None:
    shop.streaming()
    execute(shop.legacy, "ALTER TABLE item ALTER note SET STORAGE EXTERNAL")
    execute(
        shop.legacy,
        "INSERT INTO item SELECT n, 'c' || n, 'n', 1, repeat('x', 10000) || n FROM generate_series(1, 500) n",
    )
    execute(shop.legacy, "UPDATE item SET price_cents = price_cents + id")
    execute(shop.legacy, "UPDATE item SET name = 'one', note = 'short' WHERE id = 1")
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT length(note) FROM product WHERE id = 2") == 10001
    execute(
        shop.legacy, "UPDATE item SET id = id + 1000 WHERE id IN (1, 2)"
    )  # a key change with a column that is not known
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0


def test_a_partial_update_of_a_missing_row_parks_its_key(shop: Shop) -> None:
    shop.streaming()
    execute(shop.legacy, "ALTER TABLE item ALTER note SET STORAGE EXTERNAL")
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1, repeat('x', 10000))")
    shop.caught_up()
    execute(shop.service, "DELETE FROM product")
    execute(shop.legacy, "UPDATE item SET name = 'm' WHERE id = 1")
    shop.caught_up()
    assert one(shop.service, "SELECT count(*) FROM product") == 0
    assert "missing" in one(shop.service, "SELECT reason FROM banyan.parked")


def test_truncate_and_key_changes_keep_their_order(shop: Shop) -> None:
    shop.streaming()
    with psycopg.connect(shop.legacy) as connection:
        connection.execute("INSERT INTO item SELECT n, 'c' || n, 'n', n FROM generate_series(1, 50) n")
        connection.execute("TRUNCATE item")
        connection.execute("INSERT INTO item SELECT n, 'c' || n, 'n', n FROM generate_series(40, 60) n")
        connection.execute("UPDATE item SET id = id + 100 WHERE id < 50")
        connection.execute("DELETE FROM item WHERE id = 60")
        connection.execute("INSERT INTO item VALUES (61, 'c60', 'takes the code that was set free', 1)")
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT count(*) FROM product") == 21
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0


def test_a_transaction_larger_than_a_batch_appears_at_once(shop: Shop) -> None:
    shop.streaming()
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        with psycopg.connect(shop.service, autocommit=True) as connection:
            while not done.is_set():
                seen.add(connection.execute("SELECT count(*) FROM product").fetchone()[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 1 FROM generate_series(1, 35000) n")
    shop.caught_up()
    done.set()
    watcher.join()
    assert seen <= {0, 35000}
    assert_equal(shop)
    assert one(shop.service, "SELECT rows FROM banyan.stream") == 35000


def test_a_snapshot_taken_while_writers_write_is_equal_in_the_end(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 0 FROM generate_series(1, 20000) n")
    execute(
        shop.service, "INSERT INTO product VALUES (99999, 'c7', 'not in the source, holds a code', 1, NULL, 'active')"
    )
    stop = threading.Event()

    def write(offset: int) -> None:
        with psycopg.connect(shop.legacy, autocommit=True) as connection:
            n = 0
            while not stop.is_set():
                n += 1
                connection.execute(
                    "UPDATE item SET price_cents = price_cents + 1 WHERE id = %s", [(n * 37 + offset) % 20000 + 1]
                )
                connection.execute("INSERT INTO item VALUES (%s, NULL, 'w', 1)", [100000 * (offset + 1) + n])
                connection.execute("DELETE FROM item WHERE id = %s", [100000 * (offset + 1) + n - 5])

    writers = [threading.Thread(target=write, args=(k,)) for k in range(2)]
    for writer in writers:
        writer.start()
    running = shop.streaming()
    until(lambda: running.runner.status.rows > 500, "changes to flow")
    stop.set()
    for writer in writers:
        writer.join()
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0


def test_every_write_before_the_fence_is_there_when_its_marker_is(shop: Shop) -> None:
    shop.streaming()
    stop = threading.Event()

    def write(writer: int) -> None:
        with psycopg.connect(shop.legacy, autocommit=True) as connection:
            n = writer * 1_000_000
            while not stop.is_set():
                n += 1
                with connection.transaction():
                    connection.execute("INSERT INTO item VALUES (%s, NULL, 'w', 1)", [n])

    writers = [threading.Thread(target=write, args=(k,)) for k in (1, 2)]
    for writer in writers:
        writer.start()
    waits: list[float] = []
    try:
        with streams.fence_listener(shop.service) as listener, psycopg.connect(shop.legacy) as fencer:
            for epoch in range(1, 21):
                with fencer.transaction():
                    fencer.execute("LOCK TABLE item IN SHARE ROW EXCLUSIVE MODE")
                    (before,) = fencer.execute("SELECT count(*) FROM item").fetchone()
                    marker = f'{{"domain": "shop", "wave": 0, "epoch": {epoch}}}'
                    fencer.execute("SELECT pg_logical_emit_message(true, 'banyan.fence', %s)", [marker])
                applied = listener.wait("shop.forward", "shop", 0, epoch, timeout=10)
                waits.append(applied.waited_ms)
                assert one(shop.service, "SELECT count(*) FROM product") >= before
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    waits.sort()
    print(f"fence committed -> applied: p50 {waits[10]:.1f} ms, max {waits[-1]:.1f} ms")
    shop.caught_up()
    assert_equal(shop)


def test_waiting_for_a_fence_that_never_comes_ends_in_time(shop: Shop) -> None:
    shop.streaming()
    from cdc.errors import FenceTimeout

    with pytest.raises(FenceTimeout, match="epoch 9"):
        streams.wait_fence(shop.service, "shop.forward", "shop", 0, 9, timeout=0.2)


def test_an_idle_streams_watermark_moves(shop: Shop) -> None:
    shop.streaming()
    shop.caught_up()
    first = streams.position(shop.service, "shop.forward")
    shop.caught_up()
    second = streams.position(shop.service, "shop.forward")
    assert second.lsn > first.lsn
    assert second.commit_at > first.commit_at
    assert second.lag_ms < 2000


def test_a_pulse_moves_the_watermark_at_once_and_the_durable_position_once_a_second(shop: Shop) -> None:
    running = shop.streaming()
    shop.caught_up()
    status, told, durable_ones = running.runner.status, set[int](), 0
    began, stored = time.monotonic(), rows(shop.service, "SELECT source_lsn::text FROM banyan.stream")
    while time.monotonic() - began < 0.5:
        before = one(shop.legacy, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        execute(shop.legacy, EMIT_FLUSHED, [PULSE])
        until(lambda lsn=before: status.applied is not None and status.applied.lsn >= lsn, "the watermark to pass")  # type: ignore[misc]
        assert status.applied is not None
        told.add(status.applied.lsn)
        durable_ones += status.applied.durable
    assert len(told) > 5
    assert durable_ones <= 1  # of half a second
    assert status.applied is not None
    if not status.applied.durable:
        assert rows(shop.service, "SELECT source_lsn::text FROM banyan.stream") == stored
        held = "SELECT confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots WHERE active"
        assert one(shop.legacy, held) < status.applied.lsn

    def durable() -> bool:
        execute(shop.legacy, EMIT_FLUSHED, [PULSE])
        return rows(shop.service, "SELECT source_lsn::text FROM banyan.stream") != stored

    until(durable, "the position to be written")


def test_changes_before_a_pulse_are_in_the_target_when_the_watermark_passes_it(shop: Shop) -> None:
    running = shop.streaming()
    shop.caught_up()
    status = running.runner.status
    for n in range(20):
        execute(shop.legacy, "INSERT INTO item VALUES (%s, 'c' || %s, 'n', 1)", [n, n])
        execute(shop.legacy, EMIT_FLUSHED, [PULSE])
        lsn = one(shop.legacy, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        execute(shop.legacy, EMIT_FLUSHED, [PULSE])
        until(lambda lsn=lsn: status.applied is not None and status.applied.lsn >= lsn, "the watermark to pass")  # type: ignore[misc]
        assert one(shop.service, "SELECT count(*) FROM product") == n + 1
