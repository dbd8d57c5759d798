"""A table's mapping as SQL: what `translate` gives, worked out by a database. For copying and hashing in bulk.

A part (or the other half of one) has no SQL here: whether its row exists at all is for Python to say.

The expressions are over the columns of a table with the alias `t`. Execute them without parameters: a literal may
contain `%`. Ask `zones.disagreement` of the server first: it may know other rules of a time zone than Python does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from psycopg import sql

from cdc.mapping.forms import SQL_TYPES, Form, SqlForm
from cdc.mapping.plan import Direction, Rule, Side
from cdc.mapping.sqltypes import Types, canonical_text, cast, family
from cdc.mapping.table import TableMapping


@dataclass(frozen=True, slots=True)
class Projected:
    """A target column and its value, of the target's type. None: its converter has no SQL, only Python can tell.

    Where the converter would refuse a value, the expression raises SQLSTATE 22P02 and names column and value.
    """

    column: str
    expression: sql.Composable | None


Hash = Callable[[sql.Composable], sql.Composable]
"""From the SQL of a seed."""

# PostgreSQL's own, in which equal values of a type have equal hashes, whatever a number's scale. That of a time mixes
# its halves first, so two times that differ are taken for one in 2^32.
HASHES = {
    "number": ("hash_numeric_extended", "numeric", "0"),
    "timestamp without time zone": ("timestamp_hash_extended", "timestamp", "2000-01-01"),
}


@dataclass(frozen=True, slots=True)
class Canonical:
    """How one side's rows are hashed: for each of `columns` (named as the side that both are compared as) a text.

    The texts of two sides are equal iff the rows correspond. They are never NULL: '' is a NULL, '!' a value that has no
    image, everything else begins with '='. `hashes`: of numbers and times without a zone a hash of their own, over a
    seed, since printing them is most of what a text's would cost.
    """

    key_columns: tuple[str, ...]
    columns: tuple[str, ...]
    expressions: tuple[sql.Composable, ...]
    hashes: tuple[Hash | None, ...]

    @property
    def row_hash(self) -> sql.Composable:
        """A bigint of the whole row; each column's hash seeds the next, so that nothing can slip over a border."""
        value: sql.Composable = sql.SQL("0")
        for expression, own in zip(self.expressions, self.hashes, strict=True):
            value = own(value) if own is not None else sql.SQL("hashtextextended({}, {})").format(expression, value)
        return value


def forward(table: TableMapping, legacy: Types, service: Types) -> tuple[Projected, ...]:
    """Each written service column over the legacy table. The types are those of the two tables (sqltypes.types_of)."""
    return tuple(_projected(table, "forward", legacy, service))


def reverse(table: TableMapping, legacy: Types, service: Types) -> tuple[Projected, ...]:
    """Each written legacy column over the service's table. Raises: MappingError of reference data."""
    table.plan("reverse")
    return tuple(_projected(table, "reverse", service, legacy))


def canonical(table: TableMapping, side: Side, legacy: Types, service: Types) -> Canonical | None:
    """Compared as verification compares: as the monolith has it, reference data as the service has it.

    None where a converter has no SQL, or where values are compared whose types only Python reconciles.
    """
    back = table.direction == "both"
    plain_side: Side = "legacy" if back else "service"
    plain, other = (legacy, service) if back else (service, legacy)
    expressions: list[sql.Composable] = []
    hashes: list[Hash | None] = []
    columns: list[str] = []
    for rule in table.rules if table.part is None else ():
        if not rule.goes("reverse" if back else "forward") or (back and rule.direction != "both"):
            continue
        names, sources, form_of = _step(rule, "reverse" if back else "forward")
        found = _values(sources, names, form_of, other)
        if found is None:
            return None
        for name, (value, kind) in zip(names, found.values, strict=True):
            if family(kind) != family(plain.get(name, kind)):
                return None
            columns.append(name)
            itself, unsure, given = (
                (_column(name), None, (name,)) if side == plain_side else (value, found.valid, sources)
            )
            hashes.append(_own_hash(kind, itself, unsure if form_of is not None else None, given))
            if side == plain_side:
                expressions.append(_told_apart(canonical_text(_column(name), plain.get(name, kind)), None, (name,)))
            else:
                valid = found.valid if form_of is not None else None
                expressions.append(_told_apart(canonical_text(value, kind), valid, sources))
    keys = table.forward.source_key if side == "legacy" else table.forward.key
    if not columns:
        return None
    return Canonical(keys, tuple(columns), tuple(expressions), tuple(hashes))


