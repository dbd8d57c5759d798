"""A row of every type arrives equal, as text and as binary values, whatever statement writes it."""

from __future__ import annotations

import msgspec
import pytest
import structlog.testing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.integration.cdc.toy import MAPPING, Shop, execute, one, rows, until

TYPES: dict[str, st.SearchStrategy[str]] = {}
"""Column type by the texts of values that PostgreSQL reads as such."""

DIGITS = st.text("0123456789", min_size=1, max_size=40)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
TRICKY = st.sampled_from(["", " ", "NULL", "\\N", "\\.", "a\tb\nc\rd", "'", '"', "{", "}", ",", "\\", "%s", "ü€😀"])
CLOCK = st.times().map(str)
DAYS = st.one_of(
    st.dates().map(str),
    st.sampled_from(["infinity", "-infinity", "0044-03-15 BC", "0001-01-01 BC"]),
    st.just("20000-02-29"),
)
MOMENTS = st.one_of(
    st.datetimes().map(str),
    st.sampled_from(
        ["infinity", "-infinity", "0044-03-15 12:00:00.5 BC", "294276-12-31 23:59:59.999999", "4713-01-01 BC"]
    ),
)
NUMBERS = st.one_of(
    st.builds(lambda sign, a, b: f"{sign}{a}.{b}", st.sampled_from(["", "-"]), DIGITS, DIGITS),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "0.000", "-0.00001", "10000", "1e-20", "1e30"]),
)
FLOATS = st.floats().map(lambda x: "NaN" if x != x else str(x))


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def arrays(elements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = st.one_of(st.just("NULL"), elements.map(quoted))
    flat = st.lists(one, max_size=4).map(lambda found: "{" + ",".join(found) + "}")
    nested = st.tuples(one, one, one, one).map(lambda f: f"{{{{{f[0]},{f[1]}}},{{{f[2]},{f[3]}}}}}")
    bounds = st.tuples(one, one).map(lambda f: f"[0:1]={{{f[0]},{f[1]}}}")
    return st.one_of(flat, nested, bounds)


def integers(bits: int) -> st.SearchStrategy[str]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(str)


def ranges(values: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    pair = st.tuples(values, values).map(sorted)
    made = st.builds(lambda p, a, b: f"{a}{p[0]},{p[1]}{b}", pair, st.sampled_from("[("), st.sampled_from("])"))
    return st.one_of(made, st.sampled_from(["empty", "(,)", "[1,)", "(,5]"]))


TEXTS = st.one_of(WORDS, TRICKY)
SMALL = st.integers(-1000, 1000)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.sampled_from(["10.0.0.0/8", "::1", "::ffff:1.2.3.4", "fe80::/10"]),
)
TYPES |= {
    "bool": st.sampled_from("tf"),
    "int2": integers(16),
    "int4": integers(32),
    "int8": integers(64),
    "oid": st.integers(0, 2**32 - 1).map(str),
    "float4": st.floats(width=32).map(lambda x: "NaN" if x != x else str(x)),
    "float8": FLOATS,
    "numeric": NUMBERS,
    "numeric(12,2)": st.integers(-(10**11), 10**11).map(lambda n: f"{n / 100:.2f}"),
    "text": TEXTS,
    "varchar(40)": TEXTS,
    "char(40)": TEXTS,
    "name": TEXTS,
    '"char"': st.text("abcXYZ19 '\\", max_size=1),
    "bytea": st.binary(max_size=12).map(lambda b: "\\x" + b.hex()),
    "date": DAYS,
    "time": st.one_of(CLOCK, st.just("24:00:00")),
    "timetz": st.builds(
        lambda c, z: f"{c}{z}", CLOCK, st.sampled_from(["+00", "-05", "+05:30", "-03:30:15", "+15:59:59"])
    ),
    "timestamp": MOMENTS,
    "timestamptz": MOMENTS,
    "timestamp(0)": st.datetimes().map(str),
    "interval": st.one_of(
        st.builds(
            lambda m, d, s, u: f"{m} mons {d} days {s} secs {u} us",
            SMALL,
            SMALL,
            st.integers(-(10**6), 10**6),
            st.integers(-999999, 999999),
        ),
        st.sampled_from(["infinity", "-infinity", "0", "-1 mons", "1 year -1 days"]),
    ),
    "uuid": st.uuids().map(str),
    "money": st.integers(-(10**12), 10**12).map(lambda n: f"{n / 100:.2f}"),
    "json": st.sampled_from(
        ['{"a": [1, 2.50], "a": 1}', " null", '"x\\u00fc\\n"', "1e400", "12345678901234567890.10", "[]"]
    ),
    "jsonb": st.sampled_from(
        ['{"b": 1, "a": [null, true]}', "null", '"\\\\"', "12345678901234567890.10", "{}", "1.10"]
    ),
    "inet": ADDRESSES,
    "cidr": st.sampled_from(["10.0.0.0/8", "192.168.1.1/32", "::/0", "2001:db8::/32"]),
    "macaddr": st.binary(min_size=6, max_size=6).map(lambda b: b.hex(":")),
    "macaddr8": st.binary(min_size=8, max_size=8).map(lambda b: b.hex(":")),
    "bit(5)": st.text("01", min_size=5, max_size=5),
    "varbit": st.text("01", max_size=20),
    "tsvector": st.sampled_from(["'a':1A,2 'it''s':3B", "'b' 'c\\\\d'", "", "'x':16383C"]),
    "pg_lsn": st.sampled_from(["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"]),
    "int4range": ranges(SMALL),
    "numrange": ranges(SMALL),
    "daterange": st.sampled_from(["[2024-01-01,2024-02-01)", "(,infinity)", "empty"]),
    "tstzrange": st.sampled_from(
        ['["2024-01-01 00:00:00+00",)', "empty", '("0044-03-15 12:00:00 BC","2024-10-27 02:30:00.5+02"]']
    ),
    "int4multirange": st.sampled_from(["{}", "{[1,5),[7,9)}", "{(,)}"]),
    "nummultirange": st.sampled_from(["{[1.5,2.50]}"]),
    "int4[]": arrays(integers(32)),
    "text[]": arrays(TEXTS),
    "numeric[]": arrays(NUMBERS),
    "timestamptz[]": arrays(MOMENTS),
    "bool[]": arrays(st.sampled_from("tf")),
    "int4range[]": arrays(ranges(SMALL)),
    "jsonb[]": arrays(st.sampled_from(["{}", '{"a": "b"}'])),
    "mood": st.sampled_from(["ok", "so 'so'", "b\\d"]),
    "mood[]": arrays(st.sampled_from(["ok", "so 'so'", "b\\d"])),
    "cents": st.integers(0, 10**6).map(str),
    "cents[]": arrays(st.integers(0, 10**6).map(str)),
    "words": arrays(TEXTS),
    "floatrange": ranges(SMALL),
}
OWN = """
CREATE TYPE mood AS ENUM ('ok', 'so ''so''', 'b\\d');
CREATE DOMAIN cents AS numeric(12,0) CHECK (VALUE >= 0);
CREATE DOMAIN words AS text[];
CREATE TYPE floatrange AS RANGE (subtype = float8);
CREATE TYPE pair AS (a int, b text);
"""
COLUMNS = {f"c{n}": name for n, name in enumerate(TYPES)}
VESSEL = f"{OWN} CREATE TABLE vessel (id bigint PRIMARY KEY, {', '.join(f'{c} {t}' for c, t in COLUMNS.items())});"
MAPPED = f"""
  - legacy: public.vessel
    service: public.vessel
    key: {{legacy: [id], service: [id]}}
    bucket_key: {{legacy: id, service: id}}
    columns: [id, {", ".join(COLUMNS)}]
"""
CONTENT = sql.SQL("SELECT id, {} FROM vessel ORDER BY id").format(
    sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c)) for c in COLUMNS)
)
ROWS = st.lists(
    st.tuples(*(st.one_of(st.none(), values) if n % 5 == 0 else values for n, values in enumerate(TYPES.values()))),
    min_size=1,
    max_size=4,
)


