"""The SQL of a mapping against its Python, on generated rows: the same values, refusals and differences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Json

from banyan.servers import Postgres
from cdc.mapping import ConversionError, TableMapping, load, projection, reader, zones
from cdc.mapping.sqltypes import types_of
from cdc.verify.compare import Comparison
from tests.fixtures.servers import create_database

ZONES = ("Europe/Amsterdam", "Australia/Lord_Howe", "America/New_York")
TABLES = """
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE DOMAIN amount AS numeric(12, 2);
CREATE TABLE lot (
    id bigint PRIMARY KEY, ts0 timestamp, f0 char(1), ts1 timestamp, f1 char(1), at0 timestamp, at1 timestamp,
    at2 timestamp, code char(2), nr int, day date, hour time, fn text, ln text, whole text, wh bigint, word text,
    yn char(1), c int, pct numeric(5, 2), hm text, pad char(6), i int, n numeric, fl double precision, t text, js jsonb,
    tz timestamptz, d date, tm time, b bytea, e colour, ns numeric[]);
CREATE TABLE parcel (
    id bigint PRIMARY KEY, s0 timestamptz, s1 timestamptz, a0 timestamptz, a1 timestamptz, a2 timestamptz, kind text,
    used text, at timestamp, name text, h text, r text, kwh numeric(20, 3), origin text, word varchar(20), yes boolean,
    price amount, rate numeric(7, 4), clock time, pad text, i numeric(20, 4), n numeric, fl double precision, t varchar,
    js json, tz timestamptz, d date, tm time, b bytea, e text, ns numeric[]);
