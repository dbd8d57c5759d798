"""A converter's way from text to text gives what the converter gives, or leaves the value to it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.capture.types import load_numeric, load_timestamp
from cdc.mapping.converters import cents, local_hour, local_time, scaled
from cdc.mapping.errors import ConversionError

ZONES = ["Europe/Amsterdam", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC", "Africa/Monrovia"]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 6))
@example(5, 2)
@example(0, 2)
def test_a_small_unit(number: int, digits: int) -> None:
    converter = scaled(digits=str(digits))
    assert converter.text_forward is not None
    text = converter.text_forward.convert(b"%d" % number)
    assert text is None or Decimal(text.decode()) == converter.forward(number)
    assert text is not None or number < 10**digits


@given(
    st.one_of(
        st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
        st.sampled_from(["0.00", "0.05", "1.5", "1", "NaN", "Infinity", "-1.00", "1.234", "1e3"]),
    )
)
def test_a_large_unit(text: str) -> None:
    converter = cents()
    assert converter.text_reverse is not None
    found = converter.text_reverse.convert(text.encode())
    if found is not None:
        assert int(found) == converter.reverse(load_numeric(text.encode()))


@given(
    st.one_of(st.datetimes(), st.datetimes(datetime(2024, 3, 30), datetime(2024, 11, 4))),
    st.sampled_from(ZONES),
    st.sampled_from("NAB"),
)
@example(datetime(2024, 10, 27, 2, 30), "Europe/Amsterdam", "N")
@example(datetime(2024, 3, 31, 2, 30), "Europe/Amsterdam", "N")
@example(datetime(1, 1, 1), "Asia/Kolkata", "N")
@example(datetime(999, 1, 1), "UTC", "N")
def test_a_local_time(local: datetime, zone: str, flag: str) -> None:
    text = str(local).encode()
    for converter, values, loaded in (
        (local_time(zone=zone), (text,), (local,)),
        (local_hour(zone=zone), (text, flag.encode()), (local, flag)),
    ):
        assert converter.text_forward is not None
        made = converter.text_forward.convert(*values)
        if made is not None:
            assert datetime.fromisoformat(made.decode()) == converter.forward(*loaded)


def test_the_usual_ones_are_done_at_once() -> None:
    form = local_time(zone="Europe/Amsterdam").text_forward
    assert form is not None
    assert form.convert(b"2024-07-01 12:34:56.789") == b"2024-07-01 10:34:56.789+00"
    assert form.convert(b"2024-07-01 12:34:56.789") == b"2024-07-01 10:34:56.789+00"


@pytest.mark.parametrize("text", [b"0044-03-15 12:00:00 BC", b"infinity", b"-infinity", b"20240-01-01 00:00:00", b""])
def test_what_python_does_not_know_is_left_to_the_converter(text: bytes) -> None:
    form = local_time(zone="UTC").text_forward
    assert form is not None
    assert form.convert(b"0044-03-15 12:00:00") is not None
    assert form.convert(text) is None


def test_a_time_that_the_clock_skips_is_refused_as_ever() -> None:
    converter = local_time(zone="Europe/Amsterdam")
    assert converter.text_forward is not None
    skipped = b"2024-03-31 02:30:00"
    assert converter.text_forward.convert(skipped) is None
    with pytest.raises(ConversionError, match="skips"):
        converter.forward(load_timestamp(skipped))
    assert converter.forward(datetime(2024, 3, 31, 1, 30)) == datetime(2024, 3, 31, 0, 30, tzinfo=UTC)
