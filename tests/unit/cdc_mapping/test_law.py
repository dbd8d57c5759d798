"""`reverse(forward(row)) == row`, for every converter and for the shipped mappings, on generated rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.mapping import TableMapping, check, load
from cdc.mapping.converters import Converter, cents, char, clock, enum, local_hour, local_time, percent, yes_no
from migration_plan.mappings.slots import slots

ZONES = ("Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")
quick = settings(max_examples=40, deadline=None)  # a busy machine is slow, not wrong
MAPPINGS = Path(__file__).parents[3] / "migration_plan" / "mappings"

instants = st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
near_changes = st.builds(
    lambda year, month, minutes: datetime(year, month, 25, tzinfo=UTC) + timedelta(minutes=minutes),
    st.integers(2015, 2026),
    st.sampled_from([3, 10]),
    st.integers(0, 8 * 1440),
)


def local_with_flag(zone: str) -> Callable[[datetime], tuple[datetime, str]]:
    """What the monolith stores for an instant, made with the standard library alone."""

    def convert(instant: datetime) -> tuple[datetime, str]:
        there = instant.astimezone(ZoneInfo(zone))
        local = there.replace(tzinfo=None, fold=0)
        passes = {local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)}
        return local, "N" if len(passes) == 1 else "AB"[there.fold]

    return convert


def there_and_back(converter: Converter, *values: Any) -> tuple[Any, ...]:
    there = converter.forward(*values)
    back = converter.reverse(*(there if converter.service > 1 else (there,)))
    return back if converter.legacy > 1 else (back,)


class TestLocalTime:
    @pytest.mark.parametrize("zone", ZONES)
    @quick
    @given(instant=instants | near_changes)
    def test_an_hour_with_its_flag_is_one_instant(self, zone: str, instant: datetime) -> None:
        stored = local_with_flag(zone)(instant)
        assert local_hour(zone=zone).forward(*stored) == instant
        assert local_hour(zone=zone).reverse(instant) == stored

    @pytest.mark.parametrize("zone", ZONES)
    @quick
    @given(instant=instants | near_changes)
    def test_a_time_without_flag_comes_back_as_it_was(self, zone: str, instant: datetime) -> None:
        local, _ = local_with_flag(zone)(instant)
        assert there_and_back(local_time(zone=zone), local) == (local,)

    def test_the_hour_cache_does_not_confuse_the_hours_of_a_change(self) -> None:
        converter = local_hour(zone="Europe/Amsterdam")
        start = datetime(2024, 10, 26, 12, tzinfo=UTC)
        moments = [start + timedelta(minutes=15 * n) for n in range(200)]
        for _ in range(2):  # the second time from the cache
            stored = [converter.reverse(moment) for moment in moments]
            assert [converter.forward(*values) for values in stored] == moments
        assert sorted({flag for _, flag in stored}) == ["A", "B", "N"]
        assert len(set(stored)) == len(stored)


class TestValues:
    @quick
    @given(st.integers(-(2**31), 2**31 - 1))
    def test_cents(self, amount: int) -> None:
        there = cents().forward(amount)
        assert there * 100 == amount
        assert there.as_tuple().exponent == -2
        assert there_and_back(cents(), amount) == (amount,)

    @quick
    @given(st.decimals(-1000, 1000, places=2))
    def test_percent(self, rate: Decimal) -> None:
        assert percent().forward(rate) * 100 == rate
        assert there_and_back(percent(), rate) == (rate,)

    def test_a_numeric_of_many_digits_is_not_rounded(self) -> None:
        rate = Decimal("1" * 300 + ".01")
        assert there_and_back(percent(), rate) == (rate,)

    @quick
    @given(st.times().map(lambda value: f"{value:%H:%M}"))
    def test_clock(self, text: str) -> None:
        assert there_and_back(clock(), text) == (text,)

    @quick
    @given(st.sampled_from("YN"))
    def test_yes_no(self, flag: str) -> None:
        assert there_and_back(yes_no(), flag) == (flag,)

    @quick
    @given(st.dictionaries(st.text("ABCDEF", min_size=1), st.text(min_size=1), min_size=1), st.data())
    def test_enum(self, values: dict[str, str], data: st.DataObject) -> None:
        if len(set(values.values())) < len(values):
            with pytest.raises(ValueError, match="way back"):
                enum(values=values)
            return
        code = data.draw(st.sampled_from(sorted(values)))
        assert there_and_back(enum(values=values), code) == (code,)


moments = st.builds(lambda hour, minute: f"{hour:02}{minute:02}", st.integers(0, 24), st.integers(0, 59))
slot = st.builds(
    lambda start, end, mode, power: f"{start}-{end} {mode}{power}",
    moments,
    moments,
    st.sampled_from("CDH"),
    st.integers(0, 10**6),
)
schedules = st.lists(slot, max_size=8).map(";".join)


@quick
@given(schedules)
def test_a_schedule_comes_back_letter_by_letter(text: str) -> None:
    assert there_and_back(slots(), text) == (text,)


def test_a_schedule_as_the_service_has_it() -> None:
    assert slots().forward("0000-0500 C2500;1600-2400 H0") == [
        {"from": "00:00", "to": "05:00", "mode": "charge", "power_w": 2500},
        {"from": "16:00", "to": "24:00", "mode": "hold", "power_w": 0},
    ]


# Column → values the monolith may hold; what is not named here gets any text or number.
LOCAL = (instants | near_changes).map(lambda moment: local_with_flag("Europe/Amsterdam")(moment))
CODES = {
    "public.tariff": {"status": "AI", "kind": "FD"},
    "public.quote": {"status": "OX"},
    "public.device": {"status": "NAR"},
    "public.ack": {"state": "DSFX"},
    "public.battery_command": {"mode": "CDH", "status": "QSX"},
    "public.notification": {"channel": "ESP", "status": "QSF"},
    "public.notification_pref": {"email": "YN", "sms": "YN", "push": "YN"},
}
TIMES = {"valid_from", "updated", "created", "registered", "observed", "received", "issued", "expires", "sent"}
OTHERS: dict[str, st.SearchStrategy[Any]] = {
    "vat_pct": st.decimals(0, 100, places=2),
    "standing_cents": st.integers(-(10**6), 10**6),
    "amount_cents": st.integers(-(10**6), 10**6),
    "token_sha1": st.text("0123456789abcdef", min_size=40, max_size=40),
    "slots": schedules,
    "quiet_from": st.none() | st.times().map(lambda value: f"{value:%H:%M}"),
    "quiet_to": st.none() | st.times().map(lambda value: f"{value:%H:%M}"),
}
NULLABLE = {"sent", "error", "client_ref", "quiet_from", "quiet_to"}


def rows_of(table: TableMapping) -> st.SearchStrategy[dict[str, Any]]:
    columns: dict[str, st.SearchStrategy[Any]] = {}
    for name in table.source_columns("forward"):
        if codes := CODES.get(table.legacy, {}).get(name):
            columns[name] = st.sampled_from(codes)
        elif name in TIMES:
            columns[name] = LOCAL.map(lambda stored: stored[0])
        else:
            columns[name] = OTHERS.get(name, st.integers() | st.text())
        if name in NULLABLE:
            columns[name] = st.none() | columns[name]
    rows = st.fixed_dictionaries(columns)
    if "hour_flag" in columns:
        return st.builds(lambda row, stored: {**row, "ts": stored[0], "hour_flag": stored[1]}, rows, LOCAL)
    return rows


TABLES = [table for name in ("pricing", "devices", "notifications") for table in load(MAPPINGS / f"{name}.yaml").tables]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.legacy}-{table.service}")
@quick
@given(data=st.data())
def test_the_shipped_mappings_obey_the_law(table: TableMapping, data: st.DataObject) -> None:
    rows = data.draw(st.lists(rows_of(table), min_size=1, max_size=5))
    assert list(check(table, rows)) == []
    there = [table.translate(row, "forward") for row in rows]
    by_column = table.forward.translate_columns({name: [row[name] for row in rows] for name in rows[0]})
    assert {name: list(values) for name, values in by_column.items()} == {
        name: [row[name] for row in there] for name in there[0]
    }, "many rows at once are translated as one by one"


def test_time_of_day_is_a_time() -> None:
    assert clock().forward("07:05") == time(7, 5)


def test_padding_of_char_goes_and_null_stays_null() -> None:
    assert char().forward("ab   ") == "ab"
    assert enum(values={"A": "x"}).forward("A  ") == "x"
    assert yes_no().forward("Y ") is True
    table = next(table for table in TABLES if table.legacy == "public.notification")
    assert table.translate({"sent": None, "error": None}, "forward") == {"sent_at": None, "error": None}
