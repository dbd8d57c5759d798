"""Whatever the monolith's schema can hold comes back as it was, or is refused: never changed in silence.

Column types are read from the migrated schema. Each generated value goes through PostgreSQL before it is mapped: it is
what a column of that type gives back (padding, scale, precision).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from banyan.servers import Postgres
from cdc.mapping import ConversionError, TableMapping, load, reader, roundtrip
from cdc.mapping.law import same
from cdc.mapping.plan import Rule, compile_plan
from legacy_monolith.migrate import migrate
from tests.fixtures.servers import create_database

MAPPINGS = [
    Path(__file__).parents[3] / "migration_plan/mappings" / f"{name}.yaml"
    for name in ("pricing", "devices", "notifications")
]
TABLES = [table for path in MAPPINGS for table in load(path).tables]
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, NULL), information_schema._pg_char_max_length(a.atttypid, a.atttypmod),
       information_schema._pg_numeric_precision(a.atttypid, a.atttypmod),
       information_schema._pg_numeric_scale(a.atttypid, a.atttypmod)
  FROM pg_attribute a WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""
some = settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
moments = st.datetimes(datetime(1900, 1, 1)) | st.builds(
    lambda year, month, minutes: datetime(year, month, 25) + timedelta(minutes=minutes),
    st.integers(1990, 2040),
    st.sampled_from([3, 10]),
    st.integers(0, 7 * 1440),
)
LETTERS = ["", *"ADNYXSQFB", *"NNNNN"]  # N alone stands for every hour but the repeated ones
# The codes that the mapping declares, by table and column: hardly any letter that is drawn is one of them.
CODES = {
    (table["legacy"], column["legacy"]): list(column["values"])
    for path in MAPPINGS
    for table in yaml.safe_load(path.read_text())["tables"]
    for column in table["columns"]
    if isinstance(column, dict) and "values" in column
}
INTEGERS = {"smallint": 15, "integer": 31, "bigint": 63}


def values_of(kind: str, length: int | None, precision: int | None, scale: int | None) -> st.SearchStrategy[Any]:
    if kind in INTEGERS:
        return st.integers(-(2 ** INTEGERS[kind]), 2 ** INTEGERS[kind] - 1)
    match kind:
        case "numeric":
            limit = 10 ** ((precision or 20) - (scale or 0)) - 1
            return st.decimals(-limit, limit, places=scale or 0, allow_nan=False)
        case "boolean":
            return st.booleans()
        case "date":
            return st.dates(date(1, 1, 1))
        case "time without time zone":
            return st.times()
        case "timestamp without time zone":
            return moments
        case "character" | "character varying" | "text":
            clock = st.times().map(lambda value: f"{value:%H:%M}") if length is None or length >= 5 else st.nothing()
            words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=length or 8)
            return st.sampled_from(LETTERS) | clock | words
    raise AssertionError(f"the monolith has a column of type {kind}: say here what it may hold")


@pytest.fixture(scope="module")
def legacy(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    dsn = create_database(postgres, "generated")
    migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        roundtrip.as_captured(connection)
        yield connection


def stored(connection: psycopg.Connection[Any], table: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a table of these column types gives them back; its constraints are left out."""
    name, columns = table.partition(".")[2], list(rows[0])
    connection.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(sql.Identifier(name)))
    made = sql.SQL("CREATE TEMP TABLE {0} AS SELECT * FROM {1} WITH NO DATA")
    connection.execute(made.format(sql.Identifier(name), reader.name(table)))
    insert = sql.SQL("INSERT INTO pg_temp.{} ({}) VALUES ({})").format(
        sql.Identifier(name),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
    )
    connection.cursor().executemany(insert, rows)
    shape = reader.shape(connection, f"pg_temp.{name}", columns)
    return [dict(zip(columns, row, strict=True)) for row in connection.execute(shape.select())]


def survives(table: TableMapping, rule: Rule, row: dict[str, Any]) -> bool:
    """False when it is refused."""
    tables, keys = (table.legacy, table.service), (table.forward.source_key, table.forward.key)
    forward, reverse = (compile_plan(direction, tables, keys, [rule]) for direction in ("forward", "reverse"))
    try:
        back = reverse.translate(forward.translate(row))
    except ConversionError:
        return False
    assert all(same(back[name], row[name]) for name in back), f"{table.legacy}: {row} comes back as {back}"
    return True


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.legacy}-{table.service}")
def test_what_the_schema_can_hold_comes_back_or_is_refused(legacy, table: TableMapping) -> None:
    named = table.source_columns("forward")
    kinds = {name: values_of(*kind) for name, *kind in legacy.execute(COLUMNS, [table.legacy]) if name in named}
    for name in kinds:
        if known := CODES.get((table.legacy, name)):
            kinds[name] = st.sampled_from(known) | kinds[name]
    assert kinds.keys() == set(named)
    carried: Counter[tuple[str, ...]] = Counter()

    @some
    @given(st.lists(st.fixed_dictionaries({n: st.none() | k for n, k in kinds.items()}), min_size=8, max_size=8))
    def check(rows: list[dict[str, Any]]) -> None:
        for row in stored(legacy, table.legacy, rows):
            for rule in table.rules:
                nothing = all(row[name] is None for name in rule.legacy)
                carried[rule.legacy] += survives(table, rule, row) and not nothing

    check()
    idle = [rule.legacy for rule in table.rules if not carried[rule.legacy]]
    assert idle == [], "no value of these was ever carried"
