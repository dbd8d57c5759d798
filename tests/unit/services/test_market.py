"""Imbalance prices read, and what batteries do at them: the pure parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import SettingsError
from services.devices.market import elia, policy, prices, settings, tennet, writing
from services.devices.market.decide import Fleet, Rules, by_price, decide
from services.devices.market.errors import BadData
from services.devices.market.pipeline import Tick, coming, ref

NOON = datetime(2024, 5, 2, 12, tzinfo=UTC)
RULES = Rules()
FLAT = np.full(policy.QUARTERS, 80.0)


def record(minute: int, price: object, quality: str = "DataIssued", **more: object) -> dict[str, object]:
    at = (NOON + timedelta(minutes=minute)).isoformat()
    return {"datetime": at, "resolutioncode": "PT1M", "qualitystatus": quality, "imbalanceprice": price, **more}


def page(*records: dict[str, object]) -> bytes:
    return msgspec.json.encode({"total_count": len(records), "results": records})


def test_elias_records_become_prices_in_order_once_each() -> None:
    body = page(record(1, -12.345, alpha=3.1), record(0, 80), record(2, None), record(1, 7, "Validated"))
    first, second = elia.parse(body, "BE")
    assert (first.starts_at, first.minutes, first.price, first.quality) == (NOON, 1, Decimal("80.00"), "provisional")
    assert (second.starts_at, second.price, second.quality) == (NOON + timedelta(minutes=1), Decimal(7), "validated")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"results":[{"datetime":"2024-05-02T12:00:00"}]}', page(record(0, "dear")),
     page(record(0, 1e300)), page({**record(0, 1), "resolutioncode": "PT7M"}),
     page({**record(0, 1), "datetime": "0001-01-01T00:00:00+02:00"}),
     page(record(0, 1)).replace(b"\"imbalanceprice\":1", b"\"imbalanceprice\":1e999999999")],
)  # fmt: skip
def test_what_is_not_elias_is_refused_whole(body: bytes) -> None:
    with pytest.raises(BadData):
        elia.parse(body)


HEADER = "Timeinterval Start Loc,Timeinterval End Loc,Isp,Price Shortage,Price Surplus,Regulation State"


def settled(*rows: str) -> bytes:
    return "\n".join([HEADER, *rows]).encode()


def test_tennets_quarters_are_counted_in_real_time_from_local_midnight() -> None:
    read = tennet.parse(
        settled(
            "2024-10-27T00:00,2024-10-27T00:15,1,10,10,1",
            "2024-10-27T23:45,2024-10-28T00:00,100,20.555,-5,2",
            "2024-10-27T12:00,,60,,,",
        )
    )
    assert [(p.starts_at.isoformat(), str(p.price)) for p in read] == [
        ("2024-10-26T22:00:00+00:00", "10.00"),
        ("2024-10-27T22:45:00+00:00", "20.56"),
    ]


@pytest.mark.parametrize(
    "row",
    [
        "2024-03-31T23:45,,93,1,1,0",
        "2024-05-02T00:00,,0,1,1,0",
        "x,,1,1,1,0",
        "2024-05-02,,1,dear,,0",
        "2024-05-02T00:00,,99999999999999,1,1,0",
        "9999-12-31T00:00,,1,1,1,0",
    ],
)
def test_a_quarter_that_its_day_does_not_have_is_refused(row: str) -> None:
    with pytest.raises(BadData):
        tennet.parse(settled(row))


@given(st.sets(st.integers(0, 119), min_size=1), st.sampled_from([1, 15]))
def test_gaps_and_prices_together_are_every_stretch(known: set[int], minutes: int) -> None:
    step = timedelta(minutes=minutes)
    starts = [NOON + n * step for n in known]
    missing = prices.gaps(starts, minutes, NOON, NOON + 120 * step)
    assert sorted([*starts, *missing]) == [NOON + n * step for n in range(120)]


def fleet(kind: int, soc: list[float], mode: list[int], mode_s: float = np.inf, age: float = 0.0) -> Fleet:
    size = len(soc)
    return Fleet(
        np.full(size, kind), np.array(soc), np.full(size, age), np.array(mode, dtype=np.int8), np.full(size, mode_s)
    )


def made(price: float, usual: float = 80.0) -> policy.Policy:
    return policy.policy(policy.expected(price, np.full(policy.QUARTERS, usual).tolist()))


def test_a_low_price_charges_a_high_one_discharges_and_a_usual_one_does_nothing() -> None:
    batteries = fleet(3, [0.5, 0.5], [0, 0])
    assert decide(-300, made(-300), batteries, RULES).tolist() == [1, 1]
    assert decide(600, made(600), batteries, RULES).tolist() == [-1, -1]
    assert decide(80, made(80), batteries, RULES).tolist() == [0, 0]


@given(
    st.floats(-900, 1500),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([-1, 0, 1])), min_size=1, max_size=20),
    st.sampled_from([0.0, 100.0, np.inf]),
    st.integers(0, len(policy.RATES) - 1),
)
def test_limits_win_over_everything(price: float, states: list[tuple[float, int]], mode_s: float, kind: int) -> None:
    batteries = fleet(kind, [soc for soc, _ in states], [mode for _, mode in states], mode_s)
    decided = decide(price, POLICIES[round(price) // 600], batteries, RULES)
    assert not ((batteries.soc >= RULES.soc_most) & (decided > 0)).any()
    assert not ((batteries.soc <= RULES.soc_least) & (decided < 0)).any()
    within = (batteries.soc > RULES.soc_least) & (batteries.soc < RULES.soc_most)
    if mode_s < RULES.dwell_s:
        assert (decided[within] == batteries.mode[within]).all(), "who has just changed stays"


POLICIES = {n: made(600.0 * n) for n in range(-2, 3)}


def test_an_action_that_is_under_way_goes_on_at_a_price_that_would_not_begin_it() -> None:
    """Hysteresis: some price exists that keeps a battery charging and does not start one."""
    found = [
        price
        for price in range(80, -100, -2)
        if decide(price, made(price), fleet(3, [0.5, 0.5], [0, 1]), RULES).tolist() == [0, 1]
    ]
    assert found


@given(st.floats(-900, 1500), st.sampled_from([-1, 0, 1]))
def test_a_battery_whose_charge_is_not_known_does_as_the_monolith_says(price: float, mode: int) -> None:
    expected = 1 if price < 0 else -1 if price > 250 else 0
    assert by_price(price, RULES) == expected
    never = decide(price, POLICIES[0], fleet(3, [np.nan], [mode], 10.0), RULES)
    old = decide(price, POLICIES[0], fleet(3, [0.99], [mode], 10.0, age=901.0), RULES)
    assert (never.tolist(), old.tolist()) == ([expected], [expected])


def test_every_class_is_the_nearest() -> None:
    capacity, power = np.array([10_000, 10_000, 8_000, 1, 10_000]), np.array([5_000, 1, 3_000, 10**6, 8_700])
    rates = np.array(policy.RATES)[policy.classes(capacity, power)]
    assert rates.tolist() == [0.5, 0.125, 0.375, 1.5, 0.75]


def test_an_unusual_price_fades_to_the_usual() -> None:
    path = policy.expected(-300, FLAT.tolist())
    assert path[0] == -300
    assert path[-1] == pytest.approx(80, abs=1e-6)
    assert np.all(np.diff(path) >= 0)


def test_without_a_history_the_price_itself_is_usual_and_nothing_is_worth_doing() -> None:
    tick = Tick("NL", NOON, -40.0, NOON)
    usual = coming({}, tick)
    assert usual == [-40.0] * policy.QUARTERS
    assert coming({48: 10.0, 50: 30.0}, tick)[:4] == [10.0, 20.0, 30.0, 20.0]


def test_a_tick_comes_back_from_its_message_as_it_was() -> None:
    tick = Tick("NL", NOON, -12.5, NOON + timedelta(minutes=1))
    assert Tick.of(msgspec.json.decode(msgspec.json.encode(tick.payload()))) == tick


def test_reference_and_bucket_are_those_of_the_other_side() -> None:
    from gateway.routing.bucket import bucket
    from legacy_monolith.cron import decide as monolith

    assert ref(7, NOON) == monolith.ref(7, NOON)
    assert [writing.bucket(n) for n in range(200)] == [bucket(str(n)) for n in range(200)]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"URL": "ftp://x"}, "URL"), ({"URL": "https://"}, "URL"), ({"URL": "https://x", "SCHEMA": "epex"}, "SCHEMA"),
        ({"URL": "https://x", "AREA": "N L"}, "AREA"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_named(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"DEVICES_IMBALANCE_{named}"):
        settings.load({f"DEVICES_IMBALANCE_{name}": value for name, value in wrong.items()})


def test_without_an_address_there_is_no_job_and_the_key_is_never_shown() -> None:
    assert settings.load({}) is None
    source = settings.load({"DEVICES_IMBALANCE_URL": "https://x/y", "DEVICES_IMBALANCE_KEY": "hush"})
    assert source is not None
    assert "hush" not in repr(source)
    assert (source.schema, source.area) == ("elia", "NL")
