"""Outbox and inbox: a message is kept with what it tells, delivered at least once, and handled once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from banyan.servers import Postgres
from services.chassis.database import create_engine, transaction
from services.chassis.messages import Consumer, Message, Relay, put
from services.chassis.messages import relay as relay_module
from services.chassis.metrics import Metrics
from tests.integration.services.conftest import settings
from tests.integration.services.processes import migrated


@pytest.fixture
def dsn(service_postgres: Postgres) -> str:
    return migrated(service_postgres, "notifications")


@pytest.fixture
async def engine(dsn: str) -> AsyncIterator[AsyncEngine]:
    made = create_engine(settings("notifications", dsn))
    yield made
    await made.dispose()


class Recorder:
    """A consumer that remembers, and fails while it is told to."""

    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []
        self.fails = False

    async def handle(self, connection: AsyncConnection, message: Message) -> None:
        await put(connection, "note", {})
        if self.fails:
            raise OSError("not now")
        self.seen.append(message.payload)


def column(dsn: str, query: str) -> list[object]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query)
        return [row[0] for row in cursor.fetchall()] if cursor.description else []


async def add(engine: AsyncEngine, number: int) -> None:
    async with transaction(engine) as connection:
        await put(connection, "topic", {"n": number})


def relay(engine: AsyncEngine, *consumers: Consumer) -> Relay:
    return Relay(engine, consumers, Metrics("test"))


async def test_messages_are_delivered_in_order_to_every_consumer_of_their_topic(engine: AsyncEngine) -> None:
    one, two, other = Recorder(), Recorder(), Recorder()
    for number in range(3):
        await add(engine, number)
    topics = {"one": ("topic", one), "two": ("topic", two), "other": ("else", other)}
    deliver = relay(engine, *(Consumer(name, topic, who.handle) for name, (topic, who) in topics.items()))
    await deliver.drain()
    assert one.seen == two.seen == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert other.seen == []
    assert await deliver.drain() == 0


async def test_a_message_that_arrives_again_is_not_handled_again(engine: AsyncEngine, dsn: str) -> None:
    consumer = Recorder()
    await add(engine, 1)
    deliver = relay(engine, Consumer("one", "topic", consumer.handle))
    await deliver.drain()
    column(dsn, "UPDATE outbox SET done_at = NULL")
    await deliver.drain()
    assert consumer.seen == [{"n": 1}]
    assert column(dsn, "SELECT count(*) FROM inbox") == [1]


async def test_a_new_consumer_gets_a_message_that_another_has_handled(engine: AsyncEngine, dsn: str) -> None:
    old, new = Recorder(), Recorder()
    await add(engine, 1)
    await relay(engine, Consumer("old", "topic", old.handle)).drain()
    column(dsn, "UPDATE outbox SET done_at = NULL")
    await relay(engine, Consumer("old", "topic", old.handle), Consumer("new", "topic", new.handle)).drain()
    assert old.seen == new.seen == [{"n": 1}]


async def test_a_failure_undoes_the_consumers_work_and_the_message_waits_for_its_next_attempt(
    engine: AsyncEngine, dsn: str
) -> None:
    consumer = Recorder()
    consumer.fails = True
    await add(engine, 1)
    deliver = relay(engine, Consumer("one", "topic", consumer.handle))
    assert await deliver.drain() == 1
    assert column(dsn, "SELECT topic FROM outbox") == ["topic"]
    assert column(dsn, "SELECT attempts FROM outbox WHERE done_at IS NULL AND available_at > now()") == [1]
    assert column(dsn, "SELECT error FROM outbox") == ["OSError: not now"]
    assert column(dsn, "SELECT count(*) FROM inbox") == [0]
    consumer.fails = False
    column(dsn, "UPDATE outbox SET available_at = now()")
    await deliver.drain()
    assert consumer.seen == [{"n": 1}]


async def test_a_message_that_fails_too_often_is_given_up_with_its_reason(
    engine: AsyncEngine, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "ATTEMPTS", 1)
    consumer = Recorder()
    consumer.fails = True
    await add(engine, 1)
    await relay(engine, Consumer("one", "topic", consumer.handle)).drain()
    assert column(dsn, "SELECT error FROM outbox WHERE done_at IS NOT NULL") == ["OSError: not now"]


async def test_a_message_of_a_transaction_that_is_rolled_back_never_was(engine: AsyncEngine, dsn: str) -> None:
    async with transaction(engine, dry_run=True) as connection:
        await put(connection, "topic", {})
    assert column(dsn, "SELECT count(*) FROM outbox") == [0]


async def test_two_relays_share_the_work(engine: AsyncEngine) -> None:
    one, two = Recorder(), Recorder()
    await add(engine, 1)
    await add(engine, 2)
    async with transaction(engine) as connection:
        first = await relay_module.claim(connection)
        assert first is not None
        await relay(engine, Consumer("c", "topic", two.handle)).drain()
        await relay(engine, Consumer("c", "topic", one.handle)).attempt(connection, first)
    assert (one.seen, two.seen) == ([{"n": 1}], [{"n": 2}])


async def test_what_was_delivered_long_ago_is_forgotten(engine: AsyncEngine, dsn: str) -> None:
    consumer = Recorder()
    await add(engine, 1)
    deliver = relay(engine, Consumer("one", "topic", consumer.handle))
    await deliver.drain()
    await deliver.forget(timedelta(days=1))
    assert column(dsn, "SELECT count(*) FROM inbox") == [1]
    column(dsn, "UPDATE outbox SET done_at = now() - interval '2 days'")
    column(dsn, "UPDATE inbox SET received_at = now() - interval '2 days'")
    await deliver.forget(timedelta(days=1))
    assert column(dsn, "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM outbox WHERE topic = 'topic')") == [
        0
    ]


def test_the_wait_doubles_to_its_cap_and_keeps_its_jitter_there() -> None:
    longest = [relay_module.backoff(n, lambda: 1.0).total_seconds() for n in range(15)]
    assert longest[:4] == [2, 4, 8, 16]
    assert longest[-1] == 3600
    assert [relay_module.backoff(n, lambda: 0.0).total_seconds() for n in range(15)] == [s / 2 for s in longest]
