"""Columns of values, each already PostgreSQL's text, in the three forms that a statement takes them in."""

from __future__ import annotations

from collections.abc import Sequence

Column = Sequence[bytes | None]


def copy_text(columns: Sequence[Column], rows: int) -> bytes:
    """COPY's text format. The usual values need no escape, which is found out for all of them at once."""
    nulls = sum(column.count(None) for column in columns)
    plain = [[b"\\N" if v is None else v for v in c] if nulls and None in c else c for c in columns]
    text = b"\n".join(map(b"\t".join, zip(*plain, strict=True)))
    if (
        text.count(b"\\") == nulls
        and text.count(b"\n") == rows - 1
        and text.count(b"\t") == rows * (len(columns) - 1)
        and b"\r" not in text
    ):
        return text + b"\n"
    escaped = [[b"\\N" if v is None else escape(v) for v in column] for column in columns]
    return b"\n".join(map(b"\t".join, zip(*escaped, strict=True))) + b"\n"


def escape(value: bytes) -> bytes:
    """PostgreSQL manual, COPY, "Text Format"."""
    return value.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r").replace(b"\t", b"\\t")


def literal(value: bytes | None) -> bytes:
    """A value in SQL text, of a type that its place decides. Expects standard_conforming_strings (session.connect)."""
    return b"NULL" if value is None else b"'" + value.replace(b"'", b"''") + b"'"


def rows_text(columns: Sequence[Column]) -> bytes:
    """The rows of VALUES, or of a list after IN."""
    rows = zip(*([literal(value) for value in column] for column in columns), strict=True)
    return b",".join([b"(" + b",".join(row) + b")" for row in rows])


def array(column: Column) -> bytes:
    """One column as the literal of an array."""
    quoted = [b"NULL" if v is None else b'"' + v.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' for v in column]
    return literal(b"{" + b",".join(quoted) + b"}")
