"""One table's mapping, compiled once and used in both directions. Pure: rows in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cdc.mapping.converters import Converter
from cdc.mapping.errors import ConversionError, MappingError

Side = Literal["legacy", "service"]
Direction = Literal["forward", "reverse"]
Row = Mapping[str, Any]

# What a converter may stumble over; anything else is a bug and must be seen as one.
BAD_VALUE = (ConversionError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class Rule:
    """Columns here, columns there, and what lies between; no converter: the same value."""

    legacy: tuple[str, ...]
    service: tuple[str, ...]
    converter: Converter | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One direction of a table, with its rules sorted by shape, because this runs once per row."""

    source: str
    target: str
    source_key: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[str, ...]
    copies: tuple[tuple[str, str], ...]
    singles: tuple[tuple[str, str, Callable[[Any], Any]], ...]
    groups: tuple[tuple[tuple[str, ...], tuple[str, ...], Callable[..., Any]], ...]

    @property
    def source_columns(self) -> tuple[str, ...]:
        alone = [source for source, _ in self.copies] + [source for source, _, _ in self.singles]
        return (*alone, *(name for sources, _, _ in self.groups for name in sources))

    def translate(self, row: Row) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for source, target in self.copies:
            if source in row:
                out[target] = row[source]
        name = ""
        try:
            for name, target, convert in self.singles:
                if name in row:
                    value = row[name]
                    out[target] = None if value is None else convert(value)
            for names, targets, convert in self.groups:
                if all(source in row for source in names):
                    name = names[0]
                    out.update(
                        zip(targets, _group(convert, [row[source] for source in names], len(targets)), strict=True)
                    )
        except BAD_VALUE as error:
            raise ConversionError(f"{self.source}.{name}: {error}") from error
        return out

    def translate_columns(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """The same for many rows at once, given as columns of equal length (all of them: no partial rows here)."""
        out: dict[str, Sequence[Any]] = {target: columns[source] for source, target in self.copies}
        name = ""
        try:
            for name, target, convert in self.singles:
                out[target] = [None if value is None else convert(value) for value in columns[name]]
            for names, targets, convert in self.groups:
                name = names[0]
                rows = [
                    _group(convert, values, len(targets)) for values in zip(*(columns[n] for n in names), strict=True)
                ]
                turned = zip(*rows, strict=True) if rows else ([] for _ in targets)
                out.update(zip(targets, map(list, turned), strict=True))
        except BAD_VALUE as error:
            raise ConversionError(f"{self.source}.{name}: {error}") from error
        return out


def _group(convert: Callable[..., Any], values: Sequence[Any], targets: int) -> tuple[Any, ...]:
    if all(value is None for value in values):
        return (None,) * targets
    result = convert(*values)
    return result if targets > 1 else (result,)


@dataclass(frozen=True, slots=True)
class TableMapping:
    """`legacy` and `service` are table names (`public.price`); reference data has `direction` `forward`."""

    legacy: str
    service: str
    direction: Literal["both", "forward"]
    rules: tuple[Rule, ...]
    legacy_bucket_key: str | None
    service_bucket_key: str | None
    forward: Plan
    reverse: Plan

    def plan(self, direction: Direction) -> Plan:
        """Raises: MappingError for the reverse of a table that goes forward only."""
        if direction == "forward":
            return self.forward
        if self.direction == "forward":
            raise MappingError(f"{self.legacy} is reference data: it has no way back from {self.service}")
        return self.reverse

    def table(self, side: Side) -> str:
        return self.legacy if side == "legacy" else self.service

    def bucket_key(self, side: Side) -> str | None:
        return self.legacy_bucket_key if side == "legacy" else self.service_bucket_key

    def source(self, direction: Direction) -> str:
        return self.plan(direction).source

    def target(self, direction: Direction) -> str:
        return self.plan(direction).target

    def key(self, direction: Direction) -> tuple[str, ...]:
        """The target's key columns, in the order of `source_key`."""
        return self.plan(direction).key

    def source_key(self, direction: Direction) -> tuple[str, ...]:
        return self.plan(direction).source_key

    def columns(self, direction: Direction) -> tuple[str, ...]:
        """The target columns that are written."""
        return self.plan(direction).columns

    def source_columns(self, direction: Direction) -> tuple[str, ...]:
        return self.plan(direction).source_columns

    def translate(self, row: Row, direction: Direction) -> dict[str, Any]:
        """The row as the other side has it; of a partial row only the columns that it determines.

        Raises: ConversionError.
        """
        return self.plan(direction).translate(row)


@dataclass(frozen=True, slots=True)
class DomainMapping:
    """A domain's tables, in the order of the file: parents before children."""

    domain: str
    tables: tuple[TableMapping, ...]
    keep_triggers: tuple[str, ...] = ()

    def moving(self, direction: Direction) -> tuple[TableMapping, ...]:
        """The tables that a stream in this direction carries."""
        return tuple(table for table in self.tables if direction == "forward" or table.direction == "both")


def build(
    legacy: str,
    service: str,
    direction: Literal["both", "forward"],
    keys: tuple[tuple[str, ...], tuple[str, ...]],
    bucket_keys: tuple[str | None, str | None],
    rules: tuple[Rule, ...],
) -> TableMapping:
    """Compile the rules of a table; `keys` and `bucket_keys` are (legacy, service)."""
    there: list[Step] = [(r.legacy, r.service, r.converter.forward if r.converter else None) for r in rules]
    back: list[Step] = [(r.service, r.legacy, r.converter.reverse if r.converter else None) for r in rules]
    forward, reverse = _plan(legacy, service, *keys, there), _plan(service, legacy, *keys[::-1], back)
    return TableMapping(legacy, service, direction, rules, *bucket_keys, forward, reverse)


Step = tuple[tuple[str, ...], tuple[str, ...], Callable[..., Any] | None]


def _plan(source: str, target: str, source_key: tuple[str, ...], key: tuple[str, ...], steps: Sequence[Step]) -> Plan:
    return Plan(
        source=source,
        target=target,
        source_key=source_key,
        key=key,
        columns=tuple(name for _, targets, _ in steps for name in targets),
        copies=tuple(pair for s, t, convert in steps if not convert for pair in zip(s, t, strict=True)),
        singles=tuple((s[0], t[0], convert) for s, t, convert in steps if convert and len(s) == len(t) == 1),
        groups=tuple((s, t, convert) for s, t, convert in steps if convert and not len(s) == len(t) == 1),
    )
