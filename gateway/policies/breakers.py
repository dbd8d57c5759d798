"""The breakers of a worker, one per (domain, side, class), and what else stands before a side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.control.resilience import Breaker as Rule
from gateway.control.table import LEGACY, RouteTable
from gateway.http1.admission import Door
from gateway.http1.pool import Pool
from gateway.meter import Meter
from gateway.policies.breaker import Breaker
from gateway.policies.bulkhead import Compartment
from gateway.routing.router import DEFAULT_DOMAIN

SIDES = ("legacy", "service")


class Breakers:
    """`failures` in a row to open and `reset` seconds to the first probe: where the table says nothing."""

    def __init__(self, failures: int, reset: float, meter: Meter) -> None:
        self._default = Rule(failures=failures, minimum=max(20, failures))
        self._reset = reset
        self._meter = meter
        self._all: dict[tuple[str, str, bool], Breaker] = {}
        self._doors: dict[tuple[str, str], Door] = {}
        self._table: RouteTable | None = None

    def get(self, domain: str, side: str, read: bool = True) -> Breaker:
        breaker = self._all.get((domain, side, read))
        return breaker if breaker is not None else self._make(domain, side, read)

    def _make(self, domain: str, side: str, read: bool) -> Breaker:
        rule = self._rule(domain)
        kin = domain != DEFAULT_DOMAIN  # there it is every page of the monolith that no domain names
        reset = rule.reset or self._reset
        breaker = Breaker(domain, side, rule=rule, reset=reset, on_change=self._changed, kin=kin)
        breaker.door = self._doors.get((domain, side))
        breaker.budget.ratio = self._ratio(domain)
        self._all[(domain, side, read)] = breaker
        return breaker

    def take(self, table: RouteTable, pools: Mapping[str, Pool]) -> None:
        """Obey a new table. Who is inside a door that is gone leaves by it all the same."""
        self._table = table
        self._doors = {key: door for key in self._keys(table) if (door := self._door(table, pools, *key)) is not None}
        for (domain, side, _), breaker in self._all.items():
            rule = self._rule(domain)
            breaker.obey(rule, rule.reset or self._reset)
            breaker.budget.ratio = self._ratio(domain)
            breaker.door = self._doors.get((domain, side))

    @staticmethod
    def _keys(table: RouteTable) -> list[tuple[str, str]]:
        return [(DEFAULT_DOMAIN, "legacy"), *((name, side) for name in table.domains for side in SIDES)]

    def _door(self, table: RouteTable, pools: Mapping[str, Pool], domain: str, side: str) -> Door | None:
        found = table.domains.get(domain)
        wanted = found.bulkhead if found is not None else None
        limiter = pools[self._upstream(table, domain, side)].limiter
        if wanted is None and limiter is None:
            return None
        known = self._doors.get((domain, side))
        compartment = known.compartment if known is not None else None
        if wanted is None:
            compartment = None
        elif compartment is None:
            compartment = Compartment(wanted.in_flight, wanted.waiting)
        else:
            compartment.most, compartment.most_waiting = wanted.in_flight, wanted.waiting
        if known is not None and known.compartment is compartment and known.limiter is limiter:
            return known
        return Door(domain, compartment, limiter, self._meter)

    @staticmethod
    def _upstream(table: RouteTable, domain: str, side: str) -> str:
        found = table.domains.get(domain)
        return LEGACY if side == "legacy" or found is None else found.service

    def _rule(self, domain: str) -> Rule:
        found = self._table.domains.get(domain) if self._table is not None else None
        return (found.breaker if found is not None else None) or self._default

    def _ratio(self, domain: str) -> float:
        found = self._table.domains.get(domain) if self._table is not None else None
        return found.retry_percent / 100 if found is not None else 0.2

    def recovered(self, upstream: str) -> None:
        """A server of this upstream answers its health path again."""
        assert self._table is not None
        for (domain, side, _), breaker in self._all.items():
            if upstream == self._upstream(self._table, domain, side):
                breaker.recovered()

    def _changed(self, domain: str, side: str, state: str) -> None:
        if state == "open":
            self._meter.count(domain, "breaker_opened")

    def snapshot(self) -> dict[str, Any]:
        return {
            "breakers": [
                {"domain": d, "side": s, "class": "read" if read else "write", "state": b.state}
                for (d, s, read), b in self._all.items()
            ],
            "doors": [{"domain": d, "side": s, **door.snapshot()} for (d, s), door in self._doors.items()],
        }
