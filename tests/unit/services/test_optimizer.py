"""The battery's planner: held to a solver, to physics, and to days of 23 and 25 hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from services.devices.facade import slots as texts
from services.devices.optimizer import dynamic, forecast, horizon, replay, rules
from services.devices.optimizer.battery import Battery
from services.devices.optimizer.errors import BadInput
from services.devices.optimizer.planning import Question, plan
from services.devices.optimizer.tariff import WHOLESALE, Array, Tariff

HOME = Battery(10, 5)
RETAIL = Tariff()
PRICES = st.lists(st.floats(-500, 900, width=32), min_size=2, max_size=26)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    prices = np.array(draw(PRICES), dtype=np.float64)
    load = np.array(draw(st.lists(st.floats(-3, 9, width=32), min_size=len(prices), max_size=len(prices))))
    battery = Battery(
        capacity_kwh=draw(st.sampled_from([5.0, 10.0, 13.5])),
        power_kw=draw(st.sampled_from([2.5, 5.0])),
        round_trip=draw(st.sampled_from([0.8, 0.9, 1.0])),
        wear_eur_kwh=draw(st.sampled_from([0.0, 0.02, 0.1])),
        soc_least=draw(st.sampled_from([0.0, 0.1])),
    )
    tariff = draw(st.sampled_from([RETAIL, WHOLESALE]))
    return Question(battery, tariff, prices, load, soc=draw(st.sampled_from([0.1, 0.5, 1.0])))


def optimum(question: Question, start_kwh: float) -> float:
    """The cost of the best plan of all, by HiGHS: what may be moved is not bound to levels of charge.

    By step: charge, discharge, import, export (kWh), and two switches that forbid both directions at once: without them
    a linear programme burns energy in the battery for a negative price.
    """
    battery, tariff, steps = question.battery, question.tariff, len(question.prices)
    buy, sell = tariff.import_eur_kwh(question.prices), tariff.export_eur_kwh(question.prices)
    one, zero = np.eye(steps), np.zeros((steps, steps))
    most = battery.power_kw + np.abs(question.load).max() + 1
    wear_in, wear_out = battery.wear_eur_kwh * battery.one_way, battery.wear_eur_kwh / battery.one_way
    cost = np.concatenate([np.full(steps, wear_in), np.full(steps, wear_out), buy, -sell, np.zeros(2 * steps)])
    below = np.tril(np.ones((steps, steps)))
    stored = np.hstack([below * battery.one_way, -below / battery.one_way, zero, zero, zero, zero])
    constraints = [
        LinearConstraint(np.hstack([one, -one, -one, one, zero, zero]), -question.load, -question.load),
        LinearConstraint(stored, -start_kwh, battery.usable_kwh - start_kwh),
        LinearConstraint(np.hstack([one, zero, zero, zero, -one * battery.power_kw, zero]), -np.inf, 0),
        LinearConstraint(np.hstack([zero, one, zero, zero, one * battery.power_kw, zero]), -np.inf, battery.power_kw),
        LinearConstraint(np.hstack([zero, zero, one, zero, zero, -one * most]), -np.inf, 0),
        LinearConstraint(np.hstack([zero, zero, zero, one, zero, one * most]), -np.inf, most),
    ]
    integral = np.concatenate([np.zeros(4 * steps), np.ones(2 * steps)])
    upper = np.concatenate([np.full(4 * steps, np.inf), np.ones(2 * steps)])
    exactly = {"mip_rel_gap": 0.0}  # by itself it is content with 0.01 % more than the optimum
    solved = milp(cost, constraints=constraints, integrality=integral, bounds=Bounds(0, upper), options=exactly)
    assert solved.success, solved.message
    return float(solved.fun)


@settings(max_examples=25, deadline=None)
@given(questions())
def test_no_plan_beats_the_solver_and_none_is_far_behind(question: Question) -> None:
    levels = 201
    made = plan(question, levels)
    grid = dynamic.make_grid(question.battery, 1.0, levels)
    best = optimum(question, grid.level_of(question.soc) * grid.step_kwh)
    assert best <= made.cost_eur + 1e-6
    # A step moves whole levels: at most one level and half of one a step are left, at the dearest price.
    spread = np.abs(question.tariff.import_eur_kwh(question.prices)).max()
    assert made.cost_eur <= best + spread * grid.step_kwh * (1 + len(question.prices)) + 1e-6


@settings(max_examples=60, deadline=None)
@given(questions())
def test_a_plan_keeps_the_limits_and_its_cost_is_that_of_carrying_it_out(question: Question) -> None:
    battery, made = question.battery, plan(question)
    assert np.all(np.abs(made.power_kw) <= battery.power_kw + 1e-9)
    assert np.all(made.soc >= battery.soc_least - 1e-9)
    assert np.all(made.soc <= battery.soc_most + 1e-9)
    moved = np.diff(made.soc) * battery.capacity_kwh
    meter = np.where(moved > 0, moved / battery.one_way, moved * battery.one_way)
    assert made.power_kw[1:] == pytest.approx(meter, abs=1e-9)
    bill = question.tariff.bill_eur(question.prices, question.load + made.power_kw).sum()
    first = made.power_kw[0] * (battery.one_way if made.power_kw[0] > 0 else 1 / battery.one_way)
    wear = (np.abs(moved).sum() + abs(first)) * battery.wear_eur_kwh
    assert made.cost_eur == pytest.approx(bill + wear, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(questions())
def test_a_plan_never_costs_more_than_doing_nothing(question: Question) -> None:
    made = plan(question)
    assert made.cost_eur <= made.idle_eur + 1e-6


@settings(max_examples=30, deadline=None)
@given(questions())
def test_the_first_move_alone_is_that_of_the_whole_table(question: Question) -> None:
    grid = dynamic.make_grid(question.battery, 1.0)
    cost = dynamic.costs(grid, question.tariff, question.prices, np.vstack([question.load, question.load / 2]))
    table, begin = dynamic.solve(grid, cost, 0.1), dynamic.first(grid, cost, 0.1)
    assert np.array_equal(table.choices[0], begin.choice)
    assert begin.gain.min() >= 0


def test_more_levels_come_closer() -> None:
    prices = np.array([40.0, 10, -60, 30, 200, 120, 90, 300])
    question = Question(HOME, RETAIL, prices, np.full(8, 0.6))
    cost = {levels: plan(question, levels).cost_eur for levels in (11, 51, 401)}
    best = optimum(question, 0.0)
    assert best <= cost[401] + 1e-9 <= cost[51] + 1e-9 <= cost[11] + 1e-9
    assert cost[51] - best <= 0.03 * abs(question.tariff.bill_eur(prices, question.load).sum())


def test_a_negative_price_fills_the_battery_and_a_high_one_empties_it() -> None:
    made = plan(Question(HOME, WHOLESALE, np.array([50.0, -300, -300, -300, 400, 400]), np.zeros(6)))
    assert made.soc[3] == pytest.approx(1.0)
    assert made.soc[-1] == pytest.approx(0.0, abs=0.02)
    assert made.power_kw[0] <= 0


def test_flat_prices_move_nothing_even_when_wear_is_free() -> None:
    free = Battery(10, 5, round_trip=1.0, wear_eur_kwh=0.0)
    assert not plan(Question(free, WHOLESALE, np.full(24, 80.0), np.ones(24))).power_kw.any()


def test_what_is_left_at_the_end_is_kept_when_it_is_worth_more() -> None:
    prices = np.array([20.0, 100.0])
    sold = plan(Question(HOME, WHOLESALE, prices, np.zeros(2)))
    kept = plan(Question(HOME, WHOLESALE, prices, np.zeros(2), terminal_eur_kwh=0.5))
    assert sold.soc[-1] < 0.02
    assert kept.soc[-1] > 0.9


def test_a_quarter_of_an_hour_moves_a_quarter_of_the_energy() -> None:
    made = plan(Question(HOME, WHOLESALE, np.array([-500.0, 50, 50, 50]), np.zeros(4), hours=0.25))
    assert made.soc[0] == pytest.approx(5 * 0.25 * HOME.one_way / 10, abs=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Battery(0, 5),
        lambda: Battery(10, -1),
        lambda: Battery(10, 5, round_trip=1.1),
        lambda: Battery(10, 5, soc_least=0.9, soc_most=0.9),
        lambda: Battery(float("nan"), 5),
        lambda: Battery(10, 5, wear_eur_kwh=-1),
        lambda: Question(HOME, RETAIL, np.ones(3), np.ones(2)),
        lambda: Question(HOME, RETAIL, np.ones(0), np.ones(0)),
        lambda: Question(HOME, RETAIL, np.array([np.inf]), np.ones(1)),
        lambda: Question(HOME, RETAIL, np.ones(1), np.ones(1), soc=1.5),
        lambda: plan(Question(HOME, RETAIL, np.ones(1), np.ones(1)), levels=1),
        lambda: plan(Question(Battery(1000, 1), RETAIL, np.ones(1), np.ones(1)), levels=51),
    ],
)
def test_nonsense_is_refused_with_a_reason(wrong: object) -> None:
    with pytest.raises(BadInput, match=r"\w+ \w+"):
        wrong()  # type: ignore[operator]


def test_days_have_as_many_hours_as_they_have() -> None:
    lengths = {
        day: len(horizon.local_day(date.fromisoformat(day))) for day in ("2024-03-31", "2024-06-01", "2024-10-27")
    }
    assert lengths == {"2024-03-31": 23, "2024-06-01": 24, "2024-10-27": 25}


def test_prices_are_known_until_the_end_of_the_last_published_day() -> None:
    before, after = datetime(2024, 3, 30, 11, 59, tzinfo=UTC), datetime(2024, 3, 30, 12, 0, tzinfo=UTC)
    assert horizon.known_until(before) == datetime(2024, 3, 30, 23, 0, tzinfo=UTC)
    assert horizon.known_until(after) == datetime(2024, 3, 31, 22, 0, tzinfo=UTC)  # a day of 23 hours
    assert horizon.next_publication(before) == after
    assert horizon.next_publication(after) == datetime(2024, 3, 31, 11, 0, tzinfo=UTC)


@pytest.mark.parametrize("day", ["2024-03-31", "2024-06-01", "2024-10-27"])
def test_a_days_plan_becomes_slots_that_the_device_takes(day: str) -> None:
    starts = horizon.local_day(date.fromisoformat(day))
    power = np.array([2.0 if n < 4 else 0.0 if n < 16 else -1.5 for n in range(len(starts))])
    made = horizon.slots(starts, power, 5000)
    assert texts.parse(texts.text(made), 5000) == made
    assert (made[0].since, made[-1].until) == (0, 24 * 60)
    assert [slot.mode for slot in made] == ["charge", "hold", "discharge"]


def test_where_the_two_passes_of_the_repeated_hour_differ_the_battery_holds() -> None:
    starts = horizon.local_day(date(2024, 10, 27))
    power = np.zeros(25)
    power[2], power[3] = 1.0, -1.0
    assert [slot.mode for slot in horizon.slots(starts, power, 5000)] == ["hold"]
    power[3] = 1.0
    (night,) = [slot for slot in horizon.slots(starts, power, 5000) if slot.mode == "charge"]
    assert (night.since, night.until) == (120, 180)


def test_a_load_is_expected_as_a_week_before_and_never_from_the_future() -> None:
    load = np.arange(24.0 * 21)[None, :]
    assert forecast.last_week(load, 24 * 14, 36)[0].tolist() == list(range(24 * 7, 24 * 7 + 36))
    far = forecast.last_week(load, 24 * 14, 200)[0]
    assert far.max() < 24 * 14


def test_the_timer_never_overfills_and_never_gives_what_it_has_not() -> None:
    hours = horizon.local_hours(horizon.local_day(date(2024, 10, 27)))
    moved = rules.into_cells(HOME, rules.timer_kw(HOME, hours), 1.0, 0.0)
    stored = np.cumsum(moved)
    assert stored.max() <= HOME.usable_kwh + 1e-9
    assert stored.min() >= -1e-9


def short_year(prices: Array, load: Array) -> replay.Year:
    begin = datetime(2024, 1, 1, 23, tzinfo=UTC)
    return replay.Year(begin, begin + timedelta(hours=load.shape[1]), prices, load)


def test_a_replay_sees_no_price_before_it_is_published() -> None:
    """The same past and two futures: until the future is published, both are run alike."""
    hours = 24 * 4
    calm = np.tile(np.concatenate([np.full(12, 40.0), np.full(12, 120.0)]), 4)
    wild = calm.copy()
    wild[72:] = -400.0  # the last day: published at 13:00 of the third, which is index 60
    load = np.ones((1, hours))
    way = replay.Way(covering=False)
    runs = [_moved(short_year(prices, load), way) for prices in (calm, wild)]
    assert np.array_equal(runs[0][:60], runs[1][:60])
    assert not np.array_equal(runs[0], runs[1])


def _moved(year: replay.Year, way: replay.Way) -> Array:
    """kWh into the cells by hour, found out by billing each hour at a price of its own."""
    seen: list[Array] = []
    original = replay._billed

    def spy(year: replay.Year, battery: Battery, tariff: Tariff, into_cells: Array) -> replay.Outcome:
        seen.append(into_cells.copy())
        return original(year, battery, tariff, into_cells)

    replay._billed = spy
    try:
        replay.planned(year, HOME, RETAIL, way)
    finally:
        replay._billed = original
    return seen[0][0]


def test_a_replay_bills_real_loads_and_pays_for_what_it_moves() -> None:
    load = np.vstack([np.full(96, 0.5), np.full(96, 2.0)])
    prices = np.tile(np.concatenate([np.full(12, 10.0), np.full(12, 400.0)]), 4)
    year = short_year(prices, load)
    none = replay.without(year, RETAIL)
    assert none.bill.tolist() == pytest.approx((RETAIL.import_eur_kwh(prices) * load).sum(axis=1).tolist())
    made = replay.planned(year, HOME, RETAIL, replay.Way())
    assert (made.bill < none.bill).all()
    assert (made.wear > 0).all()
    assert made.saved(none) > made.saved_after_wear(none) > 0.1