Step = tuple[tuple[str, ...], tuple[str, ...], "SqlForm | None"]


def _step(rule: Rule, direction: Direction) -> Step:
    """Targets, sources, and the SQL of a rule; `_values` tells a missing converter from one without SQL."""
    ahead = direction == "forward"
    targets, sources = (rule.service, rule.legacy) if ahead else (rule.legacy, rule.service)
    if rule.constant:
        return targets, sources, lambda: Form(((sql.Literal(rule.value), _kind(rule.value)),))
    if rule.converter is None:
        return targets, sources, None
    return targets, sources, (rule.converter.sql_forward if ahead else rule.converter.sql_reverse) or _no_sql


def _kind(value: object) -> str:
    return SQL_TYPES.get(type(value), "numeric" if isinstance(value, Decimal) else "text")


def _no_sql(*_: sql.Composable) -> Form:
    return Form(())


def _values(sources: Sequence[str], targets: Sequence[str], form_of: SqlForm | None, types: Types) -> Form | None:
    if form_of is None:
        return Form(tuple((_column(name), types.get(name, "text")) for name in sources))
    form = form_of(*map(_column, sources))
    return form if len(form.values) == len(targets) else None


def _projected(table: TableMapping, direction: Direction, source: Types, target: Types) -> Iterator[Projected]:
    for rule in table.rules:
        if not rule.goes(direction):
            continue
        names, sources, form_of = _step(rule, direction)
        form = _values(sources, names, form_of, source) if table.part is None else None
        if form is None:
            yield from (Projected(name, None) for name in names)
            continue
        for name, (value, kind) in zip(names, form.values, strict=True):
            to = target.get(name, kind)
            as_target = cast(value, kind, to)
            if sources and form_of is not None:
                where = f"{table.source(direction)}.{sources[0]}"
                as_target = _or_refuse(as_target, form.valid, sources, where, kind, to)
            yield Projected(name, as_target)


def _or_refuse(
    value: sql.Composable, valid: sql.Composable | None, sources: Sequence[str], where: str, kind: str, to: str
) -> sql.Composable:
    """NULL where all sources are NULL; an error where the converter would refuse."""
    if valid is None and len(sources) == 1:
        return value
    condition = valid if valid is not None else sql.SQL("true")
    told = sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(map(_column, sources)))
    message = sql.SQL("({} || {})").format(sql.Literal(f"{where}: no value on the other side for "), told)
    # There is no RAISE in an expression, so a number is asked for that this is not.
    refusal = cast(sql.SQL("({}::integer::text)").format(message), "text", to)
    return sql.SQL("(CASE WHEN {} THEN NULL WHEN {} THEN {} ELSE {} END)").format(
        _nulls(sources), condition, value, refusal
    )


def _told_apart(text: sql.Composable, valid: sql.Composable | None, sources: Sequence[str]) -> sql.Composable:
    """NULL, refused and every value are three different things."""
    if valid is None or not sources:
        return sql.SQL("coalesce('=' || {}, '')").format(text)
    return sql.SQL("(CASE WHEN {} THEN '' WHEN {} THEN '=' || {} ELSE '!' END)").format(_nulls(sources), valid, text)


def _own_hash(kind: str, value: sql.Composable, valid: sql.Composable | None, sources: Sequence[str]) -> Hash | None:
    """The same three are told apart by the seed."""
    if (known := HASHES.get(family(kind))) is None:
        return None
    function, to, default = known
    typed = sql.SQL("({}::{})").format(value, sql.SQL(to))
    if valid is None or not sources:
        state = sql.SQL("({} IS NULL)::integer").format(value)
        sure = sql.SQL("coalesce({}, {})").format(typed, sql.Literal(default))
    else:
        parts = {"nulls": _nulls(sources), "valid": valid, "value": typed, "default": sql.Literal(default)}
        state = sql.SQL("(CASE WHEN {nulls} THEN 1 WHEN {valid} THEN 0 ELSE 2 END)").format(**parts)
        sure = sql.SQL("(CASE WHEN {nulls} THEN {default} WHEN {valid} THEN {value} ELSE {default} END)").format(
            **parts
        )
    shape = sql.SQL(function + "({}, {} # {})")
    return lambda seed: shape.format(sure, seed, state)


def _nulls(names: Sequence[str]) -> sql.Composable:
    return sql.SQL(" AND ").join(sql.SQL("{} IS NULL").format(_column(name)) for name in names)


def _column(name: str) -> sql.Composable:
    return sql.Identifier("t", name)
