"""Slots: their text, and which one is in force on ordinary days and on those on which the clock moves."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_agent.clock import AMSTERDAM
from pi_agent.errors import SlotError
from pi_agent.model import Mode, Slot
from pi_agent.slots import MINUTES_A_DAY, checked, earliest_instant, in_force, occurrence, parse_text, text_of

SPRING, AUTUMN = datetime(2026, 3, 29), datetime(2026, 10, 25)  # the days with 23 and 25 hours


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Slot, ...]:
    edges = sorted(draw(st.sets(st.integers(0, MINUTES_A_DAY), min_size=2, max_size=20)))
    slots = []
    for starts, ends in itertools.pairwise(edges):
        if draw(st.booleans()):
            mode = draw(st.sampled_from(Mode))
            slots.append(Slot(starts, ends, mode, 0 if mode is Mode.HOLD else draw(st.integers(0, 20_000))))
    return tuple(slots)


def test_the_text_of_the_contract_is_read() -> None:
    assert parse_text("0000-0500 C2500;0500-1600 H0;1600-2000 D3000") == (
        Slot(0, 300, Mode.CHARGE, 2500),
        Slot(300, 960, Mode.HOLD, 0),
        Slot(960, 1200, Mode.DISCHARGE, 3000),
    )
    assert parse_text("") == ()
    assert parse_text("2300-2400 H0;") == (Slot(1380, 1440, Mode.HOLD, 0),)


@pytest.mark.parametrize(
    "text",
    [
        "0000-0500", "0000-0500 X10", "0000-0500 C", "0000-0500 C-5", "000-0500 C1", "0500-0500 C1", "0600-0500 C1",
        "0000-2401 C1", "0060-0100 C1", "0000-0500 H100", "0000-0500 C1;0459-0600 D1", "0000-0500 C٣", "nonsense",
        "0000-0500 C1 ,0500-0600 D1",
        ";".join("0000-0001 C1" for _ in range(2000)),
    ],
)  # fmt: skip
def test_a_text_that_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(SlotError):
        parse_text(text)


@given(schedules())
def test_the_text_of_slots_reads_back_as_the_same_slots(slots: tuple[Slot, ...]) -> None:
    assert parse_text(text_of(slots)) == slots
    assert checked(reversed(slots)) == slots


@given(schedules(), st.integers(0, MINUTES_A_DAY - 1), st.integers(0, 59))
def test_at_every_minute_the_slot_in_force_is_the_one_that_holds_it(
    slots: tuple[Slot, ...], minute: int, second: int
) -> None:
    local = datetime(2026, 6, 1, minute // 60, minute % 60, second, tzinfo=AMSTERDAM)
    found = [slot for slot in slots if slot.starts <= minute and not slot.ends <= minute]
    assert in_force(slots, local) == (found[0] if found else None)
    assert len(found) <= 1


@given(schedules(), st.sampled_from([SPRING, AUTUMN]))
def test_on_days_on_which_the_clock_moves_a_slot_is_in_force_while_the_wall_clock_says_so(
    slots: tuple[Slot, ...], day: datetime
) -> None:
    begin, end = (
        day.replace(tzinfo=AMSTERDAM).astimezone(UTC),
        (day + timedelta(days=1)).replace(tzinfo=AMSTERDAM).astimezone(UTC),
    )
    minutes = round((end - begin).total_seconds() / 60)
    assert minutes == (23 if day == SPRING else 25) * 60
    for step in range(0, minutes, 7):
        local = (begin + timedelta(minutes=step)).astimezone(AMSTERDAM)
        slot, wall = in_force(slots, local), local.hour * 60 + local.minute
        assert slot == next((s for s in slots if s.starts <= wall < s.ends), None)


@given(schedules(), st.sampled_from([SPRING, AUTUMN, datetime(2026, 6, 1)]))
def test_an_occurrence_has_one_name_and_no_name_is_given_to_two_stretches_of_one_beginning(
    slots: tuple[Slot, ...], day: datetime
) -> None:
    """Walk the day by minutes: whenever the wall clock passes a slot's beginning, its name is one not seen before."""
    begin = day.replace(tzinfo=AMSTERDAM).astimezone(UTC)
    end = (day + timedelta(days=1)).replace(tzinfo=AMSTERDAM).astimezone(UTC)
    seen: set[str] = set()
    name = None
    for step in range(round((end - begin).total_seconds() / 60)):
        local = (begin + timedelta(minutes=step)).astimezone(AMSTERDAM)
        slot = in_force(slots, local)
        if slot is None:
            continue
        name = occurrence(slot, 3, local)
        assert len(name) <= 64
        at_its_beginning = local.hour * 60 + local.minute == slot.starts
        if at_its_beginning:
            assert name not in seen
        seen.add(name)


def test_a_slot_that_begins_in_the_repeated_hour_is_entered_twice() -> None:
    slot = Slot(150, 170, Mode.CHARGE, 1000)  # 02:30-02:50
    first = datetime(2026, 10, 25, 2, 35, tzinfo=AMSTERDAM, fold=0)
    second = datetime(2026, 10, 25, 2, 35, tzinfo=AMSTERDAM, fold=1)
    assert occurrence(slot, 4, first) == "slot-v4-20261025-0230"
    assert occurrence(slot, 4, second) == "slot-v4-20261025-0230b"


def test_a_slot_that_begins_in_the_missing_hour_begins_when_the_clock_has_jumped() -> None:
    slots = (Slot(150, 240, Mode.CHARGE, 1000),)  # 02:30-04:00
    before = datetime(2026, 3, 29, 0, 59, tzinfo=UTC).astimezone(AMSTERDAM)
    after = datetime(2026, 3, 29, 1, 0, tzinfo=UTC).astimezone(AMSTERDAM)
    assert in_force(slots, before) is None
    assert in_force(slots, after) == slots[0]
    assert occurrence(slots[0], 4, after) == "slot-v4-20260329-0230"


def test_an_ambiguous_expiry_means_its_first_pass() -> None:
    assert earliest_instant(datetime(2026, 10, 25, 2, 30), AMSTERDAM) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert earliest_instant(datetime(2026, 3, 29, 2, 30), AMSTERDAM) == datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    assert earliest_instant(datetime(2026, 6, 1, 12, 0), AMSTERDAM) == datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
