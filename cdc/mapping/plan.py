"""One direction of a table's mapping, compiled. Pure: rows in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cdc.mapping.converters import Converter
from cdc.mapping.errors import ConversionError
from cdc.mapping.textforms import TextForm

Side = Literal["legacy", "service"]
Direction = Literal["forward", "reverse"]
Row = Mapping[str, Any]

# What a converter may stumble over; anything else is a bug and must be seen as one.
BAD_VALUE = (ConversionError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class Rule:
    """Columns here, columns there, and what lies between; no converter: the same value.

    `direction`: the way that it is carried; a column that is carried one way only is not compared. A constant has
    columns on one side only, which get `value` whenever the other side's row is carried there. `absent`: what a column
    of a wide row holds while the part that it belongs to has no row.
    """

    legacy: tuple[str, ...]
    service: tuple[str, ...]
    converter: Converter | None = None
    direction: Literal["both", "forward", "reverse"] = "both"
    value: Any = None
    absent: Any = None

    @property
    def constant(self) -> bool:
        return not self.legacy or not self.service

    def columns(self, side: Side) -> tuple[str, ...]:
        return self.legacy if side == "legacy" else self.service

    def goes(self, direction: Direction) -> bool:
        """Whether it writes columns in this direction."""
        return self.direction in ("both", direction) and bool(self.service if direction == "forward" else self.legacy)


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
    texts: Mapping[str, TextForm] = field(default_factory=dict)  # by target column

    @property
    def source_columns(self) -> tuple[str, ...]:
        alone = [source for source, _ in self.copies] + [source for source, _, _ in self.singles]
        return tuple(dict.fromkeys((*alone, *(name for sources, _, _ in self.groups for name in sources))))

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

    def torn(self, row: Row) -> tuple[str, ...]:
        """The first columns that only make sense together, of which this row has some; empty if there are none.

        What became of their images cannot be told, so such a row must not be written as if they had not changed. (Key
        columns do not count: a row that keeps its key has them unchanged.)
        """
        for names, _, _ in self.groups:
            known = [name for name in names if name in row]
            if len(known) < len(names) and not set(known) <= set(self.source_key):
                return names
        return ()


def _group(convert: Callable[..., Any], values: Sequence[Any], targets: int) -> tuple[Any, ...]:
    if all(value is None for value in values):
        return (None,) * targets
    result = convert(*values)
    return result if targets > 1 else (result,)


def compile_plan(
    direction: Direction,
    tables: tuple[str, str],
    keys: tuple[tuple[str, ...], tuple[str, ...]],
    rules: Iterable[Rule],
) -> Plan:
    """`tables` and `keys` are (legacy, service); of the rules those that go this way."""
    (source, target), (source_key, key) = (tables, keys) if direction == "forward" else (tables[::-1], keys[::-1])
    rules = [rule for rule in rules if rule.goes(direction)]
    steps = [_step(rule, direction, source_key) for rule in rules]
    there: Side = "service" if direction == "forward" else "legacy"
    forms = [(rule, _text_form(rule, direction)) for rule in rules]
    return Plan(
        source=source,
        target=target,
        source_key=source_key,
        key=key,
        columns=tuple(name for _, targets, _ in steps for name in targets),
        copies=tuple(pair for s, t, convert in steps if not convert for pair in zip(s, t, strict=True)),
        singles=tuple((s[0], t[0], convert) for s, t, convert in steps if convert and len(s) == len(t) == 1),
        groups=tuple((s, t, convert) for s, t, convert in steps if convert and not len(s) == len(t) == 1),
        texts={rule.columns(there)[0]: form for rule, form in forms if form},
    )


def _text_form(rule: Rule, direction: Direction) -> TextForm | None:
    if rule.converter is None or rule.constant:
        return None
    return rule.converter.text_forward if direction == "forward" else rule.converter.text_reverse


Step = tuple[tuple[str, ...], tuple[str, ...], Callable[..., Any] | None]


def _step(rule: Rule, direction: Direction, source_key: tuple[str, ...]) -> Step:
    """A constant is made of the key, which every row has: so the rows' loop knows no other case."""
    ahead = direction == "forward"
    sources, targets = (rule.legacy, rule.service) if ahead else (rule.service, rule.legacy)
    if rule.constant:
        value = rule.value
        return source_key[:1], targets, lambda _: value
    if rule.converter is None:
        return sources, targets, None
    return sources, targets, rule.converter.forward if ahead else rule.converter.reverse
