"""Hands a producer whole batches of records, where `KafkaProducer.send` takes each by itself: its checks, estimates,
futures and locks are half of what the relay does with a row.

It reaches into kafka-python behind `send`, and no further: a batch is queued as the client's own is, and everything
from there on (sequence numbers, retries, expiry, acknowledgement) is the client's. Record format: Kafka's "Message
format", version 2.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecordsBuilder

# A batch that is as large as this goes at once, bytes. (It must be well below what a topic takes at a time.)
BATCH_BYTES = 256 * 1024

_MAGIC = 2
_NO_VALUE = b"\x01"  # the length -1
_ONE_HEADER = b"\x02"


class Batch:
    """Of one partition, on its way or gone."""

    def __init__(self, queued: ProducerBatch) -> None:
        self._queued = queued

    def wait(self, seconds: float) -> None:
        """Until the client has done with it, well or not. Raises: KafkaTimeoutError."""
        future = self._queued.produce_future
        if not (future.wait(seconds) and future.is_done):
            raise KafkaTimeoutError(f"records are not acknowledged within {seconds:g} s")

    def end(self) -> int:
        """The offset after its last record, after `wait`. Raises: KafkaError, why it has failed."""
        first, _, failure = self._queued.produce_future.value
        if failure is not None:
            raise failure(0)
        if first < 0:  # of a batch that was sent twice, and had come the first time
            raise KafkaError("the broker does not say where it has put records")
        return int(first) + int(self._queued.record_count)


class Gathered:
    """Records of one header name, by partition. Not thread-safe."""

    def __init__(self, producer: KafkaProducer, header: str, largest: int) -> None:
        """`largest`: no record may have more bytes."""
        name = header.encode()
        self._header = _ONE_HEADER + _varint(len(name)) + name
        self._producer, self._largest = producer, largest
        self._open: dict[tuple[str, int], _Records] = {}

    def put(self, topic: str, partition: int, key: bytes, value: bytes | None, header: bytes) -> Batch | None:
        """The batch that is full with it, and on its way. Raises: MessageSizeTooLargeError."""
        place = topic, partition
        records = self._open.get(place)
        if records is None:
            records = self._open[place] = _Records()
        rest = _NO_VALUE if value is None else _varint(len(value)) + value
        size = records.add(b"%b%b%b%b%b%b" % (_varint(len(key)), key, rest, self._header, _varint(len(header)), header))
        if size > self._largest:
            del self._open[place]  # the session ends with it
            raise MessageSizeTooLargeError(f"a record of {size} bytes is larger than {self._largest}")
        return self._queue(place) if records.size_in_bytes() >= BATCH_BYTES else None

    def hand_over(self) -> list[tuple[tuple[str, int], Batch]]:
        """What is left, now on its way."""
        return [(place, self._queue(place)) for place in list(self._open)]

    def _queue(self, place: tuple[str, int]) -> Batch:
        """Raises: KafkaError where the topic is not known to the client in time."""
        producer = self._producer
        producer.partitions_for(place[0])  # so that it asks who leads them
        batch = ProducerBatch(TopicPartition(*place), self._open.pop(place))
        accumulator = producer._accumulator
        with accumulator._tp_lock(batch.topic_partition):
            accumulator._batches[batch.topic_partition].append(batch)
            accumulator._incomplete.add(batch)
        producer._sender.wakeup()
        return Batch(batch)


class _Records(MemoryRecordsBuilder):  # type: ignore[misc]  # kafka-python has no types
    """A batch that nobody adds to but we, and that waits for nothing once it is queued."""

    def __init__(self) -> None:
        super().__init__(_MAGIC, 0, 0)  # no compression; full from its first record
        self._builder = _Builder()

    def add(self, rest: bytes) -> int:
        """A record's bytes from its key on. Returns its size."""
        number = self._next_offset
        self._next_offset: int = number + 1
        return self._builder.add(number, rest)

    def append(self, *_: Any) -> None:
        """Full."""


class _Builder(DefaultRecordBatchBuilder):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(_MAGIC, 0, False, -1, -1, -1, 0)
        self._first_timestamp = self._max_timestamp = int(time.time() * 1000)

    def add(self, number: int, rest: bytes) -> int:
        # attributes and the time since the first record: 0; then its number
        place = _varint(number)
        size = 2 + len(place) + len(rest)
        self._buffer += b"%b\0\0%b%b" % (_varint(size), place, rest)
        self._last_offset = number
        self._num_records = number + 1
        return size


@lru_cache(1 << 14)
def _varint(number: int) -> bytes:
    """Zigzag, of a number that is not negative."""
    left, found = number << 1, bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)
