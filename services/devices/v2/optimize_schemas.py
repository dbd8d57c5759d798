"""What `/v2/optimize` and `/v2/models` take and give. Energies Wh, powers W, prices EUR/MWh; decimals are strings."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from services.chassis.fields import Id, Instant
from services.devices.v2.schemas import Slot

Fraction = Annotated[float, Meta(ge=0, le=1)]
Euros = Annotated[float, Meta(ge=0, le=100)]
MOST_STEPS = 200


class BatteryOf(Struct, forbid_unknown_fields=True):
    """`wear_eur_kwh`: what a kWh into or out of the cells costs of the battery's life."""

    capacity_wh: Annotated[int, Meta(ge=1, le=10_000_000)]
    max_power_w: Annotated[int, Meta(ge=1, le=1_000_000)]
    round_trip: Annotated[float, Meta(gt=0, le=1)] = 0.9
    wear_eur_kwh: Euros = 0.02
    soc_least: Fraction = 0.0
    soc_most: Fraction = 1.0


class TariffOf(Struct, forbid_unknown_fields=True):
    """Import costs (price + markup) × (1 + VAT), export earns the price."""

    markup_eur_kwh: Euros = 0.13
    vat_rate: Fraction = 0.21


class Question(Struct, forbid_unknown_fields=True):
    """A battery, or the `device_id` of one that is registered; a price and an expected load for each step."""

    starts_at: Instant
    prices_eur_mwh: Annotated[
        list[Annotated[float, Meta(ge=-100_000, le=100_000)]], Meta(min_length=1, max_length=MOST_STEPS)
    ]
    load_wh: Annotated[list[Annotated[int, Meta(ge=-10_000_000, le=10_000_000)]], Meta(max_length=MOST_STEPS)]
    step_minutes: Literal[15, 30, 60] = 60
    battery: BatteryOf | None = None
    device_id: Id | None = None
    soc: Fraction = 0.0
    tariff: TariffOf = field(default_factory=TariffOf)
    terminal_eur_kwh: Annotated[float, Meta(ge=-100, le=100)] = 0.0
    version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


class Step(Struct):
    """`power_w` at the meter: above 0 it charges. `soc` at the step's end."""

    starts_at: datetime
    power_w: int
    soc: float


class Plan(Struct):
    """`source` rules: the planner failed or was slow, as `reason` says. `slots` are those of the first local day."""

    version: int
    source: Literal["model", "rules"]
    reason: str | None
    cost_eur: str
    idle_eur: str
    steps: list[Step]
    slots: list[Slot]


class Outcome(Struct, forbid_unknown_fields=True):
    """What a version's plans expected, and what was."""

    version: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    expected_wh: Annotated[list[Annotated[float, Meta(ge=-1e9, le=1e9)]], Meta(min_length=1, max_length=10_000)]
    actual_wh: Annotated[list[Annotated[float, Meta(ge=-1e9, le=1e9)]], Meta(min_length=1, max_length=10_000)]


class Judged(Struct):
    error_share: float
    bias_share: float


class NewModel(Struct, forbid_unknown_fields=True):
    kind: Literal["dynamic", "timer"]
    settings: dict[str, Any] = {}
    note: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class Model(Struct):
    version: int
    kind: str
    settings: dict[str, Any]
    note: str
    active: bool
    created_at: datetime
