"""What is wrong with a schedule is told slot by slot, and whatever passes can be followed."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices.domain.conflicts import Wanted, minutes, odd_days, on_odd_days, read
from services.devices.store.slots import clock

CAPACITY, POWER = 10_000, 5_000


def kinds(*slots: tuple[str, str, str, int]) -> list[tuple[int, str]]:
    return [(c.slot, c.kind) for c in read([Wanted(*slot) for slot in slots], CAPACITY, POWER)[1]]


@pytest.mark.parametrize(
    ("slots", "found"),
    [
        ([("00:00", "05:00", "charge", 2000), ("05:00", "24:00", "hold", 0)], []),
        ([("05:00", "05:00", "hold", 0)], [(0, "time")]),
        ([("05:00", "04:00", "hold", 0)], [(0, "time")]),
        ([("00:00", "24:01", "hold", 0)], [(0, "time")]),
        ([("0:00", "05:00", "hold", 0)], [(0, "time")]),
        ([("12:00", "13:00", "hold", 0), ("10:00", "11:00", "hold", 0)], [(1, "order")]),
        ([("10:00", "12:00", "hold", 0), ("11:59", "13:00", "hold", 0)], [(1, "overlap")]),
        ([("10:00", "12:00", "charge", 5001)], [(0, "power")]),
        ([("10:00", "12:00", "charge", 0)], [(0, "power")]),
        ([("10:00", "12:00", "hold", 1)], [(0, "power")]),
        ([("00:00", "02:00", "charge", 5000)], []),
        ([("00:00", "02:01", "charge", 5000)], [(0, "soc")]),
        ([("00:00", "02:00", "discharge", 5000), ("02:00", "04:00", "charge", 5000)], []),
        ([("00:00", "01:00", "charge", 5000), ("01:00", "04:00", "discharge", 5000)], [(1, "soc")]),
        ([("10:00", "09:00", "hold", 0), ("11:00", "12:00", "charge", 9999)], [(0, "time"), (1, "power")]),
    ],
)
def test_each_conflict_is_found_where_it_is(
    slots: list[tuple[str, str, str, int]], found: list[tuple[int, str]]
) -> None:
    assert kinds(*slots) == found


times = st.integers(0, 24 * 60).map(clock)
wanted = st.builds(Wanted, times, times, st.sampled_from(["charge", "discharge", "hold"]), st.integers(0, POWER + 100))


@given(st.lists(wanted, max_size=6))
def test_a_schedule_without_conflicts_can_be_followed(asked: list[Wanted]) -> None:
    slots, found = read(asked, CAPACITY, POWER)
    if not found:
        assert len(slots) == len(asked)
        assert all(0 <= s.since < s.until <= 24 * 60 for s in slots)
        assert all(before.until <= after.since for before, after in pairwise(slots))
        assert all((s.power_w == 0) == (s.mode == "hold") and s.power_w <= POWER for s in slots)


@given(st.text(max_size=6))
def test_a_clock_is_read_or_refused(text: str) -> None:
    assert (found := minutes(text)) is None or clock(found) == text


def test_the_days_of_a_change_are_told_with_what_becomes_of_a_slot() -> None:
    slots, _ = read([Wanted("02:00", "03:00", "charge", 1000), Wanted("03:00", "24:00", "hold", 0)], CAPACITY, POWER)
    days = odd_days(date(2024, 1, 1))
    assert days == [date(2024, 3, 31), date(2024, 10, 27)]
    assert [(c.slot, c.kind, c.detail) for c in on_odd_days(slots, days)] == [
        (0, "dst", "on 2024-03-31 it lasts 0 instead of 60 minutes"),
        (0, "dst", "on 2024-10-27 it lasts 120 instead of 60 minutes"),
    ]
