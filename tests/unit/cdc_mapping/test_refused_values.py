"""What a converter cannot carry without loss it refuses, and says which column and why."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cdc.mapping import ConversionError, check, load
from cdc.mapping.converters import cents, clock, enum, local_hour, local_time, percent, yes_no
from migration_plan.mappings.slots import slots

AMSTERDAM = {"zone": "Europe/Amsterdam"}
PRICING = load(Path(__file__).parents[3] / "migration_plan" / "mappings" / "pricing.yaml")
PRICE = next(table for table in PRICING.tables if table.legacy == "public.price")

FORWARD: list[tuple[Any, tuple[Any, ...], str]] = [
    (local_hour(**AMSTERDAM), (datetime(2024, 10, 27, 2, 30), "N"), "happens twice"),
    (local_hour(**AMSTERDAM), (datetime(2024, 10, 27, 3, 30), "B"), "happens once"),
    (local_hour(**AMSTERDAM), (datetime(2024, 3, 31, 2, 30), "N"), "does not exist"),
    (local_hour(**AMSTERDAM), (datetime(2024, 3, 1, tzinfo=UTC), "N"), "has a time zone"),
    (local_time(**AMSTERDAM), (datetime(2024, 3, 31, 2, 30),), "does not exist"),
    (enum(values={"A": "active"}), ("B",), "'B' is not one of A"),
    (yes_no(), ("J",), "neither Y nor N"),
    (yes_no(), ("",), "neither Y nor N"),
    (clock(), ("24:00",), "not a time"),
    (clock(), ("7:00",), "not a time"),
    (slots(), ("0000-0500 C2500;",), "is not like"),
    (slots(), ("0000-0500 C0250",), "is not like"),
    (slots(), ("0000-0500  C250",), "is not like"),
]
REVERSE: list[tuple[Any, Any, str]] = [
    (local_time(**AMSTERDAM), datetime(2024, 3, 1), "has no time zone"),
    (enum(values={"A": "active"}), "gone", "'gone' is not one of active"),
    (cents(), Decimal("1.005"), "whole number of cents"),
    (cents(), Decimal("NaN"), "whole number of cents"),
    (cents(), Decimal("Infinity"), "whole number of cents"),
    (clock(), time(7, 0, 1), "has seconds"),
    (slots(), [{"from": "00:00"}], "instead of"),
]


@pytest.mark.parametrize(("converter", "values", "says"), FORWARD)
def test_forward(converter: Any, values: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ConversionError, match=says):
        converter.forward(*values)


@pytest.mark.parametrize(("converter", "value", "says"), REVERSE)
def test_reverse(converter: Any, value: Any, says: str) -> None:
    with pytest.raises(ConversionError, match=says):
        converter.reverse(value)


@pytest.mark.parametrize(
    "items",
    [
        [{"from": "00:00", "to": "05:00", "mode": "boost", "power_w": 1}],
        [{"from": 0, "to": "05:00", "mode": "hold", "power_w": 1}],
        [{"from": "00:00", "to": "05:00", "mode": "hold", "power_w": -1}],
        "text",
        [None],
    ],
)
def test_a_service_row_of_another_shape_is_refused_with_its_column(items: Any) -> None:
    devices = load(Path(__file__).parents[3] / "migration_plan" / "mappings" / "devices.yaml")
    schedule = next(table for table in devices.tables if table.legacy == "public.schedule")
    with pytest.raises(ConversionError, match=r"public\.schedules\.slots"):
        schedule.translate({"slots": items}, "reverse")


@pytest.mark.parametrize("bad", [5, "x", None, Decimal(1)])
def test_a_value_of_another_type_is_refused_and_not_a_crash(bad: Any) -> None:
    with pytest.raises(ConversionError, match=r"public\.price\.ts"):
        PRICE.translate({"ts": bad, "hour_flag": "N"}, "forward")
    if bad is not None:
        with pytest.raises(ConversionError, match=r"public\.market_prices\.starts_at"):
            PRICE.translate({"starts_at": bad}, "reverse")


def test_an_infinite_percentage_is_not_a_crash() -> None:
    tariff = next(table for table in PRICING.tables if table.legacy == "public.tariff")
    assert percent().forward(Decimal("Infinity")) == Decimal("Infinity")
    with pytest.raises(ConversionError, match="vat_pct"):
        tariff.translate({"vat_pct": "21"}, "forward")


def test_the_check_names_row_and_column() -> None:
    row = {"id": 7, "area": "NL", "ts": datetime(2024, 10, 27, 2), "hour_flag": "N", "eur_mwh": 1, "source": "s"}
    (violation,) = check(PRICE, [row | {"updated": datetime(2024, 1, 1)}])
    assert (violation.table, violation.key) == ("public.price", {"id": 7})
    assert "happens twice" in violation.reason


def test_a_value_that_comes_back_changed_is_a_violation_of_its_column(tmp_path: Path) -> None:
    path = tmp_path / "lossy.yaml"
    path.write_text(
        "domain: d\ntables:\n  - legacy: public.a\n    service: public.b\n    key: {legacy: id, service: id}\n"
        "    columns: [id, {legacy: t, service: t, convert: char}]\n"
    )
    (violation,) = check(load(path).tables[0], [{"id": 1, "t": "varchar with a blank "}])
    assert (violation.column, violation.key) == ("t", {"id": 1})
