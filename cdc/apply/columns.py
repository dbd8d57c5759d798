"""Rows as they were captured to columns as the target takes them: PostgreSQL's text format on both sides.

A column that the mapping only copies is not read at all when its text means the same there. A converted one is read,
converted and written, once per value that differs: codes and days repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.adapt import PyFormat, Transformer

from cdc.apply.route import Plan, Route, TextForm
from cdc.apply.statements import Adapter
from cdc.apply.texts import Column
from cdc.capture.raw import Described, Values
from cdc.capture.types import Loader, type_name
from cdc.mapping.plan import BAD_VALUE

Dump = Callable[[Any], bytes]

# Values of a column that are remembered with their conversion: a few megabytes each.
REMEMBERED = 20_000

# Types whose texts all of a family read alike. A text that is too long or out of range is refused there, as it must be.
_FAMILIES = (
    frozenset({"text", "varchar", "bpchar"}),
    frozenset({"int2", "int4", "int8", "numeric"}),
    frozenset({"json", "jsonb"}),
)


class Unfit(Exception):
    """Raised for a table that cannot go by columns: its changes go one by one."""


@dataclass(frozen=True, slots=True)
class Quick:
    """A conversion from text to text, and for the few values that it leaves, the other one."""

    quick: Callable[[bytes], bytes | None]
    convert: Callable[[bytes], bytes | None]

    def column(self, values: Column) -> list[bytes | None]:
        quick, convert = self.quick, self.convert
        out = [None if value is None else quick(value) for value in values]
        if None in out:
            for n, value in enumerate(values):
                if out[n] is None and value is not None:
                    out[n] = convert(value)
        return out


@dataclass(slots=True)
class Memory:
    """A conversion by value, remembered."""

    convert: Callable[[bytes], bytes | None]
    _known: dict[bytes, bytes | None] = field(default_factory=dict)

    def column(self, values: Column) -> list[bytes | None]:
        known = self._known
        if len(known) > REMEMBERED:
            known.clear()
        convert = self.convert
        out: list[bytes | None] = []
        for value in values:
            if value is None:
                out.append(None)
            elif value in known:
                out.append(known[value])
            else:
                known[value] = made = convert(value)
                out.append(made)
        return out


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows of one described table, or a part of their columns, become rows of its target."""

    targets: tuple[str, ...]
    copies: tuple[tuple[int, int], ...]
    singles: tuple[tuple[int, int, Memory | Quick], ...]
    groups: tuple[tuple[tuple[int, ...], tuple[int, ...], Callable[[list[Column]], list[Column]]], ...]

    def columns(self, rows: Sequence[Values]) -> list[Column]:
        """In the order of `targets`. Raises: Unfit, when a converter refuses a value: whose, is found one by one."""
        source: list[Column] = list(zip(*rows, strict=True))
        out: list[Column] = [()] * len(self.targets)
        for here, there in self.copies:
            out[there] = source[here]
        try:
            for here, there, memory in self.singles:
                out[there] = memory.column(source[here])
            for many, targets, convert in self.groups:
                for there, column in zip(targets, convert([source[n] for n in many]), strict=True):
                    out[there] = column
        except BAD_VALUE as e:
            raise Unfit(str(e)) from e
        return out


