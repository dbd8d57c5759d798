"""What a batch of changes amounts to for one table: the last word on each key. Pure.

Source transactions that are applied together need no state between them at the target. So a batch is at most, per
table: rows to delete, rows to be written in part (unchanged TOASTed values), rows to be written whole, rows that are
new. They are written in that order. It gives what the changes give one by one, or fails (unique values that wander
between rows need the order of changes): then nothing is written, and the changes go one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from cdc.capture.raw import UNCHANGED, Raw, Values
from cdc.change import Operation

Key = Any
"""A value, or several as a tuple: as they came, so equal texts are equal keys."""


class NotNet(Exception):
    """Raised for changes whose order matters (a moved row that is not wholly known): they go one by one."""


@dataclass(slots=True)
class Net:
    """Of one table. `key` gives a row's key; a key is in one of `new`, `whole` and `part`, and perhaps in `gone`."""

    key: Callable[[Values], Key]
    gone: dict[Key, Values] = field(default_factory=dict)
    new: dict[Key, Values] = field(default_factory=dict)
    whole: dict[Key, Values] = field(default_factory=dict)
    part: dict[Key, Values] = field(default_factory=dict)

    def add_all(self, rows: Sequence[Raw]) -> None:
        """One table's changes in order. Raises: NotNet."""
        if {raw.op for raw in rows} == {"c"}:  # a bulk load
            key = self.key
            new = {key(raw.new): raw.new for raw in rows if raw.new is not None}
            if len(new) == len(rows):
                self.new = new
                return
        for raw in rows:
            self.add(raw.op, raw.new, raw.old)

    def add(self, op: Operation, new: Values | None, old: Values | None) -> None:
        """Raises: NotNet."""
        if op == "c":
            assert new is not None
            self._insert(new)
        elif new is None:
            assert old is not None, "a delete has its key"
            self._delete(old)
        elif UNCHANGED in new:
            self._patch(new, old)
        else:
            self._write(new, old)

    def _insert(self, new: Values) -> None:
        key = self.key(new)
        if key in self.gone or key in self.whole or key in self.part or key in self.new:
            self._write(new, None)
        else:
            self.new[key] = new

    def _write(self, new: Values, old: Values | None) -> None:
        key = self.key(new)
        if old is not None and self.key(old) != key:
            self._delete(old)
        if key in self.new:
            self.new[key] = new
        else:
            self.part.pop(key, None)
            self.whole[key] = new

    def _patch(self, new: Values, old: Values | None) -> None:
        key = self.key(new)
        if old is not None and self.key(old) != key:
            raise NotNet("a row that is not wholly known has moved to another key")
        for rows in (self.new, self.whole, self.part):
            if (known := rows.get(key)) is not None:
                rows[key] = [before if value is UNCHANGED else value for value, before in zip(new, known, strict=True)]
                return
        self.part[key] = new

    def _delete(self, old: Values) -> None:
        key = self.key(old)
        self.new.pop(key, None)
        self.whole.pop(key, None)
        self.part.pop(key, None)
        self.gone[key] = old


def key_of(positions: Sequence[int]) -> Callable[[Values], Key]:
    """The key of a row, by the positions of its columns."""
    return itemgetter(*positions)


def by_known(rows: Sequence[Values]) -> dict[tuple[int, ...], list[Values]]:
    """Partial rows by the columns that they have."""
    found: dict[tuple[int, ...], list[Values]] = {}
    for row in rows:
        found.setdefault(tuple(n for n, value in enumerate(row) if value is not UNCHANGED), []).append(row)
    return found
