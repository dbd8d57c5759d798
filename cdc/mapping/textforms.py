"""The usual values of the busiest converters, from PostgreSQL's text to PostgreSQL's text, with nothing in between.

A form gives what the converter gives, or None for a value that it leaves to it: then nothing is decided here. A bulk
load is mostly such values, and reading, converting and writing each is most of what it costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cdc.mapping.localclock import LocalClock

# A local hour as PostgreSQL prints it, in the years that Python knows; what follows are minutes.
_HOUR = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}")
_NEWEST_FEW = 50_000


@dataclass(frozen=True, slots=True)
class TextForm:
    """`convert` takes the text of each source column, of these types each, and makes the one target column's."""

    sources: tuple[frozenset[str], ...]
    targets: frozenset[str]
    convert: Callable[..., bytes | None]


WHOLE = frozenset({"int2", "int4", "int8", "numeric"})
EXACT = frozenset({"numeric"})


def smaller(digits: int) -> TextForm:
    """With two digits 77123 → 771.23."""

    def convert(value: bytes) -> bytes | None:
        return value[:-digits] + b"." + value[-digits:] if len(value) > digits and value.isdigit() else None

    return TextForm((WHOLE,), EXACT, convert)


def larger(digits: int) -> TextForm:
    """With two digits 771.23 → 77123."""

    def convert(value: bytes) -> bytes | None:
        whole, point, rest = value.partition(b".")
        if not point or len(rest) != digits or not whole.isdigit() or not rest.isdigit():
            return None
        return (whole + rest).lstrip(b"0") or b"0"

    return TextForm((EXACT,), WHOLE, convert)


def local_to_instant(clock: LocalClock) -> TextForm:
    """A naive local time → the instant in UTC, in hours that the zone's clock passes once, whole hours from UTC."""
    hour = _hours(clock)
    return TextForm(
        (frozenset({"timestamp"}),),
        frozenset({"timestamptz"}),
        lambda value: None if (made := hour(value)) is None else made + value[13:] + b"+00",
    )


def local_hour_to_instant(clock: LocalClock) -> TextForm:
    """The same with a flag beside, which is N in such hours."""
    hour = _hours(clock)
    return TextForm(
        (frozenset({"timestamp"}), frozenset({"bpchar", "varchar", "text"})),
        frozenset({"timestamptz"}),
        lambda value, flag: None if flag != b"N" or (made := hour(value)) is None else made + value[13:] + b"+00",
    )


def _hours(clock: LocalClock) -> Callable[[bytes], bytes | None]:
    """A local time's hour in UTC, as text; remembered."""
    known: dict[bytes, bytes | None] = {}

    def hour(value: bytes) -> bytes | None:
        if value[-1:] == b"C":  # years before Christ have the same digits
            return None
        head = value[:13]
        if head in known:
            return known[head]
        if len(known) >= _NEWEST_FEW:
            known.clear()
        known[head] = made = _in_utc(clock, head)
        return made

    return hour


def _in_utc(clock: LocalClock, head: bytes) -> bytes | None:
    if not _HOUR.fullmatch(head):
        return None
    local = datetime.fromisoformat(f"{head.decode()}:00:00")
    try:
        instant = clock.once(local)
    except OverflowError:
        return None
    if instant is None or (instant.replace(tzinfo=None) - local) % timedelta(hours=1):
        return None
    return instant.strftime("%Y-%m-%d %H").rjust(13, "0").encode()
