"""Amsterdam's wall clock and UTC: where the anti-corruption layer turns one into the other. Pure.

The monolith keeps naive local times. Twice a year that is not enough: an hour is missing in spring, and in
autumn an hour comes twice, told apart by `hour_flag`: N normal, A first and B second pass.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Amsterdam")
ZONE_NAME = "Europe/Amsterdam"


class LocalTimeError(ValueError):
    """A local time that names no instant, or two."""


class MissingHour(LocalTimeError):
    """The clock skips this time in spring."""


class AmbiguousHour(LocalTimeError):
    """The clock shows this time twice, and nothing says which is meant."""


class WrongFlag(LocalTimeError):
    """The hour is not repeated, so it has no first or second pass."""


def is_missing(local: datetime) -> bool:
    """True for a time that the clock skips."""
    return local.replace(tzinfo=ZONE).astimezone(UTC).astimezone(ZONE).replace(tzinfo=None) != local.replace(fold=0)


def is_repeated(local: datetime) -> bool:
    """True for a time that the clock shows twice."""
    first, second = (local.replace(tzinfo=ZONE, fold=fold).utcoffset() for fold in (0, 1))
    return first != second and not is_missing(local)


def hour_to_utc(local: datetime, flag: str | None = None) -> datetime:
    """The instant of a local time and its hour flag; no flag is fine where there is no doubt.

    Raises: MissingHour, AmbiguousHour, WrongFlag.
    """
    if is_missing(local):
        raise MissingHour(f"{local.isoformat()} does not exist in {ZONE_NAME}")
    if is_repeated(local):
        if flag not in ("A", "B"):
            raise AmbiguousHour(f"{local.isoformat()} comes twice in {ZONE_NAME}")
        return local.replace(tzinfo=ZONE, fold=int(flag == "B")).astimezone(UTC)
    if flag not in (None, "N"):
        raise WrongFlag(f"{local.isoformat()} comes once in {ZONE_NAME}")
    return local.replace(tzinfo=ZONE).astimezone(UTC)


def utc_to_hour(instant: datetime) -> tuple[datetime, str]:
    """The local time and hour flag of an instant; the inverse of `hour_to_utc`."""
    aware = instant.astimezone(ZONE)
    local = aware.replace(tzinfo=None, fold=0)
    if not is_repeated(local):
        return local, "N"
    return local, "B" if aware.fold else "A"


def to_utc(local: datetime) -> datetime:
    """The instant of a local time that carries no flag: the first pass of a repeated hour."""
    return local.replace(tzinfo=ZONE, fold=0).astimezone(UTC)


def to_local(instant: datetime) -> datetime:
    """The naive local time of an instant."""
    return instant.astimezone(ZONE).replace(tzinfo=None, fold=0)


def day_start(day: date) -> datetime:
    """The instant at which a local day begins."""
    return datetime.combine(day, time(), tzinfo=ZONE).astimezone(UTC)


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """A local day as a half-open interval; 23, 24 or 25 hours."""
    return day_start(day), day_start(day + timedelta(days=1))


def text(local: datetime) -> str:
    """A naive local time as the legacy contract writes it: whole seconds, no zone."""
    return local.isoformat(timespec="seconds")


def local_text(instant: datetime) -> str:
    """An instant as the legacy contract writes it."""
    return text(to_local(instant))
