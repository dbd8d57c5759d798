"""Do two JSON documents say the same? The order of keys does not matter, the order of lists does. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

MISSING = "(missing)"
_SHOWN = 200  # characters of a value in a sample


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where the two differ, as a JSON pointer, and both values."""

    pointer: str
    one: str
    other: str


def compare(one: tuple[int, bytes], other: tuple[int, bytes]) -> Difference | None:
    """(status, body) of both sides. Bodies that are not JSON are compared as bytes."""
    if one[0] != other[0]:
        return Difference("status", str(one[0]), str(other[0]))
    if one[1] == other[1]:
        return None
    try:
        left, right = msgspec.json.decode(one[1]), msgspec.json.decode(other[1])
    except msgspec.DecodeError:
        return Difference("body", _shown(one[1]), _shown(other[1]))
    return _differ("", left, right)


def _differ(at: str, one: Any, other: Any) -> Difference | None:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            found = _differ(f"{at}/{key}", one.get(key, MISSING), other.get(key, MISSING))
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for index, (left, right) in enumerate(zip(one, other, strict=False)):
            found = _differ(f"{at}/{index}", left, right)
            if found is not None:
                return found
        if len(one) != len(other):
            return Difference(f"{at}/length", str(len(one)), str(len(other)))
        return None
    # True == 1 in Python, but not in JSON
    if one == other and isinstance(one, bool) == isinstance(other, bool):
        return None
    return Difference(at or "/", _shown(one), _shown(other))


def _shown(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
