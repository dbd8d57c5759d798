"""What goes wrong between a fleet and its backends: lost packets, wrong clocks, power cuts; drawn by seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from msgspec import Struct


class Faults(Struct, frozen=True):
    """`loss`: share of requests whose way there or back is lost, for `lossy` of the devices. Clocks differ by up to
    `skew_s`, for `skewed` of them. Each device loses its power on average every `reboot_s` (0: never).
    """

    lossy: float = 0.0
    loss: float = 0.0
    skewed: float = 0.0
    skew_s: float = 0.0
    reboot_s: float = 0.0


@dataclass(slots=True)
class Weather:
    """The faults of one device."""

    loss: float
    skew_s: float
    reboot_s: float
    dice: Random

    @classmethod
    def of(cls, device_id: int, faults: Faults) -> Weather:
        dice = Random(f"{device_id}")
        loss = faults.loss if dice.random() < faults.lossy else 0.0
        skew = dice.uniform(-faults.skew_s, faults.skew_s) if dice.random() < faults.skewed else 0.0
        return cls(loss, skew, faults.reboot_s, dice)

    def lost(self) -> str | None:
        """`there` (never sent) or `back` (done, but never heard of), or None."""
        if self.loss == 0.0 or self.dice.random() >= self.loss:
            return None
        return self.dice.choice(("there", "back"))

    def next_reboot_s(self) -> float | None:
        return self.dice.expovariate(1 / self.reboot_s) if self.reboot_s else None
