"""What a mapping leaves behind, found before a row moves: columns that are missing, or that a rollback would lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from cdc.mapping.table import Direction, DomainMapping, Side, TableMapping

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
    """`error`: the streams would fail. `lost`: data of that column does not reach the other side."""

    severity: Literal["error", "lost"]
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
    for table in mapping.tables:
        findings += _side(table, "legacy", legacy)
        findings += _side(table, "service", service)
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


def _side(table: TableMapping, side: Side, catalog: Catalog) -> Iterator[Finding]:
    name = table.table(side)
    columns = catalog.get(name)
    if columns is None:
        yield Finding("error", side, name, "", "the table does not exist")
        return
    carried = table.forward.source_columns if side == "legacy" else table.forward.columns
    for column in carried:
        if column not in columns:
            yield Finding("error", side, name, column, "the mapping names a column that does not exist")
    into: Direction = "reverse" if side == "legacy" else "forward"
    written = into == "forward" or table.direction == "both"
    for column in sorted(set(columns) - set(carried)):
        if written and columns[column]:
            yield Finding("error", side, name, column, f"must have a value, but {into} sync gives it none")
        elif table.direction == "both" and side == "legacy":
            yield Finding(
                "lost",
                side,
                name,
                column,
                "is not carried: rows made at the service leave it empty",
            )
        elif table.direction == "both":
            yield Finding("lost", side, name, column, "is not carried: a rollback loses it")
