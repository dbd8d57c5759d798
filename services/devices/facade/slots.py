"""The monolith's slots: one text, `0000-0500 C2500;0500-1600 H0`, local times, half-open, in order. Pure, both ways."""

from __future__ import annotations

import re

from services.devices.domain.devices import Slot
from services.devices.facade.codes import MODES

MOST_SLOTS = 96
DAY = 24 * 60

_SLOT = re.compile(r"([0-9]{4})-([0-9]{4}) ([CDH])(0|[1-9][0-9]{0,6})")


class BadSlots(ValueError):
    """A device cannot follow them. The text is the monolith's."""


def parse(text: str, max_power_w: int) -> tuple[Slot, ...]:
    """Raises: BadSlots, about the first slot that is wrong."""
    parts = text.split(";") if text else []
    if len(parts) > MOST_SLOTS:
        raise BadSlots(f"slots: at most {MOST_SLOTS}")
    slots: list[Slot] = []
    for part in parts:
        slot = _one(part)
        if slots and slot.since < slots[-1].until:
            raise BadSlots(f"slots: {part!r} overlaps the slot before it")
        _check_power(slot, part, max_power_w)
        slots.append(slot)
    return tuple(slots)


def text(slots: tuple[Slot, ...]) -> str:
    return ";".join(
        f"{_hhmm(slot.since)}-{_hhmm(slot.until)} {MODES.letter(slot.mode)}{slot.power_w}" for slot in slots
    )


def _one(part: str) -> Slot:
    match = _SLOT.fullmatch(part)
    if match is None:
        raise BadSlots(f"slots: {part[:40]!r} is not like 0000-0500 C2500")
    since, until = _minutes(match[1]), _minutes(match[2])
    if since is None or until is None or since >= until:
        raise BadSlots(f"slots: {part!r} has no such times")
    return Slot(since, until, MODES.word(match[3]), int(match[4]))


def _check_power(slot: Slot, part: str, max_power_w: int) -> None:
    if slot.mode == "hold":
        if slot.power_w != 0:
            raise BadSlots(f"slots: {part!r} holds, so its power must be 0")
    elif not 0 < slot.power_w <= max_power_w:
        raise BadSlots(f"slots: {part!r} needs a power of 1 to {max_power_w} W")


def _minutes(hhmm: str) -> int | None:
    """2400 is the end of the day."""
    hours, minutes = int(hhmm[:2]), int(hhmm[2:])
    total = hours * 60 + minutes
    return total if minutes < 60 and total <= DAY else None


def _hhmm(minutes: int) -> str:
    return f"{minutes // 60:02}{minutes % 60:02}"
