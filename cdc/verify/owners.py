"""Who owns which of some keys, by both databases: which way a repair goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cdc.mapping import Direction, Side, TableMapping
from cdc.mapping.reader import Shape
from cdc.verify import rows
from cdc.verify.window import SIDES, Windows

OWNERSHIP = "SELECT bucket_from, bucket_to, owner, banyan.bucket(%s) FROM banyan.ownership WHERE domain = %s"


@dataclass(frozen=True, slots=True)
class Owners:
    """Of one table's keys."""

    table: TableMapping
    windows: Windows
    shapes: Mapping[Side, Shape]
    key_of: Callable[[rows.Row], Any]

    def directions(self, keys: list[Any]) -> dict[Direction | None, list[Any]]:
        """From the owner to the other side; None while a wave is moving. Reference data comes from the monolith."""
        if self.table.direction == "forward":
            return {"forward": keys}
        owners = self.windows.owners()
        if len(owners) < 2:
            return {_direction(*(owners or {"legacy"})): keys}
        found: dict[Direction | None, list[Any]] = {}
        bucket_keys = self.bucket_keys(keys)
        for key in keys:
            found.setdefault(_direction(self._owner(bucket_keys.get(key))), []).append(key)
        return found

    def bucket_keys(self, keys: list[Any]) -> dict[Any, str]:
        """By either side's row: a bucket is the same on both."""
        found: dict[Any, str] = {}
        for side in SIDES:
            column = self.table.bucket_key(side)
            if column is None:
                continue
            at = self.shapes[side].columns.index(column)
            rows_ = rows.of_keys(self.windows.asking[side], self.shapes[side], self._key(side), keys, self.key_of)
            found.update({key: str(row[at]) for key, row in rows_.items() if row[at] is not None})
        return found

    def _owner(self, bucket_key: str | None) -> str:
        """By both databases, which must agree; else it is moving."""
        owners: set[str] = set()
        for side in SIDES:
            waves = self.windows.asking[side].execute(OWNERSHIP, [bucket_key, self.windows.mapping.domain]).fetchall()
            owners |= {owner for first, last, owner, bucket in waves if bucket is not None and first <= bucket < last}
        return owners.pop() if len(owners) == 1 else "moving"

    def _key(self, side: Side) -> tuple[str, ...]:
        return self.table.forward.source_key if side == "legacy" else self.table.forward.key


def _direction(owner: str) -> Direction | None:
    match owner:
        case "legacy":
            return "forward"
        case "service":
            return "reverse"
    return None
