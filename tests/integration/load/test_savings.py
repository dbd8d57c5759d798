"""The claim of `banyan bench savings` on some of its homes, and what it says without its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from banyan.cli import cli
from banyan.errors import DataMissing
from legacy_monolith.loader import clean, readings, wheel
from load.bench import savings
from services.devices.optimizer import replay
from services.devices.optimizer.replay import Way

HOMES = 4


@pytest.mark.parametrize("number", savings.YEARS)
def test_plans_save_more_than_a_tenth_of_the_energy_bill_without_foresight(number: int) -> None:
    path = wheel.cached()
    if path is None:
        pytest.skip(f"the public prices are not on this machine: python -m legacy_monolith fetch-data ({wheel.FILE})")
    prices = {hour: float(price) for hour, price in clean.clean(wheel.lines(path, wheel.PRICES)).prices.items()}
    houses = np.array(readings.hourly_kwh(wheel.lines(path, wheel.LOADS))[:HOMES], dtype=np.float64)
    year = savings.make_year(prices, houses * (savings.HOME_KWH / houses.sum(axis=1))[:, None], number)
    none = replay.without(year, savings.TARIFF)
    timer = replay.timed(year, savings.BATTERY, savings.TARIFF, Way())
    plan = replay.planned(year, savings.BATTERY, savings.TARIFF, Way())
    assert plan.saved(none) > 0.1
    assert plan.saved(timer) > 0.1
    assert plan.saved(none) > plan.saved_after_wear(none) > 0.05


def test_without_the_public_data_there_are_no_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BANYAN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataMissing, match="fetch-data"):
        CliRunner().invoke(cli, ["bench", "savings"], catch_exceptions=False)
