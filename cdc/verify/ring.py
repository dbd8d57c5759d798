"""The keys that a side's own transactions have touched lately, in a bounded ring. Pure, and safe between threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cdc.verify.snapshot import Snapshot

KEYS = 200_000  # in all; some 100 bytes each
KEYS_PER_TRANSACTION = 20_000  # from here on a transaction counts as having touched the whole table

Key = tuple[str, ...]


def touch_key(values: Iterable[Any]) -> Key:
    """A key as text, so that capture's and a query's values meet. Two keys that become one only cost a second look."""
    return tuple(_text(value) for value in values)


def _text(value: Any) -> str:
    match value:
        case str():
            return value.rstrip(" ")  # char(n) comes padded from one side
        case Decimal():
            return format(value.normalize(), "f")
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat()
        case _:
            return str(value)


class Touched:
    """What may differ between two snapshots because it was under way. `lost`: the ring was too small to say."""

    __slots__ = ("_keys", "lost")

    def __init__(self, keys: Mapping[str, set[Key] | None], lost: bool = False) -> None:
        self._keys, self.lost = keys, lost

    @classmethod
    def union(cls, parts: Iterable[Touched]) -> Touched:
        keys: dict[str, set[Key] | None] = {}
        lost = False
        for part in parts:
            lost = lost or part.lost
            for table, more in part._keys.items():
                known = keys.get(table, _NONE)
                keys[table] = None if known is None or more is None else known | more
        return cls(keys, lost)

    def covers(self, table: str, key: Iterable[Any]) -> bool:
        if self.lost:
            return True
        keys = self._keys.get(table, _NONE)
        return keys is None or touch_key(key) in keys


_NONE: set[Key] = set()


@dataclass(frozen=True, slots=True)
class _Transaction:
    xid: int
    end: int
    keys: Mapping[str, set[Key] | None]
    size: int


class Ring:
    """Transactions in commit order. Of one that is dropped for want of room, number and position are kept."""

    def __init__(self, limit: int = KEYS) -> None:
        self._lock = threading.Lock()
        self._transactions: deque[_Transaction] = deque()
        self._size, self._limit = 0, limit
        self._lost: dict[int, int] = {}  # xid → end, of what was dropped and may still be under way
        self._lost_blindly: tuple[int, int] | None = None  # the same of the newest, when there is no room for these
        self.dropped = 0

    def add(self, xid: int, end: int, keys: Mapping[str, set[Key] | None]) -> None:
        """A committed transaction that ends before position `end`, and the keys it touched; None: the whole table."""
        if not keys:
            return
        size = sum(1 if found is None else len(found) for found in keys.values())
        with self._lock:
            self._transactions.append(_Transaction(xid, end, keys, size))
            self._size += size
            while self._size > self._limit:
                self._drop(self._transactions.popleft())

    def forget(self, source: Snapshot, applied: int) -> None:
        """What `source` sees and is before `applied` is through. Later questions must come with later ones of both."""
        with self._lock:
            self._forget(source, applied)

    def between(self, source: Snapshot, applied: int) -> Touched:
        """The keys of transactions that `source` does not see, or that are not among those before `applied`."""
        with self._lock:
            self._forget(source, applied)
            keys: dict[str, set[Key] | None] = {}
            for transaction in self._transactions:
                for table, touched in transaction.keys.items():
                    known = keys.setdefault(table, set())
                    if touched is None:
                        keys[table] = None
                    elif known is not None:
                        known |= touched
            return Touched(keys, lost=bool(self._lost) or self._lost_blindly is not None)

    def _forget(self, source: Snapshot, applied: int) -> None:
        self._transactions = deque(tx for tx in self._transactions if tx.end > applied or not source.sees(tx.xid))
        self._size = sum(tx.size for tx in self._transactions)
        self._lost = {xid: end for xid, end in self._lost.items() if end > applied or not source.sees(xid)}
        if self._lost_blindly is not None:
            xid, end = self._lost_blindly
            if end <= applied and source.sees(xid) and not source.under_way:
                self._lost_blindly = None

    def _drop(self, oldest: _Transaction) -> None:
        self._size -= oldest.size
        self.dropped += 1
        if len(self._lost) < self._limit:
            self._lost[oldest.xid] = oldest.end
        else:
            self._lost_blindly = (oldest.xid, oldest.end)
