"""What each open quote would cost now, under its own tariff and under every other one.

Tells how many quotes are dearer or cheaper now than when they were given, and how many customers another tariff would
serve better: quotes × tariffs calculations. It reads only; a quote that was given is a promise, and stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import psycopg

from services.pricing.bulk import reading
from services.pricing.bulk.exact import Unit, cents


@dataclass(slots=True)
class Comparison:
    """`moved`: quotes whose own tariff would give another amount now, by `moved_cents` in all; `better`: quotes for
    which another tariff is cheaper now, by `better_cents` in all; `cheapest`: how often each tariff is."""

    quotes: int = 0
    calculations: int = 0
    moved: int = 0
    moved_cents: int = 0
    better: int = 0
    better_cents: int = 0
    unpriced: int = 0
    cheapest: dict[str, int] = field(default_factory=dict)


def compare(connection: psycopg.Connection[tuple[object, ...]]) -> Comparison:
    tariffs = reading.units(connection)
    total = Comparison(cheapest={tariff.code: 0 for tariff in tariffs})
    for block in reading.quotes(connection, tariffs):
        if len(block.tariff):
            _add(total, block, tariffs)
    return total


def _add(total: Comparison, block: reading.Quotes, tariffs: list[Unit]) -> None:
    total.quotes += len(block.tariff)
    total.unpriced += int((block.tariff < 0).sum())
    if not tariffs:
        return
    amounts = cents(block.energy_wh, tariffs)
    total.calculations += amounts.size
    best = amounts.argmin(axis=1)
    for number, count in enumerate(np.bincount(best, minlength=len(tariffs))):
        total.cheapest[tariffs[number].code] += int(count)
    known = block.tariff >= 0
    rows = np.arange(len(block.tariff))[known]
    own = amounts[rows, block.tariff[known]]
    moved, saved = own - block.cents[known], own - amounts[rows, best[known]]
    total.moved += int((moved != 0).sum())
    total.moved_cents += int(moved.sum())
    total.better += int((saved > 0).sum())
    total.better_cents += int(saved.sum())
