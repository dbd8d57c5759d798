"""What the clients remember of their writes: every accepted one, and those whose outcome nobody knows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from load.calls import Hour, Rate

Rates = tuple[Rate, ...]
T = TypeVar("T")

_OF_A_RUN = re.compile(r"L[0-9a-f]{6}-\d{3}-\d+$")  # a quote's reference, as `Client` makes it


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote as it was answered (`id` and `amount_cents`), or as it was asked for (both None)."""

    client_ref: str
    customer_id: int
    tariff_code: str
    kwh: str
    id: int | None = None
    amount_cents: int | None = None


class PriceKey(NamedTuple):
    """Where a price stands; a client's areas are its own."""

    area: str
    hour: Hour


@dataclass(frozen=True, slots=True)
class History(Generic[T]):
    """The last accepted value of a key, and the values written after it whose outcome is unknown."""

    accepted: T | None = None
    uncertain: tuple[T, ...] = ()

    def then(self, value: T) -> History[T]:
        return History(value)

    def perhaps(self, value: T) -> History[T]:
        return History(self.accepted, (*self.uncertain, value))

    @property
    def allowed(self) -> tuple[T, ...]:
        certain = () if self.accepted is None else (self.accepted,)
        return (*certain, *self.uncertain)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A copy of the memory. `len()` counts accepted write requests, by kind in `writes`, overwritten ones included.

    `run`: what the references of this run's quotes begin with; those of another run are none of its business."""

    writes: dict[str, int] = field(default_factory=dict)
    quotes: dict[str, Quote] = field(default_factory=dict)
    uncertain_quotes: dict[str, Quote] = field(default_factory=dict)
    prices: dict[PriceKey, History[str]] = field(default_factory=dict)
    rates: dict[str, History[Rates]] = field(default_factory=dict)
    run: str = ""

    def of_another_run(self, reference: str | None) -> bool:
        return reference is not None and _OF_A_RUN.match(reference) is not None and not reference.startswith(self.run)

    def __len__(self) -> int:
        return sum(self.writes.values())


class Memory:
    """Filled on one event loop; `copy` may be called from any thread."""

    def __init__(self, run: str = "") -> None:
        self._run = run
        self.writes: Counter[str] = Counter()
        self._quotes: dict[str, Quote] = {}
        self._uncertain_quotes: dict[str, Quote] = {}
        self._prices: dict[PriceKey, History[str]] = {}
        self._rates: dict[str, History[Rates]] = {}

    def quote(self, quote: Quote, *, certain: bool) -> None:
        (self._quotes if certain else self._uncertain_quotes)[quote.client_ref] = quote
        self.writes["quotes"] += certain

    def prices(self, area: str, rows: Sequence[tuple[Hour, str]], *, certain: bool) -> None:
        for hour, value in rows:
            key = PriceKey(area, hour)
            history = self._prices.get(key, History())
            self._prices[key] = history.then(value) if certain else history.perhaps(value)
        self.writes["price_batches"] += certain

    def rates(self, code: str, rates: Rates, *, certain: bool) -> None:
        history = self._rates.get(code, History())
        self._rates[code] = history.then(rates) if certain else history.perhaps(rates)
        self.writes["tariff_changes"] += certain

    def price(self, key: PriceKey) -> History[str]:
        return self._prices.get(key, History())

    def rates_of(self, code: str) -> History[Rates]:
        return self._rates.get(code, History())

    def copy(self) -> Accepted:
        return Accepted(
            dict(self.writes),
            dict(self._quotes),
            dict(self._uncertain_quotes),
            dict(self._prices),
            dict(self._rates),
            self._run,
        )
