"""Naive Europe/Amsterdam timestamps and the flag that tells the repeated hour's passes apart (N, or A then B)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Amsterdam")


def now() -> datetime:
    """Local naive time, whole seconds."""
    return to_local(datetime.now(UTC).replace(microsecond=0))[0]


def text(ts: datetime) -> str:
    return ts.isoformat(timespec="seconds")


def _offsets(ts: datetime) -> tuple[timedelta, timedelta]:
    first, second = ts.replace(tzinfo=ZONE, fold=0).utcoffset(), ts.replace(tzinfo=ZONE, fold=1).utcoffset()
    assert first is not None
    assert second is not None
    return first, second


def exists(ts: datetime) -> bool:
    """False in the hour that is skipped in spring."""
    first, second = _offsets(ts)
    return first >= second


def is_repeated(ts: datetime) -> bool:
    """True in the hour that comes twice in autumn."""
    first, second = _offsets(ts)
    return first > second


def flag_problem(ts: datetime, flag: str) -> str | None:
    """Why `ts` with `flag` names no hour, or None when it names exactly one."""
    first, second = _offsets(ts)
    if first < second:
        return f"local time {text(ts)} does not exist"
    if first > second and flag == "N":
        return f"local time {text(ts)} is ambiguous: give hour_flag A or B"
    if first == second and flag != "N":
        return f"local time {text(ts)} is not ambiguous: hour_flag must be N"
    return None


def to_local(instant: datetime) -> tuple[datetime, str]:
    """A UTC instant as (naive local time, flag)."""
    local = instant.astimezone(ZONE)
    naive = local.replace(tzinfo=None, fold=0)
    if not is_repeated(naive):
        return naive, "N"
    return naive, "B" if local.fold else "A"


def to_utc(ts: datetime, flag: str = "N") -> datetime:
    """The UTC instant of (naive local time, flag)."""
    return ts.replace(tzinfo=ZONE, fold=1 if flag == "B" else 0).astimezone(UTC)