@dataclass(slots=True)
class Shapes:
    """The shapes of one route. `types`: the target's column types by name."""

    route: Route
    types: dict[str, str]
    adapters: dict[str, Adapter]
    dump: Dump
    _known: dict[tuple[int, tuple[int, ...] | None], tuple[Described, Shape]] = field(default_factory=dict)

    def of(self, table: Described, known: tuple[int, ...] | None = None) -> Shape:
        """`known`: the positions that rows have, if not all. Raises: Unfit."""
        key = (id(table), known)
        if (found := self._known.get(key)) is not None and found[0] is table:
            return found[1]
        if len(self._known) > 100:
            self._known.clear()
        shape = self._build(self.route.plan, table, known)
        self._known[key] = table, shape
        return shape

    def key(self, table: Described) -> tuple[int, ...]:
        """Positions of the source key. Raises: Unfit."""
        at = {column.name: n for n, column in enumerate(table.relation.columns)}
        if not self.route.source_columns <= at.keys():
            raise Unfit(f"{self.route.source} lacks mapped columns")
        return tuple(at[name] for name in self.route.source_key)

    def _build(self, plan: Plan | None, table: Described, known: tuple[int, ...] | None) -> Shape:
        if plan is None:
            raise Unfit(f"{self.route.source}: its mapping goes row by row")
        here = range(table.width) if known is None else known
        at = {table.relation.columns[n].name: n for n in here}
        targets: list[str] = []
        copies: list[tuple[int, int]] = []
        singles: list[tuple[int, int, Memory | Quick]] = []
        groups: list[tuple[tuple[int, ...], tuple[int, ...], Callable[[list[Column]], list[Column]]]] = []

        def place(name: str) -> int:
            targets.append(name)
            return len(targets) - 1

        for source, target in plan.copies:
            if source in at:
                n = at[source]
                if self._same_text(table, n, target):
                    copies.append((n, place(target)))
                else:
                    singles.append((n, place(target), Memory(self._through(table.loaders[n], _same, target))))
        for source, target, convert in plan.singles:
            if source in at:
                n = at[source]
                through = self._through(table.loaders[n], convert, target)
                form = self._text(plan, table, (n,), target)
                singles.append((n, place(target), Memory(through) if form is None else Quick(form.convert, through)))
        for sources, names, converter in plan.groups:
            if all(source in at for source in sources):
                many = tuple(at[source] for source in sources)
                loaders = [table.loaders[n] for n in many]
                form = self._text(plan, table, many, names[0])
                groups.append((many, tuple(map(place, names)), self._together(loaders, converter, names, form)))
            elif any(source in at and source not in self.route.source_key for source in sources):
                raise Unfit(f"{self.route.source}: of {', '.join(sources)} only some came")
        if known is None and len(targets) != self.route.width:
            raise Unfit(f"{self.route.source} does not give all columns of {self.route.target}")
        return Shape(tuple(targets), tuple(copies), tuple(singles), tuple(groups))

    def _same_text(self, table: Described, n: int, target: str) -> bool:
        """Whether the source's text can be given to the target as it is."""
        here, there = type_name(table.relation.columns[n].type_oid), self.types[target]
        if here is None or here == there:  # a type that we do not know is text to us anyway
            return True
        return any(here in family and there in family for family in _FAMILIES)

    def _text(self, plan: Plan, table: Described, many: Sequence[int], target: str) -> TextForm | None:
        """The converter's way from text to text, where the types are those that it is for."""
        form = plan.texts.get(target)
        if form is None or self.types[target] not in form.targets:
            return None
        types = [type_name(table.relation.columns[n].type_oid) for n in many]
        return form if all(found in wanted for found, wanted in zip(types, form.sources, strict=True)) else None

    def _through(self, load: Loader, convert: Callable[[Any], Any], target: str) -> Callable[[bytes], bytes | None]:
        dump = self._dump(target)

        def through(value: bytes) -> bytes | None:
            made = convert(load(value))
            return None if made is None else dump(made)

        return through

    def _together(
        self, loaders: Sequence[Loader], convert: Callable[..., Any], targets: Sequence[str], form: TextForm | None
    ) -> Callable[[list[Column]], list[Column]]:
        dumps = [self._dump(target) for target in targets]
        nothing = (None,) * len(targets)
        quick = form.convert if form is not None and len(targets) == 1 else None

        def one(values: Sequence[bytes | None]) -> tuple[bytes | None, ...]:
            if quick is not None and None not in values and (text := quick(*values)) is not None:
                return (text,)
            loaded = [None if v is None else load(v) for load, v in zip(loaders, values, strict=True)]
            if not any(value is not None for value in loaded):
                return nothing
            result = convert(*loaded)
            made = result if len(dumps) > 1 else (result,)
            return tuple([None if m is None else dump(m) for dump, m in zip(dumps, made, strict=True)])

        def together(columns: list[Column]) -> list[Column]:
            return list(zip(*map(one, zip(*columns, strict=True)), strict=True))

        return together

    def _dump(self, target: str) -> Dump:
        return dump_of(self.adapters.get(target), self.dump)


def dump_of(adapt: Adapter | None, general: Dump) -> Dump:
    """How the values of a column become PostgreSQL's text, as psycopg would write it. `adapt`: what its type asks."""
    if adapt is not None:
        return lambda value: general(adapt(value))
    return lambda value: quick(value) if (quick := _QUICK.get(type(value))) is not None else general(value)


def dumper(connection: psycopg.Connection[Any]) -> Dump:
    """psycopg's way to write a value as text."""
    transformer = Transformer(connection)

    def dump(value: Any) -> bytes:
        made = transformer.get_dumper(value, PyFormat.TEXT).dump(value)
        return b"" if made is None else bytes(made)

    return dump


def _same(value: Any) -> Any:
    return value


_QUICK: dict[type, Dump] = {
    str: str.encode,
    int: lambda value: b"%d" % value,
    Decimal: lambda value: str(value).encode(),
    datetime: lambda value: str(value).encode(),
}
