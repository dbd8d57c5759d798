"""What the battery allows: whatever the cloud says, and whatever the battery reads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_agent.config import Battery
from pi_agent.limits import START, Past, limited, signed
from pi_agent.model import Mode, Reading, Setpoint

BATTERY = Battery(max_power_w=3000, soc_min=0.1, soc_max=0.9, max_ramp_w_s=500, min_dwell_s=30, max_celsius=45)

setpoints = st.builds(Setpoint, st.sampled_from(Mode), st.integers(0, 10**7), st.just("r"))
readings = st.none() | st.builds(
    Reading,
    st.floats(allow_nan=True) | st.floats(0, 1),
    st.floats(-1e5, 1e5),
    st.just(""),
    st.none() | st.floats(-60, 120),
)


@given(st.lists(st.tuples(setpoints, readings, st.floats(0, 100)), max_size=30))
def test_no_order_of_commands_and_readings_gets_past_a_limit(
    steps: list[tuple[Setpoint, Reading | None, float]],
) -> None:
    past, now = START, 1000.0
    for wanted, reading, pause in steps:
        now += pause
        got = limited(wanted, reading, BATTERY, past, now)
        power = signed(got)
        assert got.ref == wanted.ref
        assert abs(power) <= min(BATTERY.max_power_w, wanted.power_w)
        assert got.mode in (wanted.mode, Mode.HOLD)
        if power:
            assert reading is not None
            assert 0 <= reading.soc <= 1
            assert reading.soc < BATTERY.soc_max if power > 0 else reading.soc > BATTERY.soc_min
            assert reading.celsius is None or BATTERY.min_celsius <= reading.celsius <= BATTERY.max_celsius
            if past.direction and math.copysign(1, power) != past.direction:
                assert now - past.turned >= BATTERY.min_dwell_s
            if past.at > -math.inf and abs(power) > abs(past.power_w):
                assert abs(power) - abs(past.power_w) <= BATTERY.max_ramp_w_s * (now - past.at) + 1
        past = past.then(got, now)


@given(setpoints, st.floats(0, 100))
def test_less_power_is_always_allowed_at_once(wanted: Setpoint, pause: float) -> None:
    past = Past(power_w=signed(Setpoint(wanted.mode, 3000, "")), at=0, direction=0)
    got = limited(wanted, Reading(0.5, 0), BATTERY, past, pause)
    if wanted.mode is not Mode.HOLD:
        assert got.power_w == min(wanted.power_w, 3000)


def test_power_grows_by_the_ramp_and_a_change_of_direction_waits() -> None:
    past, now, seen = START.then(Setpoint(Mode.HOLD, 0, ""), 0.0), 0.0, []
    for _ in range(4):
        now += 1
        got = limited(Setpoint(Mode.CHARGE, 1400, "r"), Reading(0.5, 0), BATTERY, past, now)
        past = past.then(got, now)
        seen.append(got.power_w)
    assert seen == [500, 1000, 1400, 1400]
    turn = Setpoint(Mode.DISCHARGE, 100, "r")
    assert limited(turn, Reading(0.5, 0), BATTERY, past, 30.9).mode is Mode.HOLD
    assert limited(turn, Reading(0.5, 0), BATTERY, past, 31.0).mode is Mode.DISCHARGE


@pytest.mark.parametrize("celsius", [-20.1, 45.1, math.nan])
def test_outside_its_temperatures_nothing_flows(celsius: float) -> None:
    reading = Reading(0.5, 0, celsius=celsius)
    assert limited(Setpoint(Mode.CHARGE, 100, "r"), reading, BATTERY).mode is Mode.HOLD
