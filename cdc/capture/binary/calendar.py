"""Dates, times and intervals from binary: days and microseconds since 2000, also those that Python cannot hold.

Source: PostgreSQL's datetime.c (EncodeDateOnly, EncodeDateTime, EncodeInterval) and timestamp.c; the civil calendar is
Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
"""

from __future__ import annotations

from struct import Struct

_INT32 = Struct("!i").unpack
_INT64 = Struct("!q").unpack
_TIMETZ = Struct("!qi").unpack
_INTERVAL = Struct("!qii").unpack

_DAY = 86_400_000_000
_LAST32, _FIRST32 = 2**31 - 1, -(2**31)
_LAST64, _FIRST64 = 2**63 - 1, -(2**63)
# Days from 0000-03-01 to 2000-01-01.
_EPOCH = 730_425


def date(data: bytes) -> bytes:
    (days,) = _INT32(data)
    if days == _LAST32:
        return b"infinity"
    if days == _FIRST32:
        return b"-infinity"
    year, rest = _civil(days)
    return (rest if year > 0 else f"{rest} BC").encode()


def timestamp(data: bytes) -> bytes:
    return _moment(data, "")


def timestamptz(data: bytes) -> bytes:
    """In UTC, as sessions with that time zone print it."""
    return _moment(data, "+00")


def time(data: bytes) -> bytes:
    return _clock(_INT64(data)[0]).encode()


def timetz(data: bytes) -> bytes:
    micros, west = _TIMETZ(data)
    hours, seconds = divmod(abs(west), 3600)
    minutes, seconds = divmod(seconds, 60)
    zone = f"{'-' if west > 0 else '+'}{hours:02}"
    if minutes or seconds:
        zone += f":{minutes:02}"
    if seconds:
        zone += f":{seconds:02}"
    return f"{_clock(micros)}{zone}".encode()


def interval(data: bytes) -> bytes:
    micros, days, months = _INTERVAL(data)
    if (micros, days, months) == (_LAST64, _LAST32, _LAST32):
        return b"infinity"
    if (micros, days, months) == (_FIRST64, _FIRST32, _FIRST32):
        return b"-infinity"
    years, months = _toward_zero(months, 12)
    parts: list[str] = []
    negative = False
    for value, unit in ((years, "year"), (months, "mon"), (days, "day")):
        if value:
            parts.append(f"{'+' if negative and value > 0 else ''}{value} {unit}{'' if value == 1 else 's'}")
            negative = value < 0
    if micros or not parts:
        sign = "-" if micros < 0 else "+" if negative else ""
        parts.append(sign + _clock(abs(micros)))
    return " ".join(parts).encode()


def _moment(data: bytes, zone: str) -> bytes:
    (micros,) = _INT64(data)
    if micros == _LAST64:
        return b"infinity"
    if micros == _FIRST64:
        return b"-infinity"
    days, clock = divmod(micros, _DAY)
    year, day = _civil(days)
    return f"{day} {_clock(clock)}{zone}{'' if year > 0 else ' BC'}".encode()


def _clock(micros: int) -> str:
    seconds, fraction = divmod(micros, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    tail = f".{fraction:06}".rstrip("0") if fraction else ""
    return f"{hour:02}:{minute:02}:{second:02}{tail}"


def _civil(days: int) -> tuple[int, str]:
    """Astronomical year (0 is 1 BC), and the day as text without era."""
    era, day_of_era = divmod(days + _EPOCH, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year = year_of_era + era * 400 + (month <= 2)
    return year, f"{year if year > 0 else 1 - year:04}-{month:02}-{day:02}"


def _toward_zero(value: int, by: int) -> tuple[int, int]:
    whole = abs(value) // by * (1 if value >= 0 else -1)
    return whole, value - whole * by
