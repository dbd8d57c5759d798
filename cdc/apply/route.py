"""Where the changes of a source table go: the mapping of one table and direction, ready for the applier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from cdc.change import Change, Direction, Row


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


class DomainMapping(Protocol):
    @property
    def domain(self) -> str: ...
    @property
    def tables(self) -> Sequence[TableMapping]: ...


@dataclass(frozen=True, slots=True)
class Route:
    """One source table to one target table."""

    source: str
    target: str
    source_key: tuple[str, ...]
    key: tuple[str, ...]
    source_columns: frozenset[str]
    columns: tuple[str, ...]
    mapping: TableMapping
    direction: Direction
    width: int

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
    by_source: Mapping[str, Route]

    def of(self, change: Change) -> Route | None:
        """None for a table that is published but not mapped."""
        return self.by_source.get(change.relation.name) if change.relation is not None else None


def routes(mapping: DomainMapping, direction: Direction) -> Routes:
    found: dict[str, Route] = {}
    for table in mapping.tables:
        if direction == "reverse" and table.direction == "forward":
            continue
        source = table.source(direction)
        found[source] = Route(
            source=source,
            target=table.target(direction),
            source_key=table.source_key(direction),
            key=table.key(direction),
            source_columns=frozenset(table.source_columns(direction)),
            columns=table.columns(direction),
            mapping=table,
            direction=direction,
            width=len(table.columns(direction)),
        )
    return Routes(found)


def key_text(key: Sequence[Any]) -> str:
    """A key as JSON: how banyan.parked stores it."""
    return json.dumps(list(key), default=str)
