"""Settings of what this service does for its fleet, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.chassis.errors import SettingsError
from services.devices.fleet import waiting

PREFIX = "DEVICES_"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """`redis_url` None: who watches another process's command asks the database. `ota_key` None: no updates."""

    redis_url: str | None = field(default=None, repr=False)
    most_waiting: int = waiting.MOST
    offline_after_s: int = 180
    log_days: int = 90
    telemetry_days: int = 35
    ota_key: Path | None = None


def load(environ: Mapping[str, str]) -> FleetSettings:
    """Raises: SettingsError, which names the variable."""
    redis_url = environ.get(f"{PREFIX}REDIS_URL") or None
    if redis_url is not None and not redis_url.startswith(("redis://", "rediss://", "unix://")):
        raise SettingsError(f"{PREFIX}REDIS_URL starts with redis://, rediss:// or unix://")
    key = environ.get(f"{PREFIX}OTA_KEY_FILE") or None
    return FleetSettings(
        redis_url,
        _whole(environ, "MOST_WAITING", waiting.MOST, 0, 1_000_000),
        _whole(environ, "OFFLINE_AFTER_S", 180, 10, 86_400),
        _whole(environ, "LOG_DAYS", 90, 1, 3660),
        _whole(environ, "TELEMETRY_DAYS", 35, 1, 3660),
        None if key is None else Path(key),
    )


def _whole(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environ.get(f"{PREFIX}{name}")
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SettingsError(f"{PREFIX}{name} is a number from {least} to {most}")
    return int(text)
