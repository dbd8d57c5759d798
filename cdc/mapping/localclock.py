"""A zone's local time ↔ instants (PEP 495), remembered by the hour: this runs for every timestamp of every row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cdc.mapping.errors import ConversionError

# Hours remembered per direction: more than twenty years, about 20 MB at most.
REMEMBERED = 200_000
HOUR = timedelta(hours=1)
UTC_ZONES = (UTC, ZoneInfo("UTC"))  # the second is what the driver gives


@dataclass(slots=True)
class LocalClock:
    """`None` is remembered for an hour in which the clock changes: its moments are worked out one by one."""

    zone: ZoneInfo
    _local_hours: dict[int, timedelta | None] = field(default_factory=dict)
    _utc_hours: dict[int, timedelta | None] = field(default_factory=dict)

    def once(self, local: datetime) -> datetime | None:
        """The instant of a naive local time, None if it lies in an hour that is repeated, skipped or cut."""
        if local.tzinfo is not None:
            raise ConversionError(f"{local} has a time zone where a local time is expected")
        hour = local.toordinal() * 24 + local.hour
        try:
            offset = self._local_hours[hour]
        except KeyError:
            offset = self._learn_local(local, hour)
        return None if offset is None else (local - offset).replace(tzinfo=UTC)

    def passes(self, local: datetime) -> tuple[datetime, datetime]:
        """The instants of the first and the second pass of a naive local time: equal when it happens once.

        Raises: ConversionError for the hour that spring skips: no instant would come back as it.
        """
        first, second = local.replace(tzinfo=self.zone, fold=0), local.replace(tzinfo=self.zone, fold=1)
        if _offset(first) < _offset(second):
            raise ConversionError(f"{local} does not exist in {self.zone.key}: the clock skips it")
        return first.astimezone(UTC), second.astimezone(UTC)

    def local(self, instant: datetime) -> tuple[datetime, str]:
        """Naive local time, and N, or A and B for the first and second pass of a repeated time."""
        if instant.tzinfo is None:
            raise ConversionError(f"{instant} has no time zone where an instant is expected")
        utc = (instant if instant.tzinfo in UTC_ZONES else instant.astimezone(UTC)).replace(tzinfo=None)
        hour = utc.toordinal() * 24 + utc.hour
        try:
            offset = self._utc_hours[hour]
        except KeyError:
            offset = self._learn_utc(utc, hour)
        if offset is not None:
            return utc + offset, "N"
        there = instant.astimezone(self.zone)
        repeated = _offset(there) != _offset(there.replace(fold=1 - there.fold))
        return there.replace(tzinfo=None, fold=0), ("B" if there.fold else "A") if repeated else "N"

    def _learn_local(self, local: datetime, hour: int) -> timedelta | None:
        start = local.replace(minute=0, second=0, microsecond=0)
        edges = (start, start + HOUR - timedelta.resolution)
        offsets = {_offset(edge.replace(tzinfo=self.zone, fold=fold)) for edge in edges for fold in (0, 1)}
        return _remember(self._local_hours, hour, offsets)

    def _learn_utc(self, utc: datetime, hour: int) -> timedelta | None:
        start = utc.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
        there = [edge.astimezone(self.zone) for edge in (start, start + HOUR - timedelta.resolution)]
        offsets = {_offset(edge.replace(fold=fold)) for edge in there for fold in (0, 1)}
        return _remember(self._utc_hours, hour, offsets)


def clock(zone: str) -> LocalClock:
    """Raises: ValueError."""
    try:
        return LocalClock(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {zone!r}") from error


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None, "a moment in a zone has an offset"
    return offset


def _remember(hours: dict[int, timedelta | None], hour: int, offsets: set[timedelta]) -> timedelta | None:
    if len(hours) >= REMEMBERED:
        hours.clear()
    hours[hour] = offsets.pop() if len(offsets) == 1 else None
    return hours[hour]
