"""What is wrong with a schedule that a battery should follow each day. Pure.

All is said at once, each with its slot, so that a person mends it in one go. `time`, `order`, `overlap` and `power`
cannot be followed. `soc` is more energy in one go than the battery holds: it will stop half-way, which may be meant.
`dst` is what becomes of a slot on the next days that do not have 24 hours: it is told, and never refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal

from services.chassis import localtime
from services.devices.domain.devices import Slot

Kind = Literal["time", "order", "overlap", "power", "soc", "dst"]

MOST_SLOTS = 96
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})")
_SIGNS = {"charge": 1, "discharge": -1, "hold": 0}


@dataclass(frozen=True, slots=True)
class Conflict:
    """`slot` counts from 0."""

    slot: int
    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A slot as it was asked for; its times may be none."""

    since: str
    until: str
    mode: str
    power_w: int


def minutes(clock: str) -> int | None:
    """`24:00` is the end of the day."""
    match = _CLOCK.fullmatch(clock)
    if match is None:
        return None
    total = int(match[1]) * 60 + int(match[2])
    return total if int(match[2]) < 60 and total <= 24 * 60 else None


def read(wanted: Sequence[Wanted], capacity_wh: int, max_power_w: int) -> tuple[tuple[Slot, ...], list[Conflict]]:
    """The slots that can be read, and everything that is wrong."""
    found: list[Conflict] = []
    slots: list[tuple[int, Slot]] = []
    for n, each in enumerate(wanted):
        since, until = minutes(each.since), minutes(each.until)
        if since is None or until is None or since >= until:
            found.append(Conflict(n, "time", f"{each.since}–{each.until} is no part of a day"))
            continue
        slots.append((n, Slot(since, until, each.mode, each.power_w)))
    found += _power(slots, max_power_w)
    found += _order(slots)
    if not found:
        found += _energy([slot for _, slot in slots], capacity_wh)
    return tuple(slot for _, slot in slots), sorted(found, key=lambda conflict: conflict.slot)


def _power(slots: Sequence[tuple[int, Slot]], most: int) -> list[Conflict]:
    found = []
    for n, slot in slots:
        if slot.mode == "hold" and slot.power_w != 0:
            found.append(Conflict(n, "power", "hold has a power of 0 W"))
        elif slot.mode != "hold" and not 0 < slot.power_w <= most:
            found.append(Conflict(n, "power", f"{slot.power_w} W is not 1 to {most} W"))
    return found


def _order(slots: Sequence[tuple[int, Slot]]) -> list[Conflict]:
    found = []
    for (_, before), (n, slot) in pairwise(slots):
        if slot.since < before.since:
            found.append(Conflict(n, "order", "it begins before the slot before it"))
        elif slot.since < before.until:
            found.append(Conflict(n, "overlap", "it begins before the slot before it has ended"))
    return found


def _energy(slots: Sequence[Slot], capacity_wh: int) -> list[Conflict]:
    """However full the battery is in the morning, its charge cannot rise and fall by more than it holds."""
    level = low = high = 0.0
    for n, slot in enumerate(slots):
        level += _SIGNS[slot.mode] * slot.power_w * (slot.until - slot.since) / 60
        low, high = min(low, level), max(high, level)
        if high - low > capacity_wh:
            return [Conflict(n, "soc", f"{high - low:.0f} Wh by then is more than the battery's {capacity_wh} Wh")]
    return []


def odd_days(today: date, days: int = 366) -> list[date]:
    """The days from now on that do not have 24 hours."""
    coming = (today + timedelta(days=n) for n in range(days))
    return [day for day in coming if _hours(day) != 24]


def _hours(day: date) -> float:
    start, end = localtime.day_bounds(day)
    return (end - start).total_seconds() / 3600


def on_odd_days(slots: Sequence[Slot], days: Sequence[date]) -> list[Conflict]:
    """Slots that last longer or shorter on these days than on others."""
    found = []
    for day in days:
        for n, slot in enumerate(slots):
            lasts, usual = _real_minutes(slot, day), slot.until - slot.since
            if lasts != usual:
                found.append(Conflict(n, "dst", f"on {day} it lasts {lasts} instead of {usual} minutes"))
    return found


def _real_minutes(slot: Slot, day: date) -> int:
    return int((_instant(slot.until, day) - _instant(slot.since, day)).total_seconds()) // 60


def _instant(minute: int, day: date) -> datetime:
    """When the clock first shows this time; a time that it skips is when it skips."""
    local = datetime.combine(day, time()) + timedelta(minutes=minute)
    if not localtime.is_missing(local):
        return localtime.to_utc(local)
    while localtime.is_missing(local):
        local += timedelta(minutes=1)
    return localtime.to_utc(local)
