"""What Kafka no longer has, or no longer is, is never passed over in silence; and the way back from there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kafka import KafkaAdminClient, TopicPartition

from cdc.beacon import Heartbeat
from cdc.config import Stream
from cdc.errors import ConfigError
from cdc.kafka import client, ear
from cdc.kafka import run as running
from cdc.kafka.errors import BrokerAway, LogLost
from cdc.kafka.relay import Relay
from cdc.kafka.settings import Settings
from cdc.kafka.topics import Topics, ensure
from cdc.recover import recover
from cdc.runner import Runner
from cdc.snapshot import ask as asking
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, until

pytestmark = pytest.mark.long  # a JVM that is killed and starts again

ITEMS = "INSERT INTO item SELECT n, NULL, 'n', 1 FROM generate_series(%s::int, %s) n"


def settings(shop: Shop) -> Settings:
    found = shop.transport["kafka"]
    assert isinstance(found, Settings)
    return found


@pytest.fixture
def admin(shop: Shop) -> Iterator[KafkaAdminClient]:
    with client.admin(settings(shop), "test") as found:
        yield found


@contextmanager
def relay_alone(shop: Shop, stream: Stream) -> Iterator[Relay]:
    """The producer's half without its consumer."""
    relay = running.producer_of(stream, shop.mapping, shop.legacy, shop.service)
    assert isinstance(relay, Relay)
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        yield relay
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def stopped(shop: Shop) -> Stream:
    """Ten items are in the target, and the stream stands."""
    execute(shop.legacy, ITEMS, [1, 5])
    found = shop.streaming()
    execute(shop.legacy, ITEMS, [6, 10])
    shop.caught_up()
    found.stop()
    shop.running.clear()
    return found.runner.stream


def sent(shop: Shop, stream: Stream, first: int, last: int) -> None:
    """Written at the source and brought into Kafka, while nobody consumes; the slot has let it go."""
    with relay_alone(shop, stream):
        execute(shop.legacy, ITEMS, [first, last])
        end = one(shop.legacy, "SELECT pg_current_wal_lsn()")
        confirmed = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"
        until(lambda: one(shop.legacy, confirmed, [end, stream.slot]), "the slot to be told")


def again(shop: Shop, stream: Stream) -> str:
    runner = Runner(stream, shop.mapping, shop.legacy, shop.service)
    return str(recover(runner, shop.legacy, "test", "a test"))


