"""Control records that have been read, and not passed or not stored yet (control.py). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from cdc.kafka import control, marks
from cdc.kafka.control import Control
from cdc.kafka.marks import Mark, Place

One = tuple[Mark, Control]
"""A record, and the control topic's place after it."""


class Waiting:
    """`pulse` is the newest that was passed without being stored: it says nothing that a restart would not find out."""

    def __init__(self) -> None:
        self.records: list[One] = []
        self.pulse: One | None = None
        self.polled: int | None = None  # next offset of the control topic that has not been looked at

    def __bool__(self) -> bool:
        return bool(self.records) or self.pulse is not None

    def clear(self) -> None:
        self.records.clear()
        self.pulse = self.polled = None

    def take(self, stored: Mark, records: Sequence[Any]) -> None:
        """Those that count. `stored`: the control topic's place in the target. Raises: EnvelopeError."""
        last = self.records[-1] if self.records else self.pulse
        mark = last[0] if last is not None else stored
        for record in records:
            one = control.decode(record.value)
            if marks.continues(mark, one.session, one.number):
                mark = Mark(record.offset + 1, one.session, one.number)
                self.records.append((mark, one))
        self.polled = records[-1].offset + 1

    def reached(self, applied: Mapping[Place, Mark]) -> list[One]:
        """Those that the target has come past, in order."""
        offsets: dict[tuple[str, int], int] = {place: mark.offset for place, mark in applied.items()}
        return list(takewhile(lambda one: control.passed(one[1], offsets), self.records))

    def passed(self, applied: Mapping[Place, Mark]) -> list[One]:
        """`reached`; they are taken out."""
        found = self.reached(applied)
        self.drop(len(found))
        return found

    def drop(self, count: int) -> None:
        """The first ones have been passed."""
        del self.records[:count]

    def needed(self) -> set[Place]:
        """The partitions that the oldest waits for."""
        ends = self.records[0][1].ends.items()
        return {Place(topic, n) for topic, offsets in ends for n, end in enumerate(offsets) if end > 0}

    def lacks(self, applied: Mapping[Place, Mark]) -> tuple[dict[Place, int], dict[Place, int]]:
        """What the oldest waits for: by partition where the target is, and how far it must come."""
        told = self.records[0][1].ends
        ends = {place: told[place.topic][place.partition] for place in self.needed() & applied.keys()}
        late = {place: applied[place].offset for place, end in ends.items() if applied[place].offset < end}
        return late, ends
