"""One independent client of pricing: what it reads and writes, and what it remembers of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from load import calls
from load.caller import Caller, Check
from load.calls import Hour, Rate
from load.connection import Response
from load.memory import History, Memory, PriceKey, Quote, Rates

WRITES = 0.35  # of the requests that are not checks of an earlier write: about 30 % of all
CHECKS = 0.5  # of the writes are read back
_KNOWN_QUOTES = 100
ALREADY_THERE = 409

# Own prices are kept around the autumn change, so that the repeated hour is among them.
_DAYS = [f"2024-10-{day:02d}" for day in range(24, 30)]
_REPEATED_DAY, _REPEATED_HOUR = "2024-10-27", 2


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a client writes as; area and tariff are its own, so that it knows their last value. `name`: new in every
    run, for what is made anew by it; area and tariff may be there from an earlier one."""

    area: str
    tariff_code: str
    customer_id: int
    name: str


@dataclass(slots=True)
class Client:
    """Sends one request at a time, so that it knows the order of its writes."""

    identity: Identity
    caller: Caller
    random: Random
    memory: Memory
    writes: float = WRITES
    _check: Callable[[], Check] | None = None
    _quotes: list[Quote] = field(default_factory=list)
    _retired: set[PriceKey] = field(default_factory=set)
    _numbers: int = 0
    _rates_known: bool = True

    async def begin(self) -> None:
        """Make the client's tariff, or take one that is there from an earlier run and give it rates of our own."""
        code, rates = self.identity.tariff_code, self._some_rates()
        answer = await self.caller.call(calls.create_tariff(code, rates))
        if answer is not None and answer.status == ALREADY_THERE:
            answer = await self.caller.call(calls.put_rates(code, rates))
        if answer is None:
            self._rates_known = False  # it may have rates of long ago, and nothing can be said of them
        else:
            self.memory.rates(code, rates, certain=True)

    async def step(self) -> None:
        """One request: the check of an earlier write, a write, or a read."""
        if self._check is not None:
            check, self._check = self._check(), None
            await self.caller.read(check)
        elif self.random.random() < self.writes:
            await self._some_write()
        else:
            await self._some_read()

    async def _some_write(self) -> None:
        choice = self.random.random()
        if choice < 0.65:
            await self._create_quote()
        elif choice < 0.97:
            await self._load_prices()
        else:
            await self._put_rates()

    async def _some_read(self) -> None:
        choice = self.random.random()
        if choice < 0.25 and self._quotes:
            await self.caller.read(self._check_quote(self.random.choice(self._quotes)))
        elif choice < 0.4:
            await self.caller.read(Check(calls.list_tariffs()))
        else:
            day = f"2023-{self.random.randrange(1, 13):02d}-{self.random.randrange(1, 28):02d}"
            await self.caller.read(Check(calls.list_prices("NL", day, _next(day))))

    async def _create_quote(self) -> None:
        self._numbers += 1
        me = self.identity
        key = f"{me.name}-{self._numbers}"
        # No two quotes of a client ask for the same energy: one that is stored twice shows, whatever its reference.
        kwh = f"{100 + self._numbers}.{self.random.randrange(1000):03d}"
        answer = await self.caller.call(calls.create_quote(key, me.tariff_code, kwh, me.customer_id))
        if answer is None:
            self.memory.quote(Quote(key, me.customer_id, me.tariff_code, kwh), certain=False)
            return
        body = json.loads(answer.body)
        quote = Quote(key, me.customer_id, me.tariff_code, kwh, body["id"], body["amount_cents"])
        self.memory.quote(quote, certain=True)
        if len(self._quotes) < _KNOWN_QUOTES:
            self._quotes.append(quote)
        else:
            self._quotes[self.random.randrange(_KNOWN_QUOTES)] = quote
        self._maybe_check(lambda: self._check_quote(quote))

    async def _load_prices(self) -> None:
        area, day = self.identity.area, self.random.choice(_DAYS)
        first = self.random.randrange(3 if day == _REPEATED_DAY else 24)
        hours = [hour for hour in _hours(day)[first : first + 6] if PriceKey(area, hour) not in self._retired]
        if not hours:
            return
        rows = [(hour, f"{self.random.randrange(-20000, 60000) / 100:.2f}") for hour in hours]
        answer = await self.caller.call(calls.load_prices(area, rows))
        self.memory.prices(area, rows, certain=answer is not None)
        if answer is None:
            # It may still be on its way and land late: its keys are not written again, so nothing can be overtaken.
            self._retired.update(PriceKey(area, hour) for hour in hours)
        else:
            self._maybe_check(lambda: self._check_prices(day))

    async def _put_rates(self) -> None:
        code, rates = self.identity.tariff_code, self._some_rates()
        if self.memory.rates_of(code).uncertain or not self._rates_known:
            return
        answer = await self.caller.call(calls.put_rates(code, rates))
        self.memory.rates(code, rates, certain=answer is not None)
        self._maybe_check(self._check_rates)

    def _maybe_check(self, check: Callable[[], Check]) -> None:
        if self.random.random() < CHECKS:
            self._check = check

    def _check_quote(self, quote: Quote) -> Check:
        def fresh(response: Response) -> bool:
            return response.status == 200 and json.loads(response.body)["amount_cents"] == quote.amount_cents

        return Check(calls.get_quote(quote.id or 0), fresh)

    def _check_prices(self, day: str) -> Check:
        area = self.identity.area

        def fresh(response: Response) -> bool:
            rows = json.loads(response.body)["prices"]
            shown = {Hour(row["ts"], row["hour_flag"]): row["eur_mwh"] for row in rows}
            return all(_shows(self.memory.price(PriceKey(area, hour)), shown.get(hour)) for hour in _hours(day))

        return Check(calls.list_prices(area, day, _next(day)), fresh)

    def _check_rates(self) -> Check:
        code = self.identity.tariff_code

        def fresh(response: Response) -> bool:
            tariffs = {tariff["code"]: tariff for tariff in json.loads(response.body)["tariffs"]}
            rates = tariffs[code]["rates"] if code in tariffs else ()
            shown = tuple(Rate(rate["hour_from"], rate["hour_to"], rate["price_kwh"]) for rate in rates)
            return _shows(self.memory.rates_of(code), shown)

        return Check(calls.list_tariffs(), fresh)

    def _some_rates(self) -> Rates:
        cuts = sorted(self.random.sample(range(1, 24), self.random.randrange(0, 3)))
        return tuple(
            Rate(start, end, f"{self.random.randrange(5000, 60000) / 100000:.5f}")
            for start, end in itertools.pairwise([0, *cuts, 24])
        )


def _shows(history: History[Any], value: object) -> bool:
    return history.accepted is None or value in history.allowed


def _hours(day: str) -> list[Hour]:
    hours = []
    for hour in range(24):
        repeated = (day, hour) == (_REPEATED_DAY, _REPEATED_HOUR)
        hours += [Hour(f"{day}T{hour:02d}:00:00", flag) for flag in (("A", "B") if repeated else ("N",))]
    return hours


def _next(day: str) -> str:
    """The day after; no day that is used here ends a month."""
    return f"{day[:8]}{int(day[8:]) + 1:02d}"
