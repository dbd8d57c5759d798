"""Converter of a battery schedule: the monolith's one text column ↔ the service's JSON list."""

from __future__ import annotations

import re
from typing import Any

from cdc.mapping.converters import Converter
from cdc.mapping.errors import ConversionError

SLOT = re.compile(r"(\d\d)([0-5]\d)-(\d\d)([0-5]\d) ([CDH])(0|[1-9]\d*)")
MODES = {"C": "charge", "D": "discharge", "H": "hold"}
CODES = {mode: code for code, mode in MODES.items()}


def slots() -> Converter:
    """`0000-0500 C2500;0500-1600 H0` ↔ `[{"from": "00:00", "to": "05:00", "mode": "charge", "power_w": 2500}, …]`."""

    def forward(text: str) -> list[dict[str, Any]]:
        return [_parse(part) for part in text.split(";")] if text else []

    def reverse(items: list[dict[str, Any]]) -> str:
        return ";".join(map(_format, items))

    return Converter(forward, reverse)


def _parse(part: str) -> dict[str, Any]:
    match = SLOT.fullmatch(part)
    if match is None:
        raise ConversionError(f"slot {part!r} is not like 0000-0500 C2500")
    from_hour, from_minute, to_hour, to_minute, code, power = match.groups()
    return {
        "from": f"{from_hour}:{from_minute}",
        "to": f"{to_hour}:{to_minute}",
        "mode": MODES[code],
        "power_w": int(power),
    }


def _format(item: dict[str, Any]) -> str:
    """Raises what the engine takes for a bad value: a missing name, an unknown mode, another type."""
    if set(item) != {"from", "to", "mode", "power_w"}:
        raise ConversionError(f"slot with {', '.join(sorted(item))} instead of from, to, mode, power_w")
    part = f"{item['from'].replace(':', '')}-{item['to'].replace(':', '')} {CODES[item['mode']]}{item['power_w']}"
    _parse(part)
    return part
