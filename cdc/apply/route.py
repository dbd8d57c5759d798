"""Where the changes of a source table go: the mapping of one table and direction, ready for the applier."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

from cdc.change import Change, Direction, Row


class Part(Protocol):
    """One side's table holds a part of a wide row of the other side (cdc.mapping.table.Part)."""

    @property
    def absent(self) -> Mapping[str, Any]: ...
    def there(self, wide: Mapping[str, Any], /) -> bool: ...


class TableMapping(Protocol):
    """What the applier asks of a table's mapping (cdc.mapping fulfils it)."""

    @property
    def direction(self) -> str: ...
    def source(self, direction: Direction, /) -> str: ...
    def target(self, direction: Direction, /) -> str: ...
    def key(self, direction: Direction, /) -> tuple[str, ...]: ...
    def source_key(self, direction: Direction, /) -> tuple[str, ...]: ...
    def columns(self, direction: Direction, /) -> tuple[str, ...]: ...
    def source_columns(self, direction: Direction, /) -> tuple[str, ...]: ...
    def bucket_key(self, side: Literal["legacy", "service"], /) -> str | None: ...
    def translate(self, row: Mapping[str, Any], direction: Direction, /) -> Row: ...
    def makes(self, direction: Direction, /) -> bool: ...
    @property
    def part(self) -> Part | None: ...


class TextForm(Protocol):
    """A converter from text to text, for the types of its columns; None for a value that it leaves to the other."""

    @property
    def sources(self) -> Sequence[frozenset[str]]: ...
    @property
    def targets(self) -> frozenset[str]: ...
    @property
    def convert(self) -> Callable[..., bytes | None]: ...


class Plan(Protocol):
    """One direction of a table by the shapes of its rules: what columns are translated by."""

    @property
    def copies(self) -> Sequence[tuple[str, str]]: ...
    @property
    def singles(self) -> Sequence[tuple[str, str, Callable[[Any], Any]]]: ...
    @property
    def groups(self) -> Sequence[tuple[tuple[str, ...], tuple[str, ...], Callable[..., Any]]]: ...
    @property
    def texts(self) -> Mapping[str, TextForm]: ...
    def torn(self, row: Mapping[str, Any], /) -> tuple[str, ...]: ...


class DomainMapping(Protocol):
    @property
    def domain(self) -> str: ...
    @property
    def tables(self) -> Sequence[TableMapping]: ...


@dataclass(frozen=True, slots=True)
class Route:
    """One source table to one target table.

    `makes`: the target's row comes and goes with the source's. If not, the source's row is a part of a wide row that
    another route makes: it fills `absent`'s columns, which hold these values without it. A route that makes rows may
    make them of wide rows (`part` says of which), and may make wide rows: `fills` are the columns of their parts.
    """

    source: str
    target: str
    source_key: tuple[str, ...]
    key: tuple[str, ...]
    source_columns: frozenset[str]
    columns: tuple[str, ...]
    mapping: TableMapping
    direction: Direction
    width: int
    makes: bool = True
    part: Part | None = None
    fills: Mapping[str, Any] = field(default_factory=dict)

    @property
    def absent(self) -> Mapping[str, Any]:
        assert self.part is not None, "a route that makes no rows fills a part"
        return self.part.absent

    def lacks_row(self, row: Row) -> bool:
        """Whether this source row has no row at the target: the wide row has no such part."""
        return self.makes and self.part is not None and not self.part.there(row)

    def part_key(self, wide: Mapping[str, Any]) -> tuple[Any, ...]:
        """The key of the part of the wide row with this key (column → value): both sides have the same values."""
        return tuple(wide[name] for name in self.key)

    def torn(self, row: Row) -> tuple[str, ...]:
        """Columns of a partial row whose images cannot be told, since others are missing that they are one with."""
        return () if self.plan is None else self.plan.torn(row)

    @property
    def plan(self) -> Plan | None:
        """None for a mapping that can only translate row by row."""
        found = getattr(self.mapping, "plan", None)
        return None if found is None else cast("Plan", found(self.direction))

    @property
    def changes_hands(self) -> bool:
        """False for reference data, which its source owns for ever."""
        return self.mapping.direction != "forward"

    def translate(self, row: Row) -> Row:
        return self.mapping.translate(row, self.direction)

    def target_key(self, row: Row) -> tuple[Any, ...]:
        """Of a translated row."""
        return tuple([row[name] for name in self.key])

    def identity(self, change: Change) -> tuple[Any, ...]:
        """The source's key of a change: what parked changes queue by. Known before anything is translated."""
        row = change.after if change.after is not None else change.before or {}
        return tuple(row.get(name) for name in self.source_key)


@dataclass(frozen=True, slots=True)
class Routes:
    """`by_source`: the first route of each source table; `others`: further ones, of a table that goes to several."""

    by_source: Mapping[str, Route]
    others: Mapping[str, tuple[Route, ...]] = field(default_factory=dict)

    def of(self, change: Change) -> Sequence[Route]:
        """None of them for a table that is published but not mapped."""
        return self.of_table(change.relation.name) if change.relation is not None else ()

    def of_table(self, source: str) -> Sequence[Route]:
        if (first := self.by_source.get(source)) is None:
            return ()
        return (first, *self.others.get(source, ())) if self.others else (first,)

    def every(self) -> Iterable[Route]:
        """In the order of the mapping but for a table's further routes, which follow its first: owners before parts."""
        return [route for source in self.by_source for route in self.of_table(source)]

    def parts(self, wide: Route) -> Sequence[Route]:
        """The routes that fill rows which this one makes."""
        return [r for r in self.every() if r.target == wide.target and not r.makes] if wide.fills else ()

    def ordinary(self, source: str) -> bool:
        """Whether a table's rows are rows of one other table, which nobody else writes."""
        route = self.by_source[source]
        return route.makes and route.part is None and not route.fills and source not in self.others


def routes(mapping: DomainMapping, direction: Direction) -> Routes:
    found: dict[str, Route] = {}
    others: dict[str, tuple[Route, ...]] = {}
    tables = [table for table in mapping.tables if direction == "forward" or table.direction != "forward"]
    for table in tables:
        source = table.source(direction)
        route = Route(
            source=source,
            target=table.target(direction),
            source_key=table.source_key(direction),
            key=table.key(direction),
            source_columns=frozenset(table.source_columns(direction)),
            columns=table.columns(direction),
            mapping=table,
            direction=direction,
            width=len(table.columns(direction)),
            makes=table.makes(direction),
            part=table.part,
            fills=_fills(table, tables, direction),
        )
        if source in found:
            others[source] = (*others.get(source, ()), route)
        else:
            found[source] = route
    return Routes(found, others)


def _fills(maker: TableMapping, tables: Sequence[TableMapping], direction: Direction) -> dict[str, Any]:
    """The columns that parts of this table's rows fill later, and what they hold until then."""
    if not maker.makes(direction):
        return {}
    target = maker.target(direction)
    return {
        name: value
        for table in tables
        if table.part is not None and table.target(direction) == target and not table.makes(direction)
        for name, value in table.part.absent.items()
    }


def key_text(key: Sequence[Any]) -> str:
    """A key as JSON: how banyan.parked stores it."""
    return json.dumps(list(key), default=str)
