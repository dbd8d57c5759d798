"""Debezium's envelope: shape, and there and back without loss."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.postgres import types

from cdc.change import Boundary, Change, Column, Message, Relation, Transaction
from cdc.debezium_modes import Modes
from cdc.envelope import from_debezium_json, other_event, to_debezium_json
from cdc.errors import EnvelopeError

AT = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)
TX = Transaction(731, 24023000, AT, "elsewhere", 99)


def column(name: str, modifier: int = -1, key: bool = False, label: str = "") -> Column:
    info = types[name.removesuffix("[]")]
    return Column(
        label or "c_" + name.replace("[]", "s"), info.array_oid if name.endswith("[]") else info.oid, modifier, key
    )


MONEY = column("numeric", ((10 << 16) | 2) + 4, label="money")
ID = column("int8", key=True, label="id")
NOTE = column("text", label="note")
ITEM = Relation(0, "public", "item", (ID, MONEY, NOTE))


def payload(change: Change) -> dict[str, Any]:
    return json.loads(to_debezium_json(change, "shop", "legacy", AT))["payload"]


def test_an_update_has_debeziums_shape() -> None:
    change = Change("u", TX, 24023128, ITEM, {"id": 1}, {"id": 2, "money": Decimal("-1.50"), "note": "x"})
    found = payload(change)
    assert list(found) == ["before", "after", "source", "transaction", "op", "ts_ms", "ts_us", "ts_ns"]
    assert found["source"] == {
        "version": "banyan-1",
        "connector": "postgresql",
        "name": "shop",
        "ts_ms": 1714979289123,
        "snapshot": "false",
        "db": "legacy",
        "sequence": '["24023000","24023128"]',
        "ts_us": 1714979289123456,
        "ts_ns": 1714979289123456000,
        "schema": "public",
        "table": "item",
        "txId": 731,
        "lsn": 24023128,
        "xmin": None,
        "origin": "elsewhere",
        "origin_lsn": 99,
    }
    assert found["before"] == {"id": 1, "money": None, "note": None}
    assert found["after"] == {"id": 2, "money": b64encode((-150).to_bytes(2, "big", signed=True)).decode(), "note": "x"}
    schema = json.loads(to_debezium_json(change, "shop"))["schema"]
    assert schema["name"] == "shop.public.item.Envelope"
    money = schema["fields"][1]["fields"][1]
    assert (money["name"], money["parameters"]["scale"]) == ("org.apache.kafka.connect.data.Decimal", "2")


def test_an_unknown_toasted_value_is_the_placeholder_and_comes_back_absent() -> None:
    change = Change("u", TX, 5, ITEM, None, {"id": 1, "money": None})
    assert payload(change)["after"]["note"] == "__debezium_unavailable_value"
    assert from_debezium_json(to_debezium_json(change)).after == {"id": 1, "money": None}


CASES: list[tuple[Column, Any]] = [
    (column("bool"), True),
    (column("int2"), -3),
    (column("int4"), 2**31 - 1),
    (column("int8"), -(2**63)),
    (column("float8"), 0.1),
    (column("float8"), float("inf")),
    (column("numeric"), Decimal("123456789012345678901234567890.0001")),
    (column("numeric"), Decimal("NaN")),
    (column("numeric"), Decimal("1E+3")),
    (MONEY, Decimal("-99999999.99")),
    (MONEY, Decimal("0.00")),
    (column("text"), 'ü\n"x'),
    (column("varchar"), ""),
    (column("bpchar"), "a   "),
    (column("bytea"), b"\x00\xff"),
    (column("date"), date(1969, 12, 31)),
    (column("date"), "infinity"),
    (column("timestamp"), datetime(2024, 10, 27, 2, 30, 0, 1)),
    (column("timestamp", 3), datetime(1900, 1, 1, 0, 0, 0, 500000)),
    (column("timestamp"), "infinity"),
    (column("timestamp"), "-infinity"),
    (column("timestamp"), "10000-01-01 00:00:00"),
    (column("timestamptz"), datetime(2024, 1, 1, 12, 0, 0, 120000, UTC)),
    (column("timestamptz"), datetime(2024, 1, 1, 12, 0, 0, 0, UTC)),
    (column("timestamptz"), "infinity"),
    (column("time"), time(23, 59, 59, 999999)),
    (column("time", 0), time(1, 2, 3)),
    (column("time"), "24:00:00"),
    (column("uuid"), UUID(int=7)),
    (column("jsonb"), {"a": [1, None, "x"]}),
    (column("jsonb"), "text"),
    (column("jsonb"), Decimal("1.23456789012345678901")),
    (column("jsonb"), True),
    (column("int4[]"), [1, None, 2]),
    (column("text[]"), ["a", None]),
    (column("int4[]"), [[1, 2], [3, 4]]),
    (column("int4[]"), []),
    (column("timestamptz[]"), [AT]),
    (column("numeric[]"), [Decimal("1.50"), None]),
    (Column("odd", 869), "10.0.0.0/8"),
    (column("text"), None),
]


@pytest.mark.parametrize(("typed", "value"), CASES)
def test_a_value_of_each_type_goes_there_and_back(typed: Column, value: Any) -> None:
    relation = Relation(0, "public", "t", (ID, typed))
    change = Change("c", TX, 5, relation, None, {"id": 1, typed.name: value})
    back = from_debezium_json(to_debezium_json(change))
    assert back.after is not None
    found = back.after[typed.name]
    assert (repr(found), type(found)) == (repr(value), type(value))
    assert back.relation == relation


@given(
    st.sampled_from(["c", "u", "r"]),
    st.integers(-(2**63), 2**63 - 1),
    st.one_of(
        st.none(), st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-99999999, max_value=99999999)
    ),
    st.one_of(st.none(), st.text()),
    st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),
)
def test_a_change_goes_there_and_back(
    op: Any, number: int, money: Decimal | None, note: str | None, at: datetime
) -> None:
    tx = Transaction(5, 7, at)
    change = Change(op, tx, 9, ITEM, None, {"id": number, "money": money, "note": note}, snapshot=op == "r")
    if note == "__debezium_unavailable_value":
        return
    assert from_debezium_json(to_debezium_json(change)) == change


LOSSLESS = [
    Modes(decimal, mode)
    for decimal in ("precise", "string")
    for mode in ("adaptive", "adaptive_time_microseconds", "isostring", "microseconds", "nanoseconds")
]


@given(
    st.sampled_from(LOSSLESS),
    st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9999, 12, 31)),
    st.dates(),
    st.times(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-99999999, max_value=99999999),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.lists(st.one_of(st.none(), st.dates())),
)
def test_values_go_there_and_back_in_every_mode_that_keeps_them(
    modes: Modes, at: datetime, day: date, hour: time, money: Decimal, number: Decimal, days: list[Any]
) -> None:
    columns = tuple(column(name) for name in ("timestamp", "date", "time", "numeric", "date[]"))
    relation = Relation(0, "public", "t", (ID, MONEY, *columns))
    if number.is_nan():
        number = Decimal("NaN")
    values = (
        at.replace(fold=0),
        day,
        hour.replace(fold=0),
        number if number else abs(number),
        days,
    )  # PostgreSQL has no -0
    row = {
        "id": 1,
        "money": money if money else abs(money),
        **{c.name: value for c, value in zip(columns, values, strict=True)},
    }
    back = from_debezium_json(to_debezium_json(Change("c", TX, 5, relation, None, row), modes=modes))
    assert back.after is not None
    assert {name: repr(value) for name, value in back.after.items()} == {n: repr(value) for n, value in row.items()}
    bare = json.loads(to_debezium_json(Change("c", TX, 5, relation, None, row), modes=modes, schemas=False))
    assert "payload" not in bare
    assert bare["after"]["id"] == 1


@pytest.mark.parametrize("mode", ["adaptive", "connect", "isostring", "microseconds", "nanoseconds"])
@pytest.mark.parametrize("modifier", [-1, 3])
def test_a_timestamp_without_end_survives_every_mode(mode: Any, modifier: int) -> None:
    relation = Relation(0, "public", "t", (ID, column("timestamp", modifier)))
    for value in ("infinity", "-infinity"):
        change = Change("c", TX, 5, relation, None, {"id": 1, "c_timestamp": value})
        back = from_debezium_json(to_debezium_json(change, modes=Modes(time=mode)))
        assert back.after == change.after


def test_heartbeats_transaction_marks_and_tombstones_are_told_apart() -> None:
    heartbeat = other_event('{"ts_ms": 1714979289123}')
    assert isinstance(heartbeat, Boundary)
    assert (heartbeat.at.year, heartbeat.commit) == (2024, False)
    assert other_event('{"payload": {"status": "END", "id": "571:1", "ts_ms": 1, "event_count": 2}}') == "END"
    assert other_event(None) is None
    with pytest.raises(EnvelopeError):
        other_event("[]")


def test_deletes_truncates_and_messages_go_there_and_back() -> None:
    for change in (
        Change("d", TX, 5, ITEM, {"id": 1}),
        Change("d", TX, 5, Relation(0, "public", "item", (ID, NOTE), "f"), {"id": 1, "note": None}),
        Change("m", TX, 5, message=Message("banyan.fence", b'{"epoch": 1}')),
    ):
        assert from_debezium_json(to_debezium_json(change)) == change
    truncate = from_debezium_json(to_debezium_json(Change("t", TX, 5, ITEM)))
    assert truncate.relation is not None
    assert (truncate.op, truncate.relation.name, truncate.before, truncate.after) == ("t", "public.item", None, None)


def test_debeziums_own_example_is_read() -> None:
    event = {
        "before": None,
        "after": {"id": 1, "name": "Anne", "at": "2019-10-02T11:51:30.123456Z"},
        "source": {
            "version": "3.6.0.Final",
            "connector": "postgresql",
            "name": "p",
            "ts_ms": 1559033904863,
            "snapshot": True,
            "db": "postgres",
            "sequence": '[null,"24023119"]',
            "schema": "public",
            "table": "customers",
            "txId": 555,
            "lsn": 24023128,
            "xmin": None,
        },
        "op": "r",
        "ts_ms": 1559033904863,
    }
    change = from_debezium_json(json.dumps(event))
    assert change.relation is not None
    assert (change.op, change.relation.name, change.lsn, change.snapshot, change.tx.origin) == (
        "r",
        "public.customers",
        24023128,
        True,
        None,
    )
    assert change.after == {"id": 1, "name": "Anne", "at": "2019-10-02T11:51:30.123456Z"}


@pytest.mark.parametrize(
    "data", ["", "[]", "{}", '{"op":"c"}', '{"op":"x","source":{"ts_ms":1}}', '{"payload":5}', '{"payload":null}']
)
def test_what_is_no_event_is_refused(data: str) -> None:
    with pytest.raises(EnvelopeError):
        from_debezium_json(data)
