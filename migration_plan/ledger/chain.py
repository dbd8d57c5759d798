"""The hash chain: a row's hash covers the row and the hash before it; none can be changed, dropped or slipped in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """What one row says, before it has a place in the chain."""

    domain: str
    verb: str
    step: str
    run_id: str
    actor: str
    wave: int | None = None
    epoch: int | None = None
    before: str | None = None
    after: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in its place."""

    id: int
    at: datetime
    entry: Entry
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether the chain holds; when not, at which row and why."""

    rows: int
    broken_at: int | None = None
    why: str | None = None

    @property
    def holds(self) -> bool:
        return self.broken_at is None


def seal(id_: int, at: datetime, entry: Entry, prev_hash: str) -> Row:
    """Give an entry its place behind the row with `prev_hash`."""
    return Row(id_, at, entry, prev_hash, _hash(id_, at, entry, prev_hash))


def check(rows: Iterable[Row], head_id: int, head_hash: str) -> Checked:
    """Walk the chain from its first row to the head."""
    previous, expected_id = GENESIS, 1
    for row in rows:
        if row.id != expected_id:
            return Checked(expected_id - 1, expected_id, f"row {expected_id} is missing")
        if row.prev_hash != previous:
            return Checked(expected_id - 1, row.id, f"row {row.id} does not follow row {row.id - 1}")
        if row.hash != _hash(row.id, row.at, row.entry, row.prev_hash):
            return Checked(expected_id - 1, row.id, f"row {row.id} was changed after it was written")
        previous, expected_id = row.hash, expected_id + 1
    count = expected_id - 1
    if (count, previous) != (head_id, head_hash):
        return Checked(count, count + 1, f"the chain ends at row {count}, but its head is row {head_id}")
    return Checked(count)


def _hash(id_: int, at: datetime, entry: Entry, prev_hash: str) -> str:
    content = [
        id_, at.astimezone(UTC).isoformat(timespec="microseconds"), entry.actor, entry.domain, entry.wave, entry.verb,
        entry.step, entry.run_id, entry.epoch, entry.before, entry.after, entry.measured, entry.reason, prev_hash,
    ]  # fmt: skip
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()