@pytest.fixture
def vessel(shop: Shop, request: pytest.FixtureRequest) -> Shop:
    for dsn in (shop.legacy, shop.service):
        execute(dsn, VESSEL)
    shop.mapping_path.write_text(MAPPING + MAPPED)
    stream = msgspec.structs.replace(shop.prepare("forward"), binary=request.param == "binary")
    running = shop.start(stream)
    until(lambda: running.runner.status.state == "streaming" or running.error, "the stream to start")
    return shop


@pytest.mark.parametrize("vessel", ["text", "binary"], indirect=True)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(found=ROWS, copies=st.sampled_from([1, 20, 80, 400]))
def test_a_row_of_every_type_arrives_equal(vessel: Shop, found: list[tuple[str | None, ...]], copies: int) -> None:
    """`copies`: so many of each row, so that each of the ways to write a batch has its turn, new and updated."""
    execute(vessel.legacy, "DELETE FROM vessel")
    placeholders = ", ".join(f"%s::{kind}" for kind in COLUMNS.values())
    for number, values in enumerate(found):
        execute(
            vessel.legacy,
            f"INSERT INTO vessel SELECT {number} * 1000 + n, {placeholders} FROM generate_series(1, %s) n",  # noqa: S608
            [*values, copies],
        )
    vessel.caught_up()
    assert content(vessel.service) == content(vessel.legacy)
    execute(vessel.legacy, "UPDATE vessel SET id = id WHERE id % 2 = 0")
    execute(vessel.legacy, "UPDATE vessel SET id = -id WHERE id % 3 = 0")
    vessel.caught_up()
    assert content(vessel.service) == content(vessel.legacy)
    assert one(vessel.service, "SELECT count(*) FROM banyan.parked") == 0


def content(dsn: str) -> list[tuple[str | None, ...]]:
    return rows(dsn, CONTENT)


@pytest.mark.parametrize("binary", [False, True])
def test_a_type_that_only_text_is_known_of_is_carried_as_text_and_told_once(shop: Shop, binary: bool) -> None:
    for dsn in (shop.legacy, shop.service):
        execute(
            dsn,
            f"{OWN} ALTER TABLE item ADD how pair, ADD what point"
            if dsn == shop.legacy
            else f"{OWN} ALTER TABLE product ADD how pair, ADD what point",
        )
    shop.mapping_path.write_text(MAPPING.replace("      - note\n", "      - note\n      - how\n      - what\n"))
    stream = msgspec.structs.replace(shop.prepare("forward"), binary=binary)
    with structlog.testing.capture_logs() as told:
        running = shop.start(stream)
        until(lambda: running.runner.status.state == "streaming" or running.error, "the stream to start")
        execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1, NULL, 'A', '(5,\"it''s, x\")', '(1,2.5)')")
        execute(
            shop.legacy,
            "INSERT INTO item SELECT n, NULL, 'n', 1, NULL, 'A', (n, 'b'::text)::pair, NULL"
            " FROM generate_series(2, 50) n",
        )
        shop.caught_up()
    there = "SELECT id, how::text, what::text FROM {} ORDER BY id"
    assert rows(shop.service, there.format("product")) == rows(shop.legacy, there.format("item"))
    assert sum(entry.get("type_oid") == 600 for entry in told) <= 1  # a point: once in a process
    assert sum("not known in binary" in entry["event"] for entry in told) == binary
