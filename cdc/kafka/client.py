"""Kafka's clients as this transport sets them up, and what their errors mean."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
)

from cdc.errors import CdcError, ConfigError, TableRefused, first_line
from cdc.kafka.bounded import PATIENCE, closed, made, within
from cdc.kafka.errors import BrokerAway
from cdc.kafka.settings import Settings, options
from cdc.kafka.topics import MAX_MESSAGE_BYTES

# A send that is not acknowledged for so long has failed; the session then begins anew from what was, milliseconds.
DELIVERY_MS = 30_000
# How long a batch waits for company: what the relay has made ready is flushed, so that only its control records wait,
# and not every record under load is a request of its own.
LINGER_MS = 5
BATCH_BYTES = 256 * 1024
FETCH_BYTES = 16 * 1024 * 1024
PARTITION_FETCH_BYTES = 4 * 1024 * 1024
# Without a sign of life for so long a consumer's partitions go to another, milliseconds.
SESSION_MS = 10_000
BOOTSTRAP_MS = 5_000
# A request without an answer has failed, ms; how long a consumer that closes waits to leave its group.
REQUEST_MS, CLOSE_MS = 10_000, 2_000
# A broker that comes back is found again this soon, milliseconds.
RECONNECT_MS = 500

logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters comes as an exception, and is told by us


def producer(settings: Settings, name: str) -> KafkaProducer:
    """Idempotent, acknowledged by all in-sync replicas, in order. Raises: ConfigError, BrokerAway."""
    with translated():
        return made(
            lambda part: KafkaProducer(
                **options(settings),
                kafka_client=part,
                client_id=f"banyan-cdc {name}",
                enable_idempotence=True,
                acks="all",
                linger_ms=LINGER_MS,
                batch_size=BATCH_BYTES,
                max_request_size=MAX_MESSAGE_BYTES,
                delivery_timeout_ms=DELIVERY_MS,
                request_timeout_ms=REQUEST_MS,
                max_block_ms=DELIVERY_MS,
                bootstrap_timeout_ms=BOOTSTRAP_MS,
                allow_auto_create_topics=False,
                reconnect_backoff_max_ms=RECONNECT_MS,
                metrics_enabled=False,
            )
        )


def end(producer: KafkaProducer) -> None:
    """What is not acknowledged by now has failed. A producer with records in hand refuses to close in time, and would
    send them once a broker is back: its sender is told to give up.
    """

    def close() -> None:
        try:
            producer.close(timeout=1)
        except KafkaTimeoutError:
            producer._sender.force_close()

    closed(producer, close)


@contextmanager
def consumer(settings: Settings, name: str, batch: int, group: bool = True) -> Iterator[KafkaConsumer]:
    """`group`: a member of the stream's group; without, it takes the partitions that it is given.

    Raises: ConfigError, BrokerAway.
    """
    with translated():
        found = made(
            lambda part: KafkaConsumer(
                **options(settings),
                kafka_client=part,
                client_id=f"banyan-cdc {name}",
                group_id=settings.group_id if group else None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",  # where to begin is the target's word; this only keeps poll from failing
                max_poll_records=batch,
                fetch_max_bytes=FETCH_BYTES,
                max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
                fetch_max_wait_ms=100,
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=SESSION_MS // 5,
                bootstrap_timeout_ms=BOOTSTRAP_MS,
                allow_auto_create_topics=False,
                reconnect_backoff_max_ms=RECONNECT_MS,
                metrics_enabled=False,
            )
        )
        try:
            yield found
        finally:
            closed(found, lambda: found.close(autocommit=False, timeout_ms=CLOSE_MS))


@contextmanager
def admin(settings: Settings, name: str) -> Iterator[KafkaAdminClient]:
    """Raises: ConfigError, BrokerAway."""
    with translated():
        found = made(
            lambda part: KafkaAdminClient(
                **options(settings),
                kafka_client=part,
                client_id=f"banyan-cdc {name}",
                bootstrap_timeout_ms=BOOTSTRAP_MS,
                request_timeout_ms=REQUEST_MS,
            )
        )
        try:
            yield found
        finally:
            closed(found)


def poll(client: KafkaConsumer, timeout_ms: int, records: int) -> dict[TopicPartition, list[Any]]:
    """Raises: BrokerAway, also where the client does not come back."""
    ask = partial(client.poll, timeout_ms=timeout_ms, max_records=records)
    found: dict[TopicPartition, list[Any]] = within(timeout_ms / 1000 + PATIENCE, "poll", ask)
    return found


def ends(client: KafkaConsumer, partitions: dict[str, int]) -> dict[tuple[str, int], int]:
    """The next offset of every partition of these topics. Raises: BrokerAway."""
    places = [(topic, n) for topic, count in partitions.items() for n in range(count)]
    return limits(client, places)[1]


def limits(
    client: KafkaConsumer, places: Iterable[tuple[str, int]]
) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """Of each partition the first offset that there is, and the next. Raises: BrokerAway."""
    wanted = [TopicPartition(*place) for place in places]
    try:
        found = [
            within(PATIENCE, "offsets", partial(ask, wanted, timeout_ms=BOOTSTRAP_MS)) if wanted else {}
            for ask in (client.beginning_offsets, client.end_offsets)
        ]
    except KeyError as e:  # a topic that was made a moment ago is not known everywhere
        raise BrokerAway(f"Kafka does not know {e} yet") from e
    first, last = ({(place.topic, place.partition): offset for place, offset in one.items()} for one in found)
    return first, last


@contextmanager
def translated() -> Iterator[None]:
    """Kafka's errors as ours."""
    try:
        yield
    except (KafkaError, OSError) as e:
        raise kafka_error(e) from e


def kafka_error(error: BaseException) -> CdcError:
    kind, words = type(error).__name__, first_line(error)
    text = f"Kafka: {words}" if words.startswith(kind) else f"Kafka: {kind}: {words}"  # its own errors name themselves
    if isinstance(error, MessageSizeTooLargeError):
        return TableRefused(
            f"{text}: a change is larger than {MAX_MESSAGE_BYTES >> 20} MiB, which no topic of ours takes: move the"
            " stream to direct (`banyan stream move STREAM --to direct`)"
        )
    if isinstance(error, (KafkaConfigurationError, AuthorizationError)):
        return ConfigError(f"{text}: see KAFKA_* in docs/architecture.md, and the stream's rights on its topics")
    if isinstance(error, KafkaTimeoutError) and "bootstrap" in words:
        return BrokerAway(f"{text}: does it run, and is KAFKA_BOOTSTRAP_SERVERS right?")
    return BrokerAway(text)
