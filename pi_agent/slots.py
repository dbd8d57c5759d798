"""A schedule's slots: reading their text, and which one is in force by the clock on the wall.

Slots are wall-clock times of the local day: on the days on which the clock moves, a slot may be skipped or come twice.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo

from pi_agent.errors import SlotError
from pi_agent.model import Mode, Slot

MINUTES_A_DAY = 24 * 60
#: A day of one-minute slots; longer texts are not a schedule.
MAX_SLOTS = MINUTES_A_DAY
_SLOT = re.compile(r"(\d{2})(\d{2})-(\d{2})(\d{2}) ([CDH])(\d{1,7})", re.ASCII)


def parse_text(text: str) -> tuple[Slot, ...]:
    """The legacy form, `0000-0500 C2500;0500-1600 H0`; 2400 is the end of the day. Raises: SlotError."""
    parts = [part.strip() for part in text.split(";") if part.strip()]
    return checked(_parse_slot(part) for part in parts[: MAX_SLOTS + 1])


def _parse_slot(part: str) -> Slot:
    match = _SLOT.fullmatch(part)
    if match is None:
        raise SlotError(f"slot {part[:40]!r} is not of the form HHMM-HHMM C|D|H<watts>")
    h1, m1, h2, m2, letter, power = match.groups()
    return Slot(_minutes(h1, m1), _minutes(h2, m2), Mode.read(letter), int(power))


def parse_clock(text: str) -> int:
    """Minutes of `HH:MM`. Raises: SlotError."""
    match = re.fullmatch(r"(\d{2}):(\d{2})", text, re.ASCII)
    if match is None:
        raise SlotError(f"time {text[:20]!r} is not of the form HH:MM")
    return _minutes(*match.groups())


def _minutes(hours: str, minutes: str) -> int:
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > MINUTES_A_DAY:
        raise SlotError(f"time {hours}{minutes} is not within a day")
    return total


def checked(slots: Iterable[Slot]) -> tuple[Slot, ...]:
    """The slots in order of time. Raises: SlotError when one is empty, holds with power, or overlaps another."""
    ordered = tuple(sorted(slots, key=lambda slot: slot.starts))
    if len(ordered) > MAX_SLOTS:
        raise SlotError(f"more than {MAX_SLOTS} slots")
    for slot in ordered:
        if slot.starts >= slot.ends:
            raise SlotError(f"slot {text_of((slot,))} ends before it begins")
        if slot.mode is Mode.HOLD and slot.power_w:
            raise SlotError(f"slot {text_of((slot,))} holds, so its power must be 0")
    for before, after in itertools.pairwise(ordered):
        if before.ends > after.starts:
            raise SlotError(f"slots {text_of((before,))} and {text_of((after,))} overlap")
    return ordered


def text_of(slots: Iterable[Slot]) -> str:
    """The legacy form of slots."""
    return ";".join(f"{_clock(s.starts)}-{_clock(s.ends)} {s.mode.letter}{s.power_w}" for s in slots)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}{minutes % 60:02d}"


def in_force(slots: Iterable[Slot], local: datetime) -> Slot | None:
    """The slot that holds the local time, or None in a gap."""
    minute = local.hour * 60 + local.minute
    return next((slot for slot in slots if slot.starts <= minute < slot.ends), None)


def occurrence(slot: Slot, version: int, local: datetime) -> str:
    """The name of this entry into the slot, the same through the whole of it and never given twice.

    A slot that begins in the repeated hour of autumn is entered twice on that day; the second entry ends in `b`.
    """
    hours, minutes = divmod(slot.starts, 60)
    begin = local.replace(hour=hours, minute=minutes, second=0, microsecond=0, fold=0)
    second = begin.replace(fold=1)
    repeated = is_repeated(begin)
    suffix = "b" if repeated and local.astimezone(UTC) >= second.astimezone(UTC) else ""
    return f"slot-v{version}-{local:%Y%m%d}-{_clock(slot.starts)}{suffix}"


def is_repeated(local: datetime) -> bool:
    """Whether this time of the clock comes twice on its day."""
    first, second = local.replace(fold=0).astimezone(UTC), local.replace(fold=1).astimezone(UTC)
    return first < second and first.astimezone(local.tzinfo).replace(tzinfo=None) == local.replace(tzinfo=None)


def earliest_instant(naive: datetime, zone: tzinfo) -> datetime:
    """The first instant that a naive local time can mean.

    For an expiry this is the safe reading: in the repeated hour the legacy contract does not say which pass it means,
    and a command must never run after its time.
    """
    return min(naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
