"""What a battery can do, in kWh and kW. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.devices.optimizer.errors import BadInput


@dataclass(frozen=True, slots=True)
class Battery:
    """`power_kw` limits both directions at the meter's side; `round_trip` is split evenly between them.

    `wear_eur_kwh` is for each kWh into or out of the cells: what a cycle costs of the battery's life.
    `soc_least` and `soc_most` are fractions of the capacity that a plan stays between.
    """

    capacity_kwh: float
    power_kw: float
    round_trip: float = 0.9
    wear_eur_kwh: float = 0.02
    soc_least: float = 0.0
    soc_most: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.capacity_kwh, self.power_kw, self.round_trip, self.wear_eur_kwh, self.soc_least, self.soc_most)
        if not all(map(math.isfinite, numbers)):
            raise BadInput("a battery's numbers must be finite")
        if self.capacity_kwh <= 0 or self.power_kw <= 0:
            raise BadInput("capacity and power of a battery must be above 0")
        if not 0 < self.round_trip <= 1:
            raise BadInput("the round trip efficiency of a battery is above 0 and at most 1")
        if self.wear_eur_kwh < 0:
            raise BadInput("wear costs at least 0")
        if not 0 <= self.soc_least < self.soc_most <= 1:
            raise BadInput("0 <= soc_least < soc_most <= 1 must hold")

    @property
    def one_way(self) -> float:
        """The part of the energy that arrives, in either direction."""
        return math.sqrt(self.round_trip)

    @property
    def usable_kwh(self) -> float:
        return self.capacity_kwh * (self.soc_most - self.soc_least)
