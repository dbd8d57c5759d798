"""The law of a mapping, `reverse(forward(row)) == row`: what breaks it would come back changed from a rollback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from cdc.mapping import reader
from cdc.mapping.errors import ConversionError
from cdc.mapping.table import DomainMapping, Row, TableMapping


@dataclass(frozen=True, slots=True)
class Violation:
    """A legacy row that does not survive the way there and back; `column` is empty when it does not even get there."""

    table: str
    key: dict[str, Any]
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class LawReport:
    """All rows of a domain were read; of the violations the first ones are kept."""

    rows: int
    violated: int
    samples: tuple[Violation, ...]

    @property
    def holds(self) -> bool:
        return self.violated == 0


def check(table: TableMapping, rows: Iterable[Row]) -> Iterator[Violation]:
    """The violations among legacy rows; of reference data only that it can be carried at all."""
    for row in rows:
        key = {name: row[name] for name in table.forward.source_key}
        try:
            there = table.forward.translate(row)
            back = table.reverse.translate(there) if table.direction == "both" else {}
        except ConversionError as error:
            yield Violation(table.legacy, key, "", str(error))
            continue
        for column, value in back.items():
            if value != row[column]:
                yield Violation(table.legacy, key, column, f"{row[column]!r} comes back as {value!r}")


def check_database(connection: psycopg.Connection[Any], mapping: DomainMapping, samples: int = 20) -> LawReport:
    """Check every row of the legacy database's tables."""
    total, violated = 0, 0
    kept: list[Violation] = []
    for table in mapping.tables:
        columns = table.forward.source_columns
        shape = reader.shape(connection, table.legacy, columns)
        for batch in reader.stream(connection, shape, table.forward.source_key):
            total += len(batch)
            if _all_survive(table, columns, batch):
                continue
            for violation in check(table, (dict(zip(columns, row, strict=True)) for row in batch)):
                violated += 1
                if len(kept) < samples:
                    kept.append(violation)
    return LawReport(total, violated, tuple(kept))


def _all_survive(table: TableMapping, columns: Sequence[str], batch: Sequence[tuple[Any, ...]]) -> bool:
    """The common case, by column instead of by row."""
    legacy = dict(zip(columns, (list(values) for values in zip(*batch, strict=True)), strict=True))
    try:
        there = table.forward.translate_columns(legacy)
        back = table.reverse.translate_columns(there) if table.direction == "both" else {}
    except ConversionError:
        return False
    return all(values == legacy[column] for column, values in back.items())
