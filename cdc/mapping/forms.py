"""The SQL of a converter: the same values and refusals as its Python, for work that stays inside a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg import sql

# What Python's datetime can hold; infinity is outside too.
FIRST, AFTER_LAST = "0001-01-01 00:00:00", "10000-01-01 00:00:00"
INNER = "0001-01-03 00:00:00", "9999-12-30 00:00:00"


@dataclass(frozen=True, slots=True)
class Form:
    """An expression and the type that comes out of it, per target column.

    `valid` is true exactly where the Python function gives a value instead of refusing; None: everywhere. NULL does not
    reach it, as it does not reach the function.
    """

    values: tuple[tuple[sql.Composable, str], ...]
    valid: sql.Composable | None = None


# Takes an expression per source column.
SqlForm = Callable[..., Form]

# What values of Python are in SQL; only values whose text is the same everywhere.
SQL_TYPES: dict[type, LiteralString] = {str: "text", int: "bigint", bool: "boolean", UUID: "uuid"}
TEXT, NUMERIC, BOOLEAN = "text", "numeric", "boolean"
TIME, TIMESTAMP, TIMESTAMPTZ = "time without time zone", "timestamp without time zone", "timestamp with time zone"


def local_hour_forward(zone: str) -> SqlForm:
    at = _Zone(zone)

    def form(local: sql.Composable, flag: sql.Composable) -> Form:
        last, word = at.last(local), sql.SQL("({}::text)").format(flag)
        value = sql.SQL("CASE {} WHEN 'A' THEN {} ELSE {} END").format(word, at.first(local), last)
        flagged = sql.SQL("CASE WHEN {} THEN {} IN ('A', 'B') ELSE {} = 'N' END").format(at.twice(local), word, word)
        return Form(((value, TIMESTAMPTZ),), every(at.exists(local), flagged))

    return form


def local_hour_reverse(zone: str) -> SqlForm:
    at = _Zone(zone)

    def form(instant: sql.Composable) -> Form:
        local = at.local(instant)
        choice = sql.SQL("CASE WHEN {} THEN 'N' WHEN {} THEN CASE WHEN {} = {} THEN 'B' ELSE 'A' END ELSE 'N' END")
        flag = choice.format(at.steady(instant), at.twice(local), instant, at.last(local))
        return Form(((local, TIMESTAMP), (flag, TEXT)), at.representable(instant))

    return form


def local_time_forward(zone: str) -> SqlForm:
    at = _Zone(zone)

    def form(local: sql.Composable) -> Form:
        value = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(at.twice(local), at.first(local), at.last(local))
        return Form(((value, TIMESTAMPTZ),), at.exists(local))

    return form


def local_time_reverse(zone: str) -> SqlForm:
    at = _Zone(zone)
    return lambda instant: Form(((at.local(instant), TIMESTAMP),), at.representable(instant))


def words(table: Mapping[str, str]) -> SqlForm | None:
    """Words for words; None where a key ends with blanks, which SQL cannot tell from padding."""
    if any(key != key.rstrip(" ") for key in table):
        return None

    def form(value: sql.Composable) -> Form:
        word = sql.SQL("rtrim({}::text, ' ')").format(value)
        cases = sql.SQL(" ").join(
            sql.SQL("WHEN {} THEN {}").format(sql.Literal(key), sql.Literal(found)) for key, found in table.items()
        )
        keys = sql.SQL(", ").join(map(sql.Literal, table))
        return Form(
            ((sql.SQL("(CASE {} {} END)").format(word, cases), TEXT),), sql.SQL("{} IN ({})").format(word, keys)
        )

    return form


def numbers(form: SqlForm | None) -> SqlForm | None:
    """The words that come out of a form are whole numbers."""
    if form is None:
        return None

    def as_number(value: sql.Composable) -> Form:
        ((word, _),) = form(value).values
        return Form(((sql.SQL("({}::bigint)").format(word), "bigint"),), form(value).valid)

    return as_number


def flag_to_boolean(flag: sql.Composable) -> Form:
    word = sql.SQL("rtrim({}::text, ' ')").format(flag)
    return Form(((sql.SQL("({} = 'Y')").format(word), BOOLEAN),), sql.SQL("{} IN ('Y', 'N')").format(word))


def boolean_to_flag(flag: sql.Composable) -> Form:
    return Form(((sql.SQL("(CASE WHEN {} THEN 'Y' WHEN NOT {} THEN 'N' END)").format(flag, flag), TEXT),))


def shifted(digits: int) -> SqlForm:
    """The decimal point moved to the right (to the left: negative). A product is exact, a quotient is not."""
    factor = sql.SQL("0." + "0" * (-digits - 1) + "1" if digits < 0 else "1" + "0" * digits)
    return lambda value: Form(((sql.SQL("({}::numeric * {})").format(value, factor), NUMERIC),))


def whole_shifted(digits: int) -> SqlForm:
    """The same, where a whole number must come out."""

    def form(value: sql.Composable) -> Form:
        ((product, kind),) = shifted(digits)(value).values
        whole = sql.SQL("({0} = trunc({0}) AND {1} NOT IN ('NaN', 'Infinity', '-Infinity'))").format(product, value)
        return Form(((sql.SQL("trunc({})").format(product), kind),), whole)

    return form


def clock_forward(text: sql.Composable) -> Form:
    word = sql.SQL("({}::text)").format(text)
    return Form(
        ((sql.SQL("({}::time)").format(word), TIME),),
        sql.SQL("({} ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$')").format(word),
    )


def clock_reverse(value: sql.Composable) -> Form:
    return Form(
        ((sql.SQL("to_char({}, 'HH24:MI')").format(value), TEXT),),
        sql.SQL("({0} < time '24:00' AND extract(second FROM {0}) = 0)").format(value),
    )


def unpadded(text: sql.Composable) -> Form:
    return Form(((sql.SQL("rtrim({}::text, ' ')").format(text), TEXT),))


def as_text(text: sql.Composable) -> Form:
    return Form(((sql.SQL("({}::text)").format(text), TEXT),))


@dataclass(frozen=True, slots=True)
class _Zone:
    """Local time ↔ instant in a zone's SQL. Of a repeated time PostgreSQL means the second pass, of a skipped one none.

    `interval '24 hours'`, never a day: a day's length depends on the session's own zone.
    """

    zone: str

    def local(self, instant: sql.Composable) -> sql.Composable:
        return sql.SQL("({} AT TIME ZONE {})").format(instant, sql.Literal(self.zone))

    def last(self, local: sql.Composable) -> sql.Composable:
        """The only pass, or the second."""
        return sql.SQL("({} AT TIME ZONE {})").format(local, sql.Literal(self.zone))

    def first(self, local: sql.Composable) -> sql.Composable:
        """With the offset of 24 hours earlier: the first pass, if there are two; else it may mean nothing."""
        earlier = sql.SQL("({} - interval '24 hours')").format(self.last(local))
        offset = sql.SQL("({} - ({} AT TIME ZONE 'UTC'))").format(self.local(earlier), earlier)
        return sql.SQL("(({} - {}) AT TIME ZONE 'UTC')").format(local, offset)

    def twice(self, local: sql.Composable) -> sql.Composable:
        first = self.first(local)
        return sql.SQL("({} <> {} AND {} = {})").format(first, self.last(local), self.local(first), local)

    def exists(self, local: sql.Composable) -> sql.Composable:
        last = self.last(local)
        return every(between(local, "timestamp"), between(last, "timestamptz"), _same(self.local(last), local))

    def representable(self, instant: sql.Composable) -> sql.Composable:
        """Two days from the edges no zone matters: nearly every row is spared the conversion, which is what costs."""
        inner = sql.SQL("({0} >= {1} AND {0} < {2})").format(instant, *(_instant(edge) for edge in INNER))
        full = every(between(instant, "timestamptz"), between(self.local(instant), "timestamp"))
        return sql.SQL("({} OR {})").format(inner, full)

    def steady(self, instant: sql.Composable) -> sql.Composable:
        """The clock does not change within a day of it. Cheap, and true of nearly every row."""
        before, after = (
            self.local(sql.SQL("({} {} interval '24 hours')").format(instant, sql.SQL(sign))) for sign in ("-", "+")
        )
        return sql.SQL("({} + interval '48 hours' = {})").format(before, after)


def between(value: sql.Composable, kind: str) -> sql.Composable:
    """`timestamptz` literals say UTC themselves, so that no session's zone matters."""
    utc = "+00" if kind == "timestamptz" else ""
    first, last = (
        sql.SQL("{}::{}").format(sql.Literal(edge + utc), sql.Identifier(kind)) for edge in (FIRST, AFTER_LAST)
    )
    return sql.SQL("({0} >= {1} AND {0} < {2})").format(value, first, last)


def _instant(text: str) -> sql.Composable:
    return sql.SQL("{}::timestamptz").format(sql.Literal(f"{text}+00"))


def _same(left: sql.Composable, right: sql.Composable) -> sql.Composable:
    return sql.SQL("{} = {}").format(left, right)


def every(*conditions: sql.Composable) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(" AND ").join(conditions))
