"""Compares rows in the columns of one side. Pure; by column, because Python is fast with lists and slow with rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from cdc.mapping import ConversionError, TableMapping
from cdc.mapping.table import Plan
from cdc.verify.report import Difference

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is read from each side (key columns first), and how one side's rows become comparable with the other's.

    A table that goes both ways is compared as the monolith has it; reference data as the service has it.
    """

    table: TableMapping
    plan: Plan
    legacy_columns: tuple[str, ...]
    service_columns: tuple[str, ...]
    key_of: Callable[[Row], Any]

    @classmethod
    def of(cls, table: TableMapping) -> Comparison:
        there = table.forward
        return cls(
            table=table,
            plan=table.compared,
            legacy_columns=_key_first(there.source_key, there.source_columns),
            service_columns=_key_first(there.key, there.columns),
            key_of=itemgetter(*range(len(there.key))),
        )

    def key(self, key: Any) -> dict[str, Any]:
        names = self.table.forward.source_key
        return dict(zip(names, key if len(names) > 1 else (key,), strict=True))

    def suspects(self, legacy: Sequence[Row], service: Sequence[Row]) -> list[Any]:
        """The keys that are not alike in two lists which cover the same range of keys."""
        if not legacy or not service:
            return [self.key_of(row) for row in (*legacy, *service)]
        if len(legacy) != len(service) or [*map(self.key_of, legacy)] != [*map(self.key_of, service)]:
            return self._by_key(legacy, service)
        here = dict(zip(self.legacy_columns, map(list, zip(*legacy, strict=True)), strict=True))
        there = dict(zip(self.service_columns, map(list, zip(*service, strict=True)), strict=True))
        plain, other = (here, there) if self.table.direction == "both" else (there, here)
        try:
            translated = self.plan.translate_columns(other)
        except ConversionError:
            return self._by_key(legacy, service)
        differing: set[int] = set()
        for name, values in translated.items():
            if list(values) != plain[name]:
                pairs = enumerate(zip(values, plain[name], strict=True))
                differing.update(i for i, (left, right) in pairs if left != right)
        return [self.key_of(legacy[i]) for i in sorted(differing)]

    def difference(self, key: Any, legacy: Row | None, service: Row | None) -> Difference | None:
        """What one key's two rows differ in; None when they are alike."""
        name = self.table.legacy
        if legacy is None and service is None:
            return None
        if self._empty(legacy, service):
            own = service if self.table.wide == "legacy" else legacy
            reason = "has a row of its own, but its part of the wide row is empty"
            return Difference("different", name, self.key(key), reason=reason) if own is not None else None
        if service is None:
            return Difference("missing", name, self.key(key))
        if legacy is None:
            return Difference("extra", name, self.key(key))
        here = dict(zip(self.legacy_columns, legacy, strict=True))
        there = dict(zip(self.service_columns, service, strict=True))
        plain, other = (here, there) if self.table.direction == "both" else (there, here)
        try:
            translated = self.plan.translate(other)
        except ConversionError as error:
            return Difference("different", name, self.key(key), reason=str(error))
        columns = tuple(column for column, value in translated.items() if value != plain[column])
        return Difference("different", name, self.key(key), columns) if columns else None

    def _empty(self, legacy: Row | None, service: Row | None) -> bool:
        """Of a table that is a part of a wide row: whether the wide row is there, and has nothing of it."""
        part, wide = self.table.part, legacy if self.table.wide == "legacy" else service
        if part is None or wide is None:
            return False
        columns = self.legacy_columns if self.table.wide == "legacy" else self.service_columns
        return not part.there(dict(zip(columns, wide, strict=True)))

    def _by_key(self, legacy: Sequence[Row], service: Sequence[Row]) -> list[Any]:
        here, there = {self.key_of(row): row for row in legacy}, {self.key_of(row): row for row in service}
        keys = {**here, **there}
        return [key for key in keys if self.difference(key, here.get(key), there.get(key)) is not None]


def ranges(
    left: Iterator[list[Row]], right: Iterator[list[Row]], key_of: Callable[[Row], Any]
) -> Iterator[tuple[list[Row], list[Row]]]:
    """Cuts two streams, each ordered by key, into pairs of lists that cover the same range of keys."""
    here, there = next(left, []), next(right, [])
    while here and there:
        last, other = key_of(here[-1]), key_of(there[-1])
        if last == other:
            yield here, there
            here, there = next(left, []), next(right, [])
        elif last < other:
            cut = bisect_right(there, last, key=key_of)
            yield here, there[:cut]
            here, there = next(left, []), there[cut:]
        else:
            cut = bisect_right(here, other, key=key_of)
            yield here[:cut], there
            here, there = here[cut:], next(right, [])
    while here:
        yield here, []
        here = next(left, [])
    while there:
        yield [], there
        there = next(right, [])


def _key_first(key: tuple[str, ...], columns: tuple[str, ...]) -> tuple[str, ...]:
    return (*key, *(column for column in columns if column not in key))
