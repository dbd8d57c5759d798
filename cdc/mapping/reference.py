"""Lookups: a value replaced through a small reference table that one of the two databases has.

The table is read when a value is first looked up, and again (at most once a second) when one is not found: a row that
uses a new reference comes after the reference itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from cdc.mapping import forms
from cdc.mapping.converters import Converter
from cdc.mapping.errors import ConversionError, MappingError
from cdc.mapping.forms import Form
from cdc.mapping.plan import Side
from cdc.mapping.table import DomainMapping

# More rows than this are no small reference table: its own mapping should carry it.
MOST_ROWS = 10_000
# An inline CASE of more cases than this would cost more than it saves.
MOST_CASES = 500
AGAIN_S = 1.0

Connect = Callable[[], psycopg.Connection[Any]]


@dataclass(slots=True)
class Reference:
    """Values of column `legacy` ↔ values of column `service` in `table`, one to one. Raises: MappingError unbound."""

    side: Side
    table: str
    legacy: str
    service: str
    connect: Connect | None = None
    clock: Callable[[], float] = time.monotonic
    there: dict[Any, Any] = field(default_factory=dict)
    back: dict[Any, Any] = field(default_factory=dict)
    _read_at: float | None = None

    def forward(self, value: Any) -> Any:
        return self._find(value, "there")

    def reverse(self, value: Any) -> Any:
        return self._find(value, "back")

    def read(self) -> None:
        """Raises: MappingError, psycopg.Error."""
        if self.connect is None:
            raise MappingError(
                f"reference table {self.table} of the {self.side} side was not read before it was needed"
            )
        query = sql.SQL("SELECT {}, {} FROM {} LIMIT {}").format(
            *(sql.Identifier(name) for name in (self.legacy, self.service)),
            sql.Identifier(*self.table.split(".", 1)),
            sql.Literal(MOST_ROWS + 1),
        )
        with self.connect() as connection:
            try:
                pairs = connection.execute(query).fetchall()
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
                raise MappingError(f"reference table {self.table}: {error.diag.message_primary}") from error
        self.there, self.back = self._one_to_one(pairs)
        self._read_at = self.clock()

    def _one_to_one(self, pairs: list[tuple[Any, Any]]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        if len(pairs) > MOST_ROWS:
            raise MappingError(f"reference table {self.table} has more than {MOST_ROWS} rows: map it as a table")
        known = [(_bare(here), _bare(there)) for here, there in pairs if here is not None and there is not None]
        there, back = dict(known), {value: key for key, value in known}
        if len(there) < len(known) or len(back) < len(known):
            raise MappingError(
                f"reference table {self.table}: {self.legacy} and {self.service} are not one to one,"
                " so the way back is lost"
            )
        return there, back

    def _find(self, value: Any, which: str) -> Any:
        value = _bare(value)
        found = getattr(self, which).get(value)
        if found is None and (self._read_at is None or self.clock() - self._read_at >= AGAIN_S):
            self.read()
            found = getattr(self, which).get(value)
        if found is None:
            raise ConversionError(f"{value!r} is not in reference table {self.table} of the {self.side} side")
        return found


def lookup(*, table: str, side: str, legacy_value: str, service_value: str) -> Converter:
    """A value of the monolith ↔ a value of the service, both columns of `table`, which the database of `side` has."""
    if side not in ("legacy", "service"):
        raise ValueError(f"side is legacy or service, not {side!r}")
    if table.count(".") != 1:
        raise ValueError(f"{table!r} is not schema.table")
    reference = Reference("legacy" if side == "legacy" else "service", table, legacy_value, service_value)

    def form(which: str) -> Callable[[sql.Composable], Form]:
        return lambda value: _cases(value, getattr(reference, which))

    return Converter(
        reference.forward, reference.reverse, sql_forward=form("there"), sql_reverse=form("back"), reference=reference
    )


def bind(mapping: DomainMapping, connect: Mapping[Side, Connect]) -> DomainMapping:
    """Say how the databases of both sides are reached. Reference tables are read when a value is first looked up."""
    for reference in references(mapping):
        reference.connect = connect.get(reference.side)
    return mapping


def read(mapping: DomainMapping) -> None:
    """Read the reference tables now: without their values a lookup has no SQL. Raises: MappingError, psycopg.Error."""
    for reference in references(mapping):
        reference.read()


def references(mapping: DomainMapping) -> Iterable[Reference]:
    return [
        rule.converter.reference
        for table in mapping.tables
        for rule in table.rules
        if rule.converter is not None and isinstance(rule.converter.reference, Reference)
    ]


def _cases(value: sql.Composable, pairs: Mapping[Any, Any]) -> Form:
    """As it was read last; without a row, or with many, there is no SQL."""
    if not pairs or len(pairs) > MOST_CASES:
        return Form(())
    kinds = {type(found) for found in pairs.values()}
    kind = forms.SQL_TYPES.get(kinds.pop()) if len(kinds) == 1 else None
    if kind is None or not {type(key) for key in pairs} <= forms.SQL_TYPES.keys():
        return Form(())
    word = sql.SQL("rtrim({}::text, ' ')").format(value)
    cases = sql.SQL(" ").join(
        sql.SQL("WHEN {} THEN {}").format(sql.Literal(str(key)), sql.Literal(found)) for key, found in pairs.items()
    )
    return Form(
        ((sql.SQL("((CASE {} {} END)::{})").format(word, cases, sql.SQL(kind)), kind),),
        sql.SQL("{} IN ({})").format(word, sql.SQL(", ").join(sql.Literal(str(key)) for key in pairs)),
    )


def _bare(value: Any) -> Any:
    """char(n) comes padded from one reader and bare from another."""
    return value.rstrip(" ") if isinstance(value, str) else value
