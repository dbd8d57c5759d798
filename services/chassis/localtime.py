"""Amsterdam's wall clock and UTC: where the anti-corruption layer turns one into the other. Pure.

The monolith keeps naive local times. Twice a year that is not enough: an hour is missing in spring, and in
autumn an hour comes twice, told apart by `hour_flag`: N normal, A first and B second pass.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE_NAME = "Europe/Amsterdam"
ZONE = ZoneInfo(ZONE_NAME)


class LocalTimeError(ValueError):
    """A local time that names no instant, or two. The text is the monolith's."""


class MissingHour(LocalTimeError):
    """The clock skips this time in spring."""


class AmbiguousHour(LocalTimeError):
    """The clock shows this time twice, and nothing says which is meant."""


class WrongFlag(LocalTimeError):
    """The hour is not repeated, so it has no first or second pass."""


def _later_offset(local: datetime) -> timedelta:
    """How much more the clock is ahead of UTC after this time than before: 0, but around a change."""
    before, after = (local.replace(tzinfo=ZONE, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    return after - before


def is_missing(local: datetime) -> bool:
    """True for a time that the clock skips."""
    return _later_offset(local) > timedelta()


def is_repeated(local: datetime) -> bool:
    """True for a time that the clock shows twice."""
    return _later_offset(local) < timedelta()


def hour_to_utc(local: datetime, flag: str = "N") -> datetime:
    """The instant of a local time and its hour flag.

    Raises: MissingHour, AmbiguousHour, WrongFlag.
    """
    change = _later_offset(local)
    if change > timedelta():
        raise MissingHour(f"local time {text(local)} does not exist")
    if change and flag == "N":
        raise AmbiguousHour(f"local time {text(local)} is ambiguous: give hour_flag A or B")
    if not change and flag != "N":
        raise WrongFlag(f"local time {text(local)} is not ambiguous: hour_flag must be N")
    return local.replace(tzinfo=ZONE, fold=int(flag == "B")).astimezone(UTC)


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
