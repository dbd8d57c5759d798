"""The law of a mapping, `reverse(forward(row)) == row`: what breaks it would come back changed from a rollback.

Of the service's rows the same the other way round: what `forward(reverse(row))` changes, a rollback loses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdc.mapping.errors import ConversionError
from cdc.mapping.plan import Plan, Row, Side
from cdc.mapping.table import TableMapping


@dataclass(frozen=True, slots=True)
class Violation:
    """A row that does not survive the way there and back; `column` is empty when it does not even get there.

    `limit`: the column's converter says that it cannot bring back every value (`Converter.loses`).
    """

    table: str
    key: dict[str, Any]
    column: str
    reason: str
    limit: bool = False

    def __str__(self) -> str:
        key = ", ".join(f"{name}={value}" for name, value in self.key.items())
        return f"{self.table} {key}: {self.column + ': ' if self.column else ''}{self.reason}"


def check(table: TableMapping, rows: Iterable[Row], side: Side = "legacy") -> Iterator[Violation]:
    """The violations among rows of one side; of reference data only that it can be carried at all."""
    there, back = plans(table, side)
    limits = _limits(table) if side == "service" else frozenset()
    for row in rows:
        if lacks_part(table, side, row):
            continue
        key = {name: row[name] for name in there.source_key}
        try:
            image = there.translate(row)
            found = back.translate(image) if back is not None else {}
        except ConversionError as error:
            yield Violation(there.source, key, "", str(error))
            continue
        for column, value in found.items():
            if not same(value, row[column]):
                reason = f"{row[column]!r} comes back as {value!r}"
                yield Violation(there.source, key, column, reason, column in limits)
        if _vanishes(table, side, image):
            reason = f"holds nothing, so {there.target} has no such part and the row does not come back: rows: always"
            yield Violation(there.source, key, "", reason)


def all_survive(table: TableMapping, side: Side, columns: Mapping[str, Sequence[Any]]) -> bool:
    """The common case, by column instead of by row: true only if no row violates the law."""
    if table.part is not None:
        return False
    there, back = plans(table, side)
    try:
        image = there.translate_columns(columns)
        found = back.translate_columns(image) if back is not None else {}
    except ConversionError:
        return False
    return all(list(values) == list(columns[column]) for column, values in found.items())


def plans(table: TableMapping, side: Side) -> tuple[Plan, Plan | None]:
    """The way there, and back in the columns that must be alike (reference data has none)."""
    if side == "legacy":
        return table.forward, table.compared if table.direction == "both" else None
    return table.plan("reverse"), table.returned


def lacks_part(table: TableMapping, side: Side, row: Row) -> bool:
    return table.part is not None and table.wide == side and not table.part.there(row)


def _limits(table: TableMapping) -> frozenset[str]:
    rules = (rule for rule in table.rules if rule.converter is not None and rule.converter.loses)
    return frozenset(name for rule in rules for name in rule.service)


def same(left: Any, right: Any) -> bool:
    """NaN is the same as NaN, as PostgreSQL has it."""
    return bool(left == right) or (left != left and right != right)


def _vanishes(table: TableMapping, side: Side, image: Row) -> bool:
    return table.part is not None and table.wide != side and not table.part.there(image)