"""
MAPPING = """
domain: lots
tables:
  - legacy: public.lot
    service: public.parcel
    key: {legacy: id, service: id}
    columns:
      - id
      - {legacy: [ts0, f0], service: s0, convert: local_hour, zone: Europe/Amsterdam}
      - {legacy: [ts1, f1], service: s1, convert: local_hour, zone: Australia/Lord_Howe}
      - {legacy: at0, service: a0, convert: local_time, zone: Europe/Amsterdam}
      - {legacy: at1, service: a1, convert: local_time, zone: Australia/Lord_Howe}
      - {legacy: at2, service: a2, convert: local_time, zone: America/New_York}
      - {legacy: code, service: kind, convert: enum, values: {A: "100%", B: it's, CC: "Ω \\\\"}}
      - {legacy: nr, service: used, convert: codes, values: {1: new, -2: "50%"}}
      - {legacy: [day, hour], service: at, convert: date_and_time}
      - {legacy: [fn, ln], service: name, convert: join, separator: ", "}
      - {legacy: whole, service: [h, r], convert: split, separator: "/"}
      - {legacy: wh, service: kwh, convert: scaled, digits: 3}
      - {service: origin, value: "it's 100%"}
      - {legacy: word, service: word, convert: enum, values: {a: x, b: y}}
      - {legacy: yn, service: yes, convert: yes_no}
      - {legacy: c, service: price, convert: cents}
      - {legacy: pct, service: rate, convert: percent}
      - {legacy: hm, service: clock, convert: clock}
      - {legacy: pad, service: pad, convert: char}
      - i
      - n
      - fl
      - t
      - js
      - tz
      - d
      - tm
      - b
      - e
      - ns
"""
DOMAINS = Path(__file__).parents[3] / "migration_plan" / "mappings"

around = st.builds(
    lambda year, month, minutes: datetime(year, month, 25) + timedelta(minutes=minutes),
    st.integers(1980, 2060),
    st.sampled_from([3, 4, 10, 11]),
    st.integers(0, 14 * 1440),
) | st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def stored(zone: str, moment: datetime) -> tuple[datetime, str]:
    there = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)) if moment.year < 9999 else moment.replace(tzinfo=UTC)
    local = there.replace(tzinfo=None, fold=0)
    passes = {local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)}
    return local, "N" if len(passes) == 1 else "AB"[there.fold]


HOURS = [around.map(lambda moment, zone=zone: stored(zone, moment)) for zone in ZONES[:2]]
WILD_HOURS = st.tuples(around | st.none(), st.sampled_from(["N", "A", "B", None]))
good_rows = st.fixed_dictionaries(
    {
        "h0": HOURS[0],
        "h1": HOURS[1],
        "at0": st.none() | HOURS[0].map(lambda pair: pair[0]),
        "at1": HOURS[1].map(lambda pair: pair[0]),
        "code": st.none() | st.sampled_from(["A", "B", "CC"]),
        "nr": st.none() | st.sampled_from([1, -2]),
        "day": st.dates(date(1, 1, 1)),
        "hour": st.times(),
        "fn": st.text("abΩ ", max_size=3),
        "ln": st.text("ab, ", max_size=5),
        "whole": st.none() | st.builds("{}/{}".format, st.text("ab", max_size=2), st.text("a/", max_size=4)),
        "wh": st.none() | st.integers(-(10**12), 10**12),
        "word": st.sampled_from(["a", "b"]),
        "yn": st.sampled_from(["Y", "N"]),
        "c": st.none() | st.integers(-(10**9), 10**9),
        "pct": st.decimals(0, 100, places=2),
        "hm": st.none() | st.times().map(lambda value: f"{value:%H:%M}"),
        "pad": st.text("ab", max_size=6),
        "i": st.none() | st.integers(-5, 5),
        "n": st.none() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20),
        "fl": st.sampled_from([0.0, -0.0, 1e300, 0.1]) | st.floats(allow_nan=False, allow_infinity=False),
        "t": st.none() | texts,
        "js": jsons,
        "tz": st.none() | around.map(lambda moment: moment.replace(tzinfo=UTC)),
        "d": st.none() | st.dates(date(1, 1, 1)),
        "tm": st.none() | st.times(),
        "b": st.none() | st.binary(max_size=4),
        "e": st.none() | st.sampled_from(["red", "green"]),
        "ns": st.none() | st.lists(st.decimals(-9, 9, places=1), max_size=2),
    }
)
wild = {
    "h0": WILD_HOURS,
    "h1": WILD_HOURS,
    "at0": around,
    "at1": around,
    "at2": around,
    "code": st.sampled_from(["A", "Z", "CC", ""]),
    "nr": st.sampled_from([1, 2]),
    "day": st.none() | st.dates(date(1, 1, 1)),
    "hour": st.none() | st.times(),
    "fn": st.none() | st.text("a, ", max_size=3),
    "ln": st.none() | st.text("a, ", max_size=3),
    "whole": st.text("a/", max_size=3),
    "word": st.sampled_from(["a", "a  ", "A", ""]),
    "yn": st.sampled_from(["Y", "J", ""]),
    "hm": st.sampled_from(["24:00", "7:00", "07:05", "07:05\n", "٠٧:٠٥", "xx"]),
}
slow = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)


@pytest.fixture(scope="module")
def connection(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(create_database(postgres), autocommit=True, options="-c timezone=UTC") as connection:
        connection.execute(TABLES)
        yield connection


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TableMapping:
    path = tmp_path_factory.mktemp("lots") / "lots.yaml"
    path.write_text(MAPPING)
    return load(path).tables[0]


def insert(connection: psycopg.Connection[Any], name: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        columns = sql.SQL(", ").join(map(sql.Identifier, row))
        marks = sql.SQL(", ").join(map(sql.Placeholder, row))
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(name), columns, marks)
        connection.execute(query, {**row, "js": None if row.get("js") is None else Json(row["js"])})


def lot(number: int, drawn: dict[str, Any]) -> dict[str, Any]:
    row = {"id": number, **drawn}
    for n in (0, 1):
        if f"h{n}" in row:
            row[f"ts{n}"], row[f"f{n}"] = row.pop(f"h{n}")
    return row


def python_rows(connection: psycopg.Connection[Any], name: str, columns: tuple[str, ...]) -> dict[int, dict[str, Any]]:
    """As the mapping's own reader sees them."""
    shape = reader.shape(connection, f"public.{name}", columns)
    return {
        row[columns.index("id")]: dict(zip(columns, row, strict=True))
        for batch in reader.stream(connection, shape, ["id"])
        for row in batch
    }


def sql_rows(
    connection: psycopg.Connection[Any], name: str, projected: tuple[projection.Projected, ...], where: str = "true"
) -> dict[int, dict[str, Any]]:
    names = [p.column for p in projected]
    expressions = sql.SQL(", ").join(
        sql.SQL("{}::text").format(p.expression) if p.column == "ns" else p.expression  # as the reader reads an array
        for p in projected
        if p.expression is not None
    )
    query = sql.SQL("SELECT {} FROM {} t WHERE {}").format(expressions, sql.Identifier(name), sql.SQL(where))
    return {
        row[names.index("id")]: dict(zip(names, row, strict=True)) for row in connection.execute(query, binary=True)
    }


def unlike(here: dict[int, dict[str, Any]], there: dict[int, dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Row, column and both values, where two sets of rows differ."""
    assert here.keys() == there.keys()
    pairs = ((number, name, row[name], there[number].get(name)) for number, row in here.items() for name in row)
    return [found for found in pairs if found[2] != found[3]]


def unpadded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.rstrip(" ") if name in ("code", "yn", "pad") and value else value for name, value in row.items()
    }


@slow
@given(drawn=st.lists(good_rows, min_size=1, max_size=8))
def test_the_same_values_there_and_back(connection, table, drawn) -> None:
    connection.execute("TRUNCATE lot, parcel")
    insert(connection, "lot", [lot(number, row) for number, row in enumerate(drawn)])
    here, there = types_of(connection, connection, table)
    legacy = python_rows(connection, "lot", table.source_columns("forward"))
    translated = {number: table.translate(row, "forward") for number, row in legacy.items()}
    projected = sql_rows(connection, "lot", projection.forward(table, here, there))
    assert unlike(translated, projected) == []
    insert(connection, "parcel", list(projected.values()))
    back = sql_rows(connection, "parcel", projection.reverse(table, here, there))
    assert unlike(legacy, {number: unpadded(row) for number, row in back.items()}) == []
    assert differing(connection, table) == set()


@slow
@given(drawn=st.fixed_dictionaries({}, optional=wild))
def test_the_same_refusals(connection, table, drawn) -> None:
    connection.execute("TRUNCATE lot, parcel")
    insert(connection, "lot", [lot(1, drawn)])
    projected = projection.forward(table, *types_of(connection, connection, table))
    row = python_rows(connection, "lot", table.source_columns("forward"))[1]
    try:
        expected = table.translate(row, "forward")
    except ConversionError:
        with pytest.raises(
            psycopg.errors.InvalidTextRepresentation, match=r"public\.lot\..*no value on the other side"
        ):
            sql_rows(connection, "lot", projected)
    else:
        assert sql_rows(connection, "lot", projected)[1] == expected


def differing(connection: psycopg.Connection[Any], table: TableMapping) -> set[tuple[int, str]]:
    """Which key and column the canonical texts tell apart."""
    types = types_of(connection, connection, table)
    texts = []
    for side in ("legacy", "service"):
        form = projection.canonical(table, side, *types)
        assert form is not None
        query = sql.SQL("SELECT t.id, {}, {} FROM {} t").format(
            form.row_hash, sql.SQL(", ").join(form.expressions), reader.name(table.table(side))
        )
        texts.append({row[0]: row[1:] for row in connection.execute(query)})
        assert all(text is not None for row in texts[-1].values() for text in row)
    assert texts[0].keys() == texts[1].keys()
    found = set()
    for number in texts[0]:
        left, right = texts[0][number], texts[1][number]
        columns = {(number, name) for name, a, b in zip(form.columns, left[1:], right[1:], strict=True) if a != b}
        assert (left[0] != right[0]) == bool(columns), "the hash tells what the texts tell"
        found |= columns
    return found


def different_in_python(connection: psycopg.Connection[Any], table: TableMapping) -> set[tuple[int, str]]:
    legacy = python_rows(connection, "lot", table.source_columns("forward"))
    service = python_rows(connection, "parcel", table.columns("forward"))
    comparison = Comparison.of(table)
    found = set()
    for number, row in legacy.items():
        difference = comparison.difference(
            number,
            tuple(row[name] for name in comparison.legacy_columns),
            tuple(service[number][name] for name in comparison.service_columns),
        )
        if difference is not None:
            assert not difference.reason
            found |= {(number, column) for column in difference.columns}
    return found


@slow
@given(drawn=st.lists(good_rows, min_size=1, max_size=8), data=st.data())
def test_the_same_differences(connection, table, drawn, data) -> None:
    """Service rows that mix the values of several rows: each column is alike or not as Python says."""
    connection.execute("TRUNCATE lot, parcel")
    insert(connection, "lot", [lot(number, row) for number, row in enumerate(drawn)])
    images = list(
        sql_rows(connection, "lot", projection.forward(table, *types_of(connection, connection, table))).values()
    )
    mixed = []
    for number, row in enumerate(images):
        other = data.draw(st.sampled_from(images))
        names = data.draw(st.sets(st.sampled_from(sorted(row.keys() - {"r"}))))
        names |= {"r"} if "h" in names else set()  # the two are one value
        mixed.append({**row, **{name: other[name] for name in names}, "id": number})
    insert(connection, "parcel", mixed)
    assert differing(connection, table) == different_in_python(connection, table)


SAME = [
    ("n", "'NaN'", "'NaN'"),
    ("n", "1.10", "1.1000"),
    ("i", "3", "3.0000"),
    ("fl", "'-0'", "0"),
    ("fl", "'NaN'", "'NaN'"),
    ("js", """'{"b": 1.0, "a": [1e2]}'""", """'{"a":[100],  "b":1.00}'"""),
    ("js", """'[1.0, "1.0", 0.0500, -2.50, 10.0]'""", """'[1, "1.0", 0.05, -2.5, 10]'"""),
    ("js", r"""'{"a\\\".00": ["\\\\", 1.00, ".0"]}'""", r"""'{"a\\\".00": ["\\\\", 1, ".0"]}'"""),
    ("tz", "'2024-05-05 12:00+02'", "'2024-05-05 10:00Z'"),
    ("tz", "'infinity'", "'infinity'"),
    ("d", "'-infinity'", "'-infinity'"),
    ("pad", "'ab'", "'ab'"),
]
OTHER = [
    ("t", "NULL", "''"),
    ("t", "''", "NULL"),
    ("n", "NULL", "0"),
    ("tz", "'infinity'", "'-infinity'"),
    ("js", "'{}'", "NULL"),
    ("js", "'null'", "NULL"),
    ("js", "'[]'", "'{}'"),
    ("js", "'[[], []]'", "'[[], [], [], []]'"),
    ("js", """'"1.0"'""", """'"1.00"'"""),
    ("js", r"""'["\\", "1.0"]'""", r"""'["\\", "1.00"]'"""),
    ("js", "'[1.05]'", "'[1.5]'"),
    ("js", "'[10]'", "'[1.0]'"),
    ("js", "to_jsonb(array_fill(1, ARRAY[128]))", "to_json(array_fill(2, ARRAY[128]))"),
    ("c", "100", "1.01"),
    ("yn", "'N'", "NULL"),
    ("code", "'Z'", "NULL"),
    ("code", "'A'", "'gone'"),
    ("hm", "'07:00'", "'07:00:01'"),
    ("hm", "'24:00'", "'24:00'"),
    ("at0", "'infinity'", "'infinity'"),
]
SERVICE = {"c": "price", "yn": "yes", "code": "kind", "hm": "clock", "at0": "a0"}


@pytest.mark.parametrize(
    ("column", "left", "right", "alike"), [(*c, True) for c in SAME] + [(*c, False) for c in OTHER]
)
def test_what_corresponds(connection, table, column: str, left: str, right: str, alike: bool) -> None:
    connection.execute("TRUNCATE lot, parcel")
    connection.execute(f"INSERT INTO lot (id, {column}) VALUES (1, {left})")
    connection.execute(f"INSERT INTO parcel (id, {SERVICE.get(column, column)}) VALUES (1, {right})")
    assert differing(connection, table) == (set() if alike else {(1, column)})


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/St_Johns", "Pacific/Auckland"])
def test_neither_the_sessions_zone_nor_its_date_style_shows(connection, table, zone: str) -> None:
    connection.execute("TRUNCATE lot, parcel")
    moment = datetime(2024, 10, 27, 2, 30)
    insert(
        connection,
        "lot",
        [{"id": 1, "ts0": moment, "f0": "B", "at0": moment, "at2": moment, "d": moment.date(), "tm": time(1)}],
    )
    types = types_of(connection, connection, table)
    insert(connection, "parcel", list(sql_rows(connection, "lot", projection.forward(table, *types)).values()))
    form = projection.canonical(table, "service", *types)
    assert form is not None
    query = sql.SQL("SELECT {} FROM parcel t").format(sql.SQL(", ").join(form.expressions))
    before = connection.execute(query).fetchone()
    with connection.transaction(force_rollback=True):
        connection.execute(
            f"SET LOCAL timezone = '{zone}'; SET LOCAL datestyle = 'SQL, DMY'; SET LOCAL intervalstyle = iso_8601"
        )
        assert connection.execute(query).fetchone() == before
        assert differing(connection, table) == set()


def test_a_converter_without_sql_says_so(connection) -> None:
    schedule = next(t for t in load(DOMAINS / "devices.yaml").tables if t.legacy == "public.schedule")
    types = ({"device_id": "bigint", "slots": "text"}, {"device_id": "bigint", "slots": "jsonb"})
    missing = [p.column for p in projection.forward(schedule, *types) if p.expression is None]
    assert missing == ["slots"]
    assert projection.canonical(schedule, "legacy", *types) is None
    assert projection.canonical(schedule, "service", *types) is None


def test_values_that_only_python_reconciles_are_not_hashed(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(
        "domain: d\ntables: [{legacy: a.b, service: c.d, key: {legacy: id, service: id}, columns: [id, x]}]\n"
    )
    types = ({"id": "bigint", "x": "numeric"}, {"id": "bigint", "x": "double precision"})
    assert projection.canonical(load(path).tables[0], "legacy", *types) is None


class TestZones:
    def test_a_zone_that_both_know_alike(self, connection, table) -> None:
        assert zones.disagreement(connection, table) is None

    def test_a_rule_that_only_one_of_them_knows(self, connection, monkeypatch) -> None:
        """As when a country changes its summer time and one tzdata is older: here Python has New York's rules."""
        monkeypatch.setattr(zones, "ZoneInfo", lambda _: ZoneInfo("America/New_York"))
        assert zones.differs(connection, "America/Toronto") is not None
        assert zones.differs(connection, "US/Eastern") is None

    def test_a_zone_that_the_server_does_not_know(self, connection, monkeypatch) -> None:
        monkeypatch.setattr(zones, "ZoneInfo", lambda _: ZoneInfo("Europe/Amsterdam"))
        assert zones.differs(connection, "Europe/Atlantis") == zones.FIRST