def test_a_target_that_is_behind_kafka_is_not_taken_for_one_that_lost_its_slot(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stopped(shop)
    sent(shop, stream, 11, 20)
    assert "nothing to recover" in again(shop, stream)
    with monkeypatch.context() as away:
        away.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        with pytest.raises(BrokerAway):
            again(shop, stream)
    shop.prepare("forward")  # may be run again at any time
    shop.start(stream)
    shop.caught_up()
    assert_equal(shop)


def test_records_that_retention_took_before_they_were_applied_stop_the_stream_until_it_is_recovered(
    shop: Shop, admin: KafkaAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ear, "STUCK", 0.5)
    stream = stopped(shop)
    sent(shop, stream, 11, 40)
    topic = Topics(settings(shop).prefix, 3).of("public.item")
    admin.delete_records({TopicPartition(topic, n): -1 for n in range(3)})  # all: nothing ever comes from there
    refused = shop.start(stream)
    failure = refused.failure()
    assert isinstance(failure, LogLost)
    assert "what was between is gone; make slot and rows good again" in str(failure)
    shop.running.remove(refused)

    said = again(shop, stream)
    assert "reads all tables again beside it" in said
    assert "(it was: Kafka's" in said
    execute(shop.legacy, "UPDATE item SET price_cents = 7 WHERE id <= 3")
    shop.start(stream)
    moved = "SELECT state = 'streaming' AND transport = 'kafka' FROM banyan.stream"
    until(lambda: one(shop.service, moved), "all to be read again, and the stream to go on through Kafka")
    execute(shop.legacy, ITEMS, [41, 50])
    shop.caught_up()
    assert_equal(shop)


def test_a_topic_made_anew_stops_the_stream(shop: Shop, admin: KafkaAdminClient) -> None:
    stream = stopped(shop)
    topics = Topics(settings(shop).prefix, 3)
    admin.delete_topics([topics.of("public.item")])
    until(lambda: topics.of("public.item") not in admin.list_topics(), "the topic to go")
    ensure(admin, topics, ["public.item"], settings(shop))
    execute(shop.legacy, ITEMS, [11, 400])  # so many that the new topic goes on where the old one ended
    refused = shop.start(stream)
    failure = refused.failure()
    assert isinstance(failure, LogLost)
    assert "made anew" in str(failure)
    shop.running.remove(refused)
    assert one(shop.service, "SELECT count(*) FROM product") == 10


def test_a_running_stream_whose_records_are_cut_off_says_so(shop: Shop, admin: KafkaAdminClient) -> None:
    stream = stopped(shop)
    sent(shop, stream, 11, 40)
    topic = Topics(settings(shop).prefix, 3).of("public.item")
    ends = admin.delete_records({TopicPartition(topic, n): -1 for n in range(3)})
    assert ends
    sent(shop, stream, 41, 70)  # comes, but not from where the target is
    refused = shop.start(stream)
    assert isinstance(refused.failure(), LogLost)
    shop.running.remove(refused)
    assert one(shop.service, "SELECT count(*) FROM product") == 10


def test_a_second_relay_waits_and_does_not_make_the_first_ones_records_void(shop: Shop) -> None:
    stream = shop.streaming().runner.stream
    shop.caught_up()
    with relay_alone(shop, stream) as second:
        until(lambda: second.problem, "the second relay to find the slot taken")
        execute(shop.legacy, ITEMS, [1, 50])
        shop.caught_up()
    assert_equal(shop)


def test_pulses_move_the_watermark_ten_times_a_second_and_the_stored_position_once(shop: Shop) -> None:
    runner = shop.streaming().runner
    stop = threading.Event()
    Heartbeat(shop.legacy, runner.stream.slot, runner.status, stop).start()
    try:
        until(lambda: runner.status.applied is not None, "the first watermark")
        began, moved, stored = time.monotonic(), set[int](), set[object]()
        while time.monotonic() < began + 2:
            assert runner.status.applied is not None
            moved.add(runner.status.applied.lsn)
            stored.add(one(shop.service, "SELECT source_lsn FROM banyan.stream"))
        assert len(moved) >= 16
        assert len(stored) <= 4
    finally:
        stop.set()


def test_rows_are_not_read_again_beside_a_stream_through_kafka_and_the_refusal_says_what_to_do(shop: Shop) -> None:
    stream = shop.streaming().runner.stream
    with pytest.raises(ConfigError, match=r"`banyan stream move shop.forward --to direct` first"):
        asking.ask(stream, shop.mapping, (shop.legacy, shop.service), ["public.item"])


def test_a_fill_that_was_cut_off_is_ended_directly_before_the_stream_goes_through_kafka(shop: Shop) -> None:
    """As `kill -9` leaves it: position and slot are there, ranges of the table are not."""
    execute(shop.legacy, ITEMS, [1, 50])
    stream = shop.prepare("forward")
    runner = Runner(stream, shop.mapping, shop.legacy, shop.service)
    runner.snapshot(threading.Event())
    execute(shop.service, "DELETE FROM product")
    execute(
        shop.service,
        "UPDATE banyan.snapshot SET state = 'running'; UPDATE banyan.stream SET state = 'snapshot';"
        " INSERT INTO banyan.snapshot_blocks SELECT id, 0, 100 FROM banyan.snapshot WHERE \"table\" = 'public.item'",
    )
    shop.start(stream)
    with_kafka = "SELECT state = 'streaming' AND transport = 'kafka' FROM banyan.stream"
    until(lambda: one(shop.service, with_kafka), "the fill to end and the stream to move")
    execute(shop.legacy, ITEMS, [51, 60])
    shop.caught_up()
    assert_equal(shop)
