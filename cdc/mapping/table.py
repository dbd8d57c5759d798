"""The mapping of two tables, and of a domain: compiled once, used in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cdc.mapping.errors import MappingError
from cdc.mapping.plan import BAD_VALUE, Direction, Plan, Row, Rule, Side, compile_plan

__all__ = ["BAD_VALUE", "Direction", "DomainMapping", "Part", "Plan", "Row", "Rule", "Side", "TableMapping", "build"]


@dataclass(frozen=True, slots=True)
class Part:
    """One side's table holds a part of a wide row of the other side, whose existence another mapping owns.

    `side`: where the part's own table is. `always`: every wide row has its part; else a part has a row iff one of its
    columns in the wide row holds something else than `absent` says (wide column → value).
    """

    side: Side
    always: bool
    absent: Mapping[str, Any] = field(default_factory=dict)

    def there(self, wide: Row) -> bool:
        """Whether the part of this wide row has a row. A column that is unknown (unchanged TOAST) holds something."""
        return self.always or any(name not in wide or wide[name] != value for name, value in self.absent.items())


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
    compared: Plan
    returned: Plan
    part: Part | None = None

    @property
    def wide(self) -> Side | None:
        """The side whose row holds more than this mapping."""
        return None if self.part is None else "legacy" if self.part.side == "service" else "service"

    def makes(self, direction: Direction) -> bool:
        """Whether the target's row comes and goes with the source's; a part only fills columns of its wide row."""
        return self.wide != ("service" if direction == "forward" else "legacy")

    def part_of(self, direction: Direction) -> Part | None:
        """What decides whether a (wide) source row has a row at the target."""
        return self.part if self.part is not None and self.makes(direction) else None

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

    def own(self, side: Side) -> tuple[TableMapping, ...]:
        """One mapping for each table of this side that changes hands (a table may stand in several)."""
        found: dict[str, TableMapping] = {}
        for table in self.moving("reverse"):
            found.setdefault(table.table(side), table)
        return tuple(found.values())


def build(
    legacy: str,
    service: str,
    direction: Literal["both", "forward"],
    keys: tuple[tuple[str, ...], tuple[str, ...]],
    bucket_keys: tuple[str | None, str | None],
    rules: tuple[Rule, ...],
    part: Part | None = None,
) -> TableMapping:
    """Compile the rules of a table; `keys` and `bucket_keys` are (legacy, service).

    `compared` makes the monolith's row of the service's (of reference data the other way round), in the columns that
    must be alike: those that go both ways, and the constants of that side. `returned` is the same for the service's
    row: what is left of it when it comes back from a rollback.
    """
    tables = (legacy, service)
    forward = compile_plan("forward", tables, keys, rules)
    reverse = compile_plan("reverse", tables, keys, rules)
    alike = [rule for rule in rules if rule.direction == "both"]
    compared = compile_plan("reverse", tables, keys, alike) if direction == "both" else forward
    returned = compile_plan("forward", tables, keys, alike)
    return TableMapping(legacy, service, direction, rules, *bucket_keys, forward, reverse, compared, returned, part)
