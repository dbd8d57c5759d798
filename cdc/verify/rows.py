"""Reads rows of one side inside a window: of some keys, or a whole chunk in key order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from cdc.mapping import reader
from cdc.mapping.reader import BATCH_ROWS, Shape
from cdc.verify.chunks import Chunk

KEYS_PER_QUERY = 1_000
Row = tuple[Any, ...]
_numbers = itertools.count(1)


def of_keys(
    connection: psycopg.Connection[Any],
    shape: Shape,
    columns: Sequence[str],
    keys: Sequence[Any],
    key_of: Callable[[Row], Any],
) -> dict[Any, Row]:
    """The rows that are there, by key; at most KEYS_PER_QUERY keys in one query."""
    query = sql.SQL("SELECT {} FROM {} t JOIN unnest({}) k({}) ON {}").format(
        sql.SQL(", ").join(shape.expressions),
        reader.name(shape.table),
        sql.SQL(", ").join(sql.SQL("%s::{}[]").format(sql.SQL(shape.type_of(column))) for column in columns),
        sql.SQL(", ").join(sql.Identifier(f"k{i}") for i in range(len(columns))),
        sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(shape.expression(column), sql.Identifier("k", f"k{i}"))
            for i, column in enumerate(columns)
        ),
    )
    found: dict[Any, Row] = {}
    for start in range(0, len(keys), KEYS_PER_QUERY):
        part = keys[start : start + KEYS_PER_QUERY]
        lists = list(map(list, zip(*part, strict=True))) if len(columns) > 1 else [list(part)]
        with connection.cursor(binary=True) as cursor:
            found.update((key_of(row), row) for row in cursor.execute(query, lists))
    return found


def of_chunk(
    connection: psycopg.Connection[Any], shape: Shape, key: Sequence[str], chunk: Chunk
) -> Iterator[list[Row]]:
    """By key, in lists of bounded size, through a cursor at the server, which ends with the window at the latest."""
    query = sql.SQL("SELECT {} FROM {} t WHERE {} ORDER BY {}").format(
        sql.SQL(", ").join(shape.expressions), reader.name(shape.table), chunk.where(key[0]), shape.order(key)
    )
    with connection.cursor(name=f"chunk_{next(_numbers)}") as cursor:
        cursor.execute(query, binary=True)
        while batch := cursor.fetchmany(BATCH_ROWS):
            yield batch
