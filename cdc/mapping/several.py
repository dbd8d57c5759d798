"""Converters between several columns of one side and a single one of the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

from psycopg import sql

from cdc.mapping.converters import Converter
from cdc.mapping.errors import ConversionError
from cdc.mapping.forms import TIME, TIMESTAMP, Form, between, every

PLAIN = (str, int, bool, type(None))


def join(*, columns: int, separator: str = " ") -> Converter:
    """Texts ↔ one text with a separator between them; only the last may contain the separator itself."""
    _require(columns, separator)

    def together(*parts: str) -> str:
        if any(part is None for part in parts):
            raise ConversionError("some of the joined columns are NULL and some are not")
        text = separator.join(parts)
        if tuple(text.split(separator, columns - 1)) != parts:
            raise ConversionError(f"{text!r} would not come apart at {separator!r} where it was joined")
        return text

    def apart(text: str) -> tuple[str, ...]:
        parts = tuple(text.split(separator, columns - 1))
        if len(parts) != columns:
            raise ConversionError(f"{text!r} does not have {columns} parts at {separator!r}")
        return parts

    def sql_together(*parts: sql.Composable) -> Form:
        texts = [sql.SQL("({}::text)").format(part) for part in parts]
        between_all = [piece for part in texts for piece in (sql.Literal(separator), part)][1:]
        text = sql.SQL("({})").format(sql.SQL(" || ").join(between_all))
        back = [value for value, _ in sql_apart(text).values]
        same = [sql.SQL("{} = {}").format(one, other) for one, other in zip(back, texts, strict=True)]
        return Form(((text, "text"),), every(*same))

    def sql_apart(text: sql.Composable) -> Form:
        word, mark = sql.SQL("({}::text)").format(text), sql.Literal(separator)
        heads = [sql.SQL("split_part({}, {}, {})").format(word, mark, sql.Literal(n + 1)) for n in range(columns - 1)]
        begins = sql.SQL(" + ").join(
            [sql.SQL("length({}) + {}").format(head, sql.Literal(len(separator))) for head in heads] + [sql.SQL("1")]
        )
        tail = sql.SQL("substr({}, {})").format(word, begins)
        enough = sql.SQL("(length({0}) - length(replace({0}, {1}, ''))) / {2} >= {3}").format(
            word, mark, sql.Literal(len(separator)), sql.Literal(columns - 1)
        )
        return Form(tuple((part, "text") for part in (*heads, tail)), every(enough))

    return Converter(together, apart, legacy=columns, sql_forward=sql_together, sql_reverse=sql_apart)


def split(*, columns: int, separator: str = " ") -> Converter:
    """`join` with the sides exchanged: one text of the monolith ↔ several of the service."""
    joined = join(columns=columns, separator=separator)
    return Converter(
        joined.reverse,
        joined.forward,
        service=columns,
        sql_forward=joined.sql_reverse,
        sql_reverse=joined.sql_forward,
    )


def date_and_time() -> Converter:
    """Date and time of day ↔ local timestamp."""

    def forward(day: date, moment: time) -> datetime:
        return datetime.combine(day, moment)

    def reverse(local: datetime) -> tuple[date, time]:
        return local.date(), local.time()

    def sql_forward(day: sql.Composable, moment: sql.Composable) -> Form:
        together = sql.SQL("({} + {})").format(day, moment)
        whole = every(sql.SQL("{} < time '24:00'").format(moment), between(together, "timestamp"))
        return Form(((together, TIMESTAMP),), whole)

    def sql_reverse(local: sql.Composable) -> Form:
        day, moment = sql.SQL("({}::date)").format(local), sql.SQL("({}::time)").format(local)
        return Form(((day, "date"), (moment, TIME)), between(local, "timestamp"))

    return Converter(forward, reverse, legacy=2, sql_forward=sql_forward, sql_reverse=sql_reverse)


def fields(*, columns: int, names: Sequence[str]) -> Converter:
    """Columns ↔ one JSON object. Texts, whole numbers and truth values: what comes out of JSON as it went in."""
    if len(names) != columns or len(set(names)) < columns:
        raise ValueError(f"names must be {columns} different names, one for each column")

    def forward(*values: Any) -> dict[str, Any]:
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, PLAIN):
                raise ConversionError(f"{name} is a {type(value).__name__}, which JSON would give back as another type")
        return dict(zip(names, values, strict=True))

    def reverse(found: dict[str, Any]) -> tuple[Any, ...]:
        if not isinstance(found, dict) or found.keys() != set(names):
            raise ConversionError(f"{found!r} is not an object of {', '.join(names)}")
        values = tuple(found[name] for name in names)
        if not all(isinstance(value, PLAIN) for value in values):
            raise ConversionError(f"{found!r} has values that no column takes")
        if all(value is None for value in values):
            raise ConversionError("an object of nulls would come back as NULL")
        return values

    return Converter(forward, reverse, legacy=columns)


def _require(columns: int, separator: str) -> None:
    if not separator:
        raise ValueError("separator must not be empty")
    if columns < 2:
        raise ValueError("it takes several columns on one side")
