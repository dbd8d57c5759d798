"""What the batteries should do at an imbalance price: pure, and the only place that knows the thresholds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from legacy_monolith import localtime

#: EUR/MWh: below, the grid pays for taking energy; above, it pays well for giving.
CHARGE_BELOW = Decimal(0)
DISCHARGE_ABOVE = Decimal(250)

#: A price older than this says nothing about now.
FRESH = timedelta(minutes=15)

#: A command that comes later than this does harm.
COMMAND_LIFE = timedelta(minutes=2)


def mode(eur_mwh: Decimal) -> str | None:
    """C charge, D discharge, or None: follow the schedule."""
    if eur_mwh < CHARGE_BELOW:
        return "C"
    if eur_mwh > DISCHARGE_ABOVE:
        return "D"
    return None


def is_fresh(ts: datetime, flag: str, now: datetime) -> bool:
    """Is the price of the local minute `ts` one to act on at the instant `now`?"""
    return timedelta(0) <= now - localtime.to_utc(ts, flag) <= FRESH


def ref(device_id: int, minute: datetime) -> str:
    """By the UTC minute: the repeated hour must not repeat a reference."""
    return f"imb-{minute.astimezone(UTC):%Y%m%d%H%M}-{device_id}"
