"""PostgreSQL's text to Python."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isnan
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.postgres import types
from structlog.testing import capture_logs

from cdc.capture.types import loader
from cdc.snapshot.table import unescape


def load(name: str, text: str) -> Any:
    info = types[name.removesuffix("[]")]
    return loader(info.array_oid if name.endswith("[]") else info.oid)(text.encode())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("bool", "t", True),
        ("bool", "f", False),
        ("int8", "-9223372036854775808", -(2**63)),
        ("numeric", "1.50", Decimal("1.50")),
        ("numeric", "-Infinity", Decimal("-Infinity")),
        ("float8", "1e+300", 1e300),
        ("bpchar", "ab   ", "ab   "),
        ("bytea", r"\x00ff", b"\x00\xff"),
        ("date", "2024-02-29", date(2024, 2, 29)),
        ("date", "0044-03-15 BC", "0044-03-15 BC"),
        ("date", "infinity", "infinity"),
        ("timestamp", "2024-10-27 02:30:00.12", datetime(2024, 10, 27, 2, 30, 0, 120000)),
        ("timestamp", "10000-01-01 00:00:00", "10000-01-01 00:00:00"),
        ("timestamptz", "2024-10-27 00:30:00+00", datetime(2024, 10, 27, 0, 30, tzinfo=UTC)),
        ("timestamptz", "-infinity", "-infinity"),
        ("time", "23:59:59.999999", time(23, 59, 59, 999999)),
        ("time", "24:00:00", "24:00:00"),
        ("uuid", "6f1c3e0a-1d2b-4c3d-8e4f-5a6b7c8d9e0f", UUID("6f1c3e0a-1d2b-4c3d-8e4f-5a6b7c8d9e0f")),
        ("jsonb", '{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("jsonb", "12345678901234567890.123456789", Decimal("12345678901234567890.123456789")),
        ("jsonb", "123456789012345678901234567890", 123456789012345678901234567890),
        ("jsonb", "1e400", Decimal("1e400")),
        ("int4[]", "{1,NULL,-3}", [1, None, -3]),
        ("int4[]", "{{1,2},{3,4}}", [[1, 2], [3, 4]]),
        ("int4[]", "{}", []),
        ("text[]", r'{"a b","c\\d","NULL",NULL,"q\"q",""}', ["a b", "c\\d", "NULL", None, 'q"q', ""]),
        ("text[]", "[0:1]={a,b}", ["a", "b"]),
    ],
)
def test_text_becomes_the_value(name: str, text: str, value: object) -> None:
    found = load(name, text)
    assert (found, type(found)) == (value, type(value))


def test_nan_is_nan() -> None:
    assert isnan(load("float8", "NaN"))
    assert load("numeric", "NaN").is_nan()


def test_an_unknown_type_is_told_once() -> None:
    with capture_logs() as logs:
        assert loader(987654321)(b"whatever") == "whatever"
        loader(987654321)
    assert [entry["type_oid"] for entry in logs] == [987654321]


def quote(item: object) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, list):
        return "{" + ",".join(map(quote, item)) + "}"
    return '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    st.lists(
        st.one_of(st.none(), st.text(max_size=20), st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=3)),
        max_size=6,
    )
)
def test_any_array_of_text_comes_back(items: list[Any]) -> None:
    assert load("text[]", quote(items)) == items


@given(st.binary(max_size=60).filter(lambda b: b"\0" not in b))
def test_copys_escapes_come_back(raw: bytes) -> None:
    escaped = raw.replace(b"\\", b"\\\\")
    for letter, byte in ((b"b", b"\b"), (b"f", b"\f"), (b"n", b"\n"), (b"r", b"\r"), (b"t", b"\t"), (b"v", b"\v")):
        escaped = escaped.replace(byte, b"\\" + letter)
    assert unescape(escaped) == raw
