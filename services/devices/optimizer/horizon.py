"""The hours that a plan covers, and its plan as slots of the wall clock. Days have 23, 24 or 25 hours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from services.chassis.localtime import ZONE, day_bounds, to_local
from services.devices.domain.devices import Slot
from services.devices.optimizer.tariff import Array

HOUR = timedelta(hours=1)
#: Local time at which the auction's prices of the whole next day are out.
PUBLISHED = time(13)
DAY_MINUTES = 24 * 60


def hours_of(since: datetime, until: datetime) -> list[datetime]:
    """The instants at which each hour from `since` until before `until` begins."""
    return [since + HOUR * n for n in range(round((until - since) / HOUR))]


def local_day(day: date) -> list[datetime]:
    """The hours of a local day: 23 of them in spring, 25 in autumn."""
    return hours_of(*day_bounds(day))


def known_until(now: datetime) -> datetime:
    """The end of the last local day whose day-ahead prices are out at `now`."""
    local = now.astimezone(ZONE)
    days = 2 if local.time() >= PUBLISHED else 1
    return day_bounds(local.date() + timedelta(days=days - 1))[1]


def next_publication(now: datetime) -> datetime:
    """The first publication after `now`."""
    local = now.astimezone(ZONE)
    today = datetime.combine(local.date(), PUBLISHED, tzinfo=ZONE)
    if today <= local:
        today = datetime.combine(local.date() + timedelta(days=1), PUBLISHED, tzinfo=ZONE)
    return today.astimezone(UTC)


def local_hours(starts: Sequence[datetime]) -> list[int]:
    """The hour that the wall clock shows at each instant."""
    return [to_local(start).hour for start in starts]


def slots(starts: Sequence[datetime], power_kw: Array, most_w: int, step: int = 60) -> tuple[Slot, ...]:
    """The plan of one local day in steps of `step` minutes, as slots of its wall clock; equal neighbours are one slot.

    A slot is named by the clock, so the two passes of autumn's repeated hour share one: where the plan differs between
    them the battery holds. The hour that spring skips has no slot, and needs none.
    """
    wanted: dict[int, tuple[str, int]] = {}
    for start, kilowatts in zip(starts, power_kw, strict=True):
        minute = to_local(start).hour * 60 + to_local(start).minute
        action = _action(float(kilowatts), most_w)
        wanted[minute] = action if wanted.get(minute, action) == action else ("hold", 0)
    minutes = sorted(wanted)
    found: list[Slot] = []
    ends = [*minutes[1:], min(DAY_MINUTES, minutes[-1] + step)] if minutes else []
    for minute, until in zip(minutes, ends, strict=True):
        mode, power_w = wanted[minute]
        if found and (found[-1].mode, found[-1].power_w, found[-1].until) == (mode, power_w, minute):
            minute = found.pop().since
        found.append(Slot(minute, until, mode, power_w))
    return tuple(found)


def _action(kilowatts: float, most_w: int) -> tuple[str, int]:
    watts = min(most_w, round(abs(kilowatts) * 1000))
    return ("hold", 0) if watts == 0 else ("charge" if kilowatts > 0 else "discharge", watts)
