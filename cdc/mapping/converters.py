"""Pairs of pure functions that carry a value to the other side and back; what would lose something is refused.

A converter is a factory: the parameters of the mapping file in, a `Converter` out. An instance brings its own by import
path (`convert: package.module:factory`): the engine knows nothing of its formats. NULL never reaches a converter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any

from cdc.mapping import forms, localclock, textforms
from cdc.mapping.errors import ConversionError
from cdc.mapping.forms import SqlForm
from cdc.mapping.textforms import TextForm

# PostgreSQL's numeric has up to 131,072 digits; what does not fit here exactly is an error, never a rounding.
EXACT = Context(prec=2000, traps=[Inexact, InvalidOperation, Overflow])
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Converter:
    """`forward` takes a value per legacy column, `reverse` one per service column; several results come as a tuple.

    Their SQL must give the same; without it, bulk work on the table is done in Python. `zone`: whose rules they use.
    `loses`: what of the service's values does not come back, in words.
    `reference`: the table that they look values up in (reference.Reference).
    """

    forward: Callable[..., Any]
    reverse: Callable[..., Any]
    legacy: int = 1
    service: int = 1
    sql_forward: SqlForm | None = None
    sql_reverse: SqlForm | None = None
    text_forward: TextForm | None = None
    text_reverse: TextForm | None = None
    zone: str | None = None
    loses: str | None = None
    reference: Any = None


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

    there, back = forms.local_hour_forward(zone), forms.local_hour_reverse(zone)
    text = textforms.local_hour_to_instant(clock_of)
    return Converter(
        forward, clock_of.local, legacy=2, sql_forward=there, sql_reverse=back, text_forward=text, zone=zone
    )


def local_time(*, zone: str) -> Converter:
    """Naive local timestamp ↔ instant. A repeated hour means its first pass; the second comes back as the first."""
    clock_of = localclock.clock(zone)

    def forward(local: datetime) -> datetime:
        return clock_of.once(local) or clock_of.passes(local)[0]

    there, back = forms.local_time_forward(zone), forms.local_time_reverse(zone)
    loses = "an instant in the second pass of a repeated hour comes back as the first"
    return Converter(
        forward,
        lambda at: clock_of.local(at)[0],
        sql_forward=there,
        sql_reverse=back,
        text_forward=textforms.local_to_instant(clock_of),
        zone=zone,
        loses=loses,
    )


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

    there = dict(values)
    return Converter(lookup(there), lookup(back), sql_forward=forms.words(there), sql_reverse=forms.words(back))


def yes_no() -> Converter:
    """`Y`/`N` ↔ boolean."""

    def forward(flag: str) -> bool:
        if flag.rstrip(" ") not in ("Y", "N"):
            raise ConversionError(f"{flag!r} is neither Y nor N")
        return flag[0] == "Y"

    def reverse(flag: bool) -> str:
        return "Y" if flag else "N"

    return Converter(forward, reverse, sql_forward=forms.flag_to_boolean, sql_reverse=forms.boolean_to_flag)


def codes(*, values: Mapping[str, str]) -> Converter:
    """Whole numbers ↔ words, one to one."""
    try:
        numbers = {int(number): word for number, word in values.items()}
    except ValueError as error:
        raise ValueError(f"codes are whole numbers: {error}") from error
    words = enum(values=values)
    if len(numbers) != len(values):
        raise ValueError("two codes are the same number")

    def forward(number: int) -> str:
        if number not in numbers:
            raise ConversionError(f"{number!r} is not one of {', '.join(values)}")
        return numbers[number]

    sql_forward = forms.words({str(number): word for number, word in numbers.items()})
    sql_reverse = forms.numbers(words.sql_reverse)
    return Converter(forward, lambda word: int(words.reverse(word)), sql_forward=sql_forward, sql_reverse=sql_reverse)


def scaled(*, digits: str) -> Converter:
    """Whole number of a small unit ↔ decimal of a large one: with `digits: 3` 1500 (Wh) is 1.5 (kWh)."""
    try:
        shift = int(digits)
    except ValueError as error:
        raise ValueError(f"digits is a whole number, not {digits!r}") from error
    if not 0 < shift <= 30:
        raise ValueError("digits is between 1 and 30")
    unit = "cents" if shift == 2 else f"units of 1e-{shift}"

    def forward(amount: int) -> Decimal:
        return Decimal(amount).scaleb(-shift, EXACT)

    def reverse(amount: Decimal) -> int:
        whole = amount.scaleb(shift, EXACT)
        if not whole.is_finite() or whole != whole.to_integral_value():
            raise ConversionError(f"{amount} is not a whole number of {unit}")
        return int(whole)

    return Converter(
        forward,
        reverse,
        sql_forward=forms.shifted(-shift),
        sql_reverse=forms.whole_shifted(shift),
        text_forward=textforms.smaller(shift),
        text_reverse=textforms.larger(shift),
    )


def cents() -> Converter:
    """Integer cents ↔ decimal euros."""
    return scaled(digits="2")


def percent() -> Converter:
    """21.00 ↔ 0.2100."""
    return Converter(
        lambda rate: rate.scaleb(-2, EXACT),
        lambda rate: rate.scaleb(2, EXACT),
        sql_forward=forms.shifted(-2),
        sql_reverse=forms.shifted(2),
    )


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

    return Converter(forward, reverse, sql_forward=forms.clock_forward, sql_reverse=forms.clock_reverse)


def char() -> Converter:
    """char(n) ↔ text: the padding is PostgreSQL's own and goes; it comes back when char(n) stores the value."""
    return Converter(
        lambda text: text.rstrip(" "),
        lambda text: text,
        sql_forward=forms.unpadded,
        sql_reverse=forms.as_text,
        loses="blanks at the end do not come back",
    )
