"""What a consumer hears, and whether its client still gives it all that there is.

The client can hang in a rebalance of which the broker knows nothing, or go on without ever asking for records again, or
for those of a partition: no error, no word. Then a new one is the cure (BrokerAway, which begins the session anew).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from cdc.kafka import client
from cdc.kafka.errors import BrokerAway
from cdc.kafka.marks import Place

# So long a member may be without partitions, seconds.
JOIN = 10.0
# Who has heard nothing for so long looks whether there is something to hear, seconds.
SILENCE = 10.0
# A control record that waits for so long makes one look at what it waits for, seconds. So often in a row, and with a
# partition of ours among what it waits for, is for the client to blame.
STUCK, STUCK_OFTEN = 5.0, 4


class Ear:
    """Of one client of one member. `leads`: it has the control topic, where something comes all the time."""

    def __init__(self, kafka: KafkaConsumer, leads: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._kafka, self._leads, self._now = kafka, leads, now
        self._partitions_at = now()
        self._quiet = 0.0  # seconds of polls in a row that gave nothing; the time between polls is ours
        self._stuck_at, self._stuck = 0.0, 0

    def poll(self, timeout_ms: int, records: int) -> dict[Place, list[Any]]:
        """Raises: BrokerAway."""
        began = self._now()
        polled = client.poll(self._kafka, timeout_ms, records)
        self._quiet = 0.0 if polled else self._quiet + self._now() - began
        return {Place(at.topic, at.partition): found for at, found in polled.items() if found}

    def has_partitions(self) -> bool:
        """Raises: BrokerAway."""
        now = self._now()
        if self._kafka.assignment() or not self._leads:
            self._partitions_at = now
            return True
        if now - self._partitions_at > JOIN:
            raise BrokerAway(f"Kafka has given no partition for {JOIN:g} s")
        return False

    def require_heard(self, next_offsets: Callable[[], Mapping[Place, int]]) -> None:
        """After a long silence: that nothing is there beyond these. Raises: BrokerAway."""
        if self._quiet <= SILENCE:
            return
        self._quiet = 0.0
        known = {place: offset for place, offset in next_offsets().items() if self._mine(place)}
        ends = client.limits(self._kafka, known)[1]
        missed = [f"{place.topic} {place.partition}" for place, offset in known.items() if ends[place] > offset]
        if missed:
            raise BrokerAway(f"Kafka has records that its client has not given for {SILENCE:g} s: {', '.join(missed)}")

    def moved(self) -> None:
        """Nothing waits, or what did has been passed."""
        self._stuck_at, self._stuck = self._now() + STUCK, 0

    def is_stuck(self) -> bool:
        """True every few seconds in which nothing `moved`."""
        now = self._now()
        if not self._stuck_at:
            self.moved()
        if now <= self._stuck_at:
            return False
        self._stuck_at, self._stuck = now + STUCK, self._stuck + 1
        return True

    def require_given(self, late: Iterable[Place]) -> None:
        """The log has what these partitions have not given. Raises: BrokerAway."""
        if self._stuck >= STUCK_OFTEN and any(map(self._mine, late)):
            raise BrokerAway(
                f"Kafka's client does not give records that are there: {', '.join(sorted(map(str, late)))}"
            )

    def _mine(self, place: Place) -> bool:
        return TopicPartition(*place) in self._kafka.assignment()
