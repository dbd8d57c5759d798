"""Versions of the agent, and who gets one: numbers between dots, compared as numbers. Pure."""

from __future__ import annotations

from services.devices.domain.assignment import BUCKETS, bucket

PATTERN = r"^(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}$"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def is_for(percent: int, device_id: int) -> bool:
    """Whether a device is among the first `percent` of the fleet: always the same, so 10 % are part of 50 %."""
    return bucket(device_id) * 100 < percent * BUCKETS


def is_news(version: str, min_version: str | None, current: str | None) -> bool:
    """Whether a device that runs `current` should be told of `version`; one that does not say is told."""
    if current is None:
        return True
    return numbers(version) > numbers(current) and (min_version is None or numbers(current) >= numbers(min_version))
