"""The slots of a schedule: `0000-0500 C2500;0500-1600 H0`, one text, local times, half-open, in order."""

from __future__ import annotations

import re

MOST_SLOTS = 96

_SLOT = re.compile(r"([0-9]{4})-([0-9]{4}) ([CDH])(0|[1-9][0-9]{0,6})")


def problem(slots: str, max_power_w: int) -> str | None:
    """Why a device of `max_power_w` cannot follow `slots`; None when it can. No slots at all is fine."""
    if not slots:
        return None
    parts = slots.split(";")
    if len(parts) > MOST_SLOTS:
        return f"slots: at most {MOST_SLOTS}"
    edge = 0
    for part in parts:
        match = _SLOT.fullmatch(part)
        if match is None:
            return f"slots: {part[:40]!r} is not like 0000-0500 C2500"
        since, until, mode, power = _minutes(match[1]), _minutes(match[2]), match[3], int(match[4])
        if since is None or until is None or since >= until:
            return f"slots: {part!r} has no such times"
        if since < edge:
            return f"slots: {part!r} overlaps the slot before it"
        if mode == "H" and power != 0:
            return f"slots: {part!r} holds, so its power must be 0"
        if mode != "H" and not 0 < power <= max_power_w:
            return f"slots: {part!r} needs a power of 1 to {max_power_w} W"
        edge = until
    return None


def _minutes(hhmm: str) -> int | None:
    hours, minutes = int(hhmm[:2]), int(hhmm[2:])
    total = hours * 60 + minutes
    return total if minutes < 60 and total <= 24 * 60 else None
