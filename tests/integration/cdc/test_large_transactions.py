"""Transactions that the server streams before they end: what commits arrives, once, whatever goes on meanwhile."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psycopg
import pytest

from cdc.config import Stream
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, rows, until

INSERT = "INSERT INTO item SELECT n, 'c' || n, repeat('n', 50), n FROM generate_series(%s::int, %s::int) n"


@pytest.fixture
def eager(shop: Shop) -> Shop:
    """A source that streams any transaction of more than a few dozen kilobytes."""
    name = one(shop.legacy, "SELECT current_database()")
    execute(shop.legacy, f"ALTER DATABASE {name} SET logical_decoding_work_mem = '64kB'")
    return shop


def streamed(shop: Shop) -> int:
    """How many transactions the source has streamed so far."""
    slot = shop.stream("forward").slot
    found: int = one(shop.legacy, "SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = %s", [slot])
    return found


def test_a_long_transaction_arrives_without_what_it_rolled_back_and_others_pass_it_meanwhile(eager: Shop) -> None:
    running = eager.streaming()
    with psycopg.connect(eager.legacy) as long, psycopg.connect(eager.legacy) as lost:
        long.execute(INSERT, [1, 5000])
        with long.transaction(force_rollback=True):
            long.execute(INSERT, [5001, 10000])
            with long.transaction():
                long.execute("UPDATE item SET name = 'rolled back' WHERE id <= 3000")
        lost.execute(INSERT, [20001, 25000])
        execute(eager.legacy, "INSERT INTO item VALUES (0, 'short', 'passes', 1)")
        eager.caught_up()
        assert rows(eager.service, "SELECT id FROM product") == [(0,)]
        with long.transaction():
            long.execute(INSERT, [10001, 12000])
        long.execute("UPDATE item SET name = 'kept' WHERE id % 7 = 0")
        until(lambda: streamed(eager) >= 2, "both to be streamed")
        lost.rollback()
        long.commit()
    eager.caught_up()
    assert_equal(eager)
    assert one(eager.service, "SELECT count(*) FROM product") == 7001
    assert one(eager.service, "SELECT count(*) FROM banyan.parked") == 0
    assert running.runner.status.restarts == 0


def test_a_streamed_transaction_comes_again_whole_when_the_stream_is_cut_in_the_middle(eager: Shop) -> None:
    running = eager.streaming()
    with psycopg.connect(eager.legacy) as long:
        long.execute(INSERT, [1, 20000])
        until(lambda: streamed(eager) >= 1, "it to be streamed")
        running.stop()
        eager.start(eager.stream("forward"))
        long.execute(INSERT, [20001, 30000])
        long.commit()
    eager.caught_up()
    assert_equal(eager)
    assert one(eager.service, "SELECT rows FROM banyan.stream") == 30000


def test_a_table_that_changes_its_shape_within_a_streamed_transaction(eager: Shop) -> None:
    running = eager.start(msgspec.structs.replace(eager.prepare("forward"), on_ddl="expand"))
    until(lambda: running.runner.status.state == "streaming", "the stream to start")
    with psycopg.connect(eager.legacy) as long:
        long.execute(INSERT, [1, 3000])
        with long.transaction(force_rollback=True):
            long.execute("ALTER TABLE item ADD wrong int")
            long.execute(INSERT, [3001, 6000])
        long.execute("ALTER TABLE item ADD extra text DEFAULT 'x'")
        long.execute(INSERT, [6001, 9000])
        long.commit()
    execute(eager.legacy, "INSERT INTO item (id, code, name, price_cents) VALUES (0, 'after', 'n', 1)")
    eager.caught_up()
    assert_equal(eager)
    assert one(eager.service, "SELECT count(*) FROM product") == 6001


def test_what_does_not_fit_on_disk_stays_at_the_source_until_it_ends(eager: Shop, tmp_path: Path) -> None:
    stream = msgspec.structs.replace(eager.prepare("forward"), spool=str(tmp_path / "spool"), spool_mib=1)
    running = eager.start(stream)
    until(lambda: running.runner.status.state == "streaming", "the stream to start")
    execute(eager.legacy, INSERT, [1, 20000])
    eager.caught_up()
    assert_equal(eager)
    assert running.runner.status.restarts == 1
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_spool_folder_that_cannot_be_made_is_said_at_once(shop: Shop) -> None:
    from cdc.errors import ConfigError

    stream: Stream = msgspec.structs.replace(shop.prepare("forward"), spool="/proc/nowhere")
    failure = shop.start(stream).failure()
    assert isinstance(failure, ConfigError)
    assert "/proc/nowhere" in str(failure)
