"""What a mapping leaves behind, found before a row moves: columns that are missing, or that a rollback would lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from cdc.mapping.plan import Direction, Side
from cdc.mapping.table import DomainMapping, TableMapping

COLUMNS = """
SELECT n.nspname || '.' || c.relname, a.attname,
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND n.nspname || '.' || c.relname = ANY (%s)
"""

# table → column → whether an insert must give it a value
Catalog = Mapping[str, Mapping[str, bool]]


@dataclass(frozen=True, slots=True)
class Finding:
    """`error`: the streams would fail. `lost`: data of that column does not reach the other side, or not back.

    `limit`: values of the column that its converter cannot bring back.
    """

    severity: Literal["error", "lost", "limit"]
    side: Side
    table: str
    column: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.table}.{self.column}" if self.column else self.table
        return f"{self.severity}: {self.side} {where}: {self.reason}"


def lint(mapping: DomainMapping, legacy: Catalog, service: Catalog) -> list[Finding]:
    """Compare a mapping with the two databases' columns."""
    findings: list[Finding] = []
    sides: tuple[tuple[Side, Catalog], ...] = (("legacy", legacy), ("service", service))
    for side, catalog in sides:
        for name in dict.fromkeys(table.table(side) for table in mapping.tables):
            findings += _table(mapping, side, name, catalog)
    return findings


def declared(mapping: DomainMapping) -> list[Finding]:
    """What the declarations alone say of a rollback."""
    findings: list[Finding] = []
    for table in mapping.moving("reverse"):
        for name in sorted(set(table.forward.source_columns) - _restored(mapping, table.legacy)):
            reason = "goes forward only: what the service makes of it does not come back"
            findings.append(Finding("lost", "legacy", table.legacy, name, reason))
        for rule in table.rules:
            if rule.converter is not None and rule.converter.loses and rule.direction == "both":
                findings.append(
                    Finding("limit", "service", table.service, ", ".join(rule.service), rule.converter.loses)
                )
        if table.part is not None and not table.part.always:
            reason = "a row that holds nothing but its key has no image in the wide row, so it does not come back"
            findings.append(Finding("limit", table.part.side, table.table(table.part.side), "", reason))
    return findings


def lint_databases(
    mapping: DomainMapping, legacy: psycopg.Connection[Any], service: psycopg.Connection[Any]
) -> list[Finding]:
    return lint(mapping, catalog(legacy, mapping, "legacy"), catalog(service, mapping, "service"))


def catalog(connection: psycopg.Connection[Any], mapping: DomainMapping, side: Side) -> Catalog:
    found: dict[str, dict[str, bool]] = {}
    for table, column, required in connection.execute(COLUMNS, ([table.table(side) for table in mapping.tables],)):
        found.setdefault(table, {})[column] = required
    return found


def carried(mapping: DomainMapping, side: Side, name: str) -> set[str]:
    """The columns of a table whose values reach the other side, or are made of what does."""
    return {column for table in mapping.tables if table.table(side) == name for column in _reaching(table, side)}


def _reaching(table: TableMapping, side: Side) -> set[str]:
    if side == "legacy":
        return {*table.forward.source_columns, *(table.reverse.columns if table.direction == "both" else ())}
    return {*table.forward.columns, *(table.reverse.source_columns if table.direction == "both" else ())}


def _restored(mapping: DomainMapping, legacy: str) -> set[str]:
    return {column for table in mapping.moving("reverse") if table.legacy == legacy for column in table.reverse.columns}


def _table(mapping: DomainMapping, side: Side, name: str, catalog: Catalog) -> Iterator[Finding]:
    columns = catalog.get(name)
    if columns is None:
        yield Finding("error", side, name, "", "the table does not exist")
        return
    named = carried(mapping, side, name)
    for column in sorted(named - columns.keys()):
        yield Finding("error", side, name, column, "the mapping names a column that does not exist")
    entries = [table for table in mapping.tables if table.table(side) == name]
    into: Direction = "reverse" if side == "legacy" else "forward"
    both = entries[0].direction == "both"
    given = _given(entries, into) if into == "forward" or both else set(columns)
    for column in sorted(columns):
        if columns[column] and column not in given:
            without = " when its part has no row yet: give it an absent value" if column in named else ""
            yield Finding("error", side, name, column, f"must have a value, but {into} sync gives it none{without}")
        elif column not in named and both and side == "legacy":
            yield Finding("lost", side, name, column, "is not carried: rows made at the service leave it empty")
        elif column not in named and both:
            yield Finding("lost", side, name, column, "is not carried: a rollback loses it")


def _given(entries: list[TableMapping], into: Direction) -> set[str]:
    """The columns that have a value when a row is inserted."""
    found: set[str] = set()
    for table in entries:
        if table.makes(into):
            found.update(table.columns(into))
        elif table.part is not None:
            found.update(name for name, value in table.part.absent.items() if value is not None)
    return found
