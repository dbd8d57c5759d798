"""Slots as they are stored and sent by v2: `{"from":"00:00","to":"05:00","mode":"charge","power_w":2500}`."""

from __future__ import annotations

from typing import Any

from services.devices.domain.devices import Slot


def to_json(slots: tuple[Slot, ...]) -> list[dict[str, Any]]:
    return [
        {"from": clock(slot.since), "to": clock(slot.until), "mode": slot.mode, "power_w": slot.power_w}
        for slot in slots
    ]


def from_json(value: list[dict[str, Any]]) -> tuple[Slot, ...]:
    return tuple(Slot(_minutes(s["from"]), _minutes(s["to"]), s["mode"], s["power_w"]) for s in value)


def clock(minutes: int) -> str:
    """24:00 is the end of the day."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])
