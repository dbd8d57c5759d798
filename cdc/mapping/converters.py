"""Pairs of pure functions that carry a value to the other side and back; what would lose something is refused.

A converter is a factory: the parameters of the mapping file in, a `Converter` out. An instance brings its own by import
path (`convert: package.module:factory`): the engine knows nothing of its formats. NULL never reaches a converter.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any

from cdc.mapping import localclock
from cdc.mapping.errors import ConversionError

# PostgreSQL's numeric has up to 131,072 digits; what does not fit here exactly is an error, never a rounding.
EXACT = Context(prec=2000, traps=[Inexact, InvalidOperation, Overflow])
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Converter:
    """`forward` takes a value per legacy column, `reverse` one per service column; several results come as a tuple."""

    forward: Callable[..., Any]
    reverse: Callable[..., Any]
    legacy: int = 1
    service: int = 1


def local_hour(*, zone: str) -> Converter:
    """Naive local timestamp and flag ↔ instant. Flag N, or A and B in the first and second pass of a repeated hour."""
    clock_of = localclock.clock(zone)

    def forward(local: datetime, flag: str) -> datetime:
        instant = clock_of.once(local)
        if instant is None:
            first, second = clock_of.passes(local)
            if first != second:
                if flag not in ("A", "B"):
                    raise ConversionError(f"{local} happens twice in {zone} and flag {flag!r} does not say which")
                return second if flag == "B" else first
            instant = first
        if flag != "N":
            raise ConversionError(f"{local} happens once in {zone}, but its flag is {flag!r}")
        return instant

    return Converter(forward, clock_of.local, legacy=2)


def local_time(*, zone: str) -> Converter:
    """Naive local timestamp ↔ instant. A repeated hour means its first pass; the second comes back as the first."""
    clock_of = localclock.clock(zone)

    def forward(local: datetime) -> datetime:
        return clock_of.once(local) or clock_of.passes(local)[0]

    return Converter(forward, lambda instant: clock_of.local(instant)[0])


def enum(*, values: Mapping[str, str]) -> Converter:
    """Codes ↔ words, one to one."""
    back = {word: code for code, word in values.items()}
    if len(back) != len(values):
        raise ValueError("two codes have the same word, so the way back is lost")

    def lookup(table: Mapping[str, str]) -> Callable[[str], str]:
        def convert(value: str) -> str:
            found = table.get(value)
            if found is None and (found := table.get(value.rstrip(" "))) is None:  # char(n) comes padded
                raise ConversionError(f"{value!r} is not one of {', '.join(table)}")
            return found

        return convert

    return Converter(lookup(dict(values)), lookup(back))


def yes_no() -> Converter:
    """`Y`/`N` ↔ boolean."""

    def forward(flag: str) -> bool:
        if flag.rstrip(" ") not in ("Y", "N"):
            raise ConversionError(f"{flag!r} is neither Y nor N")
        return flag[0] == "Y"

    def reverse(flag: bool) -> str:
        return "Y" if flag else "N"

    return Converter(forward, reverse)


def cents() -> Converter:
    """Integer cents ↔ decimal euros."""

    def forward(amount: int) -> Decimal:
        return Decimal(amount).scaleb(-2, EXACT)

    def reverse(amount: Decimal) -> int:
        whole = amount.scaleb(2, EXACT)
        if not whole.is_finite() or whole != whole.to_integral_value():
            raise ConversionError(f"{amount} is not a whole number of cents")
        return int(whole)

    return Converter(forward, reverse)


def percent() -> Converter:
    """21.00 ↔ 0.2100."""
    return Converter(lambda rate: rate.scaleb(-2, EXACT), lambda rate: rate.scaleb(2, EXACT))


def clock() -> Converter:
    """`HH:MM` ↔ time of day."""

    def forward(text: str) -> time:
        match = CLOCK.fullmatch(text)
        if match is None:
            raise ConversionError(f"{text!r} is not a time HH:MM from 00:00 to 23:59")
        return time(int(match[1]), int(match[2]))

    def reverse(value: time) -> str:
        if value.second or value.microsecond:
            raise ConversionError(f"{value} has seconds, which HH:MM would lose")
        return f"{value.hour:02}:{value.minute:02}"

    return Converter(forward, reverse)


def char() -> Converter:
    """char(n) ↔ text: the padding is PostgreSQL's own and goes; it comes back when char(n) stores the value."""
    return Converter(lambda text: text.rstrip(" "), lambda text: text)


Factory = Callable[..., Converter]
CONVERTERS: dict[str, Factory] = {
    factory.__name__: factory for factory in (local_hour, local_time, enum, yes_no, cents, percent, clock, char)
}


def find(name: str) -> Factory:
    """The factory called `name` here, or at the import path `package.module:factory`. Raises: LookupError."""
    if name in CONVERTERS:
        return CONVERTERS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise LookupError(
            f"unknown converter {name!r}: use {', '.join(CONVERTERS)}, or an import path package.module:factory"
        )
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"converter {name!r} cannot be imported: {error}") from error
    if not callable(factory):
        raise LookupError(f"converter {name!r} is not a function")
    return factory  # type: ignore[no-any-return]
